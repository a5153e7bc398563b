"""Handing on what was published: a DuckDB file that needs no lake, or one Parquet or CSV file per mart.

Here: what goes into an export, and putting it in place whole. Not here: making the published file (`lake.publish`), or
arguments and progress (`cli`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.layer_views import quoted
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.published import open_published

Form = Literal["duckdb", "parquet", "csv"]
FORMS: tuple[Form, ...] = ("duckdb", "parquet", "csv")
OnTable = Callable[[str, int, int], None]
"""Told the table that was written, how many are done, and how many there are."""
README = "README.md"
TITLE = "# Tables of a flywheel warehouse"
_TO_FORMAT = {"parquet": "format parquet, compression zstd", "csv": "format csv, header"}
_NESTED = ("[]", "MAP(", "STRUCT(")
_MARTS = """
select table_name, comment, estimated_size
from duckdb_tables()
where schema_name = 'main'
order by table_name
"""
_COLUMNS = """
select column_name, data_type, comment
from duckdb_columns()
where schema_name = 'main' and table_name = ?
order by column_index
"""


@dataclass(frozen=True)
class ExportedTable:
    """One mart as it was exported. `columns` holds name, type and description."""

    name: str
    description: str
    n_rows: int
    columns: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class ExportReport:
    """What was exported, where to, and how large it is."""

    path: Path
    form: Form
    tables: tuple[ExportedTable, ...]
    n_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        rows = {table.name: table.n_rows for table in self.tables}
        return {"path": str(self.path), "format": self.form, "n_bytes": self.n_bytes, "rows": rows}


def export(
    paths: DataPaths,
    target: Path,
    form: Form,
    *,
    tables: Sequence[str] = (),
    overwrite: bool = False,
    on_table: OnTable = lambda *_: None,
) -> ExportReport:
    """Write the marts of the published file to a file (duckdb) or a folder (parquet, csv), all or nothing.

    The DuckDB file has every mart, their descriptions and the table functions, and no view that reads the lake. A
    folder has one file per mart and a README of their columns; in CSV, lists and maps are JSON.

    Args:
        paths: whose published file.
        target: the file or folder to make.
        form: duckdb, parquet or csv.
        tables: marts to export; none: all. Only for parquet and csv: functions need all of them.
        overwrite: whether an earlier export may be replaced.
        on_table: progress.

    Raises:
        FlywheelError: nothing is published, a table is not there, or something stands at the target.
    """
    target = target.expanduser().resolve()
    with contextlib.closing(open_published(paths)) as published:
        known = _described(published)
    chosen = _chosen(known, tables, form)
    _refuse(paths, target, form, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".exporting-{uuid.uuid4().hex}")
    try:
        if form == "duckdb":
            _write_file(paths, building)
            on_table(target.name, 1, 1)
        else:
            _write_folder(paths, building, form, chosen, on_table)
        n_bytes = sum(path.stat().st_size for path in (building, *building.rglob("*")) if path.is_file())
        _put_in_place(building, target)
    finally:
        _remove(building)
    return ExportReport(target, form, chosen, n_bytes)


def _described(connection: duckdb.DuckDBPyConnection) -> tuple[ExportedTable, ...]:
    return tuple(
        ExportedTable(name, comment or "", n_rows, tuple(connection.execute(_COLUMNS, [name]).fetchall()))
        for name, comment, n_rows in connection.execute(_MARTS).fetchall()
    )


def _chosen(known: tuple[ExportedTable, ...], names: Sequence[str], form: Form) -> tuple[ExportedTable, ...]:
    if names and form == "duckdb":
        raise FlywheelError(
            "--table: a DuckDB file has all tables, which its functions need. Add --format parquet or csv."
        )
    there = {table.name: table for table in known}
    unknown = sorted(set(names) - set(there))
    if unknown:
        raise FlywheelError(f"--table: found {', '.join(unknown)}; there are {', '.join(there)}.")
    return tuple(there[name] for name in sorted(set(names))) if names else known


def _refuse(paths: DataPaths, target: Path, form: Form, overwrite: bool) -> None:
    """Raise FlywheelError where an export would take the place of something else."""
    if target == paths.published_file or paths.lake in (target, *target.parents):
        raise FlywheelError(f"{target} belongs to the data directory itself. Name a file or folder outside of it.")
    if not target.exists():
        return
    if not overwrite:
        raise FlywheelError(f"{target} exists. Name another one, or add --force to replace an earlier export.")
    if target.is_dir() != (form != "duckdb") or not _is_export(target):
        raise FlywheelError(f"{target} exists and is no earlier export in {form}, so it stays. Name another one.")


def _is_export(target: Path) -> bool:
    if target.is_dir():
        readme = target / README
        return readme.is_file() and readme.read_text(encoding="utf-8").startswith(TITLE)
    try:
        with contextlib.closing(duckdb.connect(str(target), read_only=True)) as connection:
            return bool(connection.execute("select 1 from duckdb_tables() where table_name = 'cycles'").fetchall())
    except duckdb.Error:
        return False


def _write_file(paths: DataPaths, building: Path) -> None:
    # The published file is replaced and never changed, and this process does not hold it open: a copy is whole.
    shutil.copyfile(paths.published_file, building)
    try:
        with contextlib.closing(duckdb.connect(str(building))) as connection:
            for schema in ("staging", "lake"):
                connection.execute(f"drop schema {schema} cascade")
            connection.execute("checkpoint")
    except duckdb.Error as error:
        raise FlywheelError(
            f"{paths.published_file} cannot be copied: {error}. Close the client that has it open for writing, or "
            "publish again."
        ) from error


def _write_folder(
    paths: DataPaths, building: Path, form: Form, tables: tuple[ExportedTable, ...], on_table: OnTable
) -> None:
    building.mkdir()
    with contextlib.closing(open_published(paths)) as connection:
        for number, table in enumerate(tables, start=1):
            path = building / f"{table.name}.{form}"
            columns = ", ".join(_selected(name, kind, form) for name, kind, _ in table.columns)
            connection.execute(
                f'copy (select {columns} from main."{table.name}") to {quoted(str(path))} ({_TO_FORMAT[form]})'
            )
            on_table(table.name, number, len(tables))
    (building / README).write_text(readme(tables, form), encoding="utf-8")


def _selected(name: str, kind: str, form: Form) -> str:
    is_nested = form == "csv" and any(mark in kind for mark in _NESTED)
    return f'to_json("{name}") as "{name}"' if is_nested else f'"{name}"'


def readme(tables: Sequence[ExportedTable], form: Form) -> str:
    """What lies in the folder of an export, column by column."""
    about = {
        "parquet": "One Parquet file per table.",
        "csv": "One CSV file per table: UTF-8, a header, commas, empty cells for null, times in UTC; lists and maps "
        "are JSON.",
    }
    lines = [TITLE, "", f"{about[form]} Texts that people wrote, such as reviews, stand in them as they were written."]
    for table in tables:
        lines += ["", f"## {table.name}.{form}", "", f"{table.description} {table.n_rows:,} rows.", ""]
        lines += ["| column | type | |", "|---|---|---|"]
        lines += [f"| `{name}` | {kind} | {_cell(text)} |" for name, kind, text in table.columns]
    return "\n".join(lines) + "\n"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _put_in_place(building: Path, target: Path) -> None:
    """Rename the export over an earlier one. A folder cannot be replaced in one step: the old one steps aside first."""
    if not target.is_dir():
        os.replace(building, target)
        return
    aside = target.with_name(f".exporting-{uuid.uuid4().hex}")
    os.replace(target, aside)
    os.replace(building, target)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
