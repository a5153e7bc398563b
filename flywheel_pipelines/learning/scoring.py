"""Scoring: the probability that an output truly beats the floor, and what follows from it.

Here: joining outputs with their measurements, comparing posteriors with the floor, decision and reason. Not here: how
the posterior comes about (`posterior`), what the floor is (`floor`).

`p_above` counts every uncertainty of the comparison. Against the control of the same brief it is the probability of
p_i - sum_j w_j p_j > 0 under the *joint* posterior of the brief's outputs; against a level from past cycles it includes
that level's standard error. A comparison within a brief is tempered by how right such claims were in the past
(`calibration`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.joint import BriefPosterior
from flywheel_pipelines.learning.kinds import SPREAD_COLUMNS
from flywheel_pipelines.learning.posterior import FAMILIES, Prior
from flywheel_pipelines.metric_words import MetricWords

INTERVAL = 0.9
"""Probability content of [lower, upper]."""
OUTPUT_COLUMNS = ("output_id", "brief_id", "segment", "predicted")
METRIC_COLUMNS = ("output_id", "metric", "numerator", "exposure")
SCORE_COLUMNS = (
    "output_id", "brief_id", "segment", "metric", "exposure", "observed", "sampling_variance", "prior_mean",
    "prior_strength", "posterior_mean", "lower", "upper", "floor_level", "p_above", "decision", "reason",
)  # fmt: skip


def score_outputs(
    outputs: pd.DataFrame,
    metrics: pd.DataFrame,
    history: pd.DataFrame | Prior,
    floor: FloorRule,
    *,
    kind: str = "rate",
    words: MetricWords | None = None,
) -> pd.DataFrame:
    """Score the outputs of one or more cycles.

    Args:
        outputs: output_id, brief_id, segment, predicted (recorded before publishing, relative log score; NaN if
            there was none). With a column `text`, outputs that read alike are expected to do alike; with a column
            `vector` besides, its sentence embedding, those that mean the same. What counts as
            control: column `control_weight` where there is one (in an archive of A/B tests every candidate has
            weight 1: control is a uniformly random choice), else arm == "control".
        metrics: output_id, metric, numerator, exposure; one row per output for `floor.metric`. Outputs without a row
            count as not exposed. Kinds whose noise is fitted want n_reports and squares besides.
        history: the same columns joined, of *earlier* cycles; or a prior that was already fitted on it.
        floor: the rule.
        kind: kind of the metric.
        words: how the reason names and writes it.

    Returns:
        One row per output, in the order given, with SCORE_COLUMNS. `sampling_variance` is nan for shares, whose noise
        follows from their value. `prior_mean` is what was expected of the output
        given everything but its own outcome; `prior_strength` is in exposures.
        `lower` and `upper` hold 90%.

    Raises:
        ValueError: missing columns, two rows for one output, or more successes than exposures.
    """
    frame = join_metrics(outputs, metrics, floor.metric)
    prior = FAMILIES[kind].fit(with_control_weight(history)) if isinstance(history, pd.DataFrame) else history
    if frame.empty:
        return frame.reindex(columns=list(SCORE_COLUMNS))
    posterior = prior.posterior(frame)
    level, p_above = _against_floor(frame, posterior, prior, floor)
    lower, upper = posterior.interval(INTERVAL)
    exposure = frame["exposure"].to_numpy(float)
    observed = np.divide(frame["numerator"], exposure, out=np.full(len(frame), np.nan), where=exposure > 0)
    decision = decide(p_above, exposure, floor)
    mean = posterior.moments()[0]
    is_share = kind in ("rate", "top_k")
    return frame[["output_id", "brief_id", "segment"]].assign(
        metric=floor.metric,
        exposure=exposure,
        observed=observed,
        sampling_variance=np.nan if is_share else prior.sampling_variance(frame, mean),
        prior_mean=posterior.prior_mean,
        prior_strength=posterior.prior_strength,
        posterior_mean=mean,
        lower=lower,
        upper=upper,
        floor_level=level,
        p_above=p_above,
        decision=decision,
        reason=_reasons(words or MetricWords(floor.metric), floor, exposure, observed, level, p_above),
    )


def join_metrics(outputs: pd.DataFrame, metrics: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Outputs with the counts of one metric (0 where unmeasured) and control_weight; order kept.

    Raises:
        ValueError: missing columns, or more than one row of the metric for one output.
    """
    for name, frame, needed in (("outputs", outputs, OUTPUT_COLUMNS), ("metrics", metrics, METRIC_COLUMNS)):
        missing = [column for column in needed if column not in frame]
        if missing:
            raise ValueError(f"{name} lack {missing}; expected {list(needed)}")
    counts = ["numerator", "exposure", *(name for name in SPREAD_COLUMNS if name in metrics)]
    measured = metrics.loc[metrics["metric"] == metric, ["output_id", *counts]]
    for name, frame in (("outputs", outputs), (f"metric {metric}", measured)):
        twice = frame["output_id"].duplicated()
        if twice.any():
            raise ValueError(f"{name}: output_id {frame['output_id'][twice].iloc[0]!r} appears twice; expected one row")
    left = outputs.drop(columns=counts, errors="ignore").reset_index(drop=True)
    joined = left.merge(measured, on="output_id", how="left", validate="1:1")
    joined[counts] = joined[counts].astype(float).fillna(0.0)
    return with_control_weight(joined)


