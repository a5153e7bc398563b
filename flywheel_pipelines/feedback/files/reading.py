"""One way to read any of the file formats: `read_header`, `read_table` and `file_period`.

Here: choosing the reader and the table, and the header checks that do not depend on the format.
Not here: the formats (`csv_rows`, `jsonl_rows`, `junit_rows`, `parquet_rows`) and what the columns mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import CELL_LIMIT, RowProblem, names_shown, shown
from flywheel_pipelines.feedback.files.csv_rows import CsvRows
from flywheel_pipelines.feedback.files.jsonl_rows import JsonRows, read_json_header
from flywheel_pipelines.feedback.files.junit_rows import JunitRows, read_junit_header
from flywheel_pipelines.feedback.files.layout import TableLayout, choose_table, find_tables
from flywheel_pipelines.feedback.files.opening import FileFormat, Source, open_source
from flywheel_pipelines.feedback.files.parquet_rows import ParquetRows, read_parquet_header
from flywheel_pipelines.feedback.files.periods import Period, period_in_comments, period_in_name
from flywheel_pipelines.feedback.files.totals import without_total_row
from flywheel_pipelines.spec.feeds import FeedSpec

SOURCE_ROW = "source_row"


@dataclass(frozen=True)
class TextTable:
    """The wanted columns of a file as text.

    `rows` has the row number first (named after SOURCE_ROW), then the columns by position, named `c0`, `c1`, ... in the
    order they were asked for: a file may call its columns anything. `broken_rows` are not in `rows`; `broken_cells` are
    null there. `n_rows` counts every row of the table, so n_rows == rows.num_rows + len(broken_rows). `first_day` and
    `last_day` are what the file's comments say it is about. `notes` say what was chosen or left out: which of several
    tables, and a row of totals.
    """

    rows: pa.Table
    broken_rows: list[RowProblem]
    broken_cells: list[RowProblem]
    n_rows: int
    first_day: date | None = None
    last_day: date | None = None
    notes: tuple[str, ...] = ()


def read_header(path: Path, wanted: Sequence[str] = ()) -> list[str]:
    """The names of a file's columns, trimmed; where it holds several tables, of the one with the wanted columns.

    Raises:
        InputFileError: there is no file, or none that can be read, or no header in it.
    """
    source = open_source(path)
    if source.format is FileFormat.PARQUET:
        return read_parquet_header(path)
    if source.format is FileFormat.JSONL:
        return read_json_header(source)
    if source.format is FileFormat.JUNIT:
        return read_junit_header(source)
    return choose_table(path, find_tables(source), wanted).header


def file_period(path: Path, feed: FeedSpec) -> Period | None:
    """The first and last day a file without dates is about; None when neither its name nor its comments say.

    Args:
        path: the file.
        feed: its `file_date` finds the days in the file's name, and goes before comments, since a person has written
            it; its `columns` say which table is meant where the file holds several.

    Raises:
        InputFileError: the file cannot be read, or what is found is no day.
    """
    source = open_source(path)
    named = period_in_name(path, feed.file_date, source.name) if feed.file_date else None
    if named or source.format is not FileFormat.CSV:
        return named
    table = choose_table(path, find_tables(source), list(feed.columns.values()))
    return period_in_comments(path, table.comments)


def read_table(
    path: Path, columns: Sequence[str], *, date_format: str = "%Y-%m-%d", limit: int = CELL_LIMIT
) -> TextTable:
    """Read the named columns of a CSV, TSV, JSONL or JUnit XML file (plain, gzipped or zipped) or of a Parquet file.

    Args:
        path: the file.
        columns: names of its columns, each once.
        date_format: how date columns of a Parquet file are written as text (the others have text already).
        limit: the most characters a cell may have.

    Raises:
        InputFileError: a file that cannot be used at all: broken, without rows, or with a column missing or ambiguous.
    """
    source = open_source(path)
    if source.format is FileFormat.PARQUET:
        _check_header(path, read_parquet_header(path), columns)
        return _table(path, columns, ParquetRows(path, columns, date_format=date_format, limit=limit))
    if source.format is FileFormat.JSONL:
        _check_header(path, read_json_header(source), columns)
        return _table(path, columns, JsonRows(source, columns, limit=limit))
    if source.format is FileFormat.JUNIT:
        _check_header(path, read_junit_header(source), columns)
        return _table(path, columns, JunitRows(source, columns, limit=limit))
    return _read_text_table(source, columns, limit)


def _read_text_table(source: Source, columns: Sequence[str], limit: int) -> TextTable:
    tables = find_tables(source)
    table = choose_table(source.path, tables, columns)
    _check_header(source.path, table.header, columns, tables)
    period = period_in_comments(source.path, table.comments)
    # Totals are recognised by the column that names the rows, which need not be a wanted one.
    names = list(dict.fromkeys([*columns, table.header[0]])) if table.header.count(table.header[0]) == 1 else [*columns]
    read = _table(source.path, names, CsvRows(source, table, names, limit=limit))
    rows, note = without_total_row(read.rows, f"c{names.index(table.header[0])}" if table.header[0] in names else None)
    notes = [f"{source.name}: read the table at {table.place} of {len(tables)}"] if len(tables) > 1 else []
    wanted = rows.select([SOURCE_ROW, *(f"c{position}" for position in range(len(columns)))])
    return TextTable(
        rows=wanted,
        broken_rows=read.broken_rows,
        broken_cells=[problem for problem in read.broken_cells if problem.field in set(columns)],
        n_rows=read.n_rows - (read.rows.num_rows - rows.num_rows),
        first_day=period[0] if period else None,
        last_day=period[1] if period else None,
        notes=(*notes, *([f"{source.name}: {note}"] if note else [])),
    )


def _table(path: Path, columns: Sequence[str], reader: CsvRows | JsonRows | JunitRows | ParquetRows) -> TextTable:
    chunks = list(reader.chunks())
    if not reader.n_rows:
        raise InputFileError(f"{path}: has a header but no rows. Export it again with the rows in it.")
    schema = pa.schema([(SOURCE_ROW, pa.int64()), *((f"c{position}", pa.string()) for position in range(len(columns)))])
    rows = pa.Table.from_batches([pa.record_batch(chunk, schema=schema) for chunk in chunks], schema)
    return TextTable(rows, reader.broken_rows, reader.broken_cells, reader.n_rows)


def _check_header(
    path: Path, header: Sequence[str], columns: Sequence[str], tables: Sequence[TableLayout] = ()
) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        found = "; ".join(_missing(name, header) for name in missing)
        others = [f"{names_shown(table.header, 8)} ({table.place})" for table in tables if table.header is not header]
        also = f" Its other tables have: {'; '.join(others[:10])}." if others else ""
        raise InputFileError(
            f"{path}: {found}. The header found is: {names_shown(header)}.{also} "
            "Name one of these in the mapping, or add the column to the file."
        )
    repeated = [name for name in columns if header.count(name) > 1]
    if repeated:
        raise InputFileError(
            f"{path}: the header names {names_shown(repeated)} more than once, so it is unknown which column is meant. "
            "Rename or remove one of them."
        )


def _missing(name: str, header: Sequence[str]) -> str:
    by_plain_name = {_plain(found): found for found in header}
    near = difflib.get_close_matches(_plain(name), list(by_plain_name), n=1)
    return f"column {name} is missing" + (f" (did you mean {shown(by_plain_name[near[0]])}?)" if near else "")


def _plain(name: str) -> str:
    return name[:200].casefold().replace(" ", "_").replace("-", "_")
