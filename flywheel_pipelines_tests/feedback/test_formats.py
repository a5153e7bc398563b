"""Numbers and days as platforms write them: what is read, what is refused in words, and that SQL says the same."""

from __future__ import annotations

import math
from datetime import date
from typing import get_args

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.counts import why_no_count
from flywheel_pipelines.feedback.feeds.day_formats import day_sql, parse_day
from flywheel_pipelines.feedback.feeds.formats import count_sql, number_sql, parse_count, parse_number
from flywheel_pipelines.feedback.files.cells import CellError
from flywheel_pipelines.spec.feeds import NumberFormat

FORMATS: tuple[NumberFormat, ...] = get_args(NumberFormat)
CONNECTION = duckdb.connect(":memory:")


def in_sql(expression: str, text: str | None) -> object:
    row = CONNECTION.execute(f"SELECT {expression} FROM (SELECT ?::VARCHAR AS cell)", [text]).fetchone()
    assert row is not None
    return row[0]


# -- numbers -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "written", "number"),
    [
        ("45613", "plain", 45613.0),
        ("12.0", "plain", 12.0),
        ("12.", "plain", 12.0),
        (".5", "plain", 0.5),
        ("-3.25", "plain", -3.25),
        ("4.17%", "plain", 0.0417),
        ("4.5 %", "plain", 0.045),
        ("1%", "plain", 0.01),
        ("92,812", "1,234.5", 92812.0),
        ("1,234,567.25", "1,234.5", 1234567.25),
        ("1234.5", "1,234.5", 1234.5),
        ("59.86%", "1,234.5", 0.5986),
        ("1.234.567,25", "1.234,5", 1234567.25),
        ("4,17 %", "1.234,5", 0.0417),
        ("1.234", "1.234,5", 1234.0),
        ("1 234,5", "1 234,5", 1234.5),
        ("1\u00a0234\u00a0567", "1 234,5", 1234567.0),
        ("12\u202f345,5\u00a0%", "1 234,5", 123.455),
        ("\u22125", "plain", -5.0),
        ("\ufeff 7 ", "plain", 7.0),
    ],
)
def test_numbers_are_read_as_the_feed_says_they_are_written(text: str, written: NumberFormat, number: float) -> None:
    assert parse_number(text, written) == number


@pytest.mark.parametrize("text", ["N/A", "n/a", "--", "-", "", "  ", None, "\u2014"])
@pytest.mark.parametrize("written", FORMATS)
def test_what_was_not_measured_is_missing_and_not_zero(text: str | None, written: NumberFormat) -> None:
    assert parse_number(text, written) is None
    assert parse_count(text, written) is None


def test_control_a_zero_is_a_number() -> None:
    assert parse_number("0") == 0.0


@pytest.mark.parametrize(
    ("text", "written", "words"),
    [
        ("1,234", "plain", "written as 1,234.5"),
        ("1,5", "1,234.5", "written as 1.234,5 or 1 234,5, while the feed says 1,234.5"),
        ("0,125", "1,234.5", "written as 1.234,5"),
        ("1.5", "1.234,5", "written as plain or 1,234.5"),
        ("12,34", "1,234.5", "while the feed says"),
        ("1 234", "plain", "written as 1 234,5"),
        ("NaN", "plain", "not a number"),
        ("-inf", "plain", "not a number"),
        ("Infinity", "1,234.5", "not a number"),
        ("#DIV/0!", "plain", "not a number"),
        ("1e309", "plain", "exponent"),
        ("1.2E+05", "plain", "exponent"),
        ("0x1F", "plain", "plain digits"),
        ("1_000", "plain", "plain digits"),
        ("٣", "plain", "plain digits"),
        ("0:02:35", "1,234.5", "duration"),
        ("$12.50", "plain", "currency"),
        ("(12)", "plain", "brackets"),
        ("=1+1", "plain", "formula"),
        ("+cmd|' /C calc'!A0", "plain", "formula"),
        ("9" * 16, "plain", "too large"),
        ("9" * 400, "plain", "too large"),
        ("5%%", "plain", "plain digits"),
        ("1,234,5", "1,234.5", "plain digits"),
    ],
)
def test_what_is_no_number_is_refused_in_words(text: str, written: NumberFormat, words: str) -> None:
    with pytest.raises(CellError) as raised:
        parse_number(text, written)
    assert words in str(raised.value)
    assert "expected a number such as" in str(raised.value)


