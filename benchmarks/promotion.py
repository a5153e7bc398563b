"""How often a promotion is right: `python -m benchmarks.promotion PATH [--seeds 10] [--embeddings local] [--json]`.

PATH is an archive of A/B tests that `flywheel_pipelines.feedback.archive` can read. For k in 100, 300, 1000 the first k
exposures of each candidate are drawn at random from all of its exposures (hypergeometric, so no success is used twice).
Rules decide on those. The truth is the unseen rest: a promotion is right when the candidate's rate on the rest lies
above the mean of the rates of its brief's candidates on the rest. That truth is noisy itself, so it is not what
`p_above`, which is about true rates, could agree with: the predictive probability (the same posterior, and the noise of
the rest) is. Both are printed.

Three rules. `observed`: above the mean of the brief on the k exposures. `plain`: the posterior with fitted
over-dispersion that sees counts only. `content`: the posterior of `flywheel_pipelines.learning`, with the text model's
predictions and the likeness of the texts. Everything fitted (text model, spreads, coefficient) is refitted each cycle
on strictly earlier cycles. With `--embeddings local` the text model learns from sentence embeddings, too (extra
`embeddings`). Standard errors take the brief as the unit: its candidates and draws are not independent.

At equal precision: two rules that promote at one confidence can be right unequally often, so that the one which is
wrong more often promotes more. `content` at 0.9 is therefore also set against as many of `plain`'s most certain
promotions as are right equally often, and the other way round. Intervals are percentiles over 400 draws of the briefs.

False promotions: two rows with the same text in one brief are truly equal. Each such pair is scored as a brief of its
own on all of its exposures, and every promotion in it is false. `content` knows that the texts are equal; the verdict
is about `hidden`, the same posterior with the texts withheld, which has to see through the noise by itself.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.special import expit, logit

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.feedback.archive import find_mapping, read_archive
from flywheel_pipelines.feedback.archive.days import DayFormat
from flywheel_pipelines.feedback.files import read_header, read_table
from flywheel_pipelines.learning.embedding_features import TextVectors, rounded, text_hash
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.posterior import EmpiricalBayes, FittedPrior
from flywheel_pipelines.learning.scoring import score_outputs
from flywheel_pipelines.learning.text_model import fit_text_model
from flywheel_pipelines.llm.embedding_local import embed_locally

SAMPLE_SIZES = (100, 300, 1000)
CONFIDENCES = (0.8, 0.9, 0.95)
PARTS = ("all", "even", "odd", "early", "late")
"""Halves by the hash of the brief and by time: what holds by method holds in each."""
RULE = FloorRule(metric="rate", above="control", min_exposure=30)
WARM_UP_BRIEFS = 30
"""Briefs with a choice that must have passed before a cycle counts; without any past no rule could be fitted."""
PLAIN = {"uneven": 0.0, "tau_doubt": 0.0, "temper": 1.0}
"""The textbook posterior: one spread for all briefs, known exactly, believed as it is."""
LEAST_RIGHT, LARGEST_ERROR, MOST_FALSE = 0.88, 0.04, 0.10

Report = Callable[[float, str], None]
Priors = dict[date, FittedPrior]


def run(
    path: str | Path, seeds: int = 10, progress: Report | None = None, *, embeddings: str = "none"
) -> list[dict[str, Any]]:
    """The whole benchmark, about two minutes for an archive of 5,000 candidates.

    Args:
        path: the archive.
        seeds: random draws per sample size.
        progress: called with the share done and what is being done.
        embeddings: "local": the text model learns from sentence embeddings, too.

    Returns:
        Rows told apart by `what`: "promotion" (by part, k, rule and confidence), "equal precision" (by k and the rule
        that is at 0.9), "false promotion" (by rule and confidence), and "requirement" (needed, found, its standard
        error, met). Sample sizes that no brief can spare are left out.
    """
    report = progress or (lambda share, doing: None)
    candidates, twins = load_archive(Path(path))
    vectors = vectors_of(candidates, report) if embeddings == "local" else None
    candidates = record_predictions(candidates, report, vectors)
    blind = candidates.assign(predicted=0.0).drop(columns="text")
    report(0.35, "fitting priors")
    priors = priors_by_cycle(candidates)
    plain = {cycle: replace(prior, **PLAIN) for cycle, prior in priors_by_cycle(blind).items()}
    choices = candidates[(candidates["size"] > 1) & candidates["cycle"].isin(priors.keys())]
    rows: list[dict[str, Any]] = []
    for i, k in enumerate(SAMPLE_SIZES):
        report(0.5 + i / 6, f"promoting on {k} exposures")
        enough = choices.groupby("brief_id")["exposure"].transform("min") >= 1.5 * k
        if not enough.any():
            continue
        draws = [_draw(choices[enough], k, priors, plain, np.random.default_rng([seed, k])) for seed in range(seeds)]
        drawn = pd.concat(draws)
        rows += summarise(drawn, k, seeds)
        rows += [at_equal_precision(drawn, k, seeds, rule) for rule in ("content", "plain")]
    rows += [row for confidence in CONFIDENCES for row in false_promotions(twins, priors, confidence)]
    report(1.0, "done")
    return rows + requirements(rows)


def load_archive(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candidates (one row per brief and text) and A/A pairs (two rows per pair), both sorted by cycle."""
    mapping = find_mapping(read_header(path), str(path))[1]
    batch = read_archive(path, mapping, cadence=Cadence.WEEKLY)
    texts = batch.candidates.to_pandas()[["brief_id", "candidate_id", "segment", "text"]]
    counts = batch.measurements.to_pandas().rename(columns={"successes": "numerator"})
    frame = counts.merge(texts, on=["brief_id", "candidate_id"], validate="one_to_one")
    frame = frame[frame["exposure"] > 0].assign(output_id=frame["brief_id"] + " " + frame["candidate_id"])
    frame["size"] = frame.groupby("brief_id")["output_id"].transform("size")
    names = mapping.columns
    cells = read_table(path, mapping.required_columns, date_format=mapping.cycle_format).rows.to_pandas()
    raw = cells.iloc[:, 1:].set_axis(mapping.required_columns, axis=1)
    for column, values in mapping.leave_out.items():
        raw = raw[~raw[column].fillna("").str.strip().str.casefold().isin(values)]
    pair = [*names.brief, names.text, names.cycle]
    twins = raw[raw.groupby(pair)[names.text].transform("size") == 2]
    day = DayFormat(mapping.cycle_format)
    twins = pd.DataFrame(
        {
            "brief_id": twins.groupby(pair).ngroup().astype(str),
            "text": twins[names.text],
            "cycle": twins[names.cycle].map(day.parse),
            "segment": "all",
            "numerator": twins[names.successes].astype(int),
            "exposure": twins[names.exposure].astype(int),
            "output_id": "pair " + twins.index.astype(str),
        }
    )
    order = ["cycle", "brief_id", "output_id"]
    defaults = {"predicted": 0.0, "control_weight": 1.0, "metric": RULE.metric}
    candidates, twins = (each.sort_values(order, ignore_index=True).assign(**defaults) for each in (frame, twins))
    return candidates, twins


