"""What reading one file of a feed yields: facts per ledger, and the header under which they count.

Not here: what a row must say (`briefs`, `metrics`), or writing to the lake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa

from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import QUARANTINE
from flywheel_pipelines.spec import FeedSpec


@dataclass(frozen=True)
class FeedBatch:
    """One file of a feed, ready for `Lake.append_batch(flywheel, batch.header, batch.facts)`.

    Attributes:
        header: the row of `batches`. Its batch_id is a hash of the file's bytes and of how the feed reads them, so the
            same file twice is one batch whenever it is read.
        facts: rows per ledger, with a `cycle` column where the ledger has cycles; quarantine is among them.
        problems: what is wrong with the rows put aside, one entry per row and column.
        n_rows: rows of the file that were accepted.
        n_quarantined: rows of the file that were put aside. Together they are all rows of the file.
    """

    header: Mapping[str, object]
    facts: Mapping[TableContract, pa.Table]
    problems: tuple[RowProblem, ...]
    n_rows: int
    n_quarantined: int

    @property
    def batch_id(self) -> str:
        """The id under which the facts count."""
        return str(self.header["batch_id"])

    @property
    def cycles(self) -> list[date]:
        """The cycles that the facts touch, in order."""
        tables = (table for table in self.facts.values() if "cycle" in table.column_names)
        return sorted({cycle for table in tables for cycle in table.column("cycle").to_pylist()})


@dataclass
class RowsInProgress:
    """Rows of one file while they are being judged: what is accepted, and what is wrong with the rest."""

    ledger: TableContract
    source: str
    batch_id: str
    recorded_at: datetime
    accepted: list[dict[str, object]] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    n_accepted: int = 0

    def accept(self, source_row: int, facts: Sequence[Mapping[str, object]]) -> None:
        """Take what one row of the file says: one or more facts, each with its `cycle`."""
        same = {"batch_id": self.batch_id, "recorded_at": self.recorded_at, "source_row": source_row}
        self.accepted.extend({**fact, **same} for fact in facts)
        self.n_accepted += 1

    def finish(self) -> FeedBatch:
        """The batch; its facts are in the order of the file."""
        schema = pa.schema([pa.field("cycle", pa.date32()), *self.ledger.schema])
        facts = pa.Table.from_pylist(self.accepted, schema=schema)
        problems = sorted(self.problems, key=lambda problem: (problem.source_row, problem.field))
        cycles = [cycle for cycle in facts.column("cycle").to_pylist() if cycle is not None]
        n_quarantined = len({problem.source_row for problem in problems})
        header = {
            "batch_id": self.batch_id,
            "source": self.source,
            "recorded_at": self.recorded_at,
            "n_rows": self.n_accepted,
            "n_quarantined": n_quarantined,
            "first_cycle": min(cycles, default=None),
            "last_cycle": max(cycles, default=None),
        }
        return FeedBatch(
            header=header,
            facts={self.ledger: facts, QUARANTINE: self._quarantine(problems)},
            problems=tuple(problems),
            n_rows=self.n_accepted,
            n_quarantined=n_quarantined,
        )

    def _quarantine(self, problems: Sequence[RowProblem]) -> pa.Table:
        rows = [
            {
                "batch_id": self.batch_id,
                "recorded_at": self.recorded_at,
                "source_row": problem.source_row,
                "source": self.source,
                "field": problem.field,
                "found": problem.found,
                "reason": problem.reason,
            }
            for problem in problems
        ]
        return pa.Table.from_pylist(rows, schema=QUARANTINE.schema)


def feed_batch_id(path: Path, feed: FeedSpec, *how: object) -> str:
    """Hash of the file's bytes, the feed's settings, and whatever else decides how its rows are read."""
    with path.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    return content_hash("feed", content, feed.model_dump_json(), *how)
