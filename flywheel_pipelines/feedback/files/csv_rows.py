"""Rows of a CSV, TSV or semicolon table as columns of text.

Here: broken rows (ragged, unclosed quotes, cells without end) and how reading goes on after one. Not here: where the
table begins and what its header is (`layout`), or what cells mean.

One unclosed quote must cost one row, not the rest of the file: the lines it swallowed are read again, up to a budget
that keeps a hostile file from making this quadratic.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from operator import itemgetter

import pyarrow as pa

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import SHOWN, WHOLE_ROW, RowProblem, shown, text_array, too_long
from flywheel_pipelines.feedback.files.layout import TableLayout, cell_limit, explain
from flywheel_pipelines.feedback.files.lines import LONGEST_LINE, Lines, LineTooLongError
from flywheel_pipelines.feedback.files.opening import Source, open_text

CHUNK_ROWS = 50_000
CHUNK_CHARACTERS = 1 << 25
MAX_BLANK_LINES = 1_000_000
"""A packed file of nothing but line breaks is small and would keep us reading for minutes."""
REREAD_BUDGET = 2_000_000
"""Lines that may be read a second time in one file."""


class CsvRows:
    """Reads the rows below the header, chunk by chunk; `broken_rows` and `broken_cells` fill up on the way."""

    def __init__(self, source: Source, table: TableLayout, columns: Sequence[str], *, limit: int) -> None:
        """Name what to read. `columns` are names of the header; `limit` is the most characters a cell may have."""
        self.n_rows = 0
        self.broken_rows: list[RowProblem] = []
        self.broken_cells: list[RowProblem] = []
        self._source, self._table, self._columns, self._limit = source, table, columns, limit
        self._header, self._delimiter = table.header, table.delimiter
        indexes = [table.header.index(name) for name in columns]
        # itemgetter gives a bare cell for a single index; a slice keeps it a sequence.
        self._pick = itemgetter(*indexes) if len(indexes) > 1 else itemgetter(slice(indexes[0], indexes[0] + 1))
        self._budget = REREAD_BUDGET
        self._n_blank = 0
        self._rows: list[int] = []
        self._cells: list[tuple[str | None, ...]] = []
        self._characters = 0

    def chunks(self) -> Iterator[list[pa.Array]]:
        """Row numbers and then one text column per wanted column, for some thousands of rows at a time."""
        with open_text(self._source) as stream, cell_limit():
            lines = Lines(stream, first=self._table.first, end=self._table.end)
            # strict: a stray quote is an error instead of a guess.
            records = csv.reader(lines, delimiter=self._delimiter, strict=True)
            is_header = True
            while True:
                try:
                    for record in records:
                        if not is_header:
                            self._take(record, lines)
                        is_header = False
                        lines.of_record.clear()
                        if len(self._rows) >= CHUNK_ROWS or self._characters >= CHUNK_CHARACTERS:
                            yield self._flush()
                    break
                except LineTooLongError:
                    self._put_aside(lines, f"a line of more than {LONGEST_LINE:,} characters", resume=False)
                except csv.Error as error:
                    self._put_aside(lines, explain(error), resume=True)
            yield self._flush()

    def _take(self, record: list[str], lines: Lines) -> None:
        if not record:
            self._skip_blank_line()
            return
        self.n_rows += 1
        if len(record) != len(self._header):
            found = self._delimiter.join(cell[:SHOWN] for cell in record[:SHOWN])
            reason = (
                f"line {lines.number}: the row has {len(record)} cells, the header has {len(self._header)}, so it is "
                "unknown which cell belongs where. Put quotes around cells that contain the delimiter "
                f"({_delimiter_name(self._delimiter)}), or add the missing cells."
            )
            self.broken_rows.append(RowProblem(self.n_rows, WHOLE_ROW, shown(found), reason))
            return
        wanted: tuple[str | None, ...] = self._pick(record)
        size = sum(map(len, lines.of_record))
        if size > self._limit:
            wanted = self._shorten(wanted)
            size = sum(len(cell) for cell in wanted if cell)
        self._characters += size
        self._rows.append(self.n_rows)
        self._cells.append(wanted)

    def _skip_blank_line(self) -> None:
        self._n_blank += 1
        if self._n_blank > MAX_BLANK_LINES:
            raise InputFileError(
                f"{self._source.path}: has more than {MAX_BLANK_LINES:,} empty lines, which no export has. "
                "Look at the file."
            )

    def _shorten(self, cells: Sequence[str | None]) -> tuple[str | None, ...]:
        kept: list[str | None] = []
        for name, cell in zip(self._columns, cells, strict=True):
            if cell is not None and len(cell) > self._limit:
                self.broken_cells.append(too_long(self.n_rows, name, cell, self._limit))
                cell = None
            kept.append(cell)
        return tuple(kept)

    def _put_aside(self, lines: Lines, what: str, *, resume: bool) -> None:
        """Put a broken record aside; with `resume` its first line only, while the lines after it may be read again."""
        record, first_line = list(lines.of_record), lines.number - len(lines.of_record) + 1
        lines.of_record.clear()
        swallowed = record[1:]
        extent = f"line {first_line}"
        if resume and self._budget >= len(swallowed):
            self._budget -= len(swallowed)
            lines.reread(swallowed)
        elif swallowed:
            extent = f"lines {first_line} to {lines.number}, put aside together"
        self.n_rows += 1
        reason = f'{extent}: {what}. Close every quote and double the quotes inside a cell (""), then hand it in again.'
        self.broken_rows.append(RowProblem(self.n_rows, WHOLE_ROW, shown(record[0] if record else ""), reason))

    def _flush(self) -> list[pa.Array]:
        columns = list(zip(*self._cells, strict=True)) or [()] * len(self._columns)
        arrays = [pa.array(self._rows, pa.int64())]
        for name, values in zip(self._columns, columns, strict=True):
            array, problems = text_array(values, self._rows, name)
            arrays.append(array)
            self.broken_cells.extend(problems)
        self._rows, self._cells, self._characters = [], [], 0
        return arrays


def _delimiter_name(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else delimiter
