"""Where in a CSV text the tables are: comment lines before them, several of them under each other, and their headers.

Here: the preambles of analytics exports, the delimiter, and finding the table that has the wanted columns.
Not here: rows (`csv_rows`), or which days a comment names (`periods`).

A plain file is one table that begins in its first line. Only a text that begins with comment lines is looked through
for more: there, a table ends at the next comment line, or at an empty line before another header. What looks like a
continuation (cells of digits) after an empty line belongs to the same table, so that no row is lost to a stray break.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import is_utf8, names_shown, shown
from flywheel_pipelines.feedback.files.lines import LONGEST_CELL, LONGEST_LINE
from flywheel_pipelines.feedback.files.opening import Source, open_text

DELIMITERS = (",", "\t", ";", "|")
MOST_TABLES = 1_000
MOST_COMMENTS = 10_000

_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?')
_DATES_IN_COMMENT = re.compile(r"(start date|end date|date range|[0-9]{8}\s*-\s*[0-9]{8})", re.IGNORECASE)


@dataclass(frozen=True)
class TableLayout:
    """One table of a text: its header stands in line `first` (from 0), its rows end before line `end`, if any."""

    header: list[str]
    delimiter: str
    first: int = 0
    end: int | None = None
    comments: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the table begins, for people."""
        return f"line {self.first + 1}"


def find_tables(source: Source) -> list[TableLayout]:
    """The tables of a text in their order, at least one.

    Raises:
        InputFileError: there is no text, it is not text, or a first row cannot be read as a header.
    """
    with open_text(source) as stream, cell_limit():
        first_lines = [line for _ in range(2) if (line := stream.readline(LONGEST_CELL))]
        if not first_lines or not first_lines[0].strip():
            raise InputFileError(f"{source.path}: holds no header in its first line. Write the column names there.")
        if _is_comment(first_lines[0], first_lines[1:]):
            rest = iter(lambda: stream.readline(LONGEST_LINE), "")
            return _commented_tables(source.path, _chain(first_lines, rest))
        separator = _SEPARATOR_LINE.fullmatch(first_lines[0].strip())
        skipped = 1 if separator else 0
        lines = _chain(first_lines[skipped:], iter(lambda: stream.readline(LONGEST_CELL), ""))
        header, delimiter = _read_header(source.path, lines, separator[1] if separator else None)
        return [TableLayout(header, delimiter, skipped)]


def choose_table(path: Path, tables: Sequence[TableLayout], wanted: Sequence[str]) -> TableLayout:
    """The one table that has all wanted columns; the one with most of them when none has all.

    Raises:
        InputFileError: several tables have all of them.
    """
    if len(tables) == 1:
        return tables[0]
    fitting = [table for table in tables if set(wanted) <= set(table.header)]
    if wanted and len(fitting) > 1:
        places = ", ".join(table.place for table in fitting)
        raise InputFileError(
            f"{path}: {len(fitting)} of its tables have the columns {names_shown(wanted)} ({places}), "
            "so it is unknown which one is meant. Hand in one table a file."
        )
    return max(tables, key=lambda table: len(set(wanted) & set(table.header)))


@contextlib.contextmanager
def cell_limit() -> Iterator[None]:
    """Python's csv with LONGEST_CELL; the limit is global to it, and other users of it in this process keep theirs."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def explain(error: csv.Error) -> str:
    """What Python's csv means by an error."""
    text = str(error)
    if "unexpected end of data" in text:
        return "a quote is opened and never closed"
    if "expected after" in text:
        return "a quote is not closed, or a quote inside a cell is not doubled"
    if "field limit" in text:
        return f"a cell of more than {LONGEST_CELL:,} characters"
    return f"not readable as CSV ({text})"


def _chain(first: Sequence[str], rest: Iterator[str]) -> Iterator[str]:
    yield from first
    yield from rest


def _is_comment(line: str, following: Sequence[str]) -> bool:
    """Whether a first line is a comment, and not the header of a column that is named with a #."""
    if not line.startswith("#"):
        return False
    has_delimiter = any(delimiter in line for delimiter in DELIMITERS)
    return not has_delimiter or any(other.startswith("#") for other in following)


def _commented_tables(path: Path, lines: Iterator[str]) -> list[TableLayout]:
    tables: list[TableLayout] = []
    comments: list[str] = []
    of_file: tuple[str, ...] = ()
    in_table, in_quotes, after_blank = False, False, False
    for number, line in enumerate(lines):
        if in_quotes:
            in_quotes = line.count('"') % 2 == 0
            continue
        if line.startswith("#"):
            if in_table:
                tables[-1] = replace(tables[-1], end=number)
                in_table, comments = False, []
            comments.append(line.strip("#\r\n \t"))
            if len(comments) > MOST_COMMENTS:
                raise InputFileError(
                    f"{path}: has more than {MOST_COMMENTS:,} comment lines in a row. Look at the file."
                )
        elif not line.strip():
            after_blank = True
            continue
        elif not in_table or (after_blank and _looks_like_header(line, tables[-1])):
            if in_table:
                tables[-1], comments = replace(tables[-1], end=number), []
            own = tuple(comments)
            of_file = of_file or own
            dated = own if any(_DATES_IN_COMMENT.search(comment) for comment in own) else (*own, *of_file)
            header, delimiter = _read_header(path, iter([line]), None)
            tables.append(TableLayout(header, delimiter, number, None, dated))
            in_table = True
            if len(tables) > MOST_TABLES:
                raise InputFileError(f"{path}: holds more than {MOST_TABLES:,} tables. Hand in one table a file.")
        elif line.count('"') % 2:
            in_quotes = True
        after_blank = False
    if not tables:
        raise InputFileError(
            f"{path}: holds comment lines and no header after them. Export it again with the rows in it."
        )
    return tables


def _looks_like_header(line: str, table: TableLayout) -> bool:
    cells = _cells_of(line, table.delimiter)
    return all(cell.strip() and not re.match(r"\s*[0-9.,%+-]+\s*$", cell) for cell in cells)


def _read_header(path: Path, lines: Iterator[str], delimiter: str | None) -> tuple[list[str], str]:
    """Column names, trimmed, and the delimiter (the one that splits the line into the most cells)."""
    line = next(lines, "")
    if not line.strip():
        raise InputFileError(f"{path}: holds no header in its first line. Write the column names there.")
    if len(line) >= LONGEST_CELL:
        raise InputFileError(f"{path}: its first line has no end, expected column names. Export it as CSV in UTF-8.")
    if "\0" in line:
        raise InputFileError(f"{path}: is not text (its first line holds NUL bytes). Export it as CSV in UTF-8.")
    chosen = delimiter or max(DELIMITERS, key=lambda candidate: len(_cells_of(line, candidate)))
    reader = csv.reader(_chain([line], lines), delimiter=chosen, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise InputFileError(
            f"{path}: the header cannot be read: {explain(error)}. Found: {shown(line)}. Correct the first line."
        ) from error
    if not all(map(is_utf8, header)):
        raise InputFileError(
            f"{path}: the header holds bytes that are not UTF-8: {names_shown(header)}. "
            "Save the file as UTF-8 (in Excel: CSV UTF-8)."
        )
    return header, chosen


def _cells_of(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
