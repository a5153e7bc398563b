"""A file that came in, given back with some of its cells written and every other byte as it was.

Here: taking CSV apart into raw cells, and writing into it. Not here: which outputs belong to which row
(`loop.handing_back`). Exports of shops hold quotes, markup and scripts of all kinds; whatever a CSV reader and writer
would make of them, an import that changes a column nobody asked to change is a loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flywheel_pipelines.errors import FlywheelError

BOM = b"\xef\xbb\xbf"
_CELL = re.compile(rb'(?P<cell>"(?:[^"]|"")*"|[^",\r\n][^,\r\n]*|)(?P<end>,|\r\n|\n|\r|\Z)')
_NEEDS_QUOTES = re.compile(r'[",\r\n]|^\s|\s$')


@dataclass(frozen=True)
class RawRecord:
    """One record: its cells as they stand in the file, quotes included, and what ends it."""

    cells: tuple[bytes, ...]
    end: bytes

    @property
    def is_blank(self) -> bool:
        """Whether it is an empty line, which readers pass over."""
        return self.cells == (b"",)


def raw_records(data: bytes) -> Iterator[RawRecord]:
    """The records of a CSV file (RFC 4180, commas); joined by `joined` they are the file again, to the byte.

    Raises:
        FlywheelError: a quote stands where none can, or is never closed.
    """
    position, cells, number = 0, list[bytes](), 1
    while position < len(data) or cells:
        found = _CELL.match(data, position)
        if found is None:
            raise FlywheelError(
                f"record {number} of the file is no CSV: a quote stands inside a cell or is never closed. Export the "
                "file again, as comma-separated UTF-8."
            )
        cells.append(found["cell"])
        position = found.end()
        if found["end"] != b",":
            yield RawRecord(tuple(cells), found["end"])
            cells, number = [], number + 1


def joined(records: Sequence[RawRecord]) -> bytes:
    """The bytes of the records."""
    return b"".join(b",".join(record.cells) + record.end for record in records)


def with_cells(data: bytes, written: Mapping[int, Mapping[str, str]], columns: Sequence[str]) -> bytes:
    """The file with some cells written; all other bytes stay.

    Args:
        data: a CSV file in UTF-8, with or without a byte order mark.
        written: row number (the first data row is 1, blank lines not counted) -> header -> text.
        columns: the headers that may be written; all of them must be there.

    Raises:
        FlywheelError: the file is no CSV, lacks a column or a row, or a row is too short.
    """
    mark, body = (BOM, data[len(BOM) :]) if data.startswith(BOM) else (b"", data)
    records = list(raw_records(body))
    at = [index for index, record in enumerate(records) if not record.is_blank]
    header = [_text(cell) for cell in records[at[0]].cells] if at else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise FlywheelError(
            f"the file has no column {', '.join(map(repr, missing))} to write to; there are {', '.join(header)}. Add "
            "it to the export, or take it out of handback.columns."
        )
    for number, texts in written.items():
        if number >= len(at):
            raise FlywheelError(f"the file has {len(at) - 1} rows; row {number}, whose text is there, is missing.")
        record = records[at[number]]
        cells = list(record.cells)
        for name, text in texts.items():
            position = header.index(name)
            if position >= len(cells):
                raise FlywheelError(f"row {number} ends before its column {name!r}; export the file again.")
            cells[position] = _cell(text, was_quoted=cells[position].startswith(b'"'))
        records[at[number]] = RawRecord(tuple(cells), record.end)
    return mark + joined(records)


def _text(cell: bytes) -> str:
    text = cell.decode(errors="replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _cell(text: str, *, was_quoted: bool) -> bytes:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    quoted = was_quoted or _NEEDS_QUOTES.search(text)
    return ('"' + text.replace('"', '""') + '"' if quoted else text).encode()
