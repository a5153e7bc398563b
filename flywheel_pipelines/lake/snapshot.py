"""What one publish reads: the lake as it is now, pinned, and its small tables as one file each.

Here: the files and views that dbt builds and tests on. Not here: the views that are published, which read the lake
itself (`layer_views.py`), and what is done on a snapshot (`publish.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from flywheel_pipelines.errors import ContractError, PublishError
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.files import PARQUET, check_file
from flywheel_pipelines.lake.increment import (
    Copy,
    Cycle,
    Increment,
    batches_of,
    files_of_cycles,
    is_kept_by_cycle,
)
from flywheel_pipelines.lake.layer_views import (
    SCHEMA,
    create_view,
    create_view_of_copy,
    create_view_of_files,
    create_view_of_renewed_rows,
    describe_view,
    files_of,
    quoted,
    select_renewed_rows,
    select_rows,
)
from flywheel_pipelines.lake.tables import ALL_TABLES, BATCHES

SMALL_BYTES = 64 * 2**20
"""A table of many files is copied into one below this size. The audit reads a table several times, and opening a file
costs more than reading its rows when it holds a cycle's worth; a large table is not worth writing once more."""
MOST_OUTDATED = 12
"""Cycles of a copy that are read from their own files instead. Writing ten years of a table once more costs many times
what reading a dozen small files does, each time that the audit reads the table."""
STORAGE = "v1.0.0"
"""Releases of DuckDB from this one on open the file, also when a later one makes it."""
TOUCHED_SCHEMAS = ("touched", "touched_lake")
# A batch counts once it stands in `batches`, which is written last; read first, it vouches only for rows that exist.
_BATCHES_FIRST = sorted(ALL_TABLES, key=lambda table: table.name != BATCHES.name)


def pin(lake: Path, snapshot: Path) -> None:
    """Pin the files that the lake consists of now, by hard links where the file system has them.

    Runs go on writing while dbt reads. Files are replaced and never changed, so a link keeps what was there: tests and
    marts see the same rows, and no reader meets a file that is replaced between its footer and its rows. Of a ledger
    the files of batches that count are pinned, so that nobody need ask row by row.
    """
    counted: dict[str, set[str]] = {}
    for contract in _BATCHES_FIRST:
        for path in lake.glob(files_of(contract)):
            flywheel = path.relative_to(lake).parts[1]
            if contract.kind == "ledger" and contract.name != BATCHES.name and path.stem not in counted[flywheel]:
                continue
            pinned = snapshot / path.relative_to(lake)
            pinned.parent.mkdir(parents=True, exist_ok=True)
            _link(path, pinned)
        if contract.name == BATCHES.name:
            counted = batches_of(snapshot)


def refuse_unknown_files(snapshot: Path, cycles: Collection[Cycle] | None) -> None:
    """Look into the footers of pinned files, before anything is built on them.

    Views over files of several versions read a column that a file lacks as null, so that it would not be missed.

    Args:
        snapshot: the pinned lake.
        cycles: the cycles whose files were not looked at before; None: all.

    Raises:
        PublishError: a file lacks a column that no declared change fills, or a newer version of this project wrote it.
    """
    for contract in ALL_TABLES:
        if cycles is not None and is_kept_by_cycle(contract):
            paths = files_of_cycles(contract, snapshot, cycles)
        else:
            paths = sorted(snapshot.glob(files_of(contract)))
        for path in paths:
            try:
                check_file(contract, path)
            except ContractError as error:
                raise PublishError(f"{error} Nothing was published.") from None
            except pa.ArrowException:
                # No Parquet file at all: DuckDB says so, when it comes to read it.
                continue


