"""A whole history in a few numbers: the lift overall, by quarter and lately, and whether the flywheel spins.

Here: slices over the briefs of many cycles, and a bootstrap that checks the formula's interval. Not here: the per-cycle
rows that are stored (`lift.py`). This reads all outcomes there are, so it is for a replay's report or the command
line, not for closing a cycle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.momentum.anytime import anytime_lift, pair_sums
from flywheel_pipelines.momentum.intervals import (
    MINIMUM_BRIEFS,
    TREADMILL,
    Better,
    BriefSums,
    Lift,
    SpinVerdict,
    lift_of,
    spin_verdict,
    verdict_words,
)
from flywheel_pipelines.momentum.lift import outcome_sums
from flywheel_pipelines.sequential import Comparison

# Cells of the draws x briefs matrix held at once: 16 MB of counts.
_CELLS = 2_000_000


@dataclass(frozen=True)
class Slice:
    """The lift over a run of briefs in cycle order; `interval` is the 95% interval or None where too few."""

    lift: float | None
    interval: tuple[float, float] | None
    hit_rate: float | None
    chance: float | None
    briefs: int


@dataclass(frozen=True)
class Summary:
    """What a history of outcomes says. Lifts are fractions, positive meaning better."""

    lift: float | None
    interval: tuple[float, float] | None
    anytime_interval: tuple[float, float] | None
    bootstrap_interval: tuple[float, float] | None
    last_half_lift: float | None
    last_half_interval: tuple[float, float] | None
    last_quarter_lift: float | None
    last_quarter_interval: tuple[float, float] | None
    quarters: tuple[Slice, ...]
    hit_rate: float | None
    chance: float | None
    briefs: int
    cycles: int
    is_spinning: bool
    verdict: SpinVerdict
    words: str

    def as_dict(self) -> dict[str, object]:
        """Everything as plain values, ready for JSON."""
        return asdict(self)


def summarise(
    outcomes: pa.Table, *, better: Better, seed: int = 0, draws: int = 2000, rival: str = TREADMILL
) -> Summary:
    """Lift, interval, halves and quarters of a history.

    Quarters hold equal numbers of counted briefs (give or take one) in order of cycle, then brief; the last half is
    the last two of them. Intervals are those of the momentum table (`lift_of`), so that the same number has the same
    interval everywhere; `bootstrap_interval` gets at the overall one by another road. `anytime_interval` is the one
    that holds at all looks, and the verdict rests on it.

    Args:
        outcomes: BRIEF_OUTCOMES with the `cycle` column, as the lake reads it; any number of cycles, also none.
        better: whether higher or lower values of the metric are better.
        seed: seed of the bootstrap.
        draws: number of bootstrap draws.
        rival: what the control arm is, in words.
    """
    ordered = outcomes.filter(outcomes["is_counted"]).sort_by([("cycle", "ascending"), ("brief_id", "ascending")])
    n = ordered.num_rows
    edges = [round(n * part / 4) for part in range(5)]
    whole = _slice(ordered, better)
    half = _slice(ordered.slice(edges[2]), better)
    quarters = tuple(_slice(ordered.slice(start, end - start), better) for start, end in pairwise(edges))
    anytime = _anytime(ordered, better)._replace(value=whole.lift)
    return Summary(
        lift=whole.lift,
        interval=whole.interval,
        anytime_interval=_interval(anytime),
        bootstrap_interval=_interval(bootstrap_lift(ordered, seed=seed, draws=draws, better=better)),
        last_half_lift=half.lift,
        last_half_interval=half.interval,
        last_quarter_lift=quarters[-1].lift,
        last_quarter_interval=quarters[-1].interval,
        quarters=quarters,
        hit_rate=whole.hit_rate,
        chance=whole.chance,
        briefs=n,
        cycles=len(ordered["cycle"].unique()),
        is_spinning=spin_verdict(anytime) == "spinning",
        verdict=spin_verdict(anytime),
        words=verdict_words(anytime, rival),
    )


def _slice(outcomes: pa.Table, better: Better) -> Slice:
    sums = outcome_sums(outcomes)
    lift = lift_of(sums, better)
    return Slice(lift.value, _interval(lift), sums.hit_rate, sums.chance_rate, sums.n_briefs)


def _anytime(ordered: pa.Table, better: Better) -> Lift:
    """The lift as `momentum_rows` cumulates it, cycle by cycle."""
    strata = Comparison()
    for cycle in sorted(set(ordered["cycle"].to_pylist())):
        strata = strata.add(pair_sums(ordered.filter(pc.field("cycle") == cycle)))
    return anytime_lift(strata, better)


def _interval(lift: Lift) -> tuple[float, float] | None:
    return None if lift.lower is None or lift.upper is None else (lift.lower, lift.upper)


def bootstrap_lift(outcomes: pa.Table, seed: int, draws: int, *, better: Better = "higher") -> Lift:
    """The lift with a 95% percentile bootstrap interval over briefs.

    Briefs are drawn with replacement, each with both of its arms, so pairs stay together (B. Efron and R. J.
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13). A draw without any control brief, or with
    a control mean of zero, has no ratio and is left out.

    Args:
        outcomes: BRIEF_OUTCOMES; uncounted briefs are ignored.
        seed: seed of the draws; equal outcomes and seed give the equal interval, whatever the order of the rows.
        draws: number of draws; 2,000 put the ends of the interval within about 0.1 of its half width.
        better: whether higher or lower values are better.

    Returns:
        Lift; no interval when an arm has fewer than MINIMUM_BRIEFS briefs.
    """
    order = [("cycle", "ascending")] if "cycle" in outcomes.column_names else []
    counted = outcomes.filter(outcomes["is_counted"]).sort_by([*order, ("brief_id", "ascending")])
    arms = [counted[name].to_numpy() for name in ("flywheel_value", "control_value")]
    sums = BriefSums.of(*arms)
    value = lift_of(sums, better).value
    if value is None or min(sums.n_flywheel, sums.n_control) < MINIMUM_BRIEFS:
        return Lift(value)
    columns = np.column_stack([np.nan_to_num(arm) for arm in arms] + [~np.isnan(arm) for arm in arms])
    random = np.random.default_rng(seed)
    n = len(columns)
    step = max(1, _CELLS // n)
    totals = np.concatenate([
        random.multinomial(n, np.full(n, 1 / n), size=min(step, draws - start)) @ columns
        for start in range(0, draws, step)
    ])  # fmt: skip
    totals = totals[(totals[:, 1:] > 0).all(axis=1)]
    flywheel, control, n_flywheel, n_control = totals.T
    ratios = (flywheel / n_flywheel) / (control / n_control)
    lower, upper = np.quantile((ratios - 1) if better == "higher" else (1 - ratios), [0.025, 0.975])
    return Lift(value, float(lower), float(upper))
