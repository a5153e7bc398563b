"""Reading the files that platforms export: packed, commented, stacked, one JSON object a line, in other encodings."""

from __future__ import annotations

import gzip
import json
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds.formats import parse_count, parse_number
from flywheel_pipelines.feedback.files import TextTable, file_period, read_header, read_table
from flywheel_pipelines.feedback.files.jsonl_rows import JsonRows
from flywheel_pipelines.feedback.files.opening import FileFormat, Source
from flywheel_pipelines.spec import FeedSpec
from flywheel_pipelines_tests.shared_data import shared_file

GA4 = """# ----------------------------------------
# Reports snapshot
# Account: Shop, Property: Shop
# ----------------------------------------
#
# All Users
# Start date: 20260101
# End date: 20260131
Page title and screen class,Views,Active users
"Home, sweet home",120,40
About,30,20

# Date range: 20260201-20260228
Country,Active users
Germany,7

France,8

City,Active users
Berlin,2
Lyon,5
"""
UNIVERSAL_ANALYTICS = (
    "\ufeff# ----------------------------------------\n# All Web Site Data\n# Pages\n# 20130101-20130131\n"
    "# ----------------------------------------\n\n"
    "Page,Pageviews,Unique Pageviews,Avg. Time on Page,Bounce Rate\n"
    '/,"92,812","80,000",0:02:35,59.86%\n/about,"1,188",900,0:00:45,N/A\n,"94,000","80,900",0:02:10,58.00%\n\n'
    'Day Index,Pageviews\n1/1/13,"3,047"\n1/2/13,"2,100"\n,"5,147"\n'
)


def write(folder: Path, content: str | bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def cells(table: TextTable) -> list[tuple[str | None, ...]]:
    columns = [table.rows.column(name).to_pylist() for name in table.rows.column_names[1:]]
    return list(zip(*columns, strict=True))


def zipped(folder: Path, members: dict[str, str | bytes], name: str = "file.zip") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


# -- real exports ------------------------------------------------------------------------------------------------------
def test_real_search_console_rows_give_the_right_numbers() -> None:
    path = shared_file("search_console", "Queries.csv")
    table = read_table(path, read_header(path))
    assert (table.n_rows, table.broken_rows, table.broken_cells) == (21, [], [])
    found = {
        query: (parse_count(clicks), parse_count(impressions), parse_number(ctr), parse_number(position))
        for query, clicks, impressions, ctr, position in cells(table)
    }
    assert found["scanner"] == (45613, 1095056, 0.0417, 5.34)
    assert found["scan qr code"] == (15936, 354435, 0.045, 6.08)
    assert found["scanapp.org"] == (59, 87, 0.6782, 1.0)
    assert found["स्कैनर"] == (22, 5473, 0.004, 9.09)
    assert {"сканер", "স্ক্যানার", "سكنار", "qr code 扫描"} < set(found)


def test_real_search_console_shares_are_those_of_their_counts() -> None:
    """CTR is rounded to a hundredth of a percent, so the counts have to give the same figure."""
    table = read_table(shared_file("search_console", "Queries.csv"), ["Clicks", "Impressions", "CTR"])
    for clicks, impressions, ctr in cells(table):
        share = Decimal(parse_count(clicks) or 0) / Decimal(parse_count(impressions) or 1)
        assert abs(float(share) - (parse_number(ctr) or 0)) <= 0.00005 + 1e-9


def test_real_support_file_is_read_whole() -> None:
    path = shared_file("support", "conversations.csv")
    header = read_header(path)
    first_columns = ["split", "brand", "created_at", "first_customer_message", "conversation", "n_turns"]
    assert header == [*first_columns, "answer_doc_id", "answer_url"]
    table = read_table(path, header)
    assert (table.n_rows, table.rows.num_rows, table.broken_rows, table.broken_cells) == (1025, 1025, [], [])
    assert len({row[1] for row in cells(table)} - {""}) == 25


def test_real_draft_edits_are_read_whole() -> None:
    path = shared_file("edits", "draft_edits.jsonl")
    table = read_table(path, ["preedit", "postedit", "creativity_scores", "item"])
    assert (table.n_rows, table.rows.num_rows, table.broken_rows, table.broken_cells) == (150, 150, [], [])
    with path.open(encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    assert [row[0] for row in cells(table)] == [document["preedit"] for document in documents]
    assert [json.loads(row[2] or "") for row in cells(table)] == [doc["creativity_scores"] for doc in documents]
    assert [row[3] for row in cells(table)] == [str(document["item"]) for document in documents]


# -- analytics exports: comments, several tables, totals ---------------------------------------------------------------
def test_the_table_with_the_wanted_columns_is_read_and_named(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, GA4), ["Country", "Active users"])
    assert cells(table) == [("Germany", "7"), ("France", "8")]
    assert table.notes == ("file.csv: read the table at line 14 of 3",)
    assert (table.first_day, table.last_day) == (date(2026, 2, 1), date(2026, 2, 28))


def test_comments_before_the_first_table_say_its_days(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, GA4), ["Page title and screen class", "Views"])
    assert cells(table) == [("Home, sweet home", "120"), ("About", "30")]
    assert (table.first_day, table.last_day) == (date(2026, 1, 1), date(2026, 1, 31))


