"""One way to read any of the file formats: `read_header` and `read_table`.

Here: choosing the reader, and the header checks that do not depend on the format.
Not here: the formats (`csv_rows`, `parquet_rows`) and what the columns mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import CELL_LIMIT, RowProblem, names_shown, shown
from flywheel_pipelines.feedback.files.csv_rows import CsvRows, read_csv_header
from flywheel_pipelines.feedback.files.opening import FileKind, kind_of
from flywheel_pipelines.feedback.files.parquet_rows import ParquetRows, read_parquet_header

SOURCE_ROW = "source_row"


@dataclass(frozen=True)
class TextTable:
    """The wanted columns of a file as text.

    `rows` has the row number first (named after SOURCE_ROW), then the columns by position, named `c0`, `c1`, ... in the
    order they were asked for: a file may call its columns anything. `broken_rows` are not in `rows`; `broken_cells` are
    null there. `n_rows` counts every row of the file, so n_rows == rows.num_rows + len(broken_rows).
    """

    rows: pa.Table
    broken_rows: list[RowProblem]
    broken_cells: list[RowProblem]
    n_rows: int


def read_header(path: Path) -> list[str]:
    """The names of a file's columns, trimmed.

    Raises:
        InputFileError: there is no file, or none that can be read, or no header in it.
    """
    kind = kind_of(path)
    return read_parquet_header(path) if kind is FileKind.PARQUET else read_csv_header(path, kind)[0]


def read_table(
    path: Path, columns: Sequence[str], *, date_format: str = "%Y-%m-%d", limit: int = CELL_LIMIT
) -> TextTable:
    """Read the named columns of a CSV, TSV (plain or gzipped) or Parquet file.

    Args:
        path: the file.
        columns: names of its columns, each once.
        date_format: how date columns of a Parquet file are written as text (a CSV has text already).
        limit: the most characters a cell may have.

    Raises:
        InputFileError: a file that cannot be used at all: broken, without rows, or with a column missing or ambiguous.
    """
    kind = kind_of(path)
    if kind is FileKind.PARQUET:
        _check_header(path, read_parquet_header(path), columns)
        reader = ParquetRows(path, columns, date_format=date_format, limit=limit)
        chunks = list(reader.chunks())
    else:
        header, delimiter = read_csv_header(path, kind)
        _check_header(path, header, columns)
        reader = CsvRows(path, header, columns, delimiter=delimiter, limit=limit)
        chunks = list(reader.chunks(kind))
    if not reader.n_rows:
        raise InputFileError(f"{path}: has a header but no rows. Export it again with the rows in it.")
    schema = pa.schema([(SOURCE_ROW, pa.int64()), *((f"c{position}", pa.string()) for position in range(len(columns)))])
    rows = pa.Table.from_batches([pa.record_batch(chunk, schema=schema) for chunk in chunks], schema)
    return TextTable(rows, reader.broken_rows, reader.broken_cells, reader.n_rows)


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        found = "; ".join(_missing(name, header) for name in missing)
        raise InputFileError(
            f"{path}: {found}. The header found is: {names_shown(header)}. "
            "Name one of these in the mapping, or add the column to the file."
        )
    repeated = [name for name in columns if header.count(name) > 1]
    if repeated:
        raise InputFileError(
            f"{path}: the header names {', '.join(repeated)} more than once, so it is unknown which column is meant. "
            "Rename or remove one of them."
        )


def _missing(name: str, header: Sequence[str]) -> str:
    by_plain_name = {_plain(found): found for found in header}
    near = difflib.get_close_matches(_plain(name), list(by_plain_name), n=1)
    return f"column {name} is missing" + (f" (did you mean {shown(by_plain_name[near[0]])}?)" if near else "")


def _plain(name: str) -> str:
    return name[:200].casefold().replace(" ", "_").replace("-", "_")