def _day(cycle: object) -> date:
    """The key that pandas hands out when it groups by cycle, as the date it is."""
    return pd.Timestamp(str(cycle)).date()


def vectors_of(candidates: pd.DataFrame, report: Report) -> TextVectors:
    """Sentence embeddings of all texts as they would stand in the lake; they know nothing of outcomes."""
    texts = sorted(set(candidates["text"]))
    parts = []
    for start in range(0, len(texts), 100):
        report(0.0, f"embedding {start} of {len(texts)} texts")
        parts.append(rounded(embed_locally(texts[start : start + 100])))
    return TextVectors("local", tuple(map(text_hash, texts)), np.concatenate(parts))


def record_predictions(candidates: pd.DataFrame, report: Report, vectors: TextVectors | None = None) -> pd.DataFrame:
    """Fill `predicted` cycle by cycle, each from a text model that saw strictly earlier cycles only."""
    pooled = candidates.groupby("brief_id")[["numerator", "exposure"]].transform("sum")
    rate = (pooled["numerator"] + 1) / (pooled["exposure"] + 100)
    training = candidates.assign(
        value=candidates["numerator"] / candidates["exposure"], variance=rate * (1 - rate) / candidates["exposure"]
    )
    predicted, cycles = candidates["predicted"].copy(), candidates["cycle"].nunique()
    for i, (cycle, rows) in enumerate(candidates.groupby("cycle")):
        report(0.35 * i / cycles, f"predicting {cycle}")
        model = fit_text_model(training, as_of=_day(cycle), vectors=vectors)
        predicted[rows.index] = model.predict(rows["text"].tolist(), rows["segment"].tolist(), vectors)
    return candidates.assign(predicted=predicted)


