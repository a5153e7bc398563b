"""Reading archives: what becomes a brief, a candidate and a measurement, and that no row is ever lost."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.archive import (
    ArchiveBatch,
    builtin_mappings,
    find_mapping,
    load_mapping,
    read_archive,
)
from flywheel_pipelines.feedback.archive.mapping import ArchiveMapping, parse_mapping
from flywheel_pipelines.feedback.files import read_header
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import ARCHIVE_CANDIDATES, BATCHES, QUARANTINE
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
from flywheel_pipelines_tests.shared_data import upworthy_archive


def measured(batch: ArchiveBatch) -> list[tuple[str, int, int]]:
    by_id = dict(zip(batch.candidates["candidate_id"].to_pylist(), texts(batch), strict=True))
    return [(by_id[row["candidate_id"]], row["successes"], row["exposure"]) for row in batch.measurements.to_pylist()]


# -- briefs and candidates -------------------------------------------------------------------------------------------
def test_the_same_text_of_a_brief_pools_its_counts_under_its_first_row(tmp_path: Path) -> None:
    batch = read_rows(tmp_path, ALSO_GOOD, GOOD, "t1,2024-01-02, A good one ,500,7", "t2,2024-01-02,A good one,9,1")
    assert measured(batch) == [("A better one", 30, 1000), ("A good one", 27, 1500), ("A good one", 1, 9)]
    assert batch.measurements["n_source_rows"].to_pylist() == [1, 2, 1]
    assert batch.candidates["source_row"].to_pylist() == [1, 2, 4]


def test_candidate_id_is_the_hash_of_brief_and_text(tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, GOOD).candidates.to_pylist()
    assert row["candidate_id"] == content_hash(row["brief_id"], row["text"])


def test_a_brief_over_two_cycles_belongs_to_the_later_and_is_measured_after_it(tmp_path: Path) -> None:
    batch = read_rows(tmp_path, "t1,2024-01-09,x,10,1", "t1,2024-01-02,y,10,1", "t1,2024-01-03,y,10,1")
    assert set(batch.candidates["cycle"].to_pylist()) == {date(2024, 1, 8)}
    assert set(batch.candidates["recorded_at"].to_pylist()) == {datetime(2024, 1, 8, tzinfo=UTC)}
    x, y = batch.measurements.to_pylist()
    assert (x["measured_on"], x["recorded_at"]) == (date(2024, 1, 9), datetime(2024, 1, 15, tzinfo=UTC))
    assert (y["measured_on"], y["recorded_at"]) == (date(2024, 1, 2), datetime(2024, 1, 15, tzinfo=UTC))


def test_recorded_at_can_be_set_from_outside(tmp_path: Path) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    batch = read_archive(write(tmp_path, GOOD, "t,x,y,1,1"), MAPPING, cadence=Cadence.WEEKLY, recorded_at=now)
    tables = (batch.candidates, batch.measurements, batch.quarantine)
    assert {instant for table in tables for instant in table["recorded_at"].to_pylist()} == {now}


@pytest.mark.parametrize(
    ("cadence", "cycle", "over"),
    [
        (Cadence.DAILY, date(2024, 1, 31), datetime(2024, 2, 1, tzinfo=UTC)),
        (Cadence.WEEKLY, date(2024, 1, 29), datetime(2024, 2, 5, tzinfo=UTC)),
        (Cadence.MONTHLY, date(2024, 1, 1), datetime(2024, 2, 1, tzinfo=UTC)),
    ],
)
def test_cadence_decides_the_cycle(tmp_path: Path, cadence: Cadence, cycle: date, over: datetime) -> None:
    batch = read(write(tmp_path, "t1,2024-01-31,x,10,1"), cadence)
    (row,) = batch.measurements.to_pylist()
    assert (row["cycle"], row["recorded_at"]) == (cycle, over)


def brief_ids(folder: Path, *rows: str) -> list[str]:
    mapping = parse_mapping(
        "columns: {brief: [test, image], text: headline, cycle: day, exposure: impressions, successes: clicks}", "m"
    )
    batch = read_archive(write(folder, *rows, header=f"{HEADER},image"), mapping, cadence=Cadence.WEEKLY)
    return batch.candidates["brief_id"].to_pylist()


def test_brief_ids_are_readable_and_an_empty_part_is_a_group(tmp_path: Path) -> None:
    found = brief_ids(tmp_path, f"{GOOD},cat", f"{GOOD},", ",2024-01-02,x,1,1,cat")
    assert found == ["/cat", "t1/", "t1/cat"]


def test_brief_ids_do_not_collide_over_the_separator(tmp_path: Path) -> None:
    found = brief_ids(tmp_path, "a/b,2024-01-02,x,1,1,c", "a,2024-01-02,x,1,1,b/c", "a%2Fb,2024-01-02,x,1,1,c")
    assert len(set(found)) == 3


def test_long_briefs_get_short_ids_that_differ(tmp_path: Path) -> None:
    found = brief_ids(tmp_path, f"{'a' * 500}x,2024-01-02,x,1,1,", f"{'a' * 500}y,2024-01-02,x,1,1,")
    assert len(set(found)) == 2
    assert max(map(len, found)) <= 64


def test_segment_and_title_are_taken_from_the_first_row_that_has_them(tmp_path: Path) -> None:
    mapping = parse_mapping(
        "columns: {brief: test, text: headline, cycle: day, exposure: impressions, successes: clicks, "
        "segment: topic, title: name}",
        "m",
    )
    rows = [f"{GOOD},,{'n' * 300}", f"{ALSO_GOOD},cats,other", "t2,2024-01-02,x,1,1,,"]
    batch = read_archive(write(tmp_path, *rows, header=f"{HEADER},topic,name"), mapping, cadence=Cadence.WEEKLY)
    assert batch.candidates["segment"].to_pylist() == ["cats", "cats", "all"]
    assert [len(title) for title in batch.candidates["title"].to_pylist()] == [120, 120, 2]


def test_a_title_is_one_line(tmp_path: Path) -> None:
    mapping = MAPPING.model_copy(update={"columns": MAPPING.columns.model_copy(update={"title": "name"})})
    path = write(tmp_path, f'{GOOD},"two\nlines\x1b[2J"', header=f"{HEADER},name")
    assert read_archive(path, mapping, cadence=Cadence.WEEKLY).candidates["title"].to_pylist() == ["two lines [2J"]


# -- formats ---------------------------------------------------------------------------------------------------------
def test_every_format_gives_the_same_tables(tmp_path: Path) -> None:
    rows = [GOOD, ALSO_GOOD, 't2,2024-01-09,"Commas, and ""quotes""",7,0']
    plain = write(tmp_path, *rows)
    table = pyarrow.csv.read_csv(plain)
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.set_column(3, "impressions", table["impressions"].cast(pa.float64())), tmp_path / "b.parquet")
    variants = {
        "gzip": write(tmp_path, *rows, name="a.csv.gz"),
        "byte_order_mark": write(tmp_path, *rows, header=b"\xef\xbb\xbf" + HEADER.encode(), name="bom.csv"),
        "windows_line_ends": tmp_path / "crlf.csv",
        "parquet_with_dates": tmp_path / "a.parquet",
        "parquet_with_doubles": tmp_path / "b.parquet",
    }
    variants["windows_line_ends"].write_bytes(plain.read_bytes().replace(b"\n", b"\r\n"))
    for name, delimiter in (("tab", "\t"), ("semicolon", ";")):
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(csv.reader(plain.read_text().splitlines()))
        variants[name] = tmp_path / f"{name}.csv"
        variants[name].write_text(text.getvalue())
    expected = read(plain)
    for name, path in variants.items():
        found = read(path)
        for table in ("candidates", "measurements"):
            left, right = (getattr(batch, table).drop_columns(["batch_id"]) for batch in (found, expected))
            assert left.equals(right), f"{name}: {table}"


