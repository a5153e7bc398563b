"""How often a promotion is right: `python -m benchmarks.promotion PATH [--embeddings local] [--bound] [--json]`.

PATH is an archive of A/B tests that `flywheel_pipelines.feedback.archive` can read. For k in 100, 300, 1000 the first k
exposures of each candidate are drawn at random from all of its exposures (hypergeometric, so no success is used twice).
Rules decide on those. The truth is the unseen rest: a promotion is right when the candidate's rate on the rest lies
above the mean of the rates of its brief's candidates on the rest. That truth is noisy itself, so it is not what
`p_above`, which is about true rates, could agree with: the predictive probability (the same posterior, and the noise of
the rest) is. Both are printed.

Three rules. `observed`: above the mean of the brief on the k exposures. `plain`: the posterior with fitted
over-dispersion that sees counts only. `content`: the posterior of `flywheel_pipelines.learning`, with the text model's
predictions and the likeness of the texts. Everything fitted (text model, spreads, coefficient) is refitted each cycle
on strictly earlier cycles. With `--embeddings local` sentence embeddings (extra `embeddings`) are one more thing that
the text model learns from, and what says how alike texts are. Standard errors take the brief as the unit: its
candidates and draws are not independent.

At equal precision: two rules that promote at one confidence can be right unequally often, so that the one which is
wrong more often promotes more. `content` at 0.9 is therefore also set against as many of `plain`'s most certain
promotions as are right equally often, and the other way round. Intervals are percentiles over 400 draws of the briefs.
`content` is also shown for every second week ("chosen on": the first, the third, ...), on which the likeness by vectors
was chosen, and for the weeks between ("held back"), which had no part in that. Older choices were made on all weeks.

`--bound`: how much would have to be known of an output beforehand to promote twice as many? An oracle answers: `plain`,
shown m more real exposures of each candidate, which nobody has at that time, against `plain` with k, both on what is
unseen of either. Its m stands beside what `content` is worth in the same coin: the m at which the oracle tells right
from wrong on the same draws as well as `content` does (mean log probability of what came out).

False promotions: two rows with the same text in one brief are truly equal. Each such pair is scored as a brief of its
own on all of its exposures, and every promotion in it is false. `content` knows that the texts are equal; the verdict
is about `hidden`, the same posterior with the texts withheld, which has to see through the noise by itself.
"""

from __future__ import annotations

import argparse
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.promotion_bound import bound_rows, bound_tables
from benchmarks.promotion_rules import (
    METRIC,
    Priors,
    Report,
    as_day,
    at_equal_precision,
    blinded,
    draw,
    load_archive,
    priors_by_cycle,
    record_predictions,
    vectors_of,
    weeks_chosen_on,
)
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.scoring import score_outputs

SAMPLE_SIZES = (100, 300, 1000)
CONFIDENCES = (0.8, 0.9, 0.95)
PARTS = ("all", "even", "odd", "early", "late", "chosen on", "held back")
"""Halves by the hash of the brief, by time and by turns of weeks: what holds by method holds in each."""
RULE = FloorRule(metric=METRIC, above="control", min_exposure=30)
PLAIN = {"uneven": 0.0, "tau_doubt": 0.0, "temper": 1.0}
"""The textbook posterior: one spread for all briefs, known exactly, believed as it is."""
LEAST_RIGHT, LARGEST_ERROR, MOST_FALSE = 0.88, 0.04, 0.10


def run(
    path: str | Path,
    seeds: int = 10,
    progress: Report | None = None,
    *,
    embeddings: str = "none",
    bound: bool = False,
) -> list[dict[str, Any]]:
    """The whole benchmark, about two minutes for an archive of 5,000 candidates.

    Args:
        path: the archive.
        seeds: random draws per sample size.
        progress: called with the share done and what is being done.
        embeddings: "local": the text model and the likeness of texts rest on sentence embeddings, too.
        bound: ask the oracle, too; takes about as long again.

    Returns:
        Rows told apart by `what`: "promotion" (by part, k, rule and confidence), "equal precision" (by part, k and the
        rule that is at 0.9), "bound" and "worth" (see `promotion_bound`), "false promotion" (by rule and confidence),
        and "requirement" (needed, found, its standard error, met). Sample sizes that no brief can spare are left out.
    """
    report = progress or (lambda share, doing: None)
    candidates, twins = load_archive(Path(path))
    vectors = vectors_of(candidates, report) if embeddings == "local" else None
    candidates = record_predictions(candidates, report, vectors)
    if vectors is not None:
        candidates = candidates.assign(vector=list(vectors.of(candidates["text"].tolist())))
    blind = blinded(candidates)
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
        draws = [draw(choices[enough], k, priors, plain, np.random.default_rng([seed, k])) for seed in range(seeds)]
        drawn = pd.concat(draws)
        parts = parts_of(drawn, weeks_chosen_on(candidates))
        rows += summarise(drawn, parts, k, seeds)
        for part, rule in (("all", "content"), ("all", "plain"), ("chosen on", "content"), ("held back", "content")):
            if parts[part].any():
                rows.append(at_equal_precision(drawn[parts[part]], k, seeds, rule) | {"part": part})
        rows += bound_rows(choices, k, priors, plain, seeds) if bound else []
    rows += [row for confidence in CONFIDENCES for row in false_promotions(twins, priors, confidence)]
    report(1.0, "done")
    return rows + requirements(rows)


