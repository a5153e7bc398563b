"""Who was computed from what.

Here: recording the input versions of a partition and finding the cycles whose inputs have changed since.
Dagster's own staleness looks one hop back and goes silently wrong on long self-dependent histories, so corrections are
traced with this table instead.

A partition of another flywheel stands there as `flywheel/table`, as its asset is called in the UI. It is no column of
its own, since the key of a table cannot change, and the same table of two flywheels may be read in one cycle.

A sensor asks every half minute, also after ten years of cycles. What was read and hashed before is kept while its file
is the same (`cache.py`), so that asking again costs a look at each file and no reading.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from flywheel_pipelines.lake.cache import MAX_FILES, identity_of
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.files import read_file
from flywheel_pipelines.lake.store import PART, CycleWindow, Lake
from flywheel_pipelines.lake.tables import INPUT_VERSIONS, TABLES


class Input(NamedTuple):
    """One partition that is read; `flywheel` names another one than the reader."""

    table: TableContract
    cycle: date
    flywheel: str | None = None


class InputVersion(NamedTuple):
    """One partition that was read, as it was then; of another flywheel, `table` is `flywheel/table`."""

    table: str
    cycle: date
    version: str


def record_inputs(
    lake: Lake,
    consumer: TableContract,
    flywheel: str,
    cycle: date,
    inputs: Iterable[Input | tuple[TableContract, date]],
) -> None:
    """Remember which version of each input partition `consumer[cycle]` is computed from."""
    rows = []
    for table, read, owner in (one if isinstance(one, Input) else Input(*one) for one in inputs):
        name = f"{owner}/{table.name}" if owner else table.name
        version = lake.version(table, owner or flywheel, read)
        rows.append({"input_table": name, "input_cycle": read, "input_version": version})
    data = pa.Table.from_pylist(rows, schema=INPUT_VERSIONS.schema)
    lake.write(INPUT_VERSIONS, data, flywheel=flywheel, cycle=cycle, consumer=consumer.name)


def recorded_inputs(lake: Lake, flywheel: str, cycle: date, consumer: TableContract) -> tuple[InputVersion, ...]:
    """What `consumer[cycle]` was computed from; nothing when it never was."""
    folder = lake.partition_dir(INPUT_VERSIONS, flywheel=flywheel, cycle=cycle, consumer=consumer.name)
    try:
        return _inputs_in(folder / PART)
    except FileNotFoundError:
        return ()


class ChangedInput(NamedTuple):
    """A partition that was computed from an input which has another version by now."""

    consumer: str
    cycle: date
    input: InputVersion
    """The input with its present version."""


def changed_inputs(
    lake: Lake, flywheel: str, consumers: Iterable[TableContract], window: CycleWindow | None = None
) -> list[ChangedInput]:
    """What was computed from inputs that are no longer what they were, in the order of cycles.

    A change reaches the tables behind it only when the first one is computed again: ask once more after that.

    Args:
        lake: where.
        flywheel: whose.
        consumers: the tables that are asked about.
        window: the cycles that are asked about; None: all.
    """
    names = {table.name for table in consumers}
    recorded = list(_recorded(lake, flywheel, names, window or CycleWindow()))
    current = _present(lake, flywheel, {(row.table, row.cycle) for _, _, inputs in recorded for row in inputs})
    return [
        ChangedInput(consumer, cycle, InputVersion(row.table, row.cycle, current[row.table, row.cycle]))
        for consumer, cycle, inputs in recorded
        for row in inputs
        if current[row.table, row.cycle] != row.version
    ]


def stale_cycles(
    lake: Lake, flywheel: str, consumers: Iterable[TableContract], window: CycleWindow | None = None
) -> dict[str, list[date]]:
    """Per table, the cycles with changed inputs (see `changed_inputs`); tables without any are left out."""
    stale: dict[str, set[date]] = {}
    for changed in changed_inputs(lake, flywheel, consumers, window):
        stale.setdefault(changed.consumer, set()).add(changed.cycle)
    return {name: sorted(cycles) for name, cycles in sorted(stale.items())}


def _recorded(
    lake: Lake, flywheel: str, consumers: set[str], window: CycleWindow
) -> Iterator[tuple[str, date, tuple[InputVersion, ...]]]:
    folder = lake.root / INPUT_VERSIONS.name / f"flywheel={flywheel}"
    for cycle in lake.cycle_folders(INPUT_VERSIONS, flywheel):
        if cycle not in window:
            continue
        for name in sorted(consumers):
            try:
                yield name, cycle, _inputs_in(folder / f"cycle={cycle}" / f"consumer={name}" / PART)
            except FileNotFoundError:
                continue


def _present(lake: Lake, flywheel: str, inputs: Iterable[tuple[str, date]]) -> dict[tuple[str, date], str]:
    """The versions that the inputs have now."""
    by_table: dict[str, list[date]] = {}
    for table, cycle in inputs:
        by_table.setdefault(table, []).append(cycle)
    present = {}
    for name, cycles in by_table.items():
        owner, _, table = name.rpartition("/")
        for cycle, version in lake.versions(TABLES[table], owner or flywheel, cycles).items():
            present[name, cycle] = version
    return present


def _inputs_in(path: Path) -> tuple[InputVersion, ...]:
    """The rows of one partition of `input_versions`. Raises FileNotFoundError."""
    identity = identity_of(path.stat())
    known = _PARSED.get(identity)
    if known is None:
        known = _PARSED[identity] = _parsed(path)
        while len(_PARSED) > MAX_FILES // 4:
            _PARSED.pop(next(iter(_PARSED)), None)
    return known


def _parsed(path: Path) -> tuple[InputVersion, ...]:
    rows = read_file(INPUT_VERSIONS, path, INPUT_VERSIONS.columns)
    columns = (rows.column(name).to_pylist() for name in INPUT_VERSIONS.columns)
    return tuple(
        InputVersion(sys.intern(table), cycle, sys.intern(version))
        for table, cycle, version in zip(*columns, strict=True)
    )


_PARSED: dict[tuple[int, ...], tuple[InputVersion, ...]] = {}
"""What was read before, by the identity of its file; the oldest are dropped first."""
