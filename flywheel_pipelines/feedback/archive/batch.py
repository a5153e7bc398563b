"""What reading an archive yields: tables that fit the lake, and the counts that show no row was lost.

Not here: how they come about (`reading`), or writing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from flywheel_pipelines.feedback.archive.mapping import Measures
from flywheel_pipelines.lake.contracts import column
from flywheel_pipelines.lake.tables import ARCHIVE_CANDIDATES

CANDIDATES_SCHEMA = pa.schema([column("cycle", pa.date32(), "The brief's cycle."), *ARCHIVE_CANDIDATES.schema])
MEASUREMENTS_SCHEMA = pa.schema(
    [
        column("cycle", pa.date32(), "The brief's cycle."),
        column("brief_id", pa.string(), "The brief."),
        column("candidate_id", pa.string(), "The candidate that was measured."),
        column("measured_on", pa.date32(), "First day that the counts are about."),
        column("successes", pa.int64(), "Successes, summed over the rows with this text."),
        column("exposure", pa.int64(), "Trials, summed over the rows with this text."),
        column("n_source_rows", pa.int64(), "Rows of the file that were summed."),
        *(ARCHIVE_CANDIDATES.schema.field(name) for name in ("batch_id", "recorded_at", "source_row")),
    ]
)


@dataclass(frozen=True)
class ArchiveBatch:
    """What an archive holds, ready for the lake.

    Attributes:
        batch_id: hash of the file's bytes, the mapping and the cadence; the same file twice is one batch.
        source: name of the file.
        recorded_at: when the batch as a whole became known.
        measures: names of the two counts in the metric ledger.
        candidates: contract `archive_candidates` plus `cycle`; recorded when their cycle begins.
        measurements: MEASUREMENTS_SCHEMA, one row per candidate; recorded when the brief's cycle is over.
        quarantine: contract `quarantine`; a row of the file appears once per wrong column.
        left_out: rows left out by the mapping, counted by reason.
        n_rows: rows of the file. n_rows == n_used + n_quarantined + sum(left_out.values()).
    """

    batch_id: str
    source: str
    recorded_at: datetime
    measures: Measures
    candidates: pa.Table
    measurements: pa.Table
    quarantine: pa.Table
    left_out: dict[str, int]
    n_rows: int

    @property
    def n_used(self) -> int:
        """Rows of the file whose counts are in `measurements`."""
        return sum(self.measurements.column("n_source_rows").to_pylist())

    @property
    def n_quarantined(self) -> int:
        """Rows of the file that were put aside."""
        return len(set(self.quarantine.column("source_row").to_pylist()))

    @property
    def cycles(self) -> list[date]:
        """The cycles that have candidates, in order."""
        return sorted(set(self.candidates.column("cycle").to_pylist()))

    @property
    def header(self) -> dict[str, object]:
        """The row of `batches` under which the candidates, the measurements and the quarantine count."""
        cycles = self.cycles
        return {
            "batch_id": self.batch_id,
            "source": self.source,
            "recorded_at": self.recorded_at,
            "n_rows": self.n_used,
            "n_quarantined": self.n_quarantined,
            "first_cycle": cycles[0],
            "last_cycle": cycles[-1],
        }
