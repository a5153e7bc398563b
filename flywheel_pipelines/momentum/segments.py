"""The lift within each segment, cumulative, with intervals that hold at all looks and for all segments together.

Here: the rows of SEGMENT_MOMENTUM. Not here: the lift over all segments (`lift.py`), and the statistics (`sequential`).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import SEGMENT_MOMENTUM
from flywheel_pipelines.momentum.anytime import CONFIDENCE, anytime_lift, pair_sums
from flywheel_pipelines.momentum.intervals import Better
from flywheel_pipelines.sequential import Comparison


def segment_rows(outcomes: pa.Table, previous: pa.Table | None = None, *, metric: str, better: Better) -> pa.Table:
    """The lift by segment over all cycles up to this one.

    Whoever looks at twenty segments sees the luckiest one, so the 5% of error are shared out among the segments there
    are (Bonferroni): all intervals of a look hold together.

    Args:
        outcomes: BRIEF_OUTCOMES of the cycle.
        previous: SEGMENT_MOMENTUM of the cycle before; None or empty at the start. Another metric begins anew.
        metric: the floor's metric.
        better: whether higher or lower values are better.

    Returns:
        SEGMENT_MOMENTUM without partition columns, one row per segment seen so far.

    Raises:
        ContractError: the carried sums are not those that this version writes.
    """
    before = [] if previous is None else [row for row in previous.to_pylist() if row["metric"] == metric]
    carried = {row["segment"]: _carried(row["segment"], row["strata"]) for row in before}
    segments = sorted(carried.keys() | set(outcomes["segment"].to_pylist()))
    rows = []
    for segment in segments:
        strata = carried.get(segment, Comparison()).add(pair_sums(outcomes.filter(pc.field("segment") == segment)))
        lift = anytime_lift(strata, better, 1 - (1 - CONFIDENCE) / len(segments))
        rows.append(
            {
                "segment": segment,
                "metric": metric,
                "n_flywheel": strata.n_first + strata.waiting.n_first,
                "n_control": strata.n_second + strata.waiting.n_second,
                "lift": lift.value,
                "lower": lift.lower,
                "upper": lift.upper,
                "strata": strata.carried(),
            }
        )
    return SEGMENT_MOMENTUM.conform(pa.Table.from_pylist(rows, schema=SEGMENT_MOMENTUM.schema))


def _carried(segment: str, sums: list[float]) -> Comparison:
    try:
        return Comparison.from_carried(sums)
    except ValueError as error:
        raise ContractError(
            f"Table segment_momentum, segment {segment}, column strata: {error}. An older version wrote them: close "
            "the cycles again from the first."
        ) from error
