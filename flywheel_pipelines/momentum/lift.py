"""What each arm achieved per brief, and the momentum rows of a cycle made from it.

Here: from published outputs and their metrics to one row per brief, and from those to the lift of the cycle and of all
cycles so far. Not here: the interval itself (`intervals.py`), slices of a whole history (`summary.py`), the picture
(`plot.py`).

The brief is the unit, never the impression: ten thousand impressions of one headline say a lot about that headline and
nothing about the next one. A comparison is *within* a brief where both arms have it (archives of A/B tests: the
chosen candidate against the expected value of a random choice) and *between* briefs where each brief has one arm. Both
kinds, and a mix, go through the same sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import BRIEF_OUTCOMES, MOMENTUM
from flywheel_pipelines.momentum.anytime import anytime_lift, pair_sums
from flywheel_pipelines.momentum.intervals import CARRIED, Better, BriefSums, Lift, lift_of
from flywheel_pipelines.sequential import Comparison

FLYWHEEL, CONTROL, CHALLENGER = "flywheel", "control", "challenger"
_COUNTS = ("n_flywheel", "n_control", "n_both", "n_contrasts")


def brief_outcomes(published: pa.Table, performance: pa.Table, metric: str, better: Better) -> pa.Table:
    """One row per brief of a cycle: the value of either arm, and whether the choice was the best.

    An arm's value is the mean of its measured outputs by `weight`: sum(weight * value) / sum(weight) over the outputs
    that have a value. A flywheel arm that publishes one output has weight 1; a control arm that stands for the
    expected value of a random choice among K candidates has K outputs of weight 1/K.

    A brief is counted (`is_counted`) when an arm of it was measured. In a cycle that compares within briefs (some brief
    is in both arms) it takes both arms: the others have no counterpart, and their spread would only widen the interval.
    Nor does a brief count whose arms could not differ: it had a single candidate, or only the choice itself was
    measured of several. A control that drew at random and happened to draw the choice does count, as a difference of
    zero; leaving those out would inflate the lift.

    `hit` says that no measured output beats the choice; outputs that share the best value are all hits, and `chance` is
    the share of them among the measured outputs (1 / n without ties). Both are null with fewer than two measured
    outputs, or when the choice was not measured. The choice is the flywheel arm's output of greatest weight, then of
    greatest prediction.

    Args:
        published: PUBLISHED_OUTPUTS of the cycle. The challenger's value is stored for the gate and counts for no lift.
        performance: PERFORMANCE_METRICS of those outputs; other metrics, and outputs without a value, are ignored.
            Provisional values count: filter on `is_mature` where they should not.
        metric: the metric to compare by.
        better: whether higher or lower values are better.

    Returns:
        BRIEF_OUTCOMES without partition columns, one row per brief of either arm, sorted by brief.
    """
    rows = _measured_rows(published, performance, metric, (FLYWHEEL, CONTROL, CHALLENGER))
    if not len(rows):
        return BRIEF_OUTCOMES.empty()
    briefs = pd.DataFrame({"segment": rows.groupby("brief_id")["segment"].first()})
    for arm in (FLYWHEEL, CONTROL, CHALLENGER):
        briefs[f"{arm}_value"] = _arm_values(rows, arm)
    rows = rows[rows["arm"] != CHALLENGER]
    seen = rows[rows["value"].notna()].drop_duplicates(["brief_id", "output_id"])
    briefs["n_measured"] = seen.groupby("brief_id").size().reindex(briefs.index, fill_value=0)
    briefs["is_counted"] = _is_counted(rows, briefs)
    _judge_choices(briefs, rows, seen, better)
    return BRIEF_OUTCOMES.conform(_to_arrow(briefs.reset_index(), BRIEF_OUTCOMES.schema))


def values_by_arm(
    published: pa.Table, performance: pa.Table, metric: str, arms: Sequence[str]
) -> dict[str, np.ndarray]:
    """The value of each arm per brief (as `brief_outcomes` has it), NaN where the brief is not in it; in one order."""
    rows = _measured_rows(published, performance, metric, arms)
    briefs = pd.Index(rows["brief_id"].unique())
    return {arm: _arm_values(rows, arm).reindex(briefs).to_numpy(dtype=float) for arm in arms}


def _measured_rows(published: pa.Table, performance: pa.Table, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """What some arms published, with its value of a metric; NaN where it has none."""
    kept = published.filter(pc.field("arm").isin(list(arms)))
    measured = performance.filter(pc.field("metric") == metric)
    values = pd.Series(
        measured["value"].to_pandas().to_numpy(dtype=float), index=measured["output_id"].to_pandas(), dtype=float
    )
    rows = kept.select(["brief_id", "segment", "arm", "output_id", "weight", "probability", "predicted"]).to_pandas()
    # A fixed row order makes the sums the same however the tables arrived.
    rows = rows.sort_values(["brief_id", "arm", "output_id"], ignore_index=True)
    rows["value"] = rows["output_id"].map(values).astype(float)
    return rows


def _arm_values(rows: pd.DataFrame, arm: str) -> pd.Series:
    """Weighted mean of the measured outputs of one arm, by brief; briefs without one are absent."""
    part = rows[(rows["arm"] == arm) & rows["value"].notna() & (rows["weight"] > 0)]
    weighted = (part["weight"] * part["value"]).groupby(part["brief_id"]).sum()
    return weighted / part["weight"].groupby(part["brief_id"]).sum()


def _is_counted(rows: pd.DataFrame, briefs: pd.DataFrame) -> pd.Series:
    """Which briefs the lift counts; `brief_outcomes` says why."""
    in_both = briefs["flywheel_value"].notna() & briefs["control_value"].notna()
    control = rows[rows["arm"] == CONTROL]
    by_brief = control["brief_id"]
    has_unmeasured = control["value"].isna().groupby(by_brief).any().reindex(briefs.index, fill_value=False)
    is_certain = (control["probability"] > 1 - 1e-9).groupby(by_brief).any().reindex(briefs.index, fill_value=False)
    cannot_differ = in_both & (briefs["n_measured"] < 2) & (has_unmeasured | is_certain)
    is_within_briefs = (rows.groupby("brief_id")["arm"].nunique() > 1).any()
    is_compared = in_both if is_within_briefs else briefs["n_measured"] > 0
    return is_compared & ~cannot_differ


def _judge_choices(briefs: pd.DataFrame, rows: pd.DataFrame, seen: pd.DataFrame, better: Better) -> None:
    """Add `hit` and `chance` to the briefs."""
    ranked = rows[rows["arm"] == FLYWHEEL].sort_values(
        ["brief_id", "weight", "predicted", "output_id"], ascending=[True, False, False, True]
    )
    choice = ranked.drop_duplicates("brief_id").set_index("brief_id")["value"].reindex(briefs.index)
    by_brief = seen.groupby("brief_id")["value"]
    best = (by_brief.max() if better == "higher" else by_brief.min()).reindex(briefs.index)
    is_best = seen["value"] == seen["brief_id"].map(best)
    n_best = is_best.groupby(seen["brief_id"]).sum().reindex(briefs.index)
    has_contrast = (briefs["n_measured"] >= 2) & choice.notna()
    briefs["hit"] = (choice == best).astype(object).where(has_contrast, None)
    briefs["chance"] = (n_best / briefs["n_measured"]).where(has_contrast)


def _to_arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(frame[field.name], type=field.type, from_pandas=True) for field in schema]
    return pa.table(arrays, schema=schema)


def momentum_rows(
    outcomes: pa.Table, previous_cumulative: pa.Table | None = None, *, metric: str, better: Better
) -> pa.Table:
    """The lift of one cycle, and of all cycles up to it.

    The cumulative row is the row of the cycle before plus this cycle's sums, so its cost does not grow with history.
    A change of metric starts a new cumulation: click rates and reply rates do not add up.

    Args:
        outcomes: BRIEF_OUTCOMES of the cycle.
        previous_cumulative: MOMENTUM of the cycle before (the row with scope cumulative is used); None or
            empty at the start.
        metric: the floor's metric, which `outcomes` was made with.
        better: whether higher or lower values are better; see `lift_of` for what lift then means.

    Returns:
        MOMENTUM without partition columns: the rows `cumulative` and `cycle`. Lift and interval as `lift_of` says.

    Raises:
        ContractError: the carried sums are not those that this version writes.
    """
    sums = outcome_sums(outcomes)
    before = _carried_row(previous_cumulative, metric)
    total = _carried_sums(before) + sums
    strata = _carried_strata(before).add(pair_sums(outcomes))
    rows = [_momentum_row("cumulative", total, metric, better), _momentum_row("cycle", sums, metric, better)]
    rows[0] |= _anytime_columns(anytime_lift(strata, better), strata.carried())
    rows[1] |= _anytime_columns(Lift(None), [])
    return MOMENTUM.conform(pa.Table.from_pylist(rows, schema=MOMENTUM.schema))


def outcome_sums(outcomes: pa.Table) -> BriefSums:
    """The sums over the counted rows of BRIEF_OUTCOMES."""
    counted = outcomes.filter(outcomes["is_counted"])
    columns = (_floats(counted, name) for name in ("flywheel_value", "control_value", "hit", "chance"))
    return BriefSums.of(*columns)


def _floats(table: pa.Table, name: str) -> np.ndarray:
    """A nullable column as doubles, null as NaN; flags as 0 and 1."""
    return table[name].cast(pa.float64()).to_numpy()


def _carried_row(previous: pa.Table | None, metric: str) -> dict[str, Any] | None:
    """The cumulative row of the cycle before; None at the start, and after a change of metric."""
    rows = [] if previous is None else [row for row in previous.to_pylist() if row["scope"] == "cumulative"]
    if not rows or rows[0]["metric"] != metric:
        return None
    if len(rows) > 1 or len(rows[0]["sums"]) != len(CARRIED):
        raise ContractError(
            f"Table momentum, column sums: found {len(rows)} cumulative row(s) with {len(rows[0]['sums'])} sums, "
            f"expected one row with {len(CARRIED)} ({', '.join(CARRIED)}). Pass the momentum of exactly one cycle; "
            "when an older version wrote it, close the cycles again from the first."
        )
    return rows[0]


def _carried_sums(row: dict[str, Any] | None) -> BriefSums:
    if row is None:
        return BriefSums()
    counts = {name: row[name] for name in _COUNTS}
    return BriefSums(**counts, **dict(zip(CARRIED, row["sums"], strict=True)))


def _carried_strata(row: dict[str, Any] | None) -> Comparison:
    if row is None:
        return Comparison()
    try:
        return Comparison.from_carried(row["strata"])
    except ValueError as error:
        raise ContractError(
            f"Table momentum, column strata: {error}. An older version wrote them: close the cycles again from the "
            "first."
        ) from error


def _anytime_columns(lift: Lift, strata: list[float]) -> dict[str, Any]:
    return {
        "anytime_lift": lift.value,
        "anytime_lower": lift.lower,
        "anytime_upper": lift.upper,
        "strata": strata,
    }


def _momentum_row(scope: str, sums: BriefSums, metric: str, better: Better) -> dict[str, Any]:
    lift = lift_of(sums, better)
    return {
        "scope": scope,
        "metric": metric,
        "n_briefs": sums.n_briefs,
        "flywheel_mean": sums.flywheel / sums.n_flywheel if sums.n_flywheel else None,
        "control_mean": sums.control / sums.n_control if sums.n_control else None,
        "lift": lift.value,
        "lower": lift.lower,
        "upper": lift.upper,
        "hit_rate": sums.hit_rate,
        "chance_rate": sums.chance_rate,
        **{name: getattr(sums, name) for name in _COUNTS},
        "sums": sums.carried(),
    }
