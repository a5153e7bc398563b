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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.sources.rows import SourceRows
from flywheel_pipelines.feedback.sources.values import ColumnShape, as_array

ROWS, FOLLOWS = b"flywheel.rows", b"flywheel.follows"
"""Keys of the file's metadata: the hash of its rows, and the file that was pulled before when these rows come again."""
GROUP_ROWS = 50_000
SORT_MEMORY = "512MB"
"""What sorting may take; past it DuckDB writes to the folder of the pull."""
_WORKPLACE = ".pull-"
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)_[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class _Pulled:
    """A file that an earlier pull left in the folder."""

    path: Path
    first_day: date
    last_day: date

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
    spool = place / "rows"
    shapes = [ColumnShape() for _ in rows.names]
    if not _spool(rows, shapes, spool):
        return None
    schema = pa.schema([(name, shape.arrow_type) for name, shape in zip(rows.names, shapes, strict=True)])
    source = spool if rows.in_order else _sorted(spool, len(schema), place)
    digest = _digest(source, schema)
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
    _write(source, schema.with_metadata(metadata), place / "file")
    os.replace(place / "file", target)
    return target


def _spool(rows: SourceRows, shapes: Sequence[ColumnShape], path: Path) -> int:
    """Every value as text, on disk; how many rows there were."""
    schema = pa.schema([(f"c{position}", pa.string()) for position in range(len(shapes))])
    n_rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in rows.chunks:
            columns = zip(*chunk, strict=True)
            arrays = [as_array(shape.texts(values)) for shape, values in zip(shapes, columns, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            n_rows += len(chunk)
    return n_rows


def _sorted(spool: Path, n_columns: int, place: Path) -> Path:
    import duckdb

    target = place / "sorted"
    order = ", ".join(f"c{position} NULLS FIRST" for position in range(n_columns))
    config = {"memory_limit": SORT_MEMORY, "temp_directory": str(place / "overflow"), "threads": "2"}
    with duckdb.connect(":memory:", config=config) as connection:  # type: ignore[arg-type]
        connection.execute("SET preserve_insertion_order = true")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet($spool) ORDER BY {order}) TO '{_quoted(target)}' (FORMAT parquet)",
            {"spool": str(spool)},
        )
    return target


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _digest(source: Path, schema: pa.Schema) -> str:
    """A hash of names, types and every value, however the rows are cut into chunks."""
    hashers = [hashlib.sha256(f"{field.name}\0{field.type}\0".encode()) for field in schema]
    lengths = [hashlib.sha256() for _ in schema]
    for batch in _batches(source):
        for column, hasher, length in zip(batch.columns, hashers, lengths, strict=True):
            length.update(
                ",".join("-" if value is None else str(len(value)) for value in column.to_pylist()).encode() + b","
            )
            hasher.update("".join(value or "" for value in column.to_pylist()).encode())
    return hashlib.sha256(b"".join(part.digest() for part in (*hashers, *lengths))).hexdigest()


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(source) as file:
        yield from file.iter_batches(batch_size=GROUP_ROWS)


def _write(source: Path, schema: pa.Schema, path: Path) -> None:
    with path.open("wb") as handle:
        with pq.ParquetWriter(handle, schema, compression="zstd") as writer:
            held: list[pa.RecordBatch] = []
            # Row groups of one size, so that the bytes do not depend on how the rows came in.
            for batch in _batches(source):
                held.append(batch)
                table = pa.Table.from_batches(held)
                while table.num_rows >= GROUP_ROWS:
                    writer.write_table(_typed(table.slice(0, GROUP_ROWS), schema))
                    table = table.slice(GROUP_ROWS)
                held = table.combine_chunks().to_batches()
            if held:
                writer.write_table(_typed(pa.Table.from_batches(held), schema))
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