def test_a_table_after_an_empty_line_needs_no_comment(tmp_path: Path) -> None:
    assert cells(read_table(write(tmp_path, GA4), ["City"])) == [("Berlin",), ("Lyon",)]


def test_rows_keep_their_numbers_and_lines_below_comments(tmp_path: Path) -> None:
    path = write(tmp_path, "# Start date: 20260101\n# End date: 20260131\npage,views\na,1\nb\nc,3\n")
    table = read_table(path, ["page", "views"])
    assert table.rows.column("source_row").to_pylist() == [1, 3]
    assert [(problem.source_row, problem.reason[:7]) for problem in table.broken_rows] == [(2, "line 5:")]


def test_a_column_that_two_tables_have_is_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(
        InputFileError, match=r"3 of its tables have the columns Active users \(line 9, line 14, line 19\)"
    ):
        read_table(write(tmp_path, GA4), ["Active users"])


def test_columns_that_no_table_has_are_said_with_all_headers(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"column Sessions is missing.*other tables have: .*Country, Active users"):
        read_table(write(tmp_path, GA4), ["Page title and screen class", "Sessions"])


def test_universal_analytics_is_read_without_its_totals(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, UNIVERSAL_ANALYTICS), ["Page", "Pageviews", "Bounce Rate"])
    assert [
        (page, parse_count(views, "1,234.5"), parse_number(rate, "1,234.5")) for page, views, rate in cells(table)
    ] == [
        ("/", 92812.0, 0.5986),
        ("/about", 1188.0, None),
    ]
    assert "its last row (row 3) holds the totals" in table.notes[1]
    assert (table.n_rows, table.first_day, table.last_day) == (2, date(2013, 1, 1), date(2013, 1, 31))


@pytest.mark.parametrize("last", [",5", ",4,", "Total,4", "x,3", ",N/A"])
def test_control_what_does_not_add_up_is_no_row_of_totals(tmp_path: Path, last: str) -> None:
    table = read_table(write(tmp_path, f"page,views\na,1\nb,2\n{last}\n"), ["page", "views"])
    assert (table.n_rows, table.notes) == (3, ())


def test_a_header_may_begin_with_a_number_sign(tmp_path: Path) -> None:
    assert read_header(write(tmp_path, "#,# of views\n1,2\n")) == ["#", "# of views"]


def test_a_line_for_spreadsheets_names_the_delimiter(tmp_path: Path) -> None:
    assert cells(read_table(write(tmp_path, "sep=;\na;b,c\n1;2,5\n"), ["b,c"])) == [("2,5",)]


# -- days of a file ----------------------------------------------------------------------------------------------------
def feed(**keys: str) -> FeedSpec:
    return FeedSpec.model_validate({"kind": "metrics", "path": "*", **keys})


@pytest.mark.parametrize(
    ("name", "expression", "days"),
    [
        ("2026-01-05 Queries.csv", r"(\d{4}-\d{2}-\d{2})", (date(2026, 1, 5), date(2026, 1, 5))),
        ("q_20260105_20260111.csv", r"_(\d{8})_(\d{8})", (date(2026, 1, 5), date(2026, 1, 11))),
        ("Queries.csv", r"(\d{4}-\d{2}-\d{2})", None),
    ],
)
def test_days_in_the_name_of_a_file(tmp_path: Path, name: str, expression: str, days: tuple[date, date] | None) -> None:
    assert file_period(write(tmp_path, "a,b\n1,2\n", name), feed(file_date=expression)) == days


def test_days_in_a_name_go_before_those_in_comments(tmp_path: Path) -> None:
    path = write(tmp_path, GA4, "2026-03-01.csv")
    assert file_period(path, feed(file_date=r"(\d{4}-\d{2}-\d{2})")) == (date(2026, 3, 1), date(2026, 3, 1))
    assert file_period(path, feed()) == (date(2026, 1, 1), date(2026, 1, 31))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("2026-02-31.csv", "a,b\n1,2\n", "a day that does not exist"),
        ("2026-01-05.csv", "# Start date: 20260131\n# End date: 20260101\na,b\n1,2\n", "ends before it begins"),
    ],
)
def test_days_that_cannot_be_are_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    expression = r"(\d{4}-02-\d{2})"
    with pytest.raises(InputFileError, match=words):
        file_period(write(tmp_path, content, name), feed(file_date=expression))


