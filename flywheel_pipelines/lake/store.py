"""Reading and writing partitions of the lake.

Here: the atomic write of a table partition, the append of a batch to ledgers, and pruned reads through DuckDB.
Not here: which tables exist (`tables/`), who read what (`versions.py`), the published DuckDB file (`publish.py`).

A partition is one file, written under a temporary name, flushed to disk and then renamed into place, so a reader or a
kill at any moment sees the old partition or the new one and never a torn one. A ledger batch touches many partitions;
its rows count only once its row in `batches` exists, and that row is the last file written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.cache import PROCESS_DIGESTS
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.files import (
    ABSENT,
    PARQUET,
    by_partition,
    content_hash,
    cycle_in_path,
    field_of,
    ledger_version,
    names_in,
    query_rows,
    read_file,
    relabel,
    rows_of,
    small_file,
    stored_schema,
)
from flywheel_pipelines.lake.markers import latest_recorded, marker_path, markers_in
from flywheel_pipelines.lake.migration import migrated_schema
from flywheel_pipelines.lake.parts import LedgerPart, write_parts
from flywheel_pipelines.lake.tables import ALL_TABLES, BATCHES
from flywheel_pipelines.lake.writing import write_atomically

__all__ = [
    "ABSENT",
    "PARQUET",
    "PART",
    "BatchFile",
    "CycleWindow",
    "Lake",
    "LedgerFile",
    "WrittenPartition",
    "content_hash",
    "ledger_version",
    "write_atomically",
]

PART = f"part{PARQUET}"
Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


@dataclass(frozen=True)
class WrittenPartition:
    """What a write left behind: the file, its rows, and the hash of its bytes as its version."""

    path: Path
    n_rows: int
    version: str


@dataclass(frozen=True)
class BatchFile:
    """One file of a ledger that is kept by cycles: the facts of one batch about one cycle, by its footer.

    `schema` are its columns once it is migrated; see `migration.migrated_schema`.
    """

    cycle: date
    batch_id: str
    n_rows: int
    schema: pa.Schema


@dataclass(frozen=True)
class LedgerFile:
    """Where the facts of one batch about one cycle lie."""

    cycle: date
    batch_id: str
    path: Path


@dataclass(frozen=True)
class CycleWindow:
    """Cycles from `first` to `last`, both included; an open end is None."""

    first: date | None = None
    last: date | None = None

    def __contains__(self, cycle: date) -> bool:
        """Whether the cycle lies in the window."""
        return (self.first is None or self.first <= cycle) and (self.last is None or cycle <= self.last)


class Lake:
    """The tables below one folder."""

    def __init__(self, root: Path | str, connect: Connect = duckdb.connect) -> None:
        """Name the folder and how in-memory DuckDB connections are made; nothing is read or created yet."""
        self.root = Path(root)
        self._connect = connect

    # -- where things are -------------------------------------------------------------------------------------------
    def partition_dir(self, table: TableContract, **partition: str | date) -> Path:
        """The folder of one partition. Raises ContractError when a partition column is missing or unknown."""
        if set(partition) != set(table.partition_by):
            raise ContractError(
                f"Table {table.name} is partitioned by {', '.join(table.partition_by)}; got {', '.join(partition)}."
            )
        return self.root.joinpath(table.name, *(f"{key}={partition[key]}" for key in table.partition_by))

    def cycles(self, table: TableContract, flywheel: str) -> list[date]:
        """The cycles that exist for a flywheel, in order."""
        return [cycle for cycle in self.cycle_folders(table, flywheel) if self._has_data(table, flywheel, cycle)]

    def cycle_folders(self, table: TableContract, flywheel: str) -> list[date]:
        """The cycles that have a folder, in order; some of them may hold nothing yet."""
        folder = self.root / table.name / f"flywheel={flywheel}"
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("cycle=")]
        return sorted(date.fromisoformat(name.removeprefix("cycle=")) for name in names)

    def _has_data(self, table: TableContract, flywheel: str, cycle: date) -> bool:
        if table.kind == "table" and table.partition_by == ("flywheel", "cycle"):
            return self.has(table, flywheel, cycle)
        folder = self.root / table.name / f"flywheel={flywheel}" / f"cycle={cycle}"
        return bool(names_in(folder)) or any(folder.rglob("[!.]*.parquet"))

    def first_cycle(self, table: TableContract, flywheel: str) -> date | None:
        """The earliest cycle that exists for a flywheel; looks into no later ones."""
        folders = self.cycle_folders(table, flywheel)
        return next((cycle for cycle in folders if self._has_data(table, flywheel, cycle)), None)

    def has(self, table: TableContract, flywheel: str, cycle: date) -> bool:
        """Whether a partition was written."""
        return (self.partition_dir(table, flywheel=flywheel, cycle=cycle) / PART).exists()

    def version(self, table: TableContract, flywheel: str, cycle: date) -> str:
        """Hash of what a partition holds now, or 'absent'. For a ledger: of the batches that count."""
        if table.kind == "ledger":
            return self.versions(table, flywheel, [cycle])[cycle]
        path = self.partition_dir(table, flywheel=flywheel, cycle=cycle) / PART
        try:
            return PROCESS_DIGESTS.of(path)
        except FileNotFoundError:
            return ABSENT

    def versions(self, table: TableContract, flywheel: str, cycles: Iterable[date]) -> dict[date, str]:
        """The version of each of some partitions; of a ledger, its batches are listed once for all of them."""
        if table.kind != "ledger":
            return {cycle: self.version(table, flywheel, cycle) for cycle in cycles}
        markers = self._markers(flywheel)
        by_cycle = "cycle" in table.partition_by
        return {
            cycle: ledger_version(
                name
                for name in names_in(
                    self.partition_dir(table, flywheel=flywheel, **({"cycle": cycle} if by_cycle else {}))
                )
                if name in markers
            )
            for cycle in cycles
        }

    # -- writing ----------------------------------------------------------------------------------------------------
    def write(self, table: TableContract, data: pa.Table, **partition: str | date) -> WrittenPartition:
        """Replace one partition, all or nothing.

        Raises:
            ContractError: the data drifted from the contract (the column is named), or the table is a ledger.
        """
        if table.kind == "ledger":
            raise ContractError(
                f"Table {table.name} is a ledger: facts are appended, never replaced. Use append_batch."
            )
        conformed = table.conform(data)
        path = self.partition_dir(table, **partition) / PART
        write_atomically(path, conformed)
        return WrittenPartition(path, conformed.num_rows, PROCESS_DIGESTS.of(path))

    def append_batch(
        self,
        flywheel: str,
        header: Mapping[str, object],
        facts: Mapping[TableContract, pa.Table],
        parts: Mapping[TableContract, Sequence[LedgerPart]] | None = None,
    ) -> bool:
        """Append one batch of facts to any number of ledgers, all or nothing; False when the batch is already there.

        `header` is the row of `batches` (see its contract); `facts` holds per ledger the rows, with a `cycle` column
        where the ledger is partitioned by cycle; `parts` holds the rows of ledgers that are too many for one table. A
        batch cut off half-way leaves rows that do not count; the next attempt with the same content overwrites them, or
        removes them where it has come to other conclusions (an output has become known meanwhile).
        """
        batch_id, recorded_at = str(header["batch_id"]), cast(datetime, header["recorded_at"])
        if batch_id in self._markers(flywheel):
            return False
        marker = marker_path(self.partition_dir(BATCHES, flywheel=flywheel), batch_id, recorded_at)
        pending: list[tuple[Path, pa.Table]] = []
        for ledger, rows in facts.items():
            for partition, part in by_partition(ledger, rows):
                folder = self.partition_dir(ledger, flywheel=flywheel, **partition)
                pending.append((folder / f"{batch_id}.parquet", ledger.conform(part)))
        for path, rows in pending:
            write_atomically(path, rows)
        promised = [
            (self.partition_dir(ledger, flywheel=flywheel, cycle=part.cycle) / f"{batch_id}{PARQUET}", ledger, part)
            for ledger, of_ledger in (parts or {}).items()
            for part in of_ledger
        ]
        write_parts(promised)
        kept = {path for path, *_ in (*pending, *promised)}
        for path in self._files_of_batch(flywheel, batch_id):
            if path not in kept:
                path.unlink()
        write_atomically(marker, BATCHES.conform(pa.Table.from_pylist([dict(header)], schema=BATCHES.schema)))
        return True

    def _files_of_batch(self, flywheel: str, batch_id: str) -> Iterator[Path]:
        """Every file that a batch has, or that an attempt at it left behind."""
        for table in ALL_TABLES:
            if table.kind != "ledger" or table is BATCHES:
                continue
            if "cycle" in table.partition_by:
                yield from self.files_of_batch(table, flywheel, batch_id).values()
                continue
            path = self.partition_dir(table, flywheel=flywheel) / f"{batch_id}.parquet"
            if path.exists():
                yield path

    def drop(self, flywheel: str) -> None:
        """Remove everything of one flywheel; its batches first, so that a drop cut off half-way leaves no facts."""
        for table in (BATCHES, *(table for table in ALL_TABLES if table is not BATCHES)):
            shutil.rmtree(self.root / table.name / f"flywheel={flywheel}", ignore_errors=True)

    # -- reading ----------------------------------------------------------------------------------------------------
    def read(
        self,
        table: TableContract,
        flywheel: str,
        cycles: CycleWindow | date | None = None,
        columns: Iterable[str] | None = None,
        where: str | None = None,
        *,
        in_order: bool = True,
    ) -> pa.Table:
        """Rows of one flywheel, with a `cycle` column where the table has cycles, in key order.

        Only the files of the cycles asked for are opened. `where` is a DuckDB condition over the table's columns. Where
        order does not matter, `in_order=False` spares sorting millions of rows of a ledger.
        Nothing there yet gives an empty table with the contract's columns.
        """
        window = CycleWindow(cycles, cycles) if isinstance(cycles, date) else cycles or CycleWindow()
        files = self._files(table, flywheel, window)
        by_cycle = "cycle" in table.partition_by
        wanted = list(columns) if columns is not None else [*(["cycle"] if by_cycle else []), *table.columns]
        fields = [field_of(table, name) for name in wanted]
        schema = pa.schema(fields)
        if not files:
            return schema.empty_table()
        used = None if where is not None or columns is None else {*wanted, *table.key, "cycle"}
        stored = pa.schema([field for field in stored_schema(table) if used is None or field.name in used])
        found = rows_of(table, files, stored)
        if where is not None:
            order = ", ".join([*(["cycle"] if by_cycle else []), *table.key])
            with self._connect() as connection:
                query = f"select {', '.join(wanted)} from stored where {where} order by {order}"
                return relabel(query_rows(connection, query, found, stored), schema)
        rows = pa.RecordBatchReader.from_batches(stored, found)
        if table.kind == "table" and table.partition_by == ("flywheel", "cycle"):
            # Files come in cycle order and each is sorted by its key: nothing is left to be done.
            return rows.read_all().select(wanted)
        if not in_order:
            return rows.read_all().select(wanted)
        keys = [*(["cycle"] if by_cycle else []), *table.key]
        return rows.read_all().sort_by([(name, "ascending") for name in keys]).select(wanted)

    def _files(self, table: TableContract, flywheel: str, window: CycleWindow) -> list[Path]:
        if table.kind == "ledger":
            return self._ledger_files(table, flywheel, window)
        folder = self.root / table.name / f"flywheel={flywheel}"
        if table.partition_by == ("flywheel", "cycle"):
            cycles = (cycle for cycle in self.cycle_folders(table, flywheel) if cycle in window)
            return [path for path in (folder / f"cycle={cycle}" / PART for cycle in cycles) if path.exists()]
        return sorted(path for path in folder.rglob(PART) if cycle_in_path(path) in window)

    def batch_files(self, table: TableContract, flywheel: str, window: CycleWindow) -> list[BatchFile]:
        """What the footers of a ledger's files say, by cycle and batch; only batches that count. Reads no rows."""
        found = []
        for path in self._ledger_files(table, flywheel, window):
            footer = pq.read_metadata(path)
            columns = migrated_schema(table, footer.schema.to_arrow_schema(), footer.metadata, path)
            found.append(BatchFile(cycle_in_path(path), path.stem, footer.num_rows, columns))
        return found

    def ledger_files(self, table: TableContract, flywheel: str, window: CycleWindow) -> list[LedgerFile]:
        """The files of a ledger that is kept by cycles, by cycle and batch; only batches that count. Opens none."""
        paths = self._ledger_files(table, flywheel, window)
        return [LedgerFile(cycle_in_path(path), path.stem, path) for path in paths]

    def values(self, table: TableContract, flywheel: str, cycle: date, column: str) -> pa.ChunkedArray:
        """One column of one partition of a table, in the order of its key; the others are not read."""
        try:
            path = self.partition_dir(table, flywheel=flywheel, cycle=cycle) / PART
            return read_file(table, path, [column]).column(column)
        except FileNotFoundError:
            return table.empty().column(column)

    def batch_header(self, flywheel: str, batch_id: str) -> dict[str, object] | None:
        """The row of `batches` of one batch; None when there is none."""
        marker = self._markers(flywheel).get(batch_id)
        return None if marker is None else small_file(BATCHES, marker).to_pylist()[0]

    def rows_of_batch(self, ledger: TableContract, flywheel: str, batch_id: str) -> pa.Table:
        """The rows that one batch has in a ledger without cycles; the others are not read."""
        path = self.partition_dir(ledger, flywheel=flywheel) / f"{batch_id}{PARQUET}"
        if batch_id not in self._markers(flywheel) or not path.exists():
            return ledger.empty()
        return small_file(ledger, path)

    def files_of_batch(self, ledger: TableContract, flywheel: str, batch_id: str) -> dict[date, Path]:
        """The files that one batch has in a ledger with cycles, by cycle in order."""
        folders = {
            cycle: self.partition_dir(ledger, flywheel=flywheel, cycle=cycle)
            for cycle in self.cycle_folders(ledger, flywheel)
        }
        files = {cycle: folder / f"{batch_id}{PARQUET}" for cycle, folder in folders.items()}
        return {cycle: path for cycle, path in files.items() if path.exists()}

    def latest_batch(self, flywheel: str, up_to: datetime | None = None) -> datetime | None:
        """When the newest batch of facts, or the newest up to an instant, was recorded (to the second).

        None before the first.
        """
        return latest_recorded(self.partition_dir(BATCHES, flywheel=flywheel), up_to)

    def batches_in(self, ledger: TableContract, flywheel: str, cycles: Iterable[date]) -> pa.Table:
        """Rows of `batches` for the batches that some cycles of a ledger hold, in the order of their recording.

        Only the headers of these batches are read, however many the flywheel has.
        """
        markers = self._markers(flywheel)
        folders = (self.partition_dir(ledger, flywheel=flywheel, cycle=cycle) for cycle in cycles)
        files = sorted({markers[name] for folder in folders for name in names_in(folder) if name in markers})
        stored = stored_schema(BATCHES)
        rows = pa.RecordBatchReader.from_batches(stored, rows_of(BATCHES, files, stored)).read_all()
        return rows.sort_by([("recorded_at", "ascending"), ("batch_id", "ascending")])

    def _markers(self, flywheel: str) -> dict[str, Path]:
        return markers_in(self.partition_dir(BATCHES, flywheel=flywheel))

    def _ledger_files(self, table: TableContract, flywheel: str, window: CycleWindow) -> list[Path]:
        markers = self._markers(flywheel)
        if table is BATCHES:
            return sorted(markers.values())
        if "cycle" in table.partition_by:
            folders = [
                self.partition_dir(table, flywheel=flywheel, cycle=cycle)
                for cycle in self.cycle_folders(table, flywheel)
                if cycle in window
            ]
        else:
            folders = [self.partition_dir(table, flywheel=flywheel)]
        return [
            folder / f"{name}{PARQUET}" for folder in folders for name in sorted(names_in(folder)) if name in markers
        ]
