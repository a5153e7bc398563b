"""Files of the lake: what they are called, what they hold, and the versions that follow from them.

Not here: which of them belong to a partition or count (`store`), or writing them (`writing`, `parts`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.cache import PROCESS_CACHE
from flywheel_pipelines.lake.contracts import TableContract

PARQUET = ".parquet"
ABSENT = "absent"


def content_hash(*parts: object) -> str:
    """A short stable hash of the parts, the same in every process (16 hex digits)."""
    # Names of files may hold bytes that are not UTF-8; Python has them as lone surrogates.
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def ledger_version(batch_ids: Iterable[str]) -> str:
    """The version of a ledger partition that holds these batches, in whatever order they came."""
    names = sorted(batch_ids)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] if names else ABSENT


def names_in(folder: Path) -> list[str]:
    """Names, without their ending, of the Parquet files of one folder; those being written are left out.

    A folder of batches grows with history and is listed often, so nothing is made of an entry but its name.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries]
    except FileNotFoundError:
        return []
    return [name[: -len(PARQUET)] for name in found if name.endswith(PARQUET) and not name.startswith(".")]


def cycle_in_path(path: Path) -> date:
    """The cycle in whose folder a file lies."""
    return next(date.fromisoformat(part[6:]) for part in path.parts if part.startswith("cycle="))


def stored_schema(table: TableContract) -> pa.Schema:
    """The contract's columns behind the partition columns that the path holds."""
    return pa.schema([*(field_of(table, name) for name in table.partition_by if name != "flywheel"), *table.schema])


def rows_of(table: TableContract, files: Iterable[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of all files, with their partition columns.

    Each file is opened once. DuckDB's own reader opens a file again between its footer and its rows and fails when a
    writer has replaced it in between; `python -m benchmarks.lake_reads` measures how often.
    """
    for path in files:
        keys = dict(part.split("=", 1) for part in path.parts if "=" in part)
        stored = PROCESS_CACHE.read(path)
        arrays = [
            _column(table, path, stored, field)
            if field.name in table.columns
            else pa.chunked_array([pa.repeat(_partition_value(field, keys[field.name]), stored.num_rows)])
            for field in schema
        ]
        yield from pa.table(arrays, schema=schema).to_batches()


def _column(table: TableContract, path: Path, stored: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    """One column of a file, in the type of the contract; null where the file is older than a column that may be null.

    Raises:
        ContractError: the file lacks the column, or holds something else in it.
    """
    if field.name not in stored.column_names:
        if field.nullable:
            return pa.chunked_array([pa.nulls(stored.num_rows, field.type)])
        found = ", ".join(stored.column_names) or "none"
        raise ContractError(
            f"{path}: is no file of {table.name}: it has no column {field.name}; found {found}. It was not written by "
            "this project, or was changed since. Take it out of the lake and hand its content in by a feed."
        )
    try:
        return stored.column(field.name).cast(field.type)
    except pa.ArrowException as error:
        raise ContractError(
            f"{path}: is no file of {table.name}: column {field.name} is {stored.schema.field(field.name).type}, "
            f"expected {field.type} ({error}). It was not written by this project, or was changed since. Take it out "
            "of the lake and hand its content in by a feed."
        ) from None


def _partition_value(field: pa.Field, text: str) -> pa.Scalar:
    return pa.scalar(date.fromisoformat(text) if pa.types.is_date(field.type) else text, field.type)


def by_partition(ledger: TableContract, rows: pa.Table) -> Iterable[tuple[dict[str, date], pa.Table]]:
    """Rows of a ledger by the partition they belong to; `cycle` is no column of a file."""
    if "cycle" not in ledger.partition_by:
        yield {}, rows
        return
    cycles = rows.column("cycle")
    for cycle in sorted(set(cycles.to_pylist())):
        yield {"cycle": cycle}, rows.filter(pc.field("cycle") == cycle).drop_columns(["cycle"])


def relabel(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """DuckDB returns every column nullable and undescribed; give the contract's fields back."""
    return pa.table([found.column(field.name).cast(field.type) for field in schema], schema=schema)


def field_of(table: TableContract, name: str) -> pa.Field:
    """A column as readers get it, be it in the files or in their path."""
    if name in table.partition_by:
        return pa.field(name, pa.date32() if name == "cycle" else pa.string())
    return table.schema.field(name)
