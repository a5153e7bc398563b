"""A flywheel with a long past: a few cycles that were really played, and before them as many copies as wanted.

A copy has all the rows of the cycle that it is made from, under ids of its own, with a batch of its own in the ledger
and with its own versions of what it was computed from; so reading, listing and asking cost what they would cost.

Here: making it. Not here: measuring (`restatement`).
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.world import FLYWHEEL, World
from flywheel_pipelines.cycles import Cadence, cycle_end
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.markers import marker_path
from flywheel_pipelines.lake.store import PART, Lake

WITH_IDS = (
    tables.GENERATED_OUTPUTS, tables.PUBLISHED_OUTPUTS, tables.PERFORMANCE_METRICS, tables.SCORED_OUTPUTS,
)  # fmt: skip
LINKED = (
    tables.BRIEFS, tables.CYCLE_MANIFEST, tables.SCORING_MODEL, tables.SCORING_MODEL_TERMS, tables.REFERENCE_CORPUS,
    tables.REFRESHED_PROMPT, tables.BRIEF_OUTCOMES, tables.MOMENTUM, tables.AUDIT,
)  # fmt: skip


def with_past(world: World, folder: Path, n_cycles: int) -> World:
    """A copy of a world in a folder of its own, `n_cycles` long in all."""
    aged = world.copy(folder)
    played = world.cycles
    past = [played[0] - timedelta(weeks=number) for number in range(n_cycles - len(played), 0, -1)]
    for number, cycle in enumerate(past):
        # The first cycle that was played looks back on nothing, so it is no model for others.
        _copy_cycle(aged.lake, played[1 + number % (len(played) - 1)], cycle, f"{number:03d}")
    for number, cycle in enumerate(past):
        model = played[1 + number % (len(played) - 1)]
        _record_versions(aged.lake, model, cycle)
    _record_versions(aged.lake, played[0], played[0])
    return aged


def _copy_cycle(lake: Lake, model: date, cycle: date, prefix: str) -> None:
    for table in WITH_IDS:
        rows = lake.read(table, FLYWHEEL, model).drop_columns(["cycle"])
        _write(_file(lake, table, cycle), table.conform(_renamed(rows, prefix)))
    for table in LINKED:
        _link(_file(lake, table, model), _file(lake, table, cycle))
    candidates = lake.partition_dir(tables.ARCHIVE_CANDIDATES, flywheel=FLYWHEEL, cycle=model)
    for path in candidates.glob("*.parquet"):
        _link(path, lake.partition_dir(tables.ARCHIVE_CANDIDATES, flywheel=FLYWHEEL, cycle=cycle) / path.name)
    _copy_batch(lake, model, cycle, prefix)


def _copy_batch(lake: Lake, model: date, cycle: date, prefix: str) -> None:
    """The measurements of a cycle as one batch of their own, recorded at its end."""
    batch_id, recorded_at = f"past-{prefix}", cycle_end(cycle, Cadence.WEEKLY)
    rows = _renamed(lake.read(tables.METRIC_LEDGER, FLYWHEEL, model).drop_columns(["cycle"]), prefix)
    changed = {
        "batch_id": pa.repeat(pa.scalar(batch_id), rows.num_rows),
        "recorded_at": pa.repeat(pa.scalar(recorded_at, rows.schema.field("recorded_at").type), rows.num_rows),
    }
    for name, values in changed.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    ledger = lake.partition_dir(tables.METRIC_LEDGER, flywheel=FLYWHEEL, cycle=cycle)
    _write(ledger / f"{batch_id}.parquet", tables.METRIC_LEDGER.conform(rows))
    header = {
        "batch_id": batch_id, "source": "a copied cycle", "recorded_at": recorded_at, "n_rows": rows.num_rows,
        "n_quarantined": 0, "first_cycle": cycle, "last_cycle": cycle,
    }  # fmt: skip
    marker = marker_path(lake.partition_dir(tables.BATCHES, flywheel=FLYWHEEL), batch_id, recorded_at)
    _write(marker, tables.BATCHES.conform(pa.Table.from_pylist([header], schema=tables.BATCHES.schema)))


def _record_versions(lake: Lake, model: date, cycle: date) -> None:
    """What a copied cycle was computed from: the same tables as its model, as they are in the past of the copy."""
    folder = lake.root / tables.INPUT_VERSIONS.name / f"flywheel={FLYWHEEL}"
    for path in (folder / f"cycle={model}").glob(f"*/{PART}"):
        rows = pq.read_table(path, columns=tables.INPUT_VERSIONS.columns).to_pylist()
        for row in rows:
            row["input_cycle"] += cycle - model
            row["input_version"] = lake.version(tables.TABLES[row["input_table"]], FLYWHEEL, row["input_cycle"])
        data = tables.INPUT_VERSIONS.conform(pa.Table.from_pylist(rows, schema=tables.INPUT_VERSIONS.schema))
        target = folder / f"cycle={cycle}" / path.parent.name / PART
        target.unlink(missing_ok=True)
        _write(target, data)


def _renamed(rows: pa.Table, prefix: str) -> pa.Table:
    """The rows with ids that begin with `prefix`, as long as before."""
    position = rows.schema.get_field_index("output_id")
    ids = pc.binary_join_element_wise(  # pyright: ignore[reportAttributeAccessIssue]
        pa.scalar(prefix),
        pc.utf8_slice_codeunits(rows["output_id"], len(prefix)),  # pyright: ignore[reportAttributeAccessIssue]
        "",
    )
    return rows.set_column(position, rows.schema.field(position), ids)


def _file(lake: Lake, table: TableContract, cycle: date) -> Path:
    return lake.partition_dir(table, flywheel=FLYWHEEL, cycle=cycle) / PART


def _write(path: Path, rows: pa.Table) -> None:
    # Without waiting for the disk: nobody reads it before all of it is there.
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, compression="zstd")


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(path, target)