def priors_by_cycle(candidates: pd.DataFrame) -> Priors:
    """For each cycle the prior fitted on strictly earlier ones; cycles in the warm-up are missing."""
    priors: Priors = {}
    for cycle in sorted(candidates["cycle"].unique()):
        past = candidates[(candidates["cycle"] < cycle) & (candidates["size"] > 1)]
        if past["brief_id"].nunique() >= WARM_UP_BRIEFS:
            priors[cycle] = EmpiricalBayes().fit(past)
    return priors


def _draw(
    choices: pd.DataFrame, k: int, content: Priors, plain: Priors, generator: np.random.Generator
) -> pd.DataFrame:
    """One draw: per candidate the truth, and per rule latent and predictive probability of beating its brief."""
    successes = choices["numerator"].to_numpy(int)
    seen = generator.hypergeometric(successes, choices["exposure"].to_numpy(int) - successes, k)
    sample = choices.assign(numerator=seen, exposure=k, rest=choices["exposure"] - k)
    by_brief = choices["brief_id"]
    rate = (successes - seen) / sample["rest"]
    frame = choices[["brief_id", "cycle"]].assign(right=rate > rate.groupby(by_brief).transform("mean"))
    frame["observed"] = (sample["numerator"] > sample["numerator"].groupby(by_brief).transform("mean")).astype(float)
    blind = sample.assign(predicted=0.0).drop(columns="text")
    for name, priors, shown in (("content", content, sample), ("plain", plain, blind)):
        parts = []
        for cycle, rows in shown.groupby("cycle"):
            posterior = priors[_day(cycle)].posterior(rows)
            share = 1 / rows["size"].to_numpy(float)
            again = posterior.measured_again(rows["rest"].to_numpy(float))
            temper = priors[_day(cycle)].temper
            latent, fresh = (expit(temper * logit(each.above_mean(share)[0])) for each in (posterior, again))
            columns = {name: latent, f"{name}_predictive": fresh}
            parts.append(pd.DataFrame(columns, index=rows.index))
        frame = frame.join(pd.concat(parts))
    return frame


