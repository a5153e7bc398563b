"""Single cells: how they are shown to people, what is wrong with them, and their way into Arrow.

Not here: which cells there are (`csv_rows`, `parquet_rows`) and what they should have said (whoever reads the table).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

SHOWN = 200
"""Characters of a wrong value that are kept; enough to find it, too little to carry a bad file into the lake."""

CELL_LIMIT = 20_000
"""Characters a cell may have. A long newsletter has about 10,000; beyond this a quote is open or a blob pasted."""

AGAIN = "Correct the row and hand the file in again."
"""How most sentences about a cell end."""

WHOLE_ROW = "(row)"
"""Stands in for the column name when it is the row as a whole that is wrong."""


class CellError(ValueError):
    """A cell that cannot be used; the text says what was expected and what to do."""


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One thing that is wrong with one row.

    `source_row` counts from 1 for the first row after the header. `reason` says what was expected and what to do.
    """

    source_row: int
    field: str
    found: str
    reason: str


def shown(value: str | None, limit: int = SHOWN) -> str:
    """The value on one line, at most `limit` characters, with control characters and undecodable bytes escaped."""
    if value is None:
        return ""
    try:
        start = value[: limit + 1].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # Halves of characters, from UTF-16 or from JSON escapes: they stand for no byte.
        start = value[: limit + 1].encode("utf-8", "backslashreplace").decode()
    visible = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in start)
    return visible if len(visible) <= limit and len(value) <= limit else visible[: limit - 1] + "…"


def names_shown(names: Sequence[str], limit: int = 60) -> str:
    """Column names as a list for people, however many and however odd they are."""
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name, 60) for name in names[:limit]) + more


def too_long(row: int, field: str, value: str, limit: int) -> RowProblem:
    """The problem of a cell above the limit."""
    return RowProblem(
        row,
        field,
        shown(value),
        f"{len(value):,} characters in one cell; at most {limit:,} are taken. "
        "Look for a quote that was left open, or shorten the text.",
    )


def not_utf8(row: int, field: str, value: str) -> RowProblem:
    """The problem of a cell with bytes or escapes that are no characters (in `value` they are lone surrogates)."""
    return RowProblem(
        row,
        field,
        shown(value),
        "holds bytes that are not UTF-8, so the characters meant are unknown (Windows-1252 and others cannot be told "
        "apart). Save the file as UTF-8 (in Excel: CSV UTF-8) and hand it in again.",
    )


def text_array(values: Sequence[str | None], rows: Sequence[int], field: str) -> tuple[pa.Array, list[RowProblem]]:
    """The values as an Arrow column; those that are not UTF-8 become null, each with its problem."""
    try:
        return pa.array(values, pa.string()), []
    except UnicodeEncodeError:
        pass
    problems, decoded = [], []
    for row, value in zip(rows, values, strict=True):
        decodable = value is None or is_utf8(value)
        if not decodable:
            problems.append(not_utf8(row, field, value or ""))
        decoded.append(value if decodable else None)
    return pa.array(decoded, pa.string()), problems


def is_utf8(value: str) -> bool:
    """Whether every character of the text is one that UTF-8 can write."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