def test_the_same_file_is_one_batch_and_another_mapping_another(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    renamed = write(tmp_path, GOOD, name="renamed.csv")
    other = MAPPING.model_copy(update={"leave_out": {"clicks": ("7",)}})
    assert read(path).batch_id == read(renamed).batch_id
    assert read_archive(path, other, cadence=Cadence.WEEKLY).batch_id != read(path).batch_id
    assert read(path, Cadence.DAILY).batch_id != read(path).batch_id


def test_the_tables_fit_the_lake(tmp_path: Path) -> None:
    batch = read_rows(tmp_path, GOOD, ALSO_GOOD, "t2,2024-01-09,x,-1,0")
    lake = Lake(tmp_path / "lake")
    facts = {ARCHIVE_CANDIDATES: batch.candidates, QUARANTINE: batch.quarantine}
    assert lake.append_batch("f", batch.header, facts)
    assert lake.read(ARCHIVE_CANDIDATES, "f").num_rows == 2
    assert lake.read(QUARANTINE, "f").num_rows == 1
    (header,) = lake.read(BATCHES, "f").to_pylist()
    assert (header["n_rows"], header["n_quarantined"]) == (2, 1)


# -- no row is lost --------------------------------------------------------------------------------------------------
CELLS = st.one_of(
    st.sampled_from(["", "1", "20", "1.0", "-3", "x", "2024-01-03", "2024-02-30", "a\nb", '"', "'", "é", "NaN", ","]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6),
)
GOOD_ROWS = st.tuples(
    st.sampled_from(["t1", "t2"]),
    st.sampled_from(["2024-01-02", "2024-01-09"]),
    st.sampled_from(["x", "y", " x"]),
    st.integers(10, 99).map(str),
    st.integers(0, 10).map(str),
    st.sampled_from(["", "old", "new"]),
).map(list)
BROKEN = "-1"
BAD_ROWS = st.lists(CELLS, min_size=1, max_size=8).map(
    # A row of random cells must not be a good one by chance: its count is wrong.
    lambda row: [*row[:3], BROKEN, *row[4:]] if len(row) == 6 else row
)
ROWS = st.lists(st.one_of(GOOD_ROWS, GOOD_ROWS, BAD_ROWS), min_size=1, max_size=25)


def read_generated(content: bytes) -> ArchiveBatch | None:
    mapping = MAPPING.model_copy(update={"leave_out": {"state": ("old",)}})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(content)
        try:
            return read_archive(path, mapping, cadence=Cadence.WEEKLY)
        except InputFileError:
            return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS)