def with_control_weight(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `control_weight`: as given, else 1 for outputs of the arm "control" and 0 for the others."""
    if "control_weight" in frame:
        return frame.assign(control_weight=frame["control_weight"].astype(float).fillna(0.0))
    arm = frame["arm"] if "arm" in frame else pd.Series("", index=frame.index)
    return frame.assign(control_weight=(arm == "control").astype(float))


def decide(p_above: np.ndarray, exposure: np.ndarray, floor: FloorRule) -> np.ndarray:
    """promote, hold or reject per output, shape (n,) of str. Hold is not reject: it means too little evidence.

    Without a floor whatever was exposed at all is promoted.
    """
    decision = np.full(len(p_above), "hold", dtype=object)
    if floor.above == "off":
        decision[exposure > 0] = "promote"
        return decision
    enough = exposure >= floor.min_exposure
    decision[enough & (p_above >= floor.confidence)] = "promote"
    decision[enough & (p_above <= 1 - floor.confidence)] = "reject"
    return decision


def _against_floor(
    frame: pd.DataFrame, posterior: BriefPosterior, prior: Prior, floor: FloorRule
) -> tuple[np.ndarray, np.ndarray]:
    """Level of the floor and probability of beating it, per output; nan and 0.5 where the floor is not known yet."""
    if floor.above == "off":
        return np.full(len(frame), np.nan), np.full(len(frame), 0.5)
    if not isinstance(floor.above, str):
        level, error = float(floor.above), 0.0
    elif floor.above == "quantile":
        level, error = prior.level(floor.quantile)
    else:
        level, error = prior.level(control=floor.above == "control")
    levels = np.full(len(frame), level)
    p_above = posterior.above_level(level, error)
    if floor.above == "control":
        brief = pd.factorize(frame["brief_id"])[0]
        weight = frame["control_weight"].to_numpy(float) * (frame["exposure"].to_numpy(float) > 0)
        total = np.bincount(brief, weight)[brief]
        # An output that is its brief's only control has nothing to be compared with but the past.
        has = (total > 0) & (weight < total)
        within, control = posterior.above_mean(np.divide(weight, total, out=np.zeros(len(frame)), where=total > 0))
        # What was measured on the past is this comparison, so only it is tempered.
        tempered = expit(prior.temper * logit(within))
        levels, p_above = np.where(has, control, levels), np.where(has, tempered, p_above)
    p_above = np.where(np.isfinite(levels), p_above, 0.5)
    return levels, 1 - p_above if floor.better == "lower" else p_above


def sure(p: float) -> str:
    """A probability as a person says it: 94%, but never certain and never impossible."""
    return "over 99%" if p > 0.995 else "under 1%" if p < 0.005 else f"{p:.0%}"


def _reasons(
    words: MetricWords,
    floor: FloorRule,
    exposure: np.ndarray,
    observed: np.ndarray,
    level: np.ndarray,
    p_above: np.ndarray,
) -> list[str]:
    """One sentence per output, e.g. "412 sends, reply rate 3.9%, floor 3.1%, 94% sure it is above"."""
    side = "above" if floor.better == "higher" else "below"
    reasons = []
    for seen, value, bar, p in zip(exposure, observed, level, p_above, strict=True):
        if floor.above == "off":
            found = f"{words.seen(seen)}, {words.name} {words.value(value)}, fed back as it is"
            reasons.append(f"no floor: {found if seen > 0 else f'no {words.exposure}'}")
            continue
        if seen <= 0:
            reasons.append(f"no {words.exposure} yet, {floor.min_exposure:,.0f} needed")
            continue
        found = f"{words.seen(seen)}, {words.name} {words.value(value, beside=bar)}, "
        if np.isfinite(bar):
            found += f"floor {words.value(bar, beside=value)}, {sure(p)} sure it is {side}"
        else:
            found += "no past to set the floor by"
        if seen < floor.min_exposure:
            found += f"; {floor.min_exposure:,.0f} needed before a decision"
        reasons.append(found)
    return reasons
