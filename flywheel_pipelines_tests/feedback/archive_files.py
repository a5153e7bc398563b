"""Small archives written by hand, for the tests of reading them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.feedback.archive import ArchiveBatch, read_archive
from flywheel_pipelines.feedback.archive.mapping import parse_mapping

HEADER = "test,day,headline,impressions,clicks"
MAPPING = parse_mapping(
    """
    columns: {brief: test, text: headline, cycle: day, exposure: impressions, successes: clicks}
    """,
    "mapping.yaml",
)
GOOD = "t1,2024-01-02,A good one,1000,20"
ALSO_GOOD = "t1,2024-01-02,A better one,1000,30"


def write(folder: Path, *rows: str | bytes, header: str | bytes = HEADER, name: str = "archive.csv") -> Path:
    """A CSV file of these rows below the header, gzipped when the name says so."""
    lines = [row.encode() if isinstance(row, str) else row for row in (header, *rows)]
    content = b"\n".join(lines) + b"\n"
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def read(path: Path, cadence: Cadence = Cadence.WEEKLY) -> ArchiveBatch:
    """The archive read with MAPPING."""
    return read_archive(path, MAPPING, cadence=cadence)


def read_rows(folder: Path, *rows: str | bytes) -> ArchiveBatch:
    """The archive made of these rows below HEADER."""
    return read(write(folder, *rows))


def texts(batch: ArchiveBatch) -> list[str]:
    """The candidates' texts."""
    return batch.candidates.column("text").to_pylist()


def put_aside(batch: ArchiveBatch) -> list[tuple[int, str, str, str]]:
    """Row, field, found and reason of everything in quarantine."""
    columns: Sequence[str] = ("source_row", "field", "found", "reason")
    return [tuple(row[name] for name in columns) for row in batch.quarantine.to_pylist()]
