"""Guardrail metrics: what an output must not do while it beats the floor.

Here: the probability that an output keeps each limit of `floor.veto`, and what that does to the floor's decision. Not
here: the floor (`scoring`), or the posterior (`posterior`), which is the same for both.

The rule, with p the posterior probability that the true value keeps the limit, and the floor's own confidence:

- past, when p <= 1 - confidence and the output has the floor's `min_exposure`: rejected, whatever the floor says;
- doubtful, when p < 1/2, or p <= 1 - confidence on less: not promoted but held;
- unmeasured, when there was nothing to see at all: held, since a guardrail that nobody measures guards nothing;
- within, else: the floor decides alone.

A limit is not asked to be kept *surely* before anything is promoted. What is guarded against is rare, and few outputs
have the traffic to prove its absence: at a limit of 1% and a true 0.5%, nine outputs in ten of 200 sends could not
be called within with 90% confidence, and would be held for ever. The posterior starts from the past of the
flywheel and segment, so that an output of which little is known stands where its like stand: within, where these keep
the limit, and doubtful, where they do not. Half is where evidence for and against weigh the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.floor import FloorRule, Limit
from flywheel_pipelines.learning.posterior import FAMILIES
from flywheel_pipelines.learning.scoring import INTERVAL, join_metrics, sure
from flywheel_pipelines.metric_words import MetricWords

WITHIN, DOUBTFUL, PAST, UNMEASURED = "within", "doubtful", "past", "unmeasured"
GUARDRAIL_COLUMNS = (
    "output_id", "brief_id", "segment", "metric", "exposure", "observed", "posterior_mean", "lower", "upper",
    "limit_value", "better", "p_within", "verdict", "floor_decision", "decision", "is_veto", "reason",
)  # fmt: skip


def guard(
    outputs: pd.DataFrame,
    past: pd.DataFrame,
    metrics: pd.DataFrame,
    scored: pd.DataFrame,
    floor: FloorRule,
    *,
    kinds: Mapping[str, str],
    words: Mapping[str, MetricWords],
    still_counted: frozenset[str] = frozenset(),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the floor decided, with all guardrails counted in; and how each output stands with each guardrail.

    Args:
        outputs: the outputs that were scored, as in `scoring.score_outputs`.
        past: earlier outputs, same columns.
        metrics: rows of `performance_metrics` about both: of the past the mature ones.
        scored: what the floor says of the outputs, in the same order: decision, reason, exposure.
        floor: the rule, with its limits.
        kinds: kind of each guardrail metric.
        words: how each is written.
        still_counted: guardrails that count per output and have not been counted to the end; none is within yet.

    Returns:
        `scored` with `decision`, `reason` and `is_vetoed`; and a row per output and guardrail with GUARDRAIL_COLUMNS.
    """
    parts = [
        _stand(outputs, past, metrics, scored, floor, name, limit, kinds[name], words[name], name in still_counted)
        for name, limit in floor.veto.items()
    ]
    if not parts:
        return scored.assign(is_vetoed=False), pd.DataFrame(columns=list(GUARDRAIL_COLUMNS))
    verdicts = np.stack([part["verdict"].to_numpy() for part in parts], axis=1)
    alone = scored["decision"].to_numpy()
    decision = np.where((alone == "promote") & (verdicts != WITHIN).any(axis=1), "hold", alone)
    decision = np.where((verdicts == PAST).any(axis=1), "reject", decision)
    reason = scored["reason"].tolist()
    for part in parts:
        told = zip(reason, part["is_veto"], part["reason"], strict=True)
        reason = [f"{before}; vetoed: {why}" if is_veto else before for before, is_veto, why in told]
    judged = scored.assign(decision=decision, reason=reason, is_vetoed=decision != alone)
    return judged, pd.concat([part.assign(decision=decision) for part in parts])[list(GUARDRAIL_COLUMNS)]


def _stand(
    outputs: pd.DataFrame,
    past: pd.DataFrame,
    metrics: pd.DataFrame,
    scored: pd.DataFrame,
    floor: FloorRule,
    name: str,
    limit: Limit,
    kind: str,
    words: MetricWords,
    is_counted_still: bool,
) -> pd.DataFrame:
    """How each output stands with one guardrail, in the order of the outputs."""
    history = join_metrics(past, metrics, name)
    # Predictions are about the floor's metric; what they say of another is not known.
    prior = FAMILIES[kind].fit(history[history["exposure"] > 0].assign(predicted=np.nan))
    frame = join_metrics(outputs, metrics, name).assign(predicted=np.nan)
    posterior = prior.posterior(frame)
    above = posterior.above_level(limit.value)
    p_within = 1 - above if limit.better == "lower" else above
    exposure = frame["exposure"].to_numpy(float)
    verdict = np.full(len(frame), WITHIN, dtype=object)
    verdict[(p_within < 0.5) | is_counted_still] = DOUBTFUL
    enough = scored["exposure"].to_numpy(float) >= floor.min_exposure
    verdict[enough & (p_within <= 1 - floor.confidence)] = PAST
    verdict[exposure <= 0] = UNMEASURED
    lower, upper = posterior.interval(INTERVAL)
    alone = scored["decision"].to_numpy()
    observed = np.divide(frame["numerator"], exposure, out=np.full(len(frame), np.nan), where=exposure > 0)
    return frame[["output_id", "brief_id", "segment"]].assign(
        metric=name,
        exposure=exposure,
        observed=observed,
        posterior_mean=posterior.moments()[0],
        lower=lower,
        upper=upper,
        limit_value=limit.value,
        better=limit.better,
        p_within=p_within,
        verdict=verdict,
        floor_decision=alone,
        is_veto=((verdict == PAST) & (alone != "reject")) | ((verdict != WITHIN) & (alone == "promote")),
        reason=_reasons(words, limit, exposure, observed, p_within, verdict, is_counted_still),
    )


def _reasons(
    words: MetricWords,
    limit: Limit,
    exposure: np.ndarray,
    observed: np.ndarray,
    p_within: np.ndarray,
    verdict: np.ndarray,
    is_counted_still: bool,
) -> list[str]:
    """E.g. "412 sends, unsubscribe rate 2.2%, limit 1.0% at most, 3% sure it is within"."""
    bound = "at most" if limit.better == "lower" else "at least"
    reasons = []
    for seen, value, p, found in zip(exposure, observed, p_within, verdict, strict=True):
        if found == UNMEASURED:
            reasons.append(f"{words.name} was not measured, limit {words.value(limit.value)} {bound}")
            continue
        said = (
            f"{words.seen(seen)}, {words.name} {words.value(value, beside=limit.value)}, "
            f"limit {words.value(limit.value, beside=value)} {bound}, {sure(p)} sure it is within"
        )
        reasons.append(f"{said}; counted until its window has passed" if is_counted_still else said)
    return reasons
