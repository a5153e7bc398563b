"""Rows of a feed's file by our names for its columns, and the checks that every kind of feed makes.

Here: which header stands for which of our names, blanks, days and names. Not here: what a kind of feed requires
(`briefs`, `metrics`), or splitting a file into cells (`feedback.files`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.archive.days import DayFormat
from flywheel_pipelines.feedback.feeds.fitting import check_fit
from flywheel_pipelines.feedback.files import RowProblem, read_header, read_table, shown
from flywheel_pipelines.feedback.files.cells import AGAIN, CellError
from flywheel_pipelines.feedback.files.reading import SOURCE_ROW
from flywheel_pipelines.spec import FeedSpec

DAY_FORMAT = DayFormat("%Y-%m-%d")
NAME_LIMIT = 200
"""Characters of an id or of a segment's name."""

_BLANKS = " \t\r\n\f\v\u00a0\u200b\ufeff"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CONTROL_OR_BREAK = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class FeedRow:
    """One row by our names; a cell of blanks alone is None. `raw` holds its cells by their headers, as they stand."""

    source_row: int
    cells: Mapping[str, str | None]
    raw: Mapping[str, str | None]

    def problem(self, header: str, name: str, reason: str) -> RowProblem:
        """The problem of one cell, under the header that people see in their file."""
        return RowProblem(self.source_row, header, shown(self.cells.get(name)), reason)


@dataclass(frozen=True)
class FeedRows:
    """The rows of a file, and what could not be read at all."""

    headers: Mapping[str, str]
    rows: Sequence[FeedRow]
    unreadable: Sequence[RowProblem]

    def __iter__(self) -> Iterator[FeedRow]:
        """The rows that could be read, in the order of the file."""
        return iter(self.rows)


def read_rows(path: Path, headers: Mapping[str, str]) -> FeedRows:
    """Read the columns of `headers` (our name: their header).

    Rows that cannot be split into cells, and rows with a cell that cannot be read, are in `unreadable` alone.

    Raises:
        InputFileError: the file cannot be used at all, or a column is missing or ambiguous.
    """
    check_meanings(path, headers)
    table = read_table(path, list(headers.values()))
    unread = {problem.source_row for problem in table.broken_cells}
    names = list(headers)
    numbers = table.rows.column(SOURCE_ROW).to_pylist()
    columns = [table.rows.column(f"c{position}").to_pylist() for position in range(len(names))]
    rows = [
        feed_row(number, headers, dict(zip(names, cells, strict=True)))
        for number, *cells in zip(numbers, *columns, strict=True)
        if number not in unread
    ]
    return FeedRows(headers, rows, [*table.broken_rows, *table.broken_cells])


def check_meanings(path: Path, headers: Mapping[str, str]) -> None:
    """Raises InputFileError when a header stands for two of our names."""
    named_twice = sorted({header for header in headers.values() if list(headers.values()).count(header) > 1})
    if named_twice:
        raise InputFileError(
            f"{path}: the feed's columns give {', '.join(named_twice)} more than one meaning. Name each header once."
        )


def feed_row(source_row: int, headers: Mapping[str, str], found: Mapping[str, str | None]) -> FeedRow:
    """One row; `found` are its cells by our names, as they stand."""
    cells = {name: (cell or "").strip(_BLANKS) or None for name, cell in found.items()}
    return FeedRow(source_row, cells, {headers[name]: cell for name, cell in found.items()})


def headers_of(
    path: Path, feed: FeedSpec, *, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Which header stands for which of our names, and the headers that stand for none of them.

    A name that `feed.columns` leaves out is looked for under its own name; an optional one that is not there either
    is left out.

    Raises:
        InputFileError: there is no such file, no header in it, or a column that is named or required is not there.
    """
    wanted = [*(feed.columns.get(name, name) for name in required), *feed.columns.values()]
    found = read_header(path, list(dict.fromkeys(wanted)))
    headers: dict[str, str] = {}
    for name in (*required, *optional):
        header = feed.columns.get(name, name)
        if name in required or name in feed.columns or header in found:
            headers[name] = header
    check_fit(path, feed, found, headers)
    return headers, [header for header in found if header and header not in headers.values()]


def checked_name(value: str | None, what: str, limit: int = NAME_LIMIT) -> str:
    """An id or a name, which must be there. Raises CellError."""
    if value is None:
        raise CellError(f"empty; expected {what}. {AGAIN}")
    if _CONTROL_OR_BREAK.search(value):
        raise CellError(f"holds control characters or line breaks, which a name cannot have. {AGAIN}")
    if len(value) > limit:
        raise CellError(f"longer than {limit} characters; expected {what}. {AGAIN}")
    return value


def checked_text(value: str | None) -> str | None:
    """Free text as it stands. Raises CellError when it holds control characters."""
    if value is not None and _CONTROL.search(value):
        raise CellError(f"holds control characters, which no text that people read has. {AGAIN}")
    return value


def checked_day(value: str | None) -> date:
    """A day written as 2026-01-05. Raises CellError."""
    if value is None:
        raise CellError(f"empty; expected the day the row is about, e.g. 2026-01-05. {AGAIN}")
    try:
        return _parsed_day(value)
    except ValueError as error:
        raise CellError(f"not a day: {error}. {AGAIN}") from None


@lru_cache(maxsize=4_096)
def _parsed_day(value: str) -> date:
    # A file has many rows and few days.
    return DAY_FORMAT.parse(value)
