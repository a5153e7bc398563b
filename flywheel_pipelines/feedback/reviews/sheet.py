"""Review sheets: published outputs as rows that a person decides on, as CSV and as XLSX.

Here: the columns of a sheet, its files, and reading such a file as plain text again. Not here: which outputs a sheet
has (`desk`), and what a row that comes back means (`feedback.feeds.reviews`).

What was exported comes back exactly. In a CSV a cell that a spreadsheet would take for a formula, or that begins with
an apostrophe, gets one in front, which is taken off again when the file has a column draft_hash. In a workbook
cells are marked as text instead.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.files import check_file, read_header
from flywheel_pipelines.feedback.reviews.latest import DECISIONS
from flywheel_pipelines.feedback.reviews.workbook import (
    LONGEST_CELL,
    SHEET_NAME,
    WorkbookRows,
    escaped,
    is_workbook,
    read_workbook,
)
from flywheel_pipelines.lake.writing import write_bytes_atomically

DRAFT_HASH = "draft_hash"
FILLED_IN = ("decision", "final_text", "comment", "reviewer")
COLUMNS = ("output_id", "brief", "segment", "locale", "draft", *FILLED_IN, DRAFT_HASH)
FORMATS = ("xlsx", "csv")
INSTRUCTIONS = (
    "How to review",
    "Each row is one text that went out. Read the draft, then choose a decision in its row.",
    "accepted: the text is good as it is. Leave final_text empty.",
    "edited: write the whole corrected text into final_text, also what stayed. Never change the draft itself.",
    "rejected: the text should not have gone out, or not in this form. Leave final_text empty; say why in the comment.",
    "Leave decision empty where you have not decided; such rows stay open.",
    "reviewer: a code for yourself with a digit in it, such as editor-3. Names and addresses are replaced by a number.",
    "Grey columns tell which text a row is about. Leave them as they are; you may filter rows.",
    "Save the file as .xlsx, or as CSV in UTF-8, and hand it in: flywheel review import FILE --flywheel NAME",
)
"""The second sheet of a workbook, line by line."""

_WIDTHS = {"output_id": 16, "brief": 28, "segment": 14, "locale": 8, "draft": 70, "decision": 12}
_WIDTHS |= {"final_text": 70, "comment": 36, "reviewer": 14, DRAFT_HASH: 19}
_NEEDS_APOSTROPHE = re.compile(r"['=+\-@\t\r\n＝＋－＠]")
_HAS_APOSTROPHE = re.compile(r"'(?=['=+\-@\t\r\n＝＋－＠])")
LINE_HEIGHT, HIGHEST_ROW = 15, 409
"""Points; no spreadsheet shows a row that is higher than the second."""
_GREY, _DARK = "FFEFEFEF", "FF3B4754"


def write_sheet(path: Path, rows: Sequence[Mapping[str, str | None]], *, written_as: str) -> None:
    """Write a sheet, whole or not at all; a row has COLUMNS, None where a cell is empty.

    Raises:
        FlywheelError: a text is longer than a cell of a workbook can be.
    """
    data = sheet_csv(rows).encode() if written_as == "csv" else _sheet_xlsx(rows)
    write_bytes_atomically(path, data)


def sheet_csv(rows: Sequence[Mapping[str, str | None]]) -> str:
    """The sheet as CSV (RFC 4180), with the byte-order mark by which spreadsheets know UTF-8."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    writer.writerows([_defused(row.get(name) or "") for name in COLUMNS] for row in rows)
    return f"\ufeff{lines.getvalue()}"


def as_written(text: str | None) -> str | None:
    """A cell of a sheet in CSV as it was before the apostrophe that keeps it from being a formula."""
    return text if text is None else _HAS_APOSTROPHE.sub("", text, count=1) if text.startswith("'") else text


@dataclass(frozen=True)
class TextFile:
    """A file of reviews that is read as CSV; `formulas` are cells of the workbook it was, by row and header."""

    path: Path
    formulas: frozenset[tuple[int, str]] = field(default_factory=frozenset)


@contextmanager
def as_text_file(path: Path) -> Iterator[TextFile]:
    """The file itself, or a workbook written out as a CSV that is gone afterwards.

    Raises:
        InputFileError: it is a workbook that cannot be read.
    """
    if not is_workbook(path):
        yield TextFile(path)
        return
    found = read_workbook(path)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / f"{path.stem}.csv"
        text.write_text(_workbook_csv(found), encoding="utf-8", newline="")
        yield TextFile(text, found.formulas)


