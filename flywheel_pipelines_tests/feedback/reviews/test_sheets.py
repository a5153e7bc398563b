"""Review sheets: what goes out comes back exactly, nothing computes, and hostile workbooks end in a clear error."""

from __future__ import annotations

import csv
import io
import random
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from flywheel_pipelines.errors import FlywheelError, InputFileError
from flywheel_pipelines.feedback.files import read_table
from flywheel_pipelines.feedback.reviews import workbook
from flywheel_pipelines.feedback.reviews.sheet import (
    COLUMNS,
    FILLED_IN,
    FORMATS,
    as_text_file,
    as_written,
    is_own_sheet,
    sheet_csv,
    write_sheet,
)
from flywheel_pipelines.feedback.reviews.workbook import escaped, is_workbook, read_workbook, unescaped
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.feedback.reviews.desks import DRAFTS, NAME, WEEKS, Desk, filled_in

FORMULAS = ("=1+1", "'=1+1", "''", "+1", "-1", "@a", "\t", "\n", "\r\n", "＝1", "'tis")
ODD = st.sampled_from([*FORMULAS, "_x000D_", "_x005F_x000D_", "שלום", "👩‍👩‍👧", ",", ";", '"'])
ANYTHING = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
TEXT = st.lists(st.one_of(ODD, ANYTHING), max_size=5).map("".join)
WRITTEN = st.sampled_from(FORMATS)
READABLE = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"), max_size=40)
VISIBLE = st.lists(st.one_of(ODD, READABLE), min_size=1, max_size=4).map("".join).filter(lambda text: text.strip())


def row_of(**cells: str) -> dict[str, str | None]:
    return {**dict.fromkeys(COLUMNS), "output_id": "aaaa", "draft_hash": "h1", **cells}


def read_back(path: Path) -> list[dict[str, str]]:
    """The rows of a sheet as they were written."""
    with as_text_file(path) as text:
        table = read_table(text.path, list(COLUMNS)).rows
    columns = {name: table.column(f"c{number}").to_pylist() for number, name in enumerate(COLUMNS)}
    return [
        {name: as_written(cells) or "" for name, cells in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]


# -- round trips -----------------------------------------------------------------------------------------------------
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draft=TEXT, final=TEXT, written_as=WRITTEN)
@example(draft="a\r\nb\rc", final="_x000D_", written_as="xlsx")
@example(draft="\x07\x1f", final="'=SUM(A1)", written_as="xlsx")
def test_any_text_comes_back_exactly(tmp_path: Path, draft: str, final: str, written_as: str) -> None:
    path = tmp_path / f"sheet.{written_as}"
    write_sheet(path, [row_of(draft=draft, final_text=final)], written_as=written_as)
    (row,) = read_back(path)
    assert (row["draft"], row["final_text"]) == (draft, final)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draft=VISIBLE, final=VISIBLE, written_as=WRITTEN)
def test_any_edit_lands_as_it_was_written(tmp_path_factory: Any, draft: str, final: str, written_as: str) -> None:
    desk = Desk(tmp_path_factory.mktemp("desk"), {"aaaa": draft})
    batch = desk.land_sheet(filled_in(desk.sheet(), final_text=final, reviewer="editor-1"), written_as)
    assert (batch.n_rows, batch.n_quarantined) == (1, 0)
    (row,) = desk.reviews()
    assert row["final_text"] == (final if row["decision"] == "edited" else None)


@given(TEXT)
def test_escapes_of_workbooks_are_undone(text: str) -> None:
    assert unescaped(escaped(text)) == text


@pytest.mark.parametrize("written_as", FORMATS)
def test_an_unfilled_sheet_says_nothing(tmp_path: Path, written_as: str) -> None:
    desk = Desk(tmp_path)
    batch = desk.land_sheet(desk.sheet(), written_as)
    assert (batch.n_rows, batch.n_quarantined, batch.n_blank) == (0, 0, 3)