@pytest.mark.parametrize("text", ["12.5", "-3", "1e6", "9" * 16, "ten", "5%", "1,234"])
def test_counts_in_plain_digits_are_refused_with_the_words_there_were(text: str) -> None:
    with pytest.raises(CellError) as raised:
        parse_count(text)
    assert str(raised.value) == why_no_count(text)


@pytest.mark.parametrize(
    ("text", "written", "words"),
    [("1.5", "1,234.5", "not a whole number"), ("-5", "1.234,5", "negative"), ("5%", "1 234,5", "not a whole number")],
)
def test_counts_in_other_formats_say_what_a_count_looks_like(text: str, written: NumberFormat, words: str) -> None:
    with pytest.raises(CellError, match=words):
        parse_count(text, written)


def test_spreadsheets_write_whole_counts_with_a_decimal() -> None:
    assert (parse_count("12.0"), parse_count("1.250,00", "1.234,5")) == (12.0, 1250.0)


_CHARACTERS = st.text(alphabet="0123456789.,%-+ eEnaN/\u00a0\u202f\u2009\u2212\x00\n", max_size=14)
_WHOLE = st.integers(0, 10**14)


@st.composite
def written_numbers(draw: st.DrawFn) -> str:
    """Texts that are near to numbers in some format."""
    separator, decimal = draw(st.sampled_from(["", ",", ".", " ", "\u00a0", "\u202f"])), draw(st.sampled_from(".,"))
    text = f"{draw(_WHOLE):,}".replace(",", separator)
    if draw(st.booleans()):
        text += decimal + draw(st.text(alphabet="0123456789", max_size=20))
    return text + draw(st.sampled_from(["", "%", " %", "\n", " "]))


@given(st.one_of(written_numbers(), _CHARACTERS, st.text(max_size=8)), st.sampled_from(FORMATS))
def test_whenever_sql_gives_a_number_python_gives_the_same(text: str, written: NumberFormat) -> None:
    found = in_sql(number_sql("cell", written), text)
    if found is not None:
        assert parse_number(text, written) == found
    counted = in_sql(count_sql("cell", written), text)
    if counted is not None:
        assert parse_count(text, written) == counted


@given(st.one_of(written_numbers(), _CHARACTERS, st.text(max_size=8)), st.sampled_from(FORMATS))
def test_python_gives_a_finite_number_or_none_or_words(text: str, written: NumberFormat) -> None:
    try:
        number = parse_number(text, written)
    except CellError as error:
        assert "expected" in str(error)
    else:
        assert number is None or math.isfinite(number)


@pytest.mark.parametrize(
    ("text", "written"), [("1250", "plain"), ("1,250", "1,234.5"), ("1.250", "1.234,5"), ("1\u202f250", "1 234,5")]
)
def test_control_sql_does_read_what_is_plainly_fine(text: str, written: NumberFormat) -> None:
    """Else the property above would hold of an expression that is always NULL."""
    assert in_sql(number_sql("cell", written), text) == in_sql(count_sql("cell", written), text) == 1250.0
    share = "4.17%" if written in ("plain", "1,234.5") else "4,17%"
    assert in_sql(number_sql("cell", written), share) == 0.0417


# -- days --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "formats", "day"),
    [
        ("2026-01-05", ["%Y-%m-%d"], date(2026, 1, 5)),
        ("1/1/13", ["%m/%d/%y"], date(2013, 1, 1)),
        ("12/31/99", ["%m/%d/%y"], date(1999, 12, 31)),
        ("20260131", ["%Y%m%d"], date(2026, 1, 31)),
        ("31.01.2026", ["%Y-%m-%d", "%d.%m.%Y"], date(2026, 1, 31)),
        ("2020-04-01T17:31:32.000Z", ["%Y-%m-%dT%H:%M:%S.%fZ"], date(2020, 4, 1)),
        ("2026-01-05 23:30:00 -0500", ["%Y-%m-%d %H:%M:%S %z"], date(2026, 1, 6)),
        ("Jan 5, 2026", ["%b %d, %Y"], date(2026, 1, 5)),
        ("1767571200", ["%s"], date(2026, 1, 5)),
        ("1767571200.25", ["%s"], date(2026, 1, 5)),
        ("05/05/2026", ["%d/%m/%Y", "%m/%d/%Y"], date(2026, 5, 5)),
    ],
)
def test_days_are_read_in_the_declared_formats(text: str, formats: list[str], day: date) -> None:
    assert parse_day(text, formats) == day


