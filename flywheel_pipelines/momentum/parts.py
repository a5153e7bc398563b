"""What moved the lift: the flywheel arm against arms that lack one part each, with intervals that hold at all looks.

Here: the rows of MOMENTUM_PARTS, and their words. Not here: the lift of the whole (`lift.py`), who is in which arm
(`production`), and the statistics (`sequential`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import MOMENTUM_PARTS
from flywheel_pipelines.momentum.anytime import CONFIDENCE, anytime_lift
from flywheel_pipelines.momentum.intervals import Better, Lift, percent_range
from flywheel_pipelines.momentum.lift import CONTROL, FLYWHEEL, values_by_arm
from flywheel_pipelines.sequential import Comparison, compared
from flywheel_pipelines.spec import ABLATIONS

SHARED_CONFIDENCE = 1 - (1 - CONFIDENCE) / len(ABLATIONS)
"""Whoever looks at three parts sees the luckiest one: the error is shared out among all that there could be, so that
declaring another one later does not change what was said before."""


def part_rows(
    published: pa.Table, performance: pa.Table, previous: pa.Table | None = None, *, metric: str, better: Better
) -> pa.Table:
    """What each part contributed over all cycles up to this one.

    Args:
        published: PUBLISHED_OUTPUTS of the cycle.
        performance: PERFORMANCE_METRICS of those outputs; provisional values count, as for the lift.
        previous: MOMENTUM_PARTS of the cycle before; None or empty at the start. Another metric begins anew.
        metric: the floor's metric.
        better: whether higher or lower values are better.

    Returns:
        MOMENTUM_PARTS without partition columns: a row per ablation arm that ever published, none without one.

    Raises:
        ContractError: the carried sums are not those that this version writes.
    """
    before = [] if previous is None else [row for row in previous.to_pylist() if row["metric"] == metric]
    carried = {row["arm"]: row for row in before}
    going_out = set(published["arm"].to_pylist())
    arms = [arm for arm in ABLATIONS if arm in carried or arm in going_out]
    if not arms:
        return MOMENTUM_PARTS.empty()
    values = values_by_arm(published, performance, metric, (FLYWHEEL, CONTROL, *arms))
    rows = [_row(arm, carried.get(arm), values, metric, better) for arm in arms]
    return MOMENTUM_PARTS.conform(pa.Table.from_pylist(rows, schema=MOMENTUM_PARTS.schema))


def _row(
    arm: str, before: dict[str, Any] | None, values: dict[str, np.ndarray], metric: str, better: Better
) -> dict[str, Any]:
    against_flywheel = _carried(before, "strata").add(compared(values[FLYWHEEL], values[arm]))
    against_control = _carried(before, "lift_strata").add(compared(values[arm], values[CONTROL]))
    contribution = anytime_lift(against_flywheel, better, SHARED_CONFIDENCE)
    lift = anytime_lift(against_control, better, SHARED_CONFIDENCE)
    return {
        "arm": arm,
        "part": arm.removeprefix("no_"),
        "metric": metric,
        "n_flywheel": against_flywheel.n_first + against_flywheel.waiting.n_first,
        "n_without": against_flywheel.n_second + against_flywheel.waiting.n_second,
        "n_control": against_control.n_second + against_control.waiting.n_second,
        "contribution": contribution.value,
        "lower": contribution.lower,
        "upper": contribution.upper,
        "lift": lift.value,
        "lift_lower": lift.lower,
        "lift_upper": lift.upper,
        "strata": against_flywheel.carried(),
        "lift_strata": against_control.carried(),
    }


def _carried(row: dict[str, Any] | None, column: str) -> Comparison:
    try:
        return Comparison.from_carried(row[column] if row else [])
    except ValueError as error:
        raise ContractError(
            f"Table momentum_parts, arm {row['arm'] if row else ''}, column {column}: {error}. An older version wrote "
            "them: close the cycles again from the first."
        ) from error


def part_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows of MOMENTUM_PARTS as a person reads them: the part, its contribution, the lift that is left without it."""
    return [
        {
            "part": row["part"],
            "briefs": f"{row['n_flywheel']:,} with, {row['n_without']:,} without",
            "contribution": percent_range(Lift(row["contribution"], row["lower"], row["upper"])),
            "lift_without": percent_range(Lift(row["lift"], row["lift_lower"], row["lift_upper"])),
        }
        for row in rows
    ]


def parts_as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same as a Markdown table."""
    head = ["| part | briefs | contribution | lift over the control without it |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(line.values())} |" for line in part_lines(rows))])