@pytest.mark.parametrize("written_as", FORMATS)
def test_a_filled_in_sheet_lands_and_the_next_one_holds_the_rest(tmp_path: Path, written_as: str) -> None:
    desk = Desk(tmp_path)
    first, *rest = desk.sheet()
    batch = desk.land_sheet([*filled_in([first], decision="accepted", reviewer="editor-1"), *rest], written_as)
    assert (dict(batch.decisions)["accepted"], batch.n_blank) == (1, 2)
    assert desk.sheet() == rest


def test_the_two_kinds_of_sheets_say_the_same(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    rows = filled_in(desk.sheet(), comment="=1+1")
    for written_as in FORMATS:
        write_sheet(tmp_path / f"s.{written_as}", rows, written_as=written_as)
    assert read_back(tmp_path / "s.csv") == read_back(tmp_path / "s.xlsx")


def test_a_workbook_saved_again_without_changes_is_the_same_batch(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = tmp_path / "sheet.xlsx"
    write_sheet(path, filled_in(desk.sheet(), decision="accepted"), written_as="xlsx")
    first = desk.land_path(path)
    book = load_workbook(path)
    book.save(path)
    assert desk.land_path(path).batch_id == first.batch_id
    assert len(desk.reviews()) == 3


def test_a_stale_sheet_is_noticed_row_by_row(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    rows = filled_in(desk.sheet(), decision="accepted")
    desk.publish(WEEKS[0], {**DRAFTS, "aaaa": "Written anew."})
    batch = desk.land_sheet(rows)
    assert [(row["source_row"], row["problem"]) for row in desk.quarantine()] == [(1, "stale")]
    assert batch.n_rows == 2


@pytest.mark.slow
@pytest.mark.parametrize("written_as", FORMATS)
def test_a_sheet_that_libreoffice_saved_comes_back_exactly(tmp_path: Path, written_as: str) -> None:
    office = shutil.which("soffice")
    if office is None:
        pytest.skip("LibreOffice is not installed here (apt-get install libreoffice-calc)")
    texts = ["=1+1", "'quoted'", "'=1", "שלום 👍", "a\n\nb", "  padded  ", "1e5", "001", "2026-01-05"]
    rows = [row_of(draft=text, final_text=text, comment="x") for text in texts]
    write_sheet(tmp_path / "sheet.xlsx", rows, written_as="xlsx")
    # 44: comma, 34: quotes, 76: UTF-8, cells as they are shown, only the first sheet.
    as_csv = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,1"
    target = as_csv if written_as == "csv" else "xlsx"
    home = f"-env:UserInstallation=file://{tmp_path}/home"
    command = [office, home, "--headless", "--convert-to", target, "--outdir", "saved", "sheet.xlsx"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    (saved,) = (tmp_path / "saved").iterdir()
    assert [row["final_text"] for row in read_back(saved) if row["output_id"]] == (
        texts if written_as == "xlsx" else [as_written(text) for text in texts]
    )


# -- what a spreadsheet does with it ---------------------------------------------------------------------------------
def test_no_cell_of_a_csv_begins_like_a_formula() -> None:
    rows = [row_of(draft=text, comment=text) for text in ("=1+1", "+1", "-1", "@a", "\tx", "\rx", "＝1", "'=1")]
    for cells in csv.reader(io.StringIO(sheet_csv(rows).removeprefix("\ufeff"), newline="")):
        assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "＝")]


def test_no_cell_of_a_workbook_is_a_formula_and_all_are_text(tmp_path: Path) -> None:
    path = tmp_path / "s.xlsx"
    write_sheet(path, [row_of(draft="=1+1", comment='=HYPERLINK("http://example.com")')], written_as="xlsx")
    cells = [cell for row in load_workbook(path)["reviews"].iter_rows(min_row=2) for cell in row]
    assert {cell.data_type for cell in cells} == {"s", "n"}
    assert {cell.number_format for cell in cells} == {"@"}


def test_only_what_is_to_be_filled_in_is_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "s.xlsx"
    write_sheet(path, [row_of(draft="A text.")], written_as="xlsx")
    sheet = load_workbook(path)["reviews"]
    is_open = {name: not cell.protection.locked for name, cell in zip(COLUMNS, sheet[2], strict=True)}
    assert sheet.protection.sheet
    assert {name for name, free in is_open.items() if free} == set(FILLED_IN)


def test_decisions_are_a_list_to_choose_from_and_the_header_stays_in_view(tmp_path: Path) -> None:
    path = tmp_path / "s.xlsx"
    write_sheet(path, [row_of(), row_of()], written_as="xlsx")
    book = load_workbook(path)
    (choice,) = book["reviews"].data_validations.dataValidation
    assert (choice.formula1, str(choice.sqref)) == ('"accepted,edited,rejected"', "F2:F3")
    assert (book["reviews"].freeze_panes, book.sheetnames) == ("B2", ["reviews", "how to review"])


def test_a_text_too_long_for_a_workbook_is_refused_and_fits_a_csv(tmp_path: Path) -> None:
    rows = [row_of(draft="👍" * 17_000)]
    with pytest.raises(FlywheelError, match="Export the sheet with --format csv"):
        write_sheet(tmp_path / "s.xlsx", rows, written_as="xlsx")
    assert list(tmp_path.iterdir()) == []
    write_sheet(tmp_path / "s.csv", rows, written_as="csv")


def test_the_sheet_names_no_arm(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert not [row for row in desk.sheet() if "flywheel" in row.values() or "arm" in row]


def test_an_output_of_two_arms_stands_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    published = desk.lake.read(tables.PUBLISHED_OUTPUTS, NAME, WEEKS[0]).to_pylist()
    twice = [{**row, "arm": arm} for row in published for arm in ("flywheel", "control")]
    from flywheel_pipelines_tests.lake_samples import rows as rows_of

    desk.lake.write(tables.PUBLISHED_OUTPUTS, rows_of(tables.PUBLISHED_OUTPUTS, twice), flywheel=NAME, cycle=WEEKS[0])
    assert [row["output_id"] for row in desk.sheet()] == sorted(DRAFTS)


# -- workbooks of others ---------------------------------------------------------------------------------------------
def book_of(path: Path, *rows: tuple[Any, ...], title: str = "Sheet1") -> Path:
    book = Workbook()
    sheet: Any = book.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def test_numbers_dates_and_gaps_are_read_as_people_see_them(tmp_path: Path) -> None:
    from datetime import date, datetime

    path = book_of(
        tmp_path / "b.xlsx",
        ("output_id", "date", "n", None),
        ("a", date(2026, 1, 5), 3.0),
        (None, None, None),
        (True, datetime(2026, 1, 5, 9, 30), 2.5, "beyond the header"),
    )
    found = read_workbook(path)
    assert found.header == ["output_id", "date", "n"]
    assert found.rows == [["a", "2026-01-05", "3"], ["", "", ""], ["TRUE", "2026-01-05T09:30:00", "2.5"]]


def test_a_formula_is_put_aside_and_never_computed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = book_of(
        tmp_path / "b.xlsx",
        ("output_id", "decision", "final_text"),
        ("aaaa", "edited", '=CONCATENATE("a","b")'),
        ("bbbb", "accepted", None),
    )
    batch = desk.land_path(path)
    (problem,) = batch.problems
    assert (problem.source_row, problem.field, batch.n_rows) == (1, "final_text", 1)
    assert "holds a formula" in problem.reason


def test_a_sheet_of_another_name_is_read_when_there_is_none_of_ours(tmp_path: Path) -> None:
    path = book_of(tmp_path / "b.xlsx", ("output_id", "decision", "draft_hash"), ("aaaa", "accepted", "h1"), title="x")
    assert is_own_sheet(path)


@pytest.mark.parametrize("header", ["output_id,decision,final_text", "Tag,Verdict"])
def test_a_file_of_others_is_not_taken_for_ours(tmp_path: Path, header: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"{header}\n")
    assert not is_own_sheet(path)


def test_a_zip_file_of_something_else_is_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "r.csv.zip"
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("r.csv", "output_id\n")
    assert not is_workbook(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old or a locked workbook"),
        ("broken.xlsx", b"PK\x03\x04 and then nothing", "no workbook that can be read"),
    ],
)
def test_what_is_no_workbook_is_refused_in_words(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=words), as_text_file(path):
        pass


def sheet_with(tmp_path: Path, part: str, data: bytes) -> Path:
    """A workbook of which one part is something else."""
    good = book_of(tmp_path / "good.xlsx", ("output_id", "decision"), ("aaaa", "accepted"))
    bad = tmp_path / "bad.xlsx"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            if name != part:
                target.writestr(name, source.read(name))
        target.writestr(part, data)
    return bad


def test_control_a_workbook_packed_again_is_read(tmp_path: Path) -> None:
    assert read_workbook(sheet_with(tmp_path, "docProps/extra.txt", b"x")).rows == [["aaaa", "accepted"]]


@pytest.mark.parametrize(
    ("part", "data", "words"),
    [
        ("xl/media/zeros.bin", b"\0" * (20 << 20), "more than 200 times its size"),
        ("xl/worksheets/sheet1.xml", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a/>', "document type"),
        ("xl/worksheets/sheet1.xml", b"<worksheet><sheetData><row>", "cannot be read as a workbook"),
        ("xl/workbook.xml", b"<workbook/>", "cannot be read as a workbook"),
    ],
)
def test_bombs_and_broken_parts_are_refused_in_words(tmp_path: Path, part: str, data: bytes, words: str) -> None:
    with pytest.raises(InputFileError, match=words):
        read_workbook(sheet_with(tmp_path, part, data))


def test_a_workbook_above_the_limit_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "MAX_UNPACKED", 1_000)
    with pytest.raises(InputFileError, match="unpacks to"):
        read_workbook(book_of(tmp_path / "b.xlsx", ("output_id",), ("aaaa",)))


def test_more_rows_than_anyone_reviews_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_ROWS", 3)
    with pytest.raises(InputFileError, match="more than 3 rows"):
        read_workbook(book_of(tmp_path / "b.xlsx", ("output_id",), *[("aaaa",)] * 4))
    assert len(read_workbook(book_of(tmp_path / "c.xlsx", ("output_id",), *[("aaaa",)] * 3)).rows) == 3


def test_a_cell_at_the_end_of_the_world_costs_nothing(tmp_path: Path) -> None:
    """Spreadsheets pad: one stray cell in the last row and column would be 17 billion cells."""
    book = Workbook()
    sheet: Any = book.active
    sheet.append(["output_id"])
    sheet.append(["aaaa"])
    sheet["XFD1048576"] = "stray"
    book.save(tmp_path / "b.xlsx")
    with pytest.raises(InputFileError, match="more than"):
        read_workbook(tmp_path / "b.xlsx")


def test_a_csv_that_is_named_like_a_workbook_is_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "r.xlsx"
    path.write_text("output_id,decision,draft_hash\n")
    assert is_own_sheet(path)


@pytest.mark.parametrize("where", ["in the zip file", "in its parts"])
def test_a_hundred_damaged_workbooks_end_in_rows_or_in_words(tmp_path: Path, where: str) -> None:
    good = book_of(tmp_path / "good.xlsx", ("output_id", "decision"), *[("aaaa", "accepted")] * 20)
    with zipfile.ZipFile(good) as parts:
        contents = {name: parts.read(name) for name in parts.namelist()}
    draw, outcomes, path = random.Random(7), {"rows": 0, "words": 0}, tmp_path / "bad.xlsx"
    for _ in range(100):
        if where == "in its parts":
            name = draw.choice(["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/sharedStrings.xml", "xl/styles.xml"])
            with zipfile.ZipFile(path, "w") as target:
                for part, data in contents.items():
                    target.writestr(part, damaged(data, draw) if part == name else data)
        else:
            path.write_bytes(damaged(good.read_bytes(), draw))
        try:
            read_workbook(path)
            outcomes["rows"] += 1
        except InputFileError:
            outcomes["words"] += 1
    assert min(outcomes.values()) > 2, outcomes


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One or two bytes changed; a fifth are cut off as well."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 2)):
        changed[draw.randrange(len(changed))] = draw.choice([draw.randrange(256), *b"0123456789az<>&"])
    return bytes(changed[: draw.randrange(len(changed)) if draw.random() < 0.2 else len(changed)])
