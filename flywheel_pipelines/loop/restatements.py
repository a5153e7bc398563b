"""The ledger `restatements`, written by a close right before it replaces what a closed cycle said until then.

Here: which batches of facts caused a change, and the batch under which it is recorded. Not here: comparing
(`momentum.restatements`), or what a correction would change before it is made (`restating`).

A first close restates nothing. The id of a restatement is a hash of the version it found and of the one it leaves, so
that a close that was cut off and done again records it once. It is dated by the newest batch of facts that was known,
not by the clock, so that recording it changes nothing else that a close says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime

import pyarrow as pa

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake, content_hash, ledger_version
from flywheel_pipelines.lake.versions import recorded_inputs
from flywheel_pipelines.lake.writing import table_version
from flywheel_pipelines.loop.headers import batch_header
from flywheel_pipelines.momentum.restatements import CHANGE, decision_flips, metric_changes

SOURCE = "restatement of"
"""How `batches` names what a close records here."""


def restate_metrics(store: Lake, flywheel: str, cycle: date, new: pa.Table) -> pa.Table:
    """Record what new `performance_metrics` change about a closed cycle; the changes, with `cycle`."""
    causes = _new_facts(store, flywheel, tables.PERFORMANCE_METRICS)
    return _restate(store, flywheel, tables.PERFORMANCE_METRICS, cycle, new, metric_changes, causes)


def restate_decisions(store: Lake, flywheel: str, cycle: date, new: pa.Table) -> pa.Table:
    """Record which decisions new `scored_outputs` flip in a closed cycle; the changes, with `cycle`."""
    causes = _restated_metrics(store, flywheel)
    return _restate(store, flywheel, tables.SCORED_OUTPUTS, cycle, new, decision_flips, causes)


def no_changes() -> pa.Table:
    """Nothing changed: no row, with all columns of a change."""
    return CHANGE.insert(0, pa.field("cycle", pa.date32())).empty_table()


Causes = Callable[[date], list[str]]
"""Given a cycle that changes: the batches of facts that came since."""


def _restate(
    store: Lake,
    flywheel: str,
    table: TableContract,
    cycle: date,
    new: pa.Table,
    compare: Callable[[pa.Table, pa.Table], pa.Table],
    causes: Causes,
) -> pa.Table:
    # A cycle counts as closed when its momentum stands; what a first close leaves half done is not restated.
    if not store.has(tables.MOMENTUM, flywheel, cycle):
        return no_changes()
    new = table.conform(new)
    changes = compare(store.read(table, flywheel, cycle), new)
    if not changes.num_rows:
        return no_changes()
    batch_id = _restatement_id(flywheel, table, cycle, store.version(table, flywheel, cycle), table_version(new))
    recorded_at = store.latest_batch(flywheel)
    assert recorded_at is not None, "a closed cycle rests on batches"
    by_cycle = changes.add_column(0, pa.field("cycle", pa.date32()), pa.repeat(pa.scalar(cycle), changes.num_rows))
    rows = _with_fact(by_cycle, batch_id, recorded_at, causes(cycle))
    header = batch_header(rows, source=f"{SOURCE} {cycle}", cycle=cycle)
    store.append_batch(flywheel, header, {tables.RESTATEMENTS: rows})
    return by_cycle


def _restatement_id(flywheel: str, table: TableContract, cycle: date, old: str, new: str) -> str:
    return content_hash("restatement", flywheel, table.name, cycle, old, new)


def _with_fact(changes: pa.Table, batch_id: str, recorded_at: datetime, caused_by: Sequence[str]) -> pa.Table:
    n_rows = changes.num_rows
    columns = {
        "caused_by": pa.array([list(caused_by)] * n_rows, pa.list_(pa.string())),
        "batch_id": pa.repeat(pa.scalar(batch_id), n_rows),
        "recorded_at": pa.array([recorded_at] * n_rows, tables.RESTATEMENTS.schema.field("recorded_at").type),
        "source_row": pa.array(range(1, n_rows + 1), pa.int64()),
    }
    for name, values in columns.items():
        changes = changes.append_column(name, values)
    return changes


def _new_facts(store: Lake, flywheel: str, table: TableContract) -> Causes:
    """The batches that came into the ledgers that a table reads, since a cycle of it was computed."""

    def causes(cycle: date) -> list[str]:
        found: list[str] = []
        for row in recorded_inputs(store, flywheel, cycle, table):
            ledger = tables.TABLES[row.table]
            if ledger.kind == "ledger":
                batches = store.batches_in(ledger, flywheel, [row.cycle])
                known = list(zip(*(batches[name].to_pylist() for name in ("recorded_at", "batch_id")), strict=True))
                found += _came_since(known, row.version, lambda: _last_known(store, flywheel, cycle))
        return sorted(set(found))

    return causes


def _came_since(
    known: Sequence[tuple[datetime, str]], version: str, last_known: Callable[[], datetime | None]
) -> list[str]:
    """The batches beyond those that make up a recorded version; `known` is in the order of their recording.

    Batches come in that order but for backdated ones. Where no beginning of the list makes up the version, those
    recorded after the newest measurement that the cycle knew are taken.
    """
    names = [name for _, name in known]
    for n_before in range(len(names), -1, -1):
        if ledger_version(names[:n_before]) == version:
            return names[n_before:]
    newest = last_known()
    return [name for recorded_at, name in known if newest is None or recorded_at > newest]


def _last_known(store: Lake, flywheel: str, cycle: date) -> datetime | None:
    known = store.read(tables.PERFORMANCE_METRICS, flywheel, cycle, columns=["known_at"])["known_at"]
    return max(known.to_pylist(), default=None)


def _restated_metrics(store: Lake, flywheel: str) -> Causes:
    """What caused the changes of the metrics that a decision rests on, and who asked for another threshold."""
    asked_for = _new_facts(store, flywheel, tables.SCORED_OUTPUTS)

    def causes(cycle: date) -> list[str]:
        table, found = tables.PERFORMANCE_METRICS, set(asked_for(cycle))
        for row in recorded_inputs(store, flywheel, cycle, tables.SCORED_OUTPUTS):
            if row.table != table.name:
                continue
            current = store.version(table, flywheel, row.cycle)
            if current != row.version:
                step = _restatement_id(flywheel, table, row.cycle, row.version, current)
                found.update(_caused_by(store, flywheel, row.cycle, step))
        return sorted(found)

    return causes


def _caused_by(store: Lake, flywheel: str, cycle: date, step: str) -> Iterable[str]:
    """The causes of one restatement of metrics; of the newest ones where it took more than one step.

    A step that changes bytes and no number (another version of the package, say) is not on record. Then the newest
    restatement on record is named, which the judgement may have known already.
    """
    rows = [row for row in store.read(tables.RESTATEMENTS, flywheel, cycle).to_pylist() if row["subject"] == "metric"]
    chosen = [row for row in rows if row["batch_id"] == step]
    if not chosen and rows:
        newest = max(row["recorded_at"] for row in rows)
        chosen = [row for row in rows if row["recorded_at"] == newest]
    return {batch for row in chosen for batch in row["caused_by"]}
