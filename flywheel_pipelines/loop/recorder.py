"""Writing the partitions of a step, and remembering what was written.

Not here: how the UI shows it (`components/kit.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake, WrittenPartition
from flywheel_pipelines.lake.versions import Input, record_inputs


class Markdown(str):
    """A text that a person should see rendered."""

    __slots__ = ()


Shown = dict[str, object]
"""What a step tells people about itself: numbers, words, lists, Markdown."""


class Recorder:
    """Writes the partitions of one step on one flywheel."""

    def __init__(self, store: Lake, flywheel: str) -> None:
        """Nothing was written yet."""
        self.store = store
        self._flywheel = flywheel
        self.written: list[tuple[str, WrittenPartition]] = []
        self.last: pa.Table | None = None

    def write(
        self,
        table: TableContract,
        data: pa.Table,
        cycle: date,
        inputs: Iterable[Input | tuple[TableContract, date]] = (),
    ) -> None:
        """Replace one partition, then note which versions it was computed from.

        In this order, a kill in between leaves a partition that looks stale and is computed again, never a wrong one.
        """
        written = self.store.write(table, data, flywheel=self._flywheel, cycle=cycle)
        record_inputs(self.store, table, self._flywheel, cycle, inputs)
        self.written.append((table.name, written))
        self.last = data