# -- packed and encoded ------------------------------------------------------------------------------------------------
PLAIN = "a,b\n1,é\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + PLAIN.encode("utf-16-be"),
        gzip.compress(PLAIN.encode("utf-16")),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
    ],
    ids=["utf8", "mark", "utf16_le", "utf16_be", "utf16_gzip", "tabs", "semicolons", "old_line_ends"],
)
def test_one_table_in_many_dresses(tmp_path: Path, content: bytes) -> None:
    assert cells(read_table(write(tmp_path, content), ["a", "b"])) == [("1", "é")]


def test_a_zip_with_one_data_file_is_read(tmp_path: Path) -> None:
    members: dict[str, str | bytes] = {
        "folder/data.csv": PLAIN,
        "__MACOSX/._data.csv": b"\0",
        "folder/.DS_Store": b"\0",
    }
    assert cells(read_table(zipped(tmp_path, members), ["b"])) == [("é",)]


def test_half_a_character_of_utf16_costs_its_row(tmp_path: Path) -> None:
    content = b"\xff\xfe" + "a\n1\n".encode("utf-16-le") + b"\x00\xd8" + "\n2\n".encode("utf-16-le")
    table = read_table(write(tmp_path, content), ["a"])
    assert [problem.source_row for problem in table.broken_cells] == [2]
    assert cells(table) == [("1",), (None,), ("2",)]


# -- one JSON object a line --------------------------------------------------------------------------------------------
def test_keys_of_all_lines_are_the_header(tmp_path: Path) -> None:
    path = write(
        tmp_path, '{"a": 1}\n\n{"b": {"c": true, "d": {"e": null}}, "a": "x"}\n{"f": [1, {"g": 2.50}]}\n', "f.jsonl"
    )
    assert read_header(path) == ["a", "b.c", "b.d.e", "f"]
    table = read_table(path, ["a", "b.c", "b.d.e", "f"])
    assert cells(table) == [("1", None, None, None), ("x", "true", None, None), (None, None, None, '[1, {"g": 2.50}]')]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", "not readable as JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1, "a": 2}', "more than once"),
        ('{"a.b": 1, "a": {"b": 2}}', "a key with a dot"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper"),
        ('{"a\\ud800": 1}', "not UTF-8"),
    ],
)
def test_a_line_that_is_no_object_is_put_aside(tmp_path: Path, line: str, words: str) -> None:
    table = read_table(write(tmp_path, f'{{"a": 1}}\n{line}\n{{"a": 3}}\n', "file.jsonl"), ["a"])
    assert cells(table) == [("1",), ("3",)]
    ((row, reason),) = [(problem.source_row, problem.reason) for problem in table.broken_rows]
    assert row == 2
    assert words in reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"a": 1}]', "is a JSON list"),
        ('{\n  "a": 1\n}\n', "none of its 3 lines is a JSON object"),
        ("\n".join(f'{{"k{number}": 1}}' for number in range(3_000)), "more than 2,000 different keys"),
    ],
)
def test_json_that_is_not_one_object_a_line_is_refused(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(InputFileError, match=words):
        read_header(write(tmp_path, content, "file.json"))


_VALUES = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=5)
_OBJECTS = st.dictionaries(st.text("abc", min_size=1, max_size=2), _VALUES, max_size=3)


@given(st.lists(_OBJECTS, min_size=1, max_size=6))
def test_what_json_wrote_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, objects: list[dict]) -> None:
    path = write(tmp_path_factory.mktemp("json"), "\n".join(map(json.dumps, objects)), "file.jsonl")
    names = sorted({key for document in objects for key in document})
    if not names:
        return
    reader = JsonRows(Source(path, FileFormat.JSONL), names, limit=100)
    found = [
        column for chunk in reader.chunks() for column in zip(*(part.to_pylist() for part in chunk[1:]), strict=True)
    ]
    words = {True: "true", False: "false", None: None}

    def as_cell(value: object) -> str | None:
        return words[value] if value is None or isinstance(value, bool) else str(value)

    expected = [tuple(as_cell(document.get(name)) for name in names) for document in objects]
    assert (found, reader.broken_rows) == (expected, [])


# -- Parquet -----------------------------------------------------------------------------------------------------------
def test_parquet_numbers_are_written_without_exponents(tmp_path: Path) -> None:
    columns = {
        "share": [0.00001, 0.0417],
        "amount": pa.array([Decimal("0.0000001"), Decimal("12.50")], pa.decimal128(12, 7)),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet", ["share", "amount"])
    assert cells(table) == [("0.00001", "0.0000001"), ("0.0417", "12.5000000")]
