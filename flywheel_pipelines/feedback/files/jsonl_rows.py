"""Rows of a file with one JSON object a line, as columns of text.

Here: the header (every key that any line has, in the order of appearance), what values become, and broken lines.
Not here: what cells mean.

Decisions:
- Text stays as it is, numbers keep the digits they were written in, true and false are those words, null is empty.
- An object inside an object is spread over columns with a dot: {"opens": {"unique": 3}} has the column opens.unique.
  A list, and whatever is nested deeper than MOST_LEVELS, is one cell of JSON text.
- NaN and Infinity are no JSON, and a key that stands twice has no value; such lines are put aside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import WHOLE_ROW, RowProblem, is_utf8, shown, text_array, too_long
from flywheel_pipelines.feedback.files.lines import LONGEST_LINE, Lines, LineTooLongError
from flywheel_pipelines.feedback.files.opening import Source, open_text

CHUNK_ROWS = 20_000
MOST_LEVELS = 4
MOST_COLUMNS = 2_000
MAX_BLANK_LINES = 1_000_000
_BLANK = " \t\r\n\ufeff"
_FIX = "Write one JSON object a line and hand the file in again."


class JsonRows:
    """Reads the lines, chunk by chunk; `broken_rows` and `broken_cells` fill up on the way."""

    def __init__(self, source: Source, columns: Sequence[str], *, limit: int) -> None:
        """Name what to read: `columns` are names of the header; `limit` is the most characters a cell may have."""
        self.n_rows = 0
        self.broken_rows: list[RowProblem] = []
        self.broken_cells: list[RowProblem] = []
        self._source, self._columns, self._limit = source, columns, limit
        self._rows: list[int] = []
        self._cells: list[list[str | None]] = []

    def chunks(self) -> Iterator[list[pa.Array]]:
        """Row numbers and then one text column per wanted column, for some thousands of rows at a time."""
        for row, line_number, line, cells in _objects(self._source):
            self.n_rows = row
            if isinstance(cells, str):
                reason = f"line {line_number}: {cells}. {_FIX}"
                self.broken_rows.append(RowProblem(row, WHOLE_ROW, shown(line), reason))
                continue
            self._rows.append(row)
            self._cells.append([self._checked(row, name, cells.get(name)) for name in self._columns])
            if len(self._rows) >= CHUNK_ROWS:
                yield self._flush()
        yield self._flush()

    def _checked(self, row: int, name: str, value: str | None) -> str | None:
        if value is not None and len(value) > self._limit:
            self.broken_cells.append(too_long(row, name, value, self._limit))
            return None
        return value

    def _flush(self) -> list[pa.Array]:
        columns = list(zip(*self._cells, strict=True)) or [()] * len(self._columns)
        arrays = [pa.array(self._rows, pa.int64())]
        for name, values in zip(self._columns, columns, strict=True):
            array, problems = text_array(values, self._rows, name)
            arrays.append(array)
            self.broken_cells.extend(problems)
        self._rows, self._cells = [], []
        return arrays


def read_json_header(source: Source) -> list[str]:
    """The keys of all lines, in the order in which they appear.

    Raises:
        InputFileError: no line holds an object, or they have more keys than a table has columns.
    """
    keys: dict[str, None] = {}
    n_lines, first_problem = 0, ""
    for n_lines, number, line, cells in _objects(source):  # noqa: B007
        if isinstance(cells, str):
            first_problem = first_problem or f"line {number}: {cells}, found {shown(line, 60)}"
            continue
        keys.update(dict.fromkeys(cells))
        if len(keys) > MOST_COLUMNS:
            raise InputFileError(
                f"{source.path}: its lines have more than {MOST_COLUMNS:,} different keys, which no table has. "
                "Keys that are values (dates, ids) belong into a column of their own."
            )
    if not n_lines:
        raise InputFileError(f"{source.path}: holds no header in its first line, nor a JSON object. Export it again.")
    if not keys:
        raise InputFileError(
            f"{source.path}: none of its {n_lines:,} lines is a JSON object with a key "
            f"({first_problem or 'all empty'}). "
            f"Expected one object a line, as jq -c . {shown(source.path.name)} writes."
        )
    return list(keys)


def _objects(source: Source) -> Iterator[tuple[int, int, str, dict[str, str | None] | str]]:
    """Row number, line number, the line, and its cells or what is wrong with it; blank lines are no rows."""
    row, n_blank = 0, 0
    with open_text(source) as stream:
        lines = Lines(stream)
        while True:
            lines.of_record.clear()
            try:
                line = next(lines, None)
            except LineTooLongError:
                row += 1
                yield row, lines.number, lines.of_record[0], f"a line of more than {LONGEST_LINE:,} characters"
                continue
            if line is None:
                return
            if not line.strip(_BLANK):
                n_blank += 1
                if n_blank > MAX_BLANK_LINES:
                    raise InputFileError(
                        f"{source.path}: has more than {MAX_BLANK_LINES:,} empty lines, which no export has. "
                        "Look at the file."
                    )
                continue
            row += 1
            yield row, lines.number, line, _cells_of(line.strip(_BLANK))


def _cells_of(line: str) -> dict[str, str | None] | str:
    """The cells of a line by their columns, or what is wrong with it."""
    try:
        document = json.loads(
            line, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except RecursionError:
        return "objects nested deeper than anything that is read"
    except json.JSONDecodeError as error:
        return f"not readable as JSON ({error.msg} at character {error.colno})"
    except ValueError as error:
        return str(error)
    if not isinstance(document, dict):
        return "not a JSON object"
    try:
        cells = dict(_spread(document, "", MOST_LEVELS))
    except (RecursionError, ValueError) as error:
        return f"not readable as one row ({error})"
    n_cells = sum(1 for _ in _spread(document, "", MOST_LEVELS))
    if n_cells > len(cells):
        return "a key with a dot in it has the name of a key inside an object"
    if not all(map(is_utf8, cells)):
        return "a key that holds bytes which are not UTF-8"
    return cells


class _Number(str):
    """A number in the digits it was written in."""

    __slots__ = ()


def _spread(document: dict[str, Any], prefix: str, levels: int) -> Iterator[tuple[str, str | None]]:
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and levels > 1:
            yield from _spread(value, f"{name}.", levels - 1)
        elif isinstance(value, dict | list):
            yield name, _json_text(value)
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        else:
            yield name, value


def _json_text(value: Any) -> str:
    """Nested values as JSON, in the digits their numbers were written in."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json_text(key)}: {_json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json_text, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"names the key {shown(twice, 60)} more than once")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number that JSON knows")