def create_audited_views(build: Path, snapshot: Path, copies: Path, increment: Increment | None = None) -> list[Copy]:
    """Create the views of the `lake` schema that dbt reads, over pinned files or over copies of them; gives the copies.

    An increment goes on with the copies that it has: of cycles that are outdated there, the pinned files are read. A
    copy with many of these is written anew.

    Raises:
        PublishError: a table's files cannot be read as its contract declares them.
    """
    copies.mkdir()
    kept: list[Copy] = []
    # The file keeps the format that it is created with, whoever writes to it later.
    new = duckdb.connect(str(build), config={"storage_compatibility_version": STORAGE})
    with contextlib.closing(new) as connection:
        connection.execute(f"create schema if not exists {SCHEMA}")
        for contract in _BATCHES_FIRST:
            with _naming(contract, snapshot):
                if not _is_worth_a_copy(contract, snapshot):
                    connection.execute(create_view(contract, snapshot, is_pinned=True))
                    continue
                path = copies / f"{contract.name}{PARQUET}"
                former = _former_copy(contract, increment)
                if former and len(former.outdated) <= MOST_OUTDATED:
                    _link(former.path, path)
                    kept.append(Copy(path, former.outdated))
                    files = files_of_cycles(contract, snapshot, former.outdated)
                    connection.execute(create_view_of_renewed_rows(contract, path, files, former.outdated))
                else:
                    rows = _rows_to_copy(contract, snapshot, former)
                    connection.execute(f"copy ({rows}) to {quoted(str(path))}")
                    kept.append(Copy(path))
                    connection.execute(create_view_of_copy(contract, path))
    return kept


def create_touched_views(build: Path, snapshot: Path, cycles: Collection[Cycle], number: int | None = None) -> None:
    """Create what an incremental build reads instead of the whole lake: the rows of the touched cycles.

    Which these are stands in `touched_lake.touched_cycles`; tables that are not kept by cycle are there as a whole.
    With a `number`, the cycles are that slice of a full build. See dbt_project/macros/by_cycle.sql.
    """
    models, lake = (schema if number is None else f"{schema}_{number}" for schema in TOUCHED_SCHEMAS)
    with contextlib.closing(duckdb.connect(str(build))) as connection:
        for schema in (models, lake):
            connection.execute(f"create schema {schema}")
        connection.execute(f"create table {lake}.touched_cycles (flywheel varchar, cycle date)")
        if cycles:
            connection.executemany(f"insert into {lake}.touched_cycles values (?, ?)", sorted(cycles))
        for contract in ALL_TABLES:
            if is_kept_by_cycle(contract):
                files = files_of_cycles(contract, snapshot, cycles)
                connection.execute(create_view_of_files(contract, files, lake))
            else:
                connection.execute(f"create view {lake}.{contract.name} as select * from {SCHEMA}.{contract.name}")


def drop_touched_views(build: Path) -> None:
    """Drop what `create_touched_views` and the models built on it left."""
    with contextlib.closing(duckdb.connect(str(build))) as connection:
        for (schema,) in connection.execute(
            "select schema_name from duckdb_schemas() where not internal and schema_name similar to $pattern",
            {"pattern": f"({'|'.join(TOUCHED_SCHEMAS)})(_[0-9]+)?"},
        ).fetchall():
            connection.execute(f"drop schema {schema} cascade")


def create_layer_views(build: Path, lake: Path) -> None:
    """Create the views of the `lake` schema that analysts read: over the lake itself, with their descriptions.

    Raises:
        PublishError: a table's files cannot be read as its contract declares them.
    """
    with contextlib.closing(duckdb.connect(str(build))) as connection:
        connection.execute(f"create schema if not exists {SCHEMA}")
        for contract in _BATCHES_FIRST:
            with _naming(contract, lake):
                connection.execute(create_view(contract, lake))
            connection.execute(";".join(describe_view(contract)))


@contextlib.contextmanager
def _naming(contract: TableContract, lake: Path) -> Iterator[None]:
    """Say of DuckDB's errors which table they are about, and what to do."""
    try:
        yield
    except duckdb.Error as error:
        raise PublishError(
            f"Table {contract.name}: the files below {lake / contract.name} cannot be read as the contract in "
            f"lake/tables/ declares them: {error}. Materialize that table again."
        ) from error


def _former_copy(contract: TableContract, increment: Increment | None) -> Copy | None:
    return increment.copies.get(contract.name) if increment and is_kept_by_cycle(contract) else None


def _rows_to_copy(contract: TableContract, snapshot: Path, former: Copy | None) -> str:
    if former is None:
        return select_rows(contract, snapshot, is_pinned=True)
    files = files_of_cycles(contract, snapshot, former.outdated)
    return select_renewed_rows(contract, former.path, files, former.outdated)


def _link(path: Path, target: Path) -> None:
    """The same file under another name, where the file system has hard links; else a copy with its time.

    By size and time a later publish knows it.
    """
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


def _is_worth_a_copy(contract: TableContract, snapshot: Path) -> bool:
    sizes = [path.stat().st_size for path in snapshot.glob(files_of(contract))]
    return len(sizes) > 1 and sum(sizes) < SMALL_BYTES
