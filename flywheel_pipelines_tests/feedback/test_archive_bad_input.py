"""Malformed archives: each row that cannot be used is put aside with its reason, each file with an error that helps."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.archive import read_archive
from flywheel_pipelines.feedback.files import csv_rows
from flywheel_pipelines_tests.feedback.archive_files import (
    ALSO_GOOD,
    GOOD,
    HEADER,
    MAPPING,
    put_aside,
    read,
    read_rows,
    texts,
    write,
)

BAD_ROWS = {
    "negative_exposure": ("t1,2024-01-02,x,-5,0", "impressions", "-5", "negative"),
    "negative_successes": ("t1,2024-01-02,x,100,-1", "clicks", "-1", "negative"),
    "more_successes_than_exposure": ("t1,2024-01-02,x,5,6", "clicks", "6 of 5", "more clicks than impressions"),
    "no_number": ("t1,2024-01-02,x,many,1", "impressions", "many", "not a number in plain digits"),
    "empty_count": ("t1,2024-01-02,x,,1", "impressions", "", "empty; expected a count"),
    "nan": ("t1,2024-01-02,x,NaN,1", "impressions", "NaN", "not a number;"),
    "infinite": ("t1,2024-01-02,x,inf,1", "impressions", "inf", "not a number;"),
    "above_double": ("t1,2024-01-02,x,1e309,1", "impressions", "1e309", "too large"),
    "forty_digits": (f"t1,2024-01-02,x,{'9' * 40},1", "impressions", "9" * 40, "too large"),
    "decimals": ("t1,2024-01-02,x,10.5,1", "impressions", "10.5", "not a whole number"),
    "thousands_separator": ('t1,2024-01-02,x,"1,234",1', "impressions", "1,234", "not a whole number"),
    "underscore": ("t1,2024-01-02,x,1_000,1", "impressions", "1_000", "not a number in plain digits"),
    "other_digits": ("t1,2024-01-02,x,٣٠٠,1", "impressions", "٣٠٠", "not a number in plain digits"),
    "no_such_day": ("t1,2024-02-30,x,10,1", "day", "2024-02-30", "expected %Y-%m-%d"),
    "empty_day": ("t1,,x,10,1", "day", "", "expected the date or week"),
    "implausible_year": ("t1,1024-01-02,x,10,1", "day", "1024-01-02", "outside 1990 to 2099"),
    "last_year_there_is": ("t1,9999-12-31,x,10,1", "day", "9999-12-31", "outside 1990 to 2099"),
    "empty_text": ("t1,2024-01-02,  ,10,1", "headline", "", "expected the text that was shown"),
    "no_brief": (",2024-01-02,x,10,1", "test", "", "which brief"),
    "nul_in_text": ("t1,2024-01-02,x\0y,10,1", "headline", "x\\x00y", "control characters"),
    "escape_in_text": ("t1,2024-01-02,x\x1b[2Jy,10,1", "headline", "x\\x1b[2Jy", "control characters"),
    "line_break_in_brief": ('"t\n1",2024-01-02,x,10,1', "test", "t\\n1", "a name cannot have"),
    "latin_1": (b"t1,2024-01-02,caf\xe9,10,1", "headline", "caf\\xe9", "not UTF-8"),
    "cut_utf8": (b"t1,2024-01-02,caf\xc3,10,1", "headline", "caf\\xc3", "not UTF-8"),
    "too_few_cells": ("t1,2024-01-02,x,10", "(row)", "t1,2024-01-02,x,10", "4 cells, the header has 5"),
    "too_many_cells": ("t1,2024-01-02,x,y,10,1", "(row)", "t1,2024-01-02,x,y,10,1", "6 cells, the header has 5"),
    "stray_quote": ('t1,2024-01-02,"x"y,10,1', "(row)", 't1,2024-01-02,"x"y,10,1\\n', "not doubled"),
    "unclosed_quote": ('t1,2024-01-02,"x,10,1', "(row)", 't1,2024-01-02,"x,10,1\\n', "never closed"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_put_aside_with_its_reason_and_the_others_stay(tmp_path: Path, case: str) -> None:
    row, field, found, reason = BAD_ROWS[case]
    batch = read_rows(tmp_path, GOOD, row, ALSO_GOOD)
    ((at, in_field, as_found, why),) = put_aside(batch)
    assert (at, in_field, as_found) == (2, field, found)
    assert reason in why
    assert "hand it in again" in why or "hand the file in again" in why or "add the missing cells" in why
    assert texts(batch) == ["A good one", "A better one"]
    assert batch.candidates.column("source_row").to_pylist() == [1, 3]


def test_control_nothing_is_put_aside_from_a_good_file(tmp_path: Path) -> None:
    batch = read_rows(
        tmp_path, GOOD, ALSO_GOOD, 't2,2024-01-09,"Commas, ""quotes""\nand lines",5,5', "t2,2024-01-09,é,0,0"
    )
    assert put_aside(batch) == []
    assert batch.n_rows == batch.n_used == 4


def test_every_wrong_column_of_a_row_is_named(tmp_path: Path) -> None:
    batch = read_rows(tmp_path, GOOD, "t1,soon,,-1,x")
    assert [field for _, field, _, _ in put_aside(batch)] == ["clicks", "day", "headline", "impressions"]
    assert batch.n_quarantined == 1


def test_ten_megabytes_in_one_cell_are_put_aside_and_never_kept(tmp_path: Path) -> None:
    started = time.monotonic()
    batch = read_rows(tmp_path, GOOD, f"t1,2024-01-02,{'x' * 10_000_000},10,1", ALSO_GOOD)
    ((row, field, found, reason),) = put_aside(batch)
    assert (row, field, len(found)) == (2, "headline", 200)
    assert "10,000,000 characters" in reason
    assert len(texts(batch)) == 2
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("size", [20_000_000, 40_000_000], ids=["longer_than_a_cell", "longer_than_a_line"])
def test_a_cell_without_end_costs_one_row(tmp_path: Path, size: int) -> None:
    batch = read_rows(tmp_path, GOOD, f"t1,2024-01-02,{'x' * size},10,1", ALSO_GOOD)
    ((row, field, found, reason),) = put_aside(batch)
    assert (row, field) == (2, "(row)")
    assert len(found) <= 200
    assert "line 3: a " in reason
    assert len(texts(batch)) == 2


def test_an_unclosed_quote_costs_its_row_and_not_the_rows_it_swallowed(tmp_path: Path) -> None:
    after = [f"t2,2024-01-09,text {number},10,1" for number in range(2_000)]
    batch = read_rows(tmp_path, GOOD, 't1,2024-01-02,"open,10,1', *after)
    assert [(row, field) for row, field, _, _ in put_aside(batch)] == [(2, "(row)")]
    assert batch.n_used == 2_001


def test_control_without_reading_again_the_swallowed_rows_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "REREAD_BUDGET", 0)
    batch = read_rows(tmp_path, GOOD, 't1,2024-01-02,"open,10,1', ALSO_GOOD)
    ((_, _, _, reason),) = put_aside(batch)
    assert "lines 3 to 4, put aside together" in reason
    assert texts(batch) == ["A good one"]


def test_quotes_that_open_in_every_line_do_not_make_reading_quadratic(tmp_path: Path) -> None:
    started = time.monotonic()
    batch = read_rows(tmp_path, GOOD, *['x","y'] * 20_000)
    assert time.monotonic() - started < 20
    assert batch.n_used == 1
    assert batch.n_rows == batch.n_used + batch.n_quarantined


def test_two_encodings_in_one_file_put_aside_only_the_rows_that_are_not_utf8(tmp_path: Path) -> None:
    rows = ["t1,2024-01-02,Crème brûlée,10,1".encode(), "t1,2024-01-02,Crème glacée,10,1".encode("latin-1")]
    batch = read_rows(tmp_path, *rows)
    assert texts(batch) == ["Crème brûlée"]
    assert [row for row, _, _, _ in put_aside(batch)] == [2]


def test_bytes_that_are_not_utf8_in_a_column_nobody_reads_do_no_harm(tmp_path: Path) -> None:
    batch = read(write(tmp_path, GOOD.encode() + b",caf\xe9", header=f"{HEADER},note"))
    assert put_aside(batch) == []


def test_a_left_out_row_is_not_checked(tmp_path: Path) -> None:
    mapping = MAPPING.model_copy(update={"leave_out": {"risk": ("true",)}})
    path = write(
        tmp_path, f"{GOOD},False", "t1,never,,-1,-1,TRUE", b"t1,never,\xe9,-1,-1,true", header=f"{HEADER},risk"
    )
    batch = read_archive(path, mapping, cadence=Cadence.WEEKLY)
    assert batch.left_out == {"risk is true": 2}
    assert put_aside(batch) == []


def test_a_cell_that_cannot_be_read_does_not_rule_its_row_out(tmp_path: Path) -> None:
    mapping = MAPPING.model_copy(update={"leave_out": {"image": ("",)}})
    path = write(tmp_path, f"{GOOD},cat", f"{GOOD},".encode() + b"\xe9", f"{GOOD},", header=f"{HEADER},image")
    batch = read_archive(path, mapping, cadence=Cadence.WEEKLY)
    assert batch.left_out == {"image is empty": 1}
    assert [(row, field) for row, field, _, _ in put_aside(batch)] == [(2, "image")]


# -- files that cannot be used at all --------------------------------------------------------------------------------
def refusal(path: Path) -> str:
    with pytest.raises(InputFileError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text, "an error names its file"
    return text


def test_missing_file_suggests_the_one_meant(tmp_path: Path) -> None:
    write(tmp_path, GOOD, name="packages.csv")
    assert "no such file. Did you mean packages.csv?" in refusal(tmp_path / "package.csv")


def test_missing_folder_is_said(tmp_path: Path) -> None:
    assert "cannot be read either" in refusal(tmp_path / "nowhere" / "package.csv")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in refusal(tmp_path / "pipe.csv")


UNUSABLE_FILES = {
    "empty": (b"", "is empty (0 bytes)"),
    "blank": (b"\n\n", "holds no header"),
    "byte_order_mark_only": (b"\xef\xbb\xbf", "holds no header"),
    "empty_gzip": (gzip.compress(b""), "holds no header"),
    "header_only": (HEADER.encode(), "has a header but no rows"),
    "header_only_gzip": (gzip.compress(HEADER.encode() + b"\n"), "has a header but no rows"),
    "cut_gzip": (gzip.compress(f"{HEADER}\n{GOOD}\n".encode())[:-12], "gzip data is broken or cut off"),
    "corrupt_gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 64, "gzip data is broken"),
    "gzip_with_wrong_checksum": (gzip.compress(f"{HEADER}\n{GOOD}\n".encode())[:-8] + b"\0" * 8, "gzip data is broken"),
    "zip": (b"PK\x03\x04rest", "zip file (or an Excel workbook)"),
    "utf_16_without_its_mark": (f"{HEADER}\n{GOOD}".encode("utf-16-le"), "UTF-16"),
    "utf_16_cut_off": (f"{HEADER}\n{GOOD}".encode("utf-16")[:-1], "UTF-16"),
    "utf_32": (f"{HEADER}\n{GOOD}".encode("utf-32"), "UTF-32"),
    "no_line_end": (b"x" * 17_000_000, "first line has no end"),
    "binary": (b"\x7fELF\0\0\0\0,\0", "NUL bytes"),
    "cut_parquet": (b"PAR1" + b"\0" * 100, "not a whole Parquet file"),
    "duplicate_column": (f"{HEADER},clicks\n{GOOD},3\n".encode(), "names clicks more than once"),
    "open_quote_in_header": (b'test,"day\n' + GOOD.encode(), "header cannot be read"),
    "no_row_usable": (f"{HEADER}\nt1,2024-01-02,x,-1,0\n".encode(), "none of its 1 rows can be used"),
}


@pytest.mark.parametrize("case", UNUSABLE_FILES)
def test_unusable_file_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    content, said = UNUSABLE_FILES[case]
    path = tmp_path / f"{case}.csv"
    path.write_bytes(content)
    assert said in refusal(path)


def test_a_gzip_cut_off_late_yields_nothing(tmp_path: Path) -> None:
    rows = "".join(f"t{number},2024-01-02,text {number * 7919 % 1000},1000,{number % 50}\n" for number in range(20_000))
    path = tmp_path / "archive.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{rows}".encode())[:-2_000])
    assert "Nothing was taken from it" in refusal(path)


@pytest.mark.parametrize(
    ("filling", "said"), [(b"x", "unpacks to more than 500 times its size"), (b"\n", "more than 1,000,000 empty lines")]
)
def test_a_gzip_that_unpacks_without_end_is_refused_soon(tmp_path: Path, filling: bytes, said: str) -> None:
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode() + filling * 100_000_000))
    started = time.monotonic()
    assert said in refusal(path)
    assert time.monotonic() - started < 5


def test_control_text_that_packs_well_is_read(tmp_path: Path) -> None:
    assert read(write(tmp_path, *[GOOD] * 100_000, name="a.csv.gz")).n_used == 100_000


def test_a_gzip_broken_from_its_start_is_not_taken_for_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"\x00" + gzip.compress(b"x"))
    assert "gzip data is broken from its start" in refusal(path)


def test_text_that_is_named_gz_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert read(path.rename(tmp_path / "a.csv.gz")).n_used == 1


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))


def test_missing_column_shows_the_header_and_the_column_meant(tmp_path: Path) -> None:
    text = refusal(write(tmp_path, GOOD, header="test,day,head_line,impressions,clicks"))
    assert "column headline is missing (did you mean head_line?)" in text
    assert "test, day, head_line, impressions, clicks" in text


def test_unusable_rows_are_shown_when_there_is_nothing_else(tmp_path: Path) -> None:
    text = refusal(write(tmp_path, "t1,week 3,x,10,1", "t1,week 4,x,10,1"))
    assert "row 1, day: found 'week 3'" in text
    assert "right cycle_format" in text


def test_a_parquet_name_on_something_else(tmp_path: Path) -> None:
    text = refusal(write(tmp_path, GOOD, name="a.parquet"))
    assert "named .parquet but does not begin like a Parquet file" in text


@pytest.mark.parametrize("seed", range(40))
def test_a_parquet_file_with_broken_bytes_ends_in_rows_or_an_error_that_is_ours(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pyarrow.csv.read_csv(write(tmp_path, GOOD, ALSO_GOOD)), path)
    draw = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(4):
        content[draw.randrange(4, len(content))] = draw.randrange(256)
    path.write_bytes(content)
    with contextlib.suppress(InputFileError):
        batch = read(path)
        assert batch.n_rows == batch.n_used + batch.n_quarantined


def test_a_parquet_column_name_that_is_not_text(tmp_path: Path) -> None:
    pq.write_table(pyarrow.csv.read_csv(write(tmp_path, GOOD)), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes().replace(b"headline", b"headlin\xff"))
    assert "not a whole Parquet file" in refusal(tmp_path / "a.parquet")


def test_a_parquet_column_of_lists_is_refused(tmp_path: Path) -> None:
    columns = {"test": ["t"], "day": ["2024-01-02"], "headline": [["a", "b"]], "impressions": [10], "clicks": [1]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert "column headline holds list" in refusal(tmp_path / "a.parquet")


def test_parquet_rows_are_checked_like_any_other(tmp_path: Path) -> None:
    columns = {
        "test": ["t", "t", "t", "t"],
        "day": ["2024-01-02"] * 4,
        "headline": pa.array([b"fine", b"caf\xe9", b"x", None], pa.binary()),
        "impressions": [10.0, 10.0, float("nan"), 10.0],
        "clicks": [1, 1, 1, 1],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    problems = put_aside(read(tmp_path / "a.parquet"))
    assert [(row, field) for row, field, _, _ in problems] == [(2, "headline"), (3, "impressions"), (4, "headline")]