def test_every_row_is_used_put_aside_or_left_out(rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[*HEADER.split(","), "state"], *rows])
    batch = read_generated(text.getvalue().encode())
    if batch is None:
        return
    assert batch.n_rows == len(rows)
    assert batch.n_rows == batch.n_used + batch.n_quarantined + sum(batch.left_out.values())
    fine = [row for row in rows if len(row) == 6 and row[3] != BROKEN and row[5] != "old"]
    assert batch.n_used == len(fine)
    assert sum(batch.measurements["exposure"].to_pylist()) == sum(int(row[3]) for row in fine)


def test_control_a_lost_row_shows_in_the_sum(tmp_path: Path) -> None:
    whole = read_rows(tmp_path, GOOD, ALSO_GOOD, "t1,2024-01-02,x,-1,0")
    lossy = dataclasses.replace(whole, measurements=whole.measurements.slice(1))
    assert whole.n_rows == whole.n_used + whole.n_quarantined
    assert lossy.n_rows != lossy.n_used + lossy.n_quarantined


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.one_of(st.binary(max_size=200), st.text(alphabet=',"\n\rxé1\0', max_size=120).map(str.encode)))
def test_any_bytes_end_in_rows_quarantine_or_an_error_that_is_ours(content: bytes) -> None:
    batch = read_generated(f"{HEADER},state\n{GOOD},\n".encode() + content)
    if batch is not None:
        assert batch.n_rows == batch.n_used + batch.n_quarantined + sum(batch.left_out.values())


# -- mappings --------------------------------------------------------------------------------------------------------
def refused(text: str) -> str:
    with pytest.raises(InputFileError) as caught:
        parse_mapping(text, "mapping.yaml")
    assert "mapping.yaml" in str(caught.value)
    return str(caught.value)


COLUMNS = "columns: {brief: test, text: headline, cycle: day, exposure: impressions, successes: clicks}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COLUMNS.replace("exposure", "exposre"), "key columns.exposre: unknown. Did you mean exposure?"),
        (COLUMNS.replace("exposure", "exposre"), "key columns.exposure: missing. Column that counts the trials"),
        (f"{COLUMNS}\nleaveout: {{}}", "key leaveout: unknown. Did you mean leave_out?"),
        (f"{COLUMNS}\ncycle_format: '%d.%m.'", "key cycle_format: found '%d.%m.'. expected a date such as %Y-%m-%d"),
        (f"{COLUMNS}\ncycle_format: '%Y%U'", "a Monday-based week"),
        (
            f"{COLUMNS}\nrecorded_as: {{exposure: Views!, successes: clicks}}",
            "key recorded_as.exposure: found 'Views!'",
        ),
        (COLUMNS.replace("brief: test", "brief: []"), "key columns.brief: found"),
        ("just words", "expected the keys columns, cycle_format, recorded_as, leave_out"),
        ("columns: {", "not readable as YAML"),
        ("", "expected the keys"),
    ],
)
def test_a_bad_mapping_is_refused_with_key_value_and_what_is_allowed(text: str, said: str) -> None:
    assert said in refused(text)


def test_a_missing_mapping_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such file"):
        load_mapping(tmp_path / "mapping.yaml")


