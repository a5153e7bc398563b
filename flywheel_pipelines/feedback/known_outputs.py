"""Which cycle published an output, looked up among the newest cycles first.

A file is nearly always about recent outputs, so the lookup reads the ids of as few cycles as it needs: a correction of
last week costs the same after ten years as after one. An id that no cycle has published costs a look at all of them,
once per file. Not here: ids that platforms gave (`attribution`), or what becomes of rows without an output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

import pyarrow.parquet as pq

from flywheel_pipelines.lake.store import PART, Lake
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS


class KnownOutputs(Mapping[str, date]):
    """The cycle of every published output of a flywheel by its id; reads a cycle when an id is not in later ones."""

    def __init__(self, lake: Lake, flywheel: str) -> None:
        """Nothing is read yet."""
        self._folder = lake.root / PUBLISHED_OUTPUTS.name / f"flywheel={flywheel}"
        self._unread = lake.cycle_folders(PUBLISHED_OUTPUTS, flywheel)
        self._cycles: dict[str, date] = {}

    def __getitem__(self, output_id: str) -> date:
        """The cycle of an output. Raises KeyError when none published it."""
        while output_id not in self._cycles and self._unread:
            self._read(self._unread.pop())
        return self._cycles[output_id]

    def __contains__(self, output_id: object) -> bool:
        """Whether any cycle published it."""
        try:
            self[output_id]  # type: ignore[index]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        """Every id, which reads every cycle."""
        while self._unread:
            self._read(self._unread.pop())
        return iter(self._cycles)

    def __len__(self) -> int:
        """How many outputs were published in all, which reads every cycle."""
        return sum(1 for _ in self)

    def _read(self, cycle: date) -> None:
        path = self._folder / f"cycle={cycle}" / PART
        try:
            with path.open("rb") as handle:
                # The ids alone: texts are most of the file.
                ids = pq.ParquetFile(handle).read(columns=["output_id"])["output_id"]
        except FileNotFoundError:
            return
        self._cycles.update(dict.fromkeys(ids.to_pylist(), cycle))