def parts_of(frame: pd.DataFrame, chosen_on: np.ndarray) -> dict[str, pd.Series]:
    """The rows of each of PARTS; `chosen_on` are the cycles that methods were chosen on."""
    odd = frame["brief_id"].map(lambda brief: zlib.crc32(str(brief).encode()) % 2 == 1)
    cycles = frame.groupby("brief_id")["cycle"].first().sort_values()
    late, turns = frame["cycle"] >= cycles.iloc[len(cycles) // 2], frame["cycle"].isin(chosen_on)
    masks = (frame["right"].notna(), ~odd, odd, ~late, late, turns, ~turns)
    return dict(zip(PARTS, masks, strict=True))


def summarise(frame: pd.DataFrame, parts: dict[str, pd.Series], k: int, seeds: int) -> list[dict[str, Any]]:
    """One row per part, rule and confidence, averaged over draws."""
    rows = []
    for part in parts:
        for rule in ("observed", "plain", "content"):
            for confidence in CONFIDENCES if rule != "observed" else (None,):
                promoted = frame[parts[part] & (frame[rule] >= (confidence or 0.5))]
                row = {"what": "promotion", "part": part, "k": k, "rule": rule, "confidence": confidence}
                row |= {"promotions": len(promoted) / seeds, "share": len(promoted) / max(parts[part].sum(), 1)}
                right, error = _share(promoted["right"], promoted["brief_id"])
                row |= {"right": right, "right_se": error}
                if confidence and len(promoted):
                    row["mean_p_above"] = float(promoted[rule].mean())
                    row["mean_predictive"] = float(promoted[f"{rule}_predictive"].mean())
                rows.append(row)
    return rows


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
    for name, shown in (("hidden", twins.drop(columns=["text", "vector"], errors="ignore")), ("content", twins)):
        floor = replace(RULE, confidence=confidence)
        decisions = [
            score_outputs(rows, rows, priors[as_day(cycle)], floor).set_index(rows.index)["decision"]
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
    of_all = [row for row in rows if row["what"] == "promotion" and row["part"] == "all"]
    at = {(row["k"], row["rule"], row["confidence"]): row for row in of_all}
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
    columns = ("k", "weeks", "rule at 0.9", "right", "promoted", "other, right as often", "ratio")
    even = Table(*columns, title="At equal precision")
    for row in (row for row in rows if row["what"] == "equal precision"):
        interval = f"{row['ratio']:.2f} [{row['ratio_lower']:.2f}, {row['ratio_upper']:.2f}]"
        promoted = (f"{row[name]:.1f}" for name in ("promotions", "other_promotions"))
        even.add_row(str(row["k"]), row["part"], row["rule"], _percent(row["right"]), *promoted, interval)
    equal = Table("rule", "confidence", "pairs", "promoted", title="Truly equal outputs promoted over their twin")
    for row in (row for row in rows if row["what"] == "false promotion"):
        cells = [row["rule"], str(row["confidence"]), str(row["pairs"]), _percent(row["share"], row["share_se"])]
        equal.add_row(*cells)
    verdict = Table("requirement", "needed", "found", "verdict", title="Requirements")
    for row in (row for row in rows if row["what"] == "requirement"):
        met = "[green]met" if row["met"] else "[red]not met"
        verdict.add_row(row["name"], row["needed"], _percent(row["found"], row["se"]), met)
    return [main, halves, even, *bound_tables(rows), equal, verdict]


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
    parser.add_argument("--bound", action="store_true", help="ask an oracle what more promotions would take, too")
    parser.add_argument("--json", action="store_true", help="a JSON list instead of tables")
    arguments = parser.parse_args()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        rows = run(
            arguments.path,
            arguments.seeds,
            lambda share, doing: bar.update(task, completed=share, description=doing),
            embeddings=arguments.embeddings,
            bound=arguments.bound,
        )
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    console = Console()
    for table in tables(rows):
        console.print(table)


if __name__ == "__main__":
    main()