@pytest.mark.parametrize(
    ("text", "formats", "words"),
    [
        (None, ["%Y-%m-%d"], "empty; expected the day the row is about, e.g. 2026-03-25"),
        ("2026-02-31", ["%Y-%m-%d"], "not a day: expected %Y-%m-%d"),
        ("12/31/2026", ["%d/%m/%Y"], r"not a day: expected %d/%m/%Y \(25/03/2026\)"),
        ("03/04/2026", ["%d/%m/%Y", "%m/%d/%Y"], "could be 2026-04-03 .* or 2026-03-04"),
        ("2026-01-05 10:00", ["%Y-%m-%d"], "not a day"),
        ("2206-01-05", ["%Y-%m-%d"], "year is outside 1990 to 2099"),
        ("99999999999", ["%s"], "year is outside"),
        ("-5", ["%s"], "not a day"),
        ("=TODAY()", ["%Y-%m-%d"], "not a day"),
        ("9" * 5000, ["%Y%m%d"], "not a day"),
    ],
)
def test_what_is_no_day_is_refused_in_words(text: str | None, formats: list[str], words: str) -> None:
    with pytest.raises(CellError, match=words):
        parse_day(text, formats)


@pytest.mark.parametrize("written", ["%Y-%m", "%H:%M", "%Y-%m-%d %Z", "%x", "day", "%Y-%d", "%Q"])
def test_a_format_that_says_no_day_is_refused(written: str) -> None:
    with pytest.raises(FlywheelError, match="dates: "):
        parse_day("2026-01-05", [written])


DAY_FORMATS = (
    ("%Y-%m-%d",),
    ("%m/%d/%y",),
    ("%d/%m/%Y", "%m/%d/%Y"),
    ("%Y%m%d", "%Y-%m-%d"),
    ("%d.%m.%y", "%y.%m.%d"),
    ("%b %d, %Y", "%d %b %Y"),
    ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"),
    ("%Y-%m-%dT%H:%M:%S.%fZ",),
    ("%d%m%Y", "%Y%m%d"),
    ("%s", "%Y%m%d"),
    ("%s",),
    ("%d%b%y",),
)


@st.composite
def written_days(draw: st.DrawFn) -> tuple[str, tuple[str, ...]]:
    """Texts that are near to days in some of the formats, and the formats."""
    formats = draw(st.sampled_from(DAY_FORMATS))
    moment = draw(st.datetimes())
    shape = draw(st.sampled_from([written for group in DAY_FORMATS for written in group]))
    shape = draw(st.sampled_from([shape, *formats]))
    text = str(draw(st.integers(0, 10**11))) if shape == "%s" else moment.strftime(shape)
    if draw(st.booleans()):
        text = text.replace("0", "", 1)
    return text + draw(st.sampled_from(["", "", " ", "\n", "0", "\x00"])), formats


@given(written_days())
def test_whenever_sql_gives_a_day_python_gives_the_same(case: tuple[str, tuple[str, ...]]) -> None:
    text, formats = case
    found = in_sql(day_sql("cell", formats), text)
    if found is not None:
        assert parse_day(text, formats) == found


@given(st.text(alphabet="0123456789-/.:TZ \x00", max_size=20), st.sampled_from(DAY_FORMATS))
def test_sql_and_python_agree_on_texts_of_the_characters_of_days(text: str, formats: tuple[str, ...]) -> None:
    found = in_sql(day_sql("cell", formats), text)
    if found is not None:
        assert parse_day(text, formats) == found


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        ("2026-01-05", ["%Y-%m-%d"]),
        ("1/5/26", ["%m/%d/%y"]),
        ("20260105", ["%Y%m%d", "%Y-%m-%d"]),
        ("2026-01-05T17:31:32Z", ["%Y-%m-%dT%H:%M:%SZ"]),
        ("2026-01-05T17:31:32.125Z", ["%Y-%m-%dT%H:%M:%S.%fZ"]),
        ("Jan 05, 2026", ["%b %d, %Y"]),
        ("1767571200", ["%s"]),
    ],
)
def test_control_sql_does_read_days_that_are_plainly_fine(text: str, formats: list[str]) -> None:
    assert in_sql(day_sql("cell", formats), text) == date(2026, 1, 5)


def test_sql_leaves_formats_that_can_be_mistaken_for_each_other_to_python() -> None:
    assert in_sql(day_sql("cell", ["%d/%m/%Y", "%m/%d/%Y"]), "25/01/2026") is None
