"""The one file that a pull ends in: typed Parquet in the feed's inbox folder, whole or not at all.

Decisions:
- The same rows are the same bytes. Rows whose query says no order come in whatever order the database likes, so they
  are sorted by what they say; with an ORDER BY they stay as they come, since of several rows of one output and day the
  lower one corrects.
- A file is named by its days and a hash of its rows: `2026-01-05_2026-01-18_1f3a….parquet`. What was pulled before is
  not written again.
- When a source goes back to what it said before (1, then 2, then 1 again), the third pull must count although its rows
  are those of the first. It is written again, and names in its metadata the file that it follows, so that its bytes are
  its own.
Not here: rows (`sql`, `dlt_tables`), or landing (`feedback.landing`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.sources.rows import SourceRows
from flywheel_pipelines.feedback.sources.spool import Spool, spool_rows
from flywheel_pipelines.feedback.sources.values import ColumnShape

ROWS, FOLLOWS = b"flywheel.rows", b"flywheel.follows"
"""Keys of the file's metadata: the hash of its rows, and the file that was pulled before when these rows come again."""
_WORKPLACE = ".pull-"
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)_[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class _Pulled:
    """A file that an earlier pull left in the folder."""

    path: Path
    first_day: date
    last_day: date

    def speaks_for(self, first_day: date, last_day: date) -> bool:
        """Whether it is about any of these days."""
        return self.first_day <= last_day and first_day <= self.last_day

    @property
    def rows(self) -> str:
        """The hash of its rows; empty for what is no file of ours."""
        try:
            return ((pq.read_schema(self.path).metadata or {}).get(ROWS) or b"").decode()
        except (pa.ArrowException, OSError):
            return ""


def pulled_days(path: Path) -> tuple[date, date] | None:
    """The first and the last day that a pulled file is about, by its name; None for another file."""
    found = _NAME.fullmatch(path.name)
    try:
        return (date.fromisoformat(found[1]), date.fromisoformat(found[2])) if found else None
    except ValueError:
        return None


@contextmanager
def workplace(folder: Path, *, feed: str) -> Iterator[Path]:
    """A folder of its own inside the inbox folder, for one pull at a time; gone afterwards, also after a kill.

    Raises:
        FlywheelError: another pull of this feed is running.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".pull.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FlywheelError(f"Feed {feed}: another pull of it is running. Wait until it has ended.") from None
        # We hold the lock, so whatever lies here is what a killed pull left behind.
        for left in folder.glob(f"{_WORKPLACE}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_WORKPLACE, dir=folder) as place:
            yield Path(place)


def write_pulled(rows: SourceRows, place: Path, folder: Path, first_day: date, last_day: date) -> Path | None:
    """Write rows into the folder under the name they deserve; None when there are none.

    The file of an earlier pull is given back when it holds the same rows and is still the last word on these days.
    Memory stays within some chunks of rows, however many there are.
    """
    shapes = [ColumnShape() for _ in rows.names]
    spool = spool_rows(rows, shapes, place)
    if spool is None:
        return None
    schema = pa.schema([(name, shape.arrow_type) for name, shape in zip(rows.names, shapes, strict=True)])
    digest = spool.digest(schema)
    known = [
        pulled for pulled in _pulled_before(folder) if pulled.first_day <= last_day and first_day <= pulled.last_day
    ]
    same = [
        known_file.rows == digest and (known_file.first_day, known_file.last_day) == (first_day, last_day)
        for known_file in known
    ]
    if same and same[-1]:
        return known[-1].path
    metadata = {ROWS: digest.encode(), **({FOLLOWS: known[-1].path.name.encode()} if any(same) else {})}
    name = hashlib.sha256(repr(sorted(metadata.items())).encode()).hexdigest()[:16]
    target = folder / f"{first_day}_{last_day}_{name}.parquet"
    _write(spool, schema.with_metadata(metadata), place / "file")
    os.replace(place / "file", target)
    return target


def _write(spool: Spool, schema: pa.Schema, path: Path) -> None:
    with path.open("wb") as handle:
        with pq.ParquetWriter(handle, schema, compression="zstd") as writer:
            for table in spool.batches():
                writer.write_table(_typed(table, schema))
        handle.flush()
        os.fsync(handle.fileno())


def _typed(texts: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [_cast(column, kind) for column, kind in zip(texts.columns, schema.types, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind) and kind.tz:
        # The texts are UTC already, and say so nowhere.
        return column.cast(pa.timestamp("us")).cast(pa.int64()).cast(kind)
    return column.cast(kind)


def _pulled_before(folder: Path) -> list[_Pulled]:
    """The files of earlier pulls, in the order in which they were pulled."""
    found = []
    for path in folder.glob("*.parquet"):
        days = pulled_days(path)
        if days:
            found.append((path.stat().st_mtime_ns, path.name, _Pulled(path, *days)))
    return [pulled for _, _, pulled in sorted(found, key=lambda entry: entry[:2])]
