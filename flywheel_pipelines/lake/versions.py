"""Who was computed from what.

Here: recording the input versions of a partition and finding the cycles whose inputs have changed since.
Dagster's own staleness looks one hop back and goes silently wrong on long self-dependent histories, so corrections are
traced with this table instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import INPUT_VERSIONS, TABLES


def record_inputs(
    lake: Lake, consumer: TableContract, flywheel: str, cycle: date, inputs: Iterable[tuple[TableContract, date]]
) -> None:
    """Remember which version of each input partition `consumer[cycle]` is computed from."""
    rows = [
        {"input_table": table.name, "input_cycle": read, "input_version": lake.version(table, flywheel, read)}
        for table, read in inputs
    ]
    data = pa.Table.from_pylist(rows, schema=INPUT_VERSIONS.schema)
    lake.write(INPUT_VERSIONS, data, flywheel=flywheel, cycle=cycle, consumer=consumer.name)


def stale_cycles(lake: Lake, flywheel: str, consumers: Iterable[TableContract]) -> dict[str, list[date]]:
    """Per table, the cycles computed from inputs that are no longer what they were; tables without any are left out.

    A change reaches the tables behind it only when the first one is computed again: ask once more after that.
    """
    names = {table.name for table in consumers}
    recorded = lake.read(INPUT_VERSIONS, flywheel, columns=["cycle", "consumer", *INPUT_VERSIONS.columns])
    current: dict[tuple[str, date], str] = {}
    stale: dict[str, set[date]] = {}
    for row in recorded.to_pylist():
        if row["consumer"] not in names:
            continue
        key = (row["input_table"], row["input_cycle"])
        if key not in current:
            current[key] = lake.version(TABLES[key[0]], flywheel, key[1])
        if current[key] != row["input_version"]:
            stale.setdefault(row["consumer"], set()).add(row["cycle"])
    return {name: sorted(cycles) for name, cycles in sorted(stale.items())}