def summarise(frame: pd.DataFrame, k: int, seeds: int) -> list[dict[str, Any]]:
    """One row per part, rule and confidence, averaged over draws."""
    odd = frame["brief_id"].map(lambda brief: zlib.crc32(str(brief).encode()) % 2 == 1)
    cycles = frame.groupby("brief_id")["cycle"].first().sort_values()
    late = frame["cycle"] >= cycles.iloc[len(cycles) // 2]
    masks = {"all": frame["right"].notna(), "even": ~odd, "odd": odd, "early": ~late, "late": late}
    rows = []
    for part in PARTS:
        for rule in ("observed", "plain", "content"):
            for confidence in CONFIDENCES if rule != "observed" else (None,):
                promoted = frame[masks[part] & (frame[rule] >= (confidence or 0.5))]
                row = {"what": "promotion", "part": part, "k": k, "rule": rule, "confidence": confidence}
                row |= {"promotions": len(promoted) / seeds, "share": len(promoted) / max(masks[part].sum(), 1)}
                right, error = _share(promoted["right"], promoted["brief_id"])
                row |= {"right": right, "right_se": error}
                if confidence and len(promoted):
                    row["mean_p_above"] = float(promoted[rule].mean())
                    row["mean_predictive"] = float(promoted[f"{rule}_predictive"].mean())
                rows.append(row)
    return rows


def at_equal_precision(frame: pd.DataFrame, k: int, seeds: int, rule: str, confidence: float = 0.9) -> dict[str, Any]:
    """What `rule` promotes at the confidence, and how many of the other's most certain promotions are right as often.

    The other rule is given the largest number that is, wherever that puts its threshold: the choice that favours it.
    """
    other = "plain" if rule == "content" else "content"
    brief = pd.factorize(frame["brief_id"])[0]
    promoted, right = (frame[rule] >= confidence).to_numpy(), frame["right"].to_numpy(float)
    order = np.argsort(-frame[other].to_numpy(), kind="stable")

    def compare(weight: np.ndarray) -> tuple[float, float, float]:
        own = weight * promoted
        precision = (own * right).sum() / max(own.sum(), 1e-9)
        counted, hits = np.cumsum(weight[order]), np.cumsum((weight * right)[order])
        enough = hits >= precision * counted - 1e-9
        # The first few may be right by luck; where none are, there is no threshold of equal precision.
        found = counted[enough]
        return float(own.sum()), float(precision), float(found.max()) if len(found) else 0.0

    n, precision, n_other = compare(np.ones(len(frame)))
    random, n_briefs = np.random.default_rng(k), int(brief.max()) + 1
    draws = [compare(random.multinomial(n_briefs, np.full(n_briefs, 1 / n_briefs))[brief]) for _ in range(400)]
    lower, upper = np.percentile([own / max(others, 1.0) for own, _, others in draws], [5, 95])
    row = {"what": "equal precision", "k": k, "rule": rule, "confidence": confidence, "right": precision}
    row |= {"promotions": n / seeds, "other": other, "other_promotions": n_other / seeds}
    return row | {"ratio": n / max(n_other, 1.0), "ratio_lower": float(lower), "ratio_upper": float(upper)}


def _share(yes: pd.Series, brief: pd.Series) -> tuple[float | None, float | None]:
    """Share and its standard error with briefs as clusters (Liang and Zeger 1986); None without any row.

    A share of 0 or 1 would show no error at all: two imagined briefs, one each way, keep it honest.
    """
    if not len(yes):
        return None, None
    share, briefs = float(yes.mean()), brief.nunique()
    clusters = (yes - share).groupby(brief).sum()
    smoothed = (share * briefs + 1) / (briefs + 2)
    least = (smoothed * (1 - smoothed) / (briefs + 2)) ** 0.5
    return share, max(float((clusters**2).sum() ** 0.5) / len(yes), least if share in (0.0, 1.0) else 0.0)


def false_promotions(twins: pd.DataFrame, priors: Priors, confidence: float) -> list[dict[str, Any]]:
    """Share of truly equal outputs that each rule promotes over their twin."""
    twins = twins[twins["cycle"].isin(priors.keys())]
    rate = twins["numerator"] / twins["exposure"]
    promoted = {"observed": rate > rate.groupby(twins["brief_id"]).transform("mean")}
    for name, shown in (("hidden", twins.drop(columns="text")), ("content", twins)):
        floor = replace(RULE, confidence=confidence)
        decisions = [
            score_outputs(rows, rows, priors[_day(cycle)], floor).set_index(rows.index)["decision"]
            for cycle, rows in shown.groupby("cycle")
        ]
        promoted[name] = pd.concat(decisions) == "promote" if decisions else pd.Series(dtype=bool)
    rows = []
    for name, yes in promoted.items():
        share, error = _share(yes, twins["brief_id"].reindex(yes.index))
        row = {"what": "false promotion", "rule": name, "confidence": confidence, "pairs": len(twins) // 2}
        rows.append(row | {"share": share, "share_se": error})
    return rows


def requirements(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What promotions are asked to be, and whether they are; a missing figure is not met."""
    at = {(row["k"], row["rule"], row["confidence"]): row for row in rows if row.get("part") == "all"}
    verdicts: list[dict[str, Any]] = []

    def judge(name: str, found: float | None, error: float | None, needed: str, met: bool) -> None:
        row = {"what": "requirement", "name": name, "found": found, "se": error, "needed": needed}
        verdicts.append(row | {"met": found is not None and met})

    for k in sorted({k for k, _, _ in at}):
        content, plain = at[k, "content", 0.9], at[k, "plain", 0.9]
        right, error = content["right"], content["right_se"]
        judge(f"k={k}: right at 0.9", right, error, f">= {LEAST_RIGHT:.0%}", (right or 0) >= LEAST_RIGHT)
        more = content["promotions"] / max(plain["promotions"], 1e-9)
        judge(f"k={k}: promotions over plain", more, None, "> 100%", more > 1)
        for confidence in CONFIDENCES:
            row = at[k, "content", confidence]
            off = None if row["right"] is None else row["right"] - confidence
            name = f"k={k}: right minus confidence {confidence}"
            judge(name, off, row["right_se"], f"within {LARGEST_ERROR:.0%}", abs(off or 0) <= LARGEST_ERROR)
    equal = next(r for r in rows if r["what"] == "false promotion" and (r["rule"], r["confidence"]) == ("hidden", 0.9))
    share = equal["share"]
    judge("equal texts promoted at 0.9", share, equal["share_se"], f"<= {MOST_FALSE:.0%}", (share or 0) <= MOST_FALSE)
    return verdicts


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """The rows for people to read."""
    main = Table("k", "rule", "confidence", "promoted", "right", "p_above", "predictive", title="Promotions")
    halves = Table("k", *PARTS[1:], title="Right (promoted) at confidence 0.9, content, by half of the briefs")
    for row in (row for row in rows if row["what"] == "promotion" and row["part"] == "all"):
        figures = [_percent(row.get(name)) for name in ("mean_p_above", "mean_predictive")]
        right = _percent(row["right"], row["right_se"])
        main.add_row(
            str(row["k"]), row["rule"], str(row["confidence"] or "-"), f"{row['promotions']:.1f}", right, *figures
        )
    for k in sorted({row["k"] for row in rows if row["what"] == "promotion"}):
        wanted = ("promotion", k, "content", 0.9)
        found = [row for row in rows if tuple(row.get(name) for name in ("what", "k", "rule", "confidence")) == wanted]
        chosen = {row["part"]: row for row in found}
        cells = [(chosen[part]["right"], chosen[part]["right_se"], chosen[part]["promotions"]) for part in PARTS[1:]]
        halves.add_row(str(k), *(f"{_percent(right, error)} ({count:.1f})" for right, error, count in cells))
    even = Table("k", "rule at 0.9", "right", "promoted", "other, right as often", "ratio", title="At equal precision")
    for row in (row for row in rows if row["what"] == "equal precision"):
        interval = f"{row['ratio']:.2f} [{row['ratio_lower']:.2f}, {row['ratio_upper']:.2f}]"
        promoted = (f"{row[name]:.1f}" for name in ("promotions", "other_promotions"))
        even.add_row(str(row["k"]), row["rule"], _percent(row["right"]), *promoted, interval)
    equal = Table("rule", "confidence", "pairs", "promoted", title="Truly equal outputs promoted over their twin")
    for row in (row for row in rows if row["what"] == "false promotion"):
        cells = [row["rule"], str(row["confidence"]), str(row["pairs"]), _percent(row["share"], row["share_se"])]
        equal.add_row(*cells)
    verdict = Table("requirement", "needed", "found", "verdict", title="Requirements")
    for row in (row for row in rows if row["what"] == "requirement"):
        met = "[green]met" if row["met"] else "[red]not met"
        verdict.add_row(row["name"], row["needed"], _percent(row["found"], row["se"]), met)
    return [main, halves, even, equal, verdict]


def _percent(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" + (f" ± {100 * error:.1f}" if error is not None else "")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="How often a promotion is right, on an archive of A/B tests.")
    parser.add_argument("path", help="archive: CSV, CSV.gz or Parquet")
    parser.add_argument("--seeds", type=int, default=10, help="random draws per sample size (default 10)")
    parser.add_argument(
        "--embeddings", choices=("none", "local"), default="none", help="local: learn from sentence embeddings, too"
    )
    parser.add_argument("--json", action="store_true", help="a JSON list instead of tables")
    arguments = parser.parse_args()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        rows = run(
            arguments.path,
            arguments.seeds,
            lambda share, doing: bar.update(task, completed=share, description=doing),
            embeddings=arguments.embeddings,
        )
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    console = Console()
    for table in tables(rows):
        console.print(table)


if __name__ == "__main__":
    main()
