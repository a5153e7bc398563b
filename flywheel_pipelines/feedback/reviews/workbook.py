"""Workbooks (XLSX) as rows of text, and back, without harm from either side.

Here: what is checked before a workbook is opened, reading its cells as text, and the escapes that XML needs. Not here:
what the cells mean (`sheet`, `feedback.feeds.reviews`).

Reading computes nothing: a formula is reported as one. A workbook is a zip file, so what it unpacks to is known and
bounded before any of it is unpacked, and document type declarations, the way into XML's own bombs, are refused. What
macros a file brings is never looked at.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import InputFileError

SHEET_NAME = "reviews"
LONGEST_CELL = 32_767
"""Characters that a cell of a workbook holds."""
MAX_ROWS, MAX_COLUMNS = 100_000, 64
MAX_UNPACKED = 64 << 20
HIGHEST_RATIO = 200
"""Sheets of text pack to a tenth; only what is worth packing (MIN_SUSPECT) is held to it."""
MIN_SUSPECT = 1 << 20
MAX_PARTS = 2_000

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_TO_ESCAPE = re.compile("[\x00-\x08\x0b\x0c\x0d\x0e-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    EOFError,
    SyntaxError,  # xml.etree.ElementTree.ParseError is one
    RuntimeError,  # what zipfile raises for a password
    NotImplementedError,
)


@dataclass(frozen=True)
class WorkbookRows:
    """The rows of one sheet as text.

    Attributes:
        header: the cells of the first row.
        rows: those below it, each as long as the header; rows of nothing keep their place.
        formulas: (row, column) of cells that hold a formula, the row counted from 1 below the header.
    """

    header: list[str]
    rows: list[list[str]]
    formulas: frozenset[tuple[int, str]] = field(default_factory=frozenset)


def is_workbook(path: Path) -> bool:
    """Whether a file is a workbook: by its bytes, whatever its name.

    Raises:
        InputFileError: it is a spreadsheet of a kind that is not read.
    """
    try:
        with path.open("rb") as handle:
            start = handle.read(8)
        if start.startswith(_OLE):
            raise InputFileError(f"{path}: is an old or a locked workbook (.xls). Save it as .xlsx without a password.")
        if not start.startswith(_ZIP):
            return False
        with zipfile.ZipFile(path) as parts:
            names = set(parts.namelist())
    except (OSError, zipfile.BadZipFile):
        return path.suffix.lower() == ".xlsx" and path.is_file()
    if "content.xml" in names:
        raise InputFileError(f"{path}: is an OpenDocument sheet (.ods). Save it as .xlsx or as CSV in UTF-8.")
    return "xl/workbook.xml" in names or path.suffix.lower() == ".xlsx"


def read_workbook(path: Path) -> WorkbookRows:
    """The rows of the sheet named `reviews`, or of the first one.

    Raises:
        InputFileError: it is no workbook, broken, or unpacks to more than a sheet of reviews ever would.
    """
    _check_parts(path)
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=False, keep_links=False)
        try:
            sheet = book[SHEET_NAME] if SHEET_NAME in book.sheetnames else book.worksheets[0]
            # A sheet may claim to be a million columns wide; what it holds is read all the same, up to the limits.
            sheet.reset_dimensions()
            return _rows_of(path, sheet)
        finally:
            book.close()
    except _BROKEN as error:
        raise InputFileError(
            f"{path}: cannot be read as a workbook ({type(error).__name__}). Open it in a spreadsheet and save it "
            "again as .xlsx, or as CSV in UTF-8."
        ) from error


def _rows_of(path: Path, sheet: Any) -> WorkbookRows:
    header: list[str] = []
    rows: list[list[str]] = []
    formulas: set[tuple[int, str]] = set()
    for number, cells in enumerate(sheet.iter_rows(max_row=MAX_ROWS + 2, max_col=MAX_COLUMNS)):
        if number > MAX_ROWS:
            raise InputFileError(f"{path}: has more than {MAX_ROWS:,} rows. Remove the empty ones, or split the sheet.")
        texts = [_as_text(cell.value, cell.data_type) for cell in cells]
        if number == 0:
            header = [text.strip() for text in texts]
            while header and not header[-1]:
                header.pop()
            continue
        rows.append([*texts, *[""] * len(header)][: len(header)])
        named = zip(cells, header, strict=False)
        formulas.update((number, name) for cell, name in named if cell.data_type == "f")
    while rows and not any(text.strip() for text in rows[-1]):
        rows.pop()
    if not any(header):
        raise InputFileError(f"{path}: the first row of the sheet holds no header. Put the column names there.")
    return WorkbookRows(header, rows, frozenset(formulas))


def _check_parts(path: Path) -> None:
    """Refuse a bomb by what the zip file says of its parts; Python unpacks no more of a part than it says."""
    try:
        with zipfile.ZipFile(path) as parts:
            infos = parts.infolist()
            unpacked, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
            if len(infos) > MAX_PARTS or unpacked > MAX_UNPACKED:
                raise InputFileError(
                    f"{path}: unpacks to {unpacked >> 20:,} MiB in {len(infos):,} parts; at most {MAX_UNPACKED >> 20} "
                    f"MiB in {MAX_PARTS:,} parts are taken. Split the sheet, or hand it in as CSV."
                )
            if unpacked > MIN_SUSPECT and unpacked > HIGHEST_RATIO * max(packed, 1):
                raise InputFileError(
                    f"{path}: unpacks to more than {HIGHEST_RATIO} times its size, which no sheet of texts does. "
                    "Nothing was taken from it."
                )
            for info in infos:
                if info.filename.endswith((".xml", ".rels")) and _declares_types(parts, info):
                    raise InputFileError(f"{path}: holds a document type declaration, which no workbook needs.")
    except _BROKEN as error:
        raise InputFileError(
            f"{path}: is no workbook that can be read ({error}). Save it again as .xlsx, without a password."
        ) from error


def _declares_types(parts: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    with parts.open(info) as part:
        start = part.read(4_096)
    return b"<!DOCTYPE" in start.replace(b"\0", b"")


def _as_text(value: Any, data_type: str) -> str:
    """A cell as a person would have written it; what a spreadsheet took for a date is written as one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    text = str(getattr(value, "text", value))
    return unescaped(text) if data_type != "f" else text


def escaped(text: str) -> str:
    """Text for a workbook: characters that XML cannot hold, or would change, as `_x000D_` (ECMA-376, ST_Xstring)."""
    return _TO_ESCAPE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def unescaped(text: str) -> str:
    """The text that `escaped` was given; spreadsheets write the same escapes.

    LibreOffice 7.4 saves a text that merely looks like an escape (`_x000D_`) without escaping it, so that it
    comes back as the character.
    """
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
