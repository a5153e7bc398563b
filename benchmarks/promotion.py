"""How often a promotion is right: `python benchmarks/promotion.py PATH [--seeds 10] [--json]`.

PATH is an archive of headline A/B tests (columns clickability_test_id, eyecatcher_id, test_week, headline, impressions,
clicks, randomization_risk_week; weeks flagged as a randomization risk are left out). A brief is one test and one image,
its candidates are its distinct headlines.

For k in 100, 300, 1000 the first k impressions of each candidate are drawn at random from all of its impressions
(hypergeometric, so clicks are never used twice). Rules decide on those. The truth is the unseen rest: a promotion is
right when the candidate's rate on the rest lies above the mean of the rates of its brief's candidates on the rest.
That truth is noisy itself, so `p_above`, which is about true rates, is not what it should be calibrated against: the
predictive probability (the same posterior, plus the sampling noise of the rest) is. Both are printed.

Three rules. `observed`: above the mean of the brief on the k impressions. `plain`: a Beta-Binomial posterior with
fitted over-dispersion, without predictions. `content`: the posterior of `flywheel_pipelines.learning`, with the text
model's predictions. Everything that is fitted (text model, spreads, coefficient) is refitted each week on strictly
earlier weeks.

False promotions: two packages with the same headline and the same image in one test are truly equal. Each such pair is
scored as a brief of its own on all of its impressions, and every promotion in it is false.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.posterior import BriefPosterior, RateFamily, RatePrior
from flywheel_pipelines.learning.scoring import pearson3_above_zero, score_outputs
from flywheel_pipelines.learning.text_model import fit_text_model

SAMPLE_SIZES = (100, 300, 1000)
CONFIDENCES = (0.8, 0.9, 0.95)
RULE = FloorRule(metric="ctr", above="control", min_exposure=30)
WARM_UP_BRIEFS = 30
"""Briefs with a choice that must have passed before a week counts; without any past no rule could be fitted."""


def load_archive(path: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candidates (one row per brief and headline) and A/A pairs (two rows per pair), both sorted by cycle."""
    packages = pd.read_csv(path)
    packages = packages[~packages["randomization_risk_week"].astype(bool)]
    week = packages["test_week"].astype(int)
    packages = packages.assign(
        brief_id=packages["clickability_test_id"].astype(str) + "|" + packages["eyecatcher_id"].fillna("").astype(str),
        text=packages["headline"].astype(str),
        cycle=pd.to_datetime((week // 100).astype(str) + " " + (week % 100).astype(str) + " 1", format="%Y %W %w"),
    )
    grouped = packages.groupby(["brief_id", "text"])
    candidates = grouped.agg(
        cycle=("cycle", "min"), exposure=("impressions", "sum"), numerator=("clicks", "sum")
    ).reset_index()
    # A test that ran over a week's edge counts as known only after its last week, and is chosen for in its first.
    last = packages.groupby("brief_id")["cycle"].max()
    first = packages.groupby("brief_id")["cycle"].min()
    candidates["cycle"] = candidates["brief_id"].map(first)
    candidates["known"] = candidates["brief_id"].map(last)
    candidates["size"] = candidates.groupby("brief_id")["text"].transform("size")
    candidates = candidates.sort_values(["cycle", "brief_id", "text"], ignore_index=True)
    candidates["output_id"] = candidates.index.astype(str)
    twins = packages[grouped["clicks"].transform("size") == 2].sort_values(["cycle", "brief_id", "text"])
    twins = twins.assign(brief_id=twins["brief_id"] + "|" + twins["text"], exposure=twins["impressions"])
    twins = twins.assign(numerator=twins["clicks"])[["brief_id", "text", "cycle", "exposure", "numerator"]]
    twins = twins.reset_index(drop=True)
    twins["output_id"] = "pair " + twins.index.astype(str)
    return (_with_defaults(candidates), _with_defaults(twins))


def _with_defaults(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(segment="", predicted=0.0, control_weight=1.0, metric=RULE.metric)


def record_predictions(candidates: pd.DataFrame) -> pd.DataFrame:
    """Fill `predicted` week by week, each week from a text model that saw strictly earlier weeks only."""
    pooled = candidates.groupby("brief_id")[["numerator", "exposure"]].transform("sum")
    rate = (pooled["numerator"] + 1) / (pooled["exposure"] + 100)
    training = candidates.assign(
        value=candidates["numerator"] / candidates["exposure"],
        variance=rate * (1 - rate) / candidates["exposure"],
        cycle=candidates["known"],
    )
    predicted = candidates["predicted"].copy()
    for cycle, rows in candidates.groupby("cycle"):
        model = fit_text_model(training, as_of=pd.Timestamp(cycle).date())
        predicted[rows.index] = model.predict(rows["text"].tolist(), rows["segment"].tolist())
    return candidates.assign(predicted=predicted)


Priors = dict[pd.Timestamp, RatePrior]


def weekly_priors(candidates: pd.DataFrame) -> Priors:
    """For each week the prior fitted on strictly earlier weeks; weeks in the warm-up are missing."""
    priors: Priors = {}
    for cycle in sorted(candidates["cycle"].unique()):
        past = candidates[(candidates["known"] < cycle) & (candidates["size"] > 1)]
        if past["brief_id"].nunique() >= WARM_UP_BRIEFS:
            priors[cycle] = RateFamily().fit(past)
    return priors


def predictive(posterior: BriefPosterior, rest: np.ndarray) -> np.ndarray:
    """P(observed rate on `rest` further exposures > mean of the brief's observed rates on theirs), shape (n,)."""
    size = np.bincount(posterior.brief)[posterior.brief][:, None]
    noise = posterior.variance + (posterior.mean * (1 - posterior.mean) - posterior.variance) / rest[:, None]

    def average(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(posterior.brief, column) for column in values.T]
        return np.stack(sums, axis=1)[posterior.brief] / size

    mean = posterior.mean - average(posterior.mean)
    variance = (1 - 2 / size) * noise + average(noise) / size
    third = ((1 - 1 / size) ** 3 + size**-3.0) * posterior.third - average(posterior.third) / size**2
    return (posterior.weight[posterior.brief] * pearson3_above_zero(mean, variance, third)).sum(axis=1)


def decide_on_sample(
    choices: pd.DataFrame, rules: dict[str, Priors], k: int, generator: np.random.Generator
) -> pd.DataFrame:
    """One draw: per candidate the truth, and per rule latent and predictive probability."""
    clicks = choices["numerator"].to_numpy(int)
    drawn = generator.hypergeometric(clicks, choices["exposure"].to_numpy(int) - clicks, k)
    sample = choices.assign(numerator=drawn, exposure=k)
    rest = choices["exposure"].to_numpy(float) - k
    left = pd.Series(rest, index=choices.index)
    rate = (clicks - drawn) / left
    seen = pd.Series(drawn / k, index=choices.index)
    by_brief = choices["brief_id"]
    frame = pd.DataFrame({"cycle": choices["cycle"], "right": rate > rate.groupby(by_brief).transform("mean")})
    frame["observed"] = (seen > seen.groupby(by_brief).transform("mean")).astype(float)
    for name, priors in rules.items():
        frame[[name, f"{name}_predictive"]] = np.nan
        for cycle, rows in sample.groupby("cycle"):
            posterior = priors[cycle].posterior(rows)
            scored = score_outputs(rows, rows, priors[cycle], RULE)
            frame.loc[rows.index, name] = scored["p_above"].to_numpy()
            frame.loc[rows.index, f"{name}_predictive"] = predictive(
                posterior, rest[choices.index.get_indexer(rows.index)]
            )
    return frame


def summarise(draws: list[pd.DataFrame], k: int) -> list[dict[str, Any]]:
    """One row per rule and confidence, averaged over draws."""
    frame = pd.concat(draws)
    rows = []
    for rule in ("observed", "plain", "content"):
        for confidence in CONFIDENCES if rule != "observed" else (None,):
            promoted = frame[frame[rule] >= (confidence or 0.5)]
            row: dict[str, Any] = {"k": k, "rule": rule, "confidence": confidence}
            row |= {"promotions": len(promoted) / len(draws), "share": len(promoted) / len(frame)}
            row["right"] = float(promoted["right"].mean()) if len(promoted) else None
            if rule != "observed" and len(promoted):
                row["mean_p_above"] = float(promoted[rule].mean())
                row["mean_predictive"] = float(promoted[f"{rule}_predictive"].mean())
                row["off_by"] = row["right"] - row["mean_predictive"]
            rows.append(row)
    return rows


def false_promotions(twins: pd.DataFrame, priors: Priors, confidence: float) -> dict[str, Any]:
    """Share of truly equal outputs that each rule promotes over their twin."""
    twins = twins[twins["cycle"].isin(priors.keys())]
    promoted = [
        score_outputs(rows, rows, priors[cycle], replace(RULE, confidence=confidence))["decision"] == "promote"
        for cycle, rows in twins.groupby("cycle")
    ]
    rate = twins["numerator"] / twins["exposure"]
    naive = rate > rate.groupby(twins["brief_id"]).transform("mean")
    ours = float(pd.concat(promoted).mean())
    return {"pairs": len(twins) // 2, "confidence": confidence, "observed": float(naive.mean()), "content": ours}


def run(path: str, seeds: int) -> dict[str, Any]:
    """The whole benchmark."""
    started = time.perf_counter()
    candidates, twins = load_archive(path)
    candidates = record_predictions(candidates)
    priors = weekly_priors(candidates)
    # The plain rule never saw a prediction, and every brief has the same spread: one Beta-Binomial.
    plain = weekly_priors(candidates.assign(predicted=0.0))
    rules = {"plain": {cycle: replace(prior, uneven=0.0) for cycle, prior in plain.items()}, "content": priors}
    choices = candidates[(candidates["size"] > 1) & candidates["cycle"].isin(priors.keys())]
    rows = []
    for k in SAMPLE_SIZES:
        enough = choices.groupby("brief_id")["exposure"].transform("min") >= 1.5 * k
        draws = [decide_on_sample(choices[enough], rules, k, np.random.default_rng([seed, k])) for seed in range(seeds)]
        rows += summarise(draws, k)
    last = priors[max(priors)]
    return {
        "promotion": rows,
        "false_promotion": [false_promotions(twins, priors, confidence) for confidence in CONFIDENCES],
        "briefs": int(choices["brief_id"].nunique()),
        "candidates": len(choices),
        "draws": seeds,
        "last_prior": {"coefficient": last.coefficient, "tau": last.tau, "between": last.between},
        "seconds": time.perf_counter() - started,
    }


def print_tables(result: dict[str, Any]) -> None:
    """The result as plain tables."""
    print(f"{result['briefs']} briefs, {result['candidates']} candidates, {result['draws']} draws of each size")
    print("\n    k  rule      confidence  promoted  share   right  mean p_above  predictive  off by")
    for row in result["promotion"]:
        confidence = f"{row['confidence']:.2f}" if row["confidence"] else "-"
        line = f"{row['k']:5}  {row['rule']:8}  {confidence:>10}  {row['promotions']:8.1f}  {row['share']:5.1%}"
        line += f"  {row['right']:6.1%}" if row["right"] is not None else "       -"
        if "mean_p_above" in row:
            line += f"  {row['mean_p_above']:12.1%}  {row['mean_predictive']:10.1%}  {100 * row['off_by']:+6.1f}"
        print(line)
    print("\nTruly equal pairs: share of outputs promoted over their twin")
    for row in result["false_promotion"]:
        print(
            f"  {row['pairs']} pairs, confidence {row['confidence']:.2f}: "
            f"observed {row['observed']:.1%}, content {row['content']:.1%}"
        )
    prior = ", ".join(f"{name} {value:.3f}" for name, value in result["last_prior"].items())
    print(f"\nPrior of the last week: {prior}. {result['seconds']:.0f} s")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="How often a promotion is right, on an archive of A/B tests.")
    parser.add_argument("path", help="archive: CSV or CSV.gz")
    parser.add_argument("--seeds", type=int, default=10, help="random draws per sample size (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    arguments = parser.parse_args()
    result = run(arguments.path, arguments.seeds)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_tables(result)


if __name__ == "__main__":
    main()
