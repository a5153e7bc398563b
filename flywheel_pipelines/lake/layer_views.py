"""SQL of the `lake` schema: one DuckDB view per table contract, described by the contract.

Here: statements as text, made from contracts and a folder. Not here: running them (`publish.py`) and the models that
analysts query (`dbt_project/`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date
from functools import cache
from pathlib import Path

import duckdb

from flywheel_pipelines.lake.changes import Fill
from flywheel_pipelines.lake.contracts import PARTITION_COLUMNS, VERSION_KEY, TableContract
from flywheel_pipelines.lake.tables import BATCHES

SCHEMA = "lake"
_PARTITION_DESCRIPTIONS = {"consumer": "Table that was computed from the input."}


@cache
def view_columns(contract: TableContract) -> dict[str, tuple[str, str]]:
    """Every column of a table's view, partition columns first: name to (DuckDB type, description)."""
    partition = {
        name: PARTITION_COLUMNS.get(name, ("VARCHAR", _PARTITION_DESCRIPTIONS.get(name, "")))
        for name in contract.partition_by
    }
    # DuckDB itself says which type it reads an Arrow type as; a mapping kept by hand would drift.
    types = _scratch().cursor().from_arrow(contract.empty()).types
    own = {name: (str(kind), contract.describe(name)) for name, kind in zip(contract.columns, types, strict=True)}
    return partition | own


@cache
def _scratch() -> duckdb.DuckDBPyConnection:
    """A database of this process's own, without tables: opening one per table costs more than what is asked of it."""
    return duckdb.connect()


def create_view(contract: TableContract, lake: Path, *, is_pinned: bool = False) -> str:
    """The statement that makes a table's view over its Parquet files, or over nothing when there are none yet.

    Rows of a ledger show only when their batch stands in `batches`, so `batches` must be created first. A lake that is
    pinned holds no others.
    """
    return f"create or replace view {SCHEMA}.{contract.name} as {select_rows(contract, lake, is_pinned=is_pinned)}"


def select_rows(contract: TableContract, lake: Path, *, is_pinned: bool = False) -> str:
    """The query behind that view: the rows that count, with every column."""
    if not _has_files(contract, lake):
        return _select_nothing(contract)
    return _select_from(contract, quoted(f"{_literal(lake)}/{files_of(contract)}"), is_pinned=is_pinned)


def create_view_of_copy(contract: TableContract, copy: Path) -> str:
    """The statement that makes a table's view over one Parquet file that its rows were copied into."""
    return (
        f"create or replace view {SCHEMA}.{contract.name} as "
        f"select {', '.join(view_columns(contract))} from read_parquet({quoted(_literal(copy))})"
    )


def select_renewed_rows(
    contract: TableContract, copy: Path, files: Sequence[Path], cycles: Collection[tuple[str, date]]
) -> str:
    """The rows of such a copy, of an earlier time, but those of some cycles; these from the table's pinned files."""
    kept = f"select {', '.join(view_columns(contract))} from read_parquet({quoted(_literal(copy))})"
    by_flywheel: dict[str, list[str]] = {}
    for flywheel, cycle in sorted(cycles):
        by_flywheel.setdefault(flywheel, []).append(f"date '{cycle}'")
    # Not pairs of both: those are compared many times slower.
    others = [f"(flywheel <> {quoted(name)} or cycle not in ({', '.join(days)}))" for name, days in by_flywheel.items()]
    if others:
        kept += f" where {' and '.join(others)}"
    return f"{kept} union all {_select_pinned(contract, files)}" if files else kept


def create_view_of_renewed_rows(
    contract: TableContract, copy: Path, files: Sequence[Path], cycles: Collection[tuple[str, date]]
) -> str:
    """The statement that makes a table's view over those rows."""
    return f"create or replace view {SCHEMA}.{contract.name} as {select_renewed_rows(contract, copy, files, cycles)}"


def create_view_of_files(contract: TableContract, files: Sequence[Path], schema: str) -> str:
    """The statement that makes a view, in another schema, over some of a table's pinned files."""
    rows = _select_pinned(contract, files) if files else _select_nothing(contract)
    return f"create or replace view {schema}.{contract.name} as {rows}"


def describe_view(contract: TableContract) -> list[str]:
    """The statements that attach the contract's descriptions to a view and its columns."""
    name = f"{SCHEMA}.{contract.name}"
    comments = [f"comment on view {name} is {quoted(contract.description)}"]
    comments += [
        f"comment on column {name}.{column} is {quoted(description)}"
        for column, (_, description) in view_columns(contract).items()
    ]
    return comments


