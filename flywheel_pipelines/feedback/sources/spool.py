"""Rows on their way to the file, on disk: as text, in runs that are sorted one by one and then merged.

Memory holds one run, or the head of every run, however many rows there are. (DuckDB's sort was tried: it ran out of a
256 MB limit at 500,000 rows of 2 KB.) Not here: types (`values`), or the file itself (`pulled_file`).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.feedback.sources.rows import SourceRows
from flywheel_pipelines.feedback.sources.values import ColumnShape, as_array

Row = tuple[str | None, ...]

RUN_ROWS = 20_000
HEAD_ROWS = 500
"""Rows of a run that are in memory while runs are merged."""
GROUP_ROWS = 10_000
"""Rows of a batch that `Spool.batches` gives."""


class Spool:
    """All rows of a source as text, in their final order."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """A file of record batches of text columns."""
        self._path, self._schema = path, schema

    def batches(self) -> Iterator[pa.Table]:
        """The rows, GROUP_ROWS at a time (the last ones fewer), so that what is made of them has one form."""
        held = self._schema.empty_table()
        for batch in _read(self._path):
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
            if held.num_rows >= GROUP_ROWS:
                yield held.slice(0, GROUP_ROWS).combine_chunks()
                held = held.slice(GROUP_ROWS)
        if held.num_rows:
            yield held.combine_chunks()

    def digest(self, types: pa.Schema) -> str:
        """A hash of names, types and every value."""
        hashers = [hashlib.sha256(f"{field.name}\0{field.type}\0".encode()) for field in types]
        lengths = [hashlib.sha256() for _ in types]
        for table in self.batches():
            for column, hasher, length in zip(table.columns, hashers, lengths, strict=True):
                for chunk in column.chunks:
                    sizes = pc.fill_null(pc.call_function("binary_length", [chunk]), -1)
                    length.update(np.asarray(sizes, dtype="<i4").tobytes())
                    hasher.update(_characters(chunk))
        return hashlib.sha256(b"".join(part.digest() for part in (*hashers, *lengths))).hexdigest()


def spool_rows(rows: SourceRows, shapes: Sequence[ColumnShape], place: Path) -> Spool | None:
    """Write all rows to disk as text and note the shapes of their columns; None when there are none.

    Rows without an order of their own are sorted by what they say, column by column, nulls first.
    """
    schema = pa.schema([(f"c{position}", pa.string()) for position in range(len(shapes))])
    runs: list[Path] = []
    texts = _as_texts(rows, shapes)
    while run := list(islice(texts, RUN_ROWS)):
        if not rows.in_order:
            run.sort(key=_sort_key)
        runs.append(place / f"run-{len(runs)}")
        _write(iter(run), schema, runs[-1])
    if not runs:
        return None
    if len(runs) == 1:
        return Spool(runs[0], schema)
    merged = place / "merged"
    with ExitStack() as stack:
        heads = [_rows_of(_read(run)) for run in runs]
        for head in heads:
            stack.callback(head.close)  # type: ignore[attr-defined]
        joined = (row for head in heads for row in head) if rows.in_order else heapq.merge(*heads, key=_sort_key)
        _write(joined, schema, merged)
    return Spool(merged, schema)


def _as_texts(rows: SourceRows, shapes: Sequence[ColumnShape]) -> Iterator[Row]:
    for chunk in rows.chunks:
        columns = [shape.texts(values) for shape, values in zip(shapes, zip(*chunk, strict=True), strict=True)]
        yield from zip(*columns, strict=True)


def _sort_key(row: Row) -> list[str]:
    return ["" if text is None else f"+{text}" for text in row]


def _rows_of(batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write(rows: Iterator[Row], schema: pa.Schema, path: Path) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema, options=options) as writer:
        while block := list(islice(rows, HEAD_ROWS)):
            arrays = [as_array(values) for values in zip(*block, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _characters(column: pa.Array) -> memoryview | bytes:
    """All texts of a column one after the other; nulls have none."""
    _, offsets, data = column.buffers()
    if data is None or not len(column):
        return b""
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return memoryview(data)[ends[0] : ends[-1]]