def test_measures_are_named_after_their_columns_unless_said_otherwise() -> None:
    named = parse_mapping(COLUMNS.replace("impressions", "'Total Views'"), "m").measures
    assert (named.exposure, named.successes) == ("total_views", "clicks")
    said = parse_mapping(f"{COLUMNS}\nrecorded_as: {{exposure: sends, successes: replies}}", "m").measures
    assert (said.exposure, said.successes) == ("sends", "replies")


def test_the_builtin_mapping_that_fits_is_found() -> None:
    for name, mapping in builtin_mappings().items():
        assert find_mapping([*mapping.required_columns, "another"]) == (name, mapping)


def test_without_a_fitting_mapping_the_error_holds_one_to_paste(tmp_path: Path) -> None:
    with pytest.raises(InputFileError) as caught:
        find_mapping(["Test ID", "Subject Line", "Opened By", "Sent"], "mailing.csv")
    text = str(caught.value)
    assert "Header found: Test ID, Subject Line, Opened By, Sent" in text
    mapping: ArchiveMapping = parse_mapping(text.split("\n\n", 1)[1], "pasted")
    assert mapping.columns.brief == ("Test ID",)
    assert mapping.columns.text == "Subject Line"
    assert mapping.columns.exposure == "Sent"
    assert mapping.columns.successes == "COLUMN_NAME"


# -- weeks -----------------------------------------------------------------------------------------------------------
def cycles_of(folder: Path, cycle_format: str, *values: str) -> list[date]:
    mapping = MAPPING.model_copy(update={"cycle_format": cycle_format})
    rows = [f"t{number},{value},x,10,1" for number, value in enumerate(values)]
    return read_archive(write(folder, *rows), mapping, cadence=Cadence.WEEKLY).candidates["cycle"].to_pylist()


def test_the_last_week_of_a_year_and_week_00_of_the_next_are_one_cycle(tmp_path: Path) -> None:
    assert cycles_of(tmp_path, "%Y%W", "201452", "201500") == [date(2014, 12, 29)] * 2


def test_control_the_weeks_around_them_are_others(tmp_path: Path) -> None:
    assert cycles_of(tmp_path, "%Y%W", "201451", "201501") == [date(2014, 12, 22), date(2015, 1, 5)]


def test_iso_weeks_and_months(tmp_path: Path) -> None:
    assert cycles_of(tmp_path, "%G-W%V", "2015-W01") == [date(2014, 12, 29)]
    assert cycles_of(tmp_path, "%Y-%m", "2024-04") == [date(2024, 4, 1)]


@pytest.mark.parametrize("value", ["201353", "201800", "20135", "201360", "2013-05"])
def test_a_week_that_does_not_exist_is_put_aside(tmp_path: Path, value: str) -> None:
    mapping = MAPPING.model_copy(update={"cycle_format": "%Y%W"})
    path = write(tmp_path, "t1,201305,x,10,1", f"t1,{value},y,10,1")
    ((row, field, found, reason),) = put_aside(read_archive(path, mapping, cadence=Cadence.WEEKLY))
    assert (row, field, found) == (2, "day", value)
    assert "%Y%W, for example 202410" in reason


# -- the real archive ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def upworthy() -> ArchiveBatch:
    path = upworthy_archive()
    name, mapping = find_mapping(read_header(path))
    assert name == "upworthy"
    return read_archive(path, mapping, cadence=Cadence.WEEKLY)


def test_upworthy_has_its_weeks_and_briefs(upworthy: ArchiveBatch) -> None:
    # 90 labels; 201452 and 201500 are the same Monday.
    assert len(upworthy.cycles) == 89
    per_brief = upworthy.candidates.group_by("brief_id").aggregate([("text", "count")])["text_count"].to_pylist()
    assert sum(count >= 2 for count in per_brief) == 1_025


def test_upworthy_has_90_labels_for_its_89_weeks() -> None:
    with gzip.open(upworthy_archive(), "rt", encoding="utf-8", newline="") as stream:
        labels = {row["test_week"] for row in csv.DictReader(stream) if row["randomization_risk_week"] == "False"}
    assert len(labels) == 90
    assert {"201452", "201500"} <= labels


def test_upworthy_accounts_for_every_row(upworthy: ArchiveBatch) -> None:
    assert upworthy.n_rows == 11_342
    assert upworthy.n_quarantined == 0
    assert upworthy.left_out == {"eyecatcher_id is empty": 18, "randomization_risk_week is true": 2_047}
    assert upworthy.n_used == 11_342 - 18 - 2_047
