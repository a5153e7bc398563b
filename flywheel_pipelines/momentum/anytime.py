"""The lift with an interval that holds at every look: people look at the end of every cycle.

Here: from briefs to the sums of `sequential`, and from those to a lift. Not here: the statistics (`sequential`) and the
interval for a single look (`intervals.py`).
"""

from __future__ import annotations

import pyarrow as pa

from flywheel_pipelines.momentum.intervals import Better, Lift
from flywheel_pipelines.sequential import Comparison, PairSums, bounds_of

CONFIDENCE = 0.95
"""Probability that the interval holds at all looks of a history together."""


def pair_sums(outcomes: pa.Table) -> PairSums:
    """The sums over the counted briefs of one cycle (BRIEF_OUTCOMES): the flywheel arm first, control second."""
    counted = outcomes.filter(outcomes["is_counted"])
    return PairSums.of(*(counted[name].cast(pa.float64()).to_numpy() for name in ("flywheel_value", "control_value")))


def anytime_lift(comparison: Comparison, better: Better, confidence: float = CONFIDENCE) -> Lift:
    """The lift over all strata, each compared within itself, with its anytime-valid interval.

    The sign is turned where lower is better, as `lift_of` does.

    Returns:
        Lift with all None while no stratum is complete or the control's mean is not positive; without ends where
        `bounds_of` gives none.
    """
    found = bounds_of(comparison, (1 - confidence) / 2)
    if found.ratio is None:
        return Lift(None)
    sign = 1.0 if better == "higher" else -1.0
    value = sign * (found.ratio - 1)
    if found.lower is None or found.upper is None:
        return Lift(value)
    ends = sorted(sign * (end - 1) for end in (found.lower, found.upper))
    return Lift(value, ends[0], ends[1])
