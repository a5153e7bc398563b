"""What a correction changed: two versions of a cycle's tables, and the rows in which they differ.

Here: comparing. Not here: which batches caused it, or the ledger that keeps it (`loop.restatements`).
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

CHANGE = pa.schema(
    [
        ("output_id", pa.string()),
        ("subject", pa.string()),
        ("metric", pa.string()),
        ("old_value", pa.float64()),
        ("new_value", pa.float64()),
        ("old_exposure", pa.float64()),
        ("new_exposure", pa.float64()),
        ("old_decision", pa.string()),
        ("new_decision", pa.string()),
        ("old_threshold", pa.string()),
        ("new_threshold", pa.string()),
    ]
)
"""One change; the columns of the ledger `restatements` that say what, and not why."""

_METRICS = """
select
    coalesce(old.output_id, new.output_id) as output_id,
    'metric' as subject,
    coalesce(old.metric, new.metric) as metric,
    old.value as old_value,
    new.value as new_value,
    old.exposure as old_exposure,
    new.exposure as new_exposure,
    null::varchar as old_decision,
    null::varchar as new_decision,
    null::varchar as old_threshold,
    null::varchar as new_threshold
from old
full outer join new on old.output_id = new.output_id and old.metric = new.metric
where old.numerator is distinct from new.numerator or old.exposure is distinct from new.exposure
order by output_id, metric
"""

_DECISIONS = """
select
    coalesce(old.output_id, new.output_id) as output_id,
    'decision' as subject,
    coalesce(new.metric, old.metric) as metric,
    old.p_above as old_value,
    new.p_above as new_value,
    old.exposure as old_exposure,
    new.exposure as new_exposure,
    old.decision as old_decision,
    new.decision as new_decision,
    old.threshold_version as old_threshold,
    new.threshold_version as new_threshold
from old
full outer join new on old.output_id = new.output_id
where old.decision is distinct from new.decision
order by output_id
"""


def metric_changes(old: pa.Table, new: pa.Table) -> pa.Table:
    """Outputs and metrics whose counts differ between two versions of `performance_metrics` (schema `CHANGE`).

    What only one of them holds has null on the other side.
    """
    return _differences(_METRICS, old, new, ["output_id", "metric", "numerator", "exposure", "value"])


def decision_flips(old: pa.Table, new: pa.Table) -> pa.Table:
    """Outputs whose decision differs between two versions of `scored_outputs` (schema `CHANGE`).

    The values are p_above. What only one of them judges has null on the other side. Where the thresholds differ, the
    decision was made by another rule.
    """
    columns = ["output_id", "metric", "p_above", "exposure", "decision", "threshold_version"]
    return _differences(_DECISIONS, old, new, columns)


def _differences(query: str, old: pa.Table, new: pa.Table, columns: list[str]) -> pa.Table:
    old, new = old.select(columns), new.select(columns)
    if old.equals(new):
        return CHANGE.empty_table()
    with duckdb.connect() as connection:
        connection.register("old", old)
        connection.register("new", new)
        found = connection.execute(query).to_arrow_table()
    return pa.table([found.column(field.name).cast(field.type) for field in CHANGE], schema=CHANGE)
