"""Files of the lake: what they are called, what they hold, and the versions that follow from them.

Not here: which of them belong to a partition or count (`store`), writing them (`writing`, `parts`), or how rows of an
earlier version become today's (`migration`).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.cache import PROCESS_CACHE
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.migration import migrated, stored_names, version_of

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
    """The rows of all files as today's contract has them, with their partition columns.

    Each file is opened once. DuckDB's own reader opens a file again between its footer and its rows and fails when a
    writer has replaced it in between; `python -m benchmarks.lake_reads` measures how often.
    """
    own = [name for name in schema.names if name in table.columns]
    for path in files:
        keys = dict(part.split("=", 1) for part in path.parts if "=" in part)
        stored = PROCESS_CACHE.read(path)
        columns = migrated(table, stored, path, own)
        arrays = [
            columns[field.name]
            if field.name in columns
            else pa.chunked_array([pa.repeat(_partition_value(field, keys[field.name]), stored.num_rows)])
            for field in schema
        ]
        yield from pa.table(arrays, schema=schema).to_batches()


def query_rows(
    connection: duckdb.DuckDBPyConnection, query: str, rows: Iterator[pa.RecordBatch], schema: pa.Schema
) -> pa.Table:
    """What a query says of rows, which it calls `stored`. What is wrong with a file is raised as the reader says it."""
    refused: list[ContractError] = []

    def noted() -> Iterator[pa.RecordBatch]:
        try:
            yield from rows
        except ContractError as error:
            refused.append(error)
            raise

    connection.execute("set timezone = 'UTC'")
    connection.register("stored", pa.RecordBatchReader.from_batches(schema, noted()))
    try:
        return connection.execute(query).to_arrow_table()
    except duckdb.Error:
        # DuckDB's own words have the traceback of the reader in them.
        if refused:
            raise refused[0] from None
        raise


def small_file(table: TableContract, path: Path) -> pa.Table:
    """The rows of one file as today's contract has them; remembered while the file is unchanged."""
    return pa.table(migrated(table, PROCESS_CACHE.read(path), path), schema=table.schema)


class LakeFile:
    """One file of a table that is open: what it calls the columns, and some of them as today's contract has them.

    Use it in a `with`. Raises FileNotFoundError when the file is gone, ContractError when it is newer.
    """

    def __init__(self, table: TableContract, path: Path, dictionaries: Iterable[str] = ()) -> None:
        """Open a file and read its footer; `dictionaries` are columns of text that are read as such."""
        self._table, self._path = table, path
        self._handle = path.open("rb")
        try:
            footer = pq.read_metadata(self._handle)
            self._names = footer.schema.to_arrow_schema().names
            self._version = version_of(table, footer.metadata, path)
            texts = [name for name in map(self.stored_name, dictionaries) if name is not None]
            self._parquet = pq.ParquetFile(self._handle, metadata=footer, read_dictionary=texts)
        except BaseException:
            self._handle.close()
            raise

    def __enter__(self) -> LakeFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def stored_name(self, column: str) -> str | None:
        """What the file calls one of today's columns; None when it has none and is read as if it had (see `changes`).

        Raises:
            ContractError: the file lacks the column.
        """
        return stored_names(self._table, [column], self._names, self._version, self._path)[column]

    def ranges(self, column: str) -> list[tuple[Any, Any]] | None:
        """Least and greatest value of a column in each group of rows, by the footer; None where it does not say."""
        place = self.stored_name(column)
        if place is None:
            return None
        footer = self._parquet.metadata
        at = [footer.schema.column(number).path for number in range(footer.num_columns)].index(place)
        groups = [footer.row_group(number).column(at).statistics for number in range(footer.num_row_groups)]
        if not all(group is not None and group.has_min_max for group in groups):
            return None
        return [(group.min, group.max) for group in groups]

    def read(self, columns: Iterable[str]) -> pa.Table:
        """Some of today's columns. Raises ContractError where the file lacks one or holds something else in it."""
        wanted = list(columns)
        places = [place for name in wanted if (place := self.stored_name(name)) is not None]
        return pa.table(migrated(self._table, self._parquet.read(columns=places), self._path, wanted))


def read_file(table: TableContract, path: Path, columns: Iterable[str], dictionaries: Iterable[str] = ()) -> pa.Table:
    """Some columns of one file as today's contract has them; the others are not read. Raises as `LakeFile` does."""
    with LakeFile(table, path, dictionaries) as file:
        return file.read(columns)


def newest_files(table: TableContract, lake: Path) -> Iterator[Path]:
    """Of each flywheel one file of a table: the last one by name, in the last of its folders that has any."""
    for folder in sorted((lake / table.name).glob("flywheel=*")):
        yield from itertools.islice(_backwards(folder), 1)


def _backwards(folder: Path) -> Iterator[Path]:
    """The Parquet files at or below a folder, from the last name to the first."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name for entry in entries if not entry.name.startswith(".")), reverse=True)
    for name in found:
        if name.endswith(PARQUET):
            yield folder / name
        elif "=" in name:
            yield from _backwards(folder / name)


def check_file(table: TableContract, path: Path) -> int | None:
    """Look into a file's footer; returns the version that it says it was written by.

    Raises:
        ContractError: the file lacks a column that no declared change fills, or is newer than the contract.
        pa.ArrowException: it is no Parquet file.
    """
    footer = pq.read_metadata(path)
    version = version_of(table, footer.metadata, path)
    stored_names(table, table.columns, footer.schema.to_arrow_schema().names, version, path)
    return version


def _partition_value(field: pa.Field, text: str) -> pa.Scalar:
    return pa.scalar(date.fromisoformat(text) if pa.types.is_date(field.type) else text, field.type)


def by_partition(ledger: TableContract, rows: pa.Table) -> Iterable[tuple[dict[str, date], pa.Table]]:
    """Rows of a ledger by the partition they belong to; `cycle` is no column of a file."""
    if "cycle" not in ledger.partition_by:
        yield {}, rows
        return
    cycles = sorted(rows.column("cycle").unique().to_pylist())
    for cycle in cycles:
        of_cycle = rows if len(cycles) == 1 else rows.filter(pc.field("cycle") == cycle)
        yield {"cycle": cycle}, of_cycle.drop_columns(["cycle"])


def relabel(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """DuckDB returns every column nullable and undescribed; give the contract's fields back."""
    return pa.table([found.column(field.name).cast(field.type) for field in schema], schema=schema)


def field_of(table: TableContract, name: str) -> pa.Field:
    """A column as readers get it, be it in the files or in their path."""
    if name in table.partition_by:
        return pa.field(name, pa.date32() if name == "cycle" else pa.string())
    return table.schema.field(name)