def _workbook_csv(found: WorkbookRows) -> str:
    """A workbook as the CSV that `as_written` expects, so that both kinds of files are read alike."""
    encode = _defused if DRAFT_HASH in found.header else str
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, quoting=csv.QUOTE_ALL)
    writer.writerow(found.header)
    writer.writerows([encode(text) for text in row] for row in found.rows)
    return lines.getvalue()


def _defused(text: str) -> str:
    return f"'{text}" if _NEEDS_APOSTROPHE.match(text) else text


def _sheet_xlsx(rows: Sequence[Mapping[str, str | None]]) -> bytes:
    from openpyxl import Workbook
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    book = Workbook()
    sheet: Any = book.active
    sheet.title = SHEET_NAME
    sheet.append(COLUMNS)
    for number, row in enumerate(rows, start=2):
        for column, name in enumerate(COLUMNS, start=1):
            _write_text(sheet.cell(number, column), row.get(name), name, row)
        # LibreOffice shows one line of a wrapped cell unless it is told the height.
        sheet.row_dimensions[number].height = min(HIGHEST_ROW, LINE_HEIGHT * _lines_shown(row))
    choice = DataValidation(type="list", formula1=f'"{",".join(DECISIONS)}"', allow_blank=True, showErrorMessage=True)
    choice.errorTitle, choice.error = "decision", f"Choose one of {', '.join(DECISIONS)}, or leave the cell empty."
    sheet.add_data_validation(choice)
    letter = get_column_letter(COLUMNS.index("decision") + 1)
    choice.add(f"{letter}2:{letter}{max(2, len(rows) + 1)}")
    _dress(sheet)
    _write_instructions(book.create_sheet("how to review"))
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def _lines_shown(row: Mapping[str, str | None]) -> int:
    """Lines of the tallest cell, and one to spare for what a reviewer adds."""
    taken = [
        sum(1 + len(line) // _WIDTHS[name] for line in (row.get(name) or "").splitlines())
        for name in ("brief", "draft", "final_text", "comment")
    ]
    return 1 + max(1, *taken)


def _write_text(cell: Any, text: str | None, name: str, row: Mapping[str, str | None]) -> None:
    from openpyxl.styles import Alignment, PatternFill, Protection

    if text:
        # Spreadsheets count UTF-16, in which an emoji is two characters.
        if len(escaped(text).encode("utf-16-le")) > 2 * LONGEST_CELL:
            raise FlywheelError(
                f"{name} of output {row.get('output_id')}: {len(text):,} characters, a cell of a workbook holds "
                f"{LONGEST_CELL:,}. Export the sheet with --format csv."
            )
        cell.value = escaped(text)
        # openpyxl takes what begins with = for a formula.
        cell.data_type = "s"
    # As text, so that a spreadsheet computes nothing when a person edits the cell either.
    cell.number_format = "@"
    cell.alignment = Alignment(wrap_text=name not in ("output_id", DRAFT_HASH), vertical="top")
    cell.protection = Protection(locked=name not in FILLED_IN)
    if name not in FILLED_IN:
        cell.fill = PatternFill("solid", start_color=_GREY)


def _dress(sheet: Any) -> None:
    """Widths, the header that stays in view, and what is locked: against slips, so without a password."""
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter

    for column, name in enumerate(COLUMNS, start=1):
        sheet.column_dimensions[get_column_letter(column)].width = _WIDTHS[name]
        head = sheet.cell(1, column)
        head.font = Font(bold=True, color="FFFFFFFF")
        head.fill = PatternFill("solid", start_color=_DARK)
        head.alignment = Alignment(vertical="center")
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(COLUMNS))}{max(2, sheet.max_row)}"
    _fit_to_width(sheet)
    sheet.protection.sheet = True
    for allowed in ("sort", "autoFilter", "formatColumns", "formatRows", "formatCells"):
        setattr(sheet.protection, allowed, False)


def _fit_to_width(sheet: Any) -> None:
    """For paper: as many pages as it takes, none of them cut at the side."""
    sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True


def _write_instructions(sheet: Any) -> None:
    from openpyxl.styles import Alignment, Font

    _fit_to_width(sheet)

    sheet.column_dimensions["A"].width = 110
    for number, line in enumerate(INSTRUCTIONS, start=1):
        cell = sheet.cell(number, 1, line)
        cell.alignment = Alignment(wrap_text=True, vertical="top")
        cell.font = Font(bold=number == 1, size=14 if number == 1 else 11)


def is_own_sheet(path: Path) -> bool:
    """Whether a file has the columns by which a sheet that was exported here is known.

    Raises:
        InputFileError: the file cannot be used at all.
    """
    # First of all: a pipe would keep us waiting.
    check_file(path)
    with as_text_file(path) as text:
        return {"output_id", DRAFT_HASH, "decision"} <= set(read_header(text.path))
