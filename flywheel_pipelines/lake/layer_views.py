"""SQL of the `lake` schema: one DuckDB view per table contract, described by the contract.

Here: statements as text, made from contracts and a folder. Not here: running them (`publish.py`) and the models that
analysts query (`dbt_project/`).
"""

from __future__ import annotations

import contextlib
import re
from functools import cache
from pathlib import Path

import duckdb

from flywheel_pipelines.lake.contracts import PARTITION_COLUMNS, TableContract
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
    with contextlib.closing(duckdb.connect()) as connection:
        types = connection.from_arrow(contract.empty()).types
    own = {name: (str(kind), contract.describe(name)) for name, kind in zip(contract.columns, types, strict=True)}
    return partition | own


def create_view(contract: TableContract, lake: Path) -> str:
    """The statement that makes a table's view over its Parquet files, or over nothing when there are none yet.

    Rows of a ledger show only when their batch stands in `batches`, so `batches` must be created first.
    """
    body = _select_files(contract, lake) if _has_files(contract, lake) else _select_nothing(contract)
    return f"create or replace view {SCHEMA}.{contract.name} as {body}"


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


def _has_files(contract: TableContract, lake: Path) -> bool:
    return next(lake.glob(files_of(contract)), None) is not None


def _select_files(contract: TableContract, lake: Path) -> str:
    # The folder is taken literally, even when somebody's home directory has a glob character in its name.
    folder = re.sub(r"([*?\[])", r"[\1]", str(lake.resolve()))
    types = ", ".join(f"'{name}': {view_columns(contract)[name][0]}" for name in contract.partition_by)
    statement = (
        f"select {', '.join(view_columns(contract))} from read_parquet({quoted(f'{folder}/{files_of(contract)}')}, "
        f"hive_partitioning = true, hive_types = {{{types}}})"
    )
    if contract.kind == "ledger" and contract.name != BATCHES.name:
        statement += f" where (flywheel, batch_id) in (select (flywheel, batch_id) from {SCHEMA}.{BATCHES.name})"
    return statement


def _select_nothing(contract: TableContract) -> str:
    columns = ", ".join(f"cast(null as {kind}) as {name}" for name, (kind, _) in view_columns(contract).items())
    return f"select {columns} where false"