def files_of(contract: TableContract) -> str:
    """Pattern of a table's files; files in the making have no suffix and never match."""
    return "/".join([contract.name, *(f"{name}=*" for name in contract.partition_by), "*.parquet"])


def quoted(text: str) -> str:
    """Text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted_path(path: Path) -> str:
    """A path as a SQL string that no character of it is a pattern in."""
    return quoted(_literal(path))


def _has_files(contract: TableContract, lake: Path) -> bool:
    return next(lake.glob(files_of(contract)), None) is not None


def _select_pinned(contract: TableContract, files: Sequence[Path]) -> str:
    return _select_from(contract, f"[{', '.join(map(quoted_path, files))}]", is_pinned=True)


def _select_from(contract: TableContract, files: str, *, is_pinned: bool) -> str:
    # Without changes, a file with other columns stops the query, and DuckDB says which.
    rows, columns, conditions = _read(contract, files), list(view_columns(contract)), []
    if contract.changes:
        rows, conditions = _rows_of_all_versions(contract, files), [_is_not_newer(contract, files)]
        columns = [*contract.partition_by, *(_migrated(contract, name) for name in contract.columns)]
    if contract.kind == "ledger" and contract.name != BATCHES.name and not is_pinned:
        # Two columns and not one pair of them: pairs are compared many times slower.
        conditions.append(f"(flywheel, batch_id) in (select flywheel, batch_id from {SCHEMA}.{BATCHES.name})")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return f"select {', '.join(columns)} from {rows}{where}"


def _rows_of_all_versions(contract: TableContract, files: str) -> str:
    """The rows of files of every version, with all columns that one of them has; see `migration.py`.

    What a file lacks is null here, whoever wrote it, so the files' versions must be asked for, too.
    """
    lineages = contract.history.lineages
    known = {name: column for column, lineage in lineages.items() for name, _ in lineage.names}
    # Columns that no file has yet, or none has any more, must be there to be named.
    nothing = ", ".join(
        [f"null as {name}" for name in contract.partition_by]
        + [f"cast(null as {view_columns(contract)[column][0]}) as {name}" for name, column in known.items()]
    )
    stored = f"select * from {_read(contract, files, 'union_by_name = true')}"
    return f"({stored} union all by name select {nothing} where false)"


def _migrated(contract: TableContract, column: str) -> str:
    """One of today's columns, under whichever of its names a file has it."""
    lineage, (kind, _) = contract.history.lineages[column], view_columns(contract)[column]
    values = [name for name, _ in lineage.names]
    if lineage.fill is not None:
        values.append(f"cast({_value(lineage.fill)} as {kind})")
    value = f"coalesce({', '.join(values)})" if len(values) > 1 else values[0]
    return f"cast({value} as {kind}) as {column}"


def _value(fill: Fill) -> str:
    return "[]" if fill == () else quoted(fill) if isinstance(fill, str) else repr(fill).lower()


def _is_not_newer(contract: TableContract, files: str) -> str:
    """A condition that stops the query when a file is of a later version than the contract."""
    refusal = quoted(
        f" of the table {contract.name}; this view knows {contract.version}. A newer flywheel-pipelines has written "
        "it: open the file that it publishes, or upgrade flywheel-pipelines and publish."
    )
    words = f"file_name || ': is of version ' || decode(value) || {refusal}"
    return (
        f"coalesce((select max(case when cast(decode(value) as integer) > {contract.version} "
        f"then cast(error({words}) as boolean) else true end) "
        f"from parquet_kv_metadata({files}) where key = {quoted(VERSION_KEY.decode())}::blob), true)"
    )


def _read(contract: TableContract, files: str, *options: str) -> str:
    types = ", ".join(f"'{name}': {view_columns(contract)[name][0]}" for name in contract.partition_by)
    said = ", ".join([files, *options, "hive_partitioning = true", f"hive_types = {{{types}}}"])
    return f"read_parquet({said})"


def _literal(path: Path) -> str:
    """A path as a pattern of DuckDB's that means it alone, even when a home directory has a `*` in its name."""
    return re.sub(r"([*?\[])", r"[\1]", str(path.resolve()))


def _select_nothing(contract: TableContract) -> str:
    columns = ", ".join(f"cast(null as {kind}) as {name}" for name, (kind, _) in view_columns(contract).items())
    return f"select {columns} where false"
