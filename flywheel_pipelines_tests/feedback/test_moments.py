"""Instants in cells: which one is meant, in UTC on any machine, or a refusal where more than one could be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.feeds.moments import parse_moment
from flywheel_pipelines.feedback.feeds.rows import CellError

NOW = datetime(2026, 12, 1, tzinfo=UTC)
DAY_FIRST, MONTH_FIRST = "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"


def parsed(written: str | None, *formats: str) -> datetime:
    return parse_moment(written, formats, not_after=NOW)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("written", "formats", "meant"),
    [
        ("2020-04-01T17:31:32.000Z", [], utc(2020, 4, 1, 17, 31, 32)),
        ("2020-04-01 17:31", [], utc(2020, 4, 1, 17, 31)),
        ("2020-04-01", [], utc(2020, 4, 1)),
        ("20200104", [], utc(2020, 1, 4)),
        ("20200401T173132Z", [], utc(2020, 4, 1, 17, 31, 32)),
        ("01/04/2020 17:31", [DAY_FIRST], utc(2020, 4, 1, 17, 31)),
        ("04/01/2020 17:31", [MONTH_FIRST], utc(2020, 4, 1, 17, 31)),
        ("20200104", ["%Y%d%m"], utc(2020, 4, 1)),
        ("1585762292", ["%s"], utc(2020, 4, 1, 17, 31, 32)),
        ("1585762292.5", ["%s"], utc(2020, 4, 1, 17, 31, 32, 500_000)),
        ("01.04.2020 19:31:32 +0200", ["%d.%m.%Y %H:%M:%S %z"], utc(2020, 4, 1, 17, 31, 32)),
        ("01/04/2020 05:31 PM", ["%d/%m/%Y %I:%M %p"], utc(2020, 4, 1, 17, 31)),
        ("2020-04-01T17:31:32Z", [DAY_FIRST, "%s"], utc(2020, 4, 1, 17, 31, 32)),
    ],
)
def test_instants_in_the_feeds_formats_and_in_iso(written: str, formats: list[str], meant: datetime) -> None:
    assert parsed(written, *formats) == meant


@pytest.mark.parametrize("formats", [[], ["%s"], [DAY_FIRST]])
@pytest.mark.parametrize(
    "written",
    [
        "tomorrow", "9" * 40, "2020-04-01T25:00Z", "0001-01-01T00:00:00+23:59", "2020-04", "2020-W14", "2020-0401",
        "2020-04-01T17:31:32Z" + "0" * 40, "1585762292000", "٢٠٢٠-٠٤-٠١", "2020-04-01 17:31 Europe/Berlin",
    ],
)  # fmt: skip
def test_control_other_texts_are_no_instants(written: str, formats: list[str]) -> None:
    with pytest.raises(CellError):
        parsed(written, *formats)


@pytest.mark.parametrize("written", [None, "", " "])
def test_an_empty_cell_says_what_is_expected(written: str | None) -> None:
    with pytest.raises(CellError, match="empty; expected a day or an instant"):
        parsed(written)


@pytest.mark.parametrize(
    ("written", "words"), [("1989-12-31", "outside 1990 to 2099"), ("2026-12-02T00:00:01Z", "in the future")]
)
def test_an_instant_that_cannot_be_is_refused(written: str, words: str) -> None:
    with pytest.raises(CellError, match=words):
        parsed(written)


def test_control_a_day_of_grace_is_given() -> None:
    assert parsed("2026-12-02T00:00:00Z") == NOW + timedelta(days=1)


# -- day and month ---------------------------------------------------------------------------------------------------
def test_a_cell_that_two_formats_read_differently_is_refused_with_both_readings() -> None:
    with pytest.raises(CellError) as caught:
        parsed("03/04/2026 10:00", DAY_FIRST, MONTH_FIRST)
    assert f"could be 2026-04-03 10:00:00 ({DAY_FIRST}) or 2026-03-04 10:00:00 ({MONTH_FIRST})" in str(caught.value)


@pytest.mark.parametrize("written", ["25/04/2026 10:00", "04/25/2026 10:00", "04/04/2026 10:00"])
def test_control_a_cell_that_only_one_way_of_reading_fits_is_read(written: str) -> None:
    assert parsed(written, DAY_FIRST, MONTH_FIRST).month == 4


@given(st.datetimes(datetime(1990, 1, 1), datetime(2026, 11, 30)))
def test_the_order_of_the_formats_never_decides(moment: datetime) -> None:
    def outcome(*formats: str) -> datetime | None:
        try:
            return parsed(moment.strftime(DAY_FIRST), *formats)
        except CellError:
            return None

    found = outcome(DAY_FIRST, MONTH_FIRST)
    assert found == outcome(MONTH_FIRST, DAY_FIRST)
    assert found in (None, moment.replace(second=0, microsecond=0, tzinfo=UTC))


@pytest.mark.parametrize("written", ["2026-13-01", "2026-01-12", "2026-01-13", "2026-02-28"])
def test_under_a_format_with_the_day_before_the_month_no_cell_is_read_as_iso(written: str) -> None:
    """2026-01-12 is the first of December there, so 2026-01-13 must not silently be the thirteenth of January."""
    year, day, month = (int(part) for part in written.split("-"))
    if month <= 12:
        assert parsed(written, "%Y-%d-%m") == utc(year, month, day)
        return
    with pytest.raises(CellError) as caught:
        parsed(written, "%Y-%d-%m")
    assert "expected %Y-%d-%m. Correct the row" in str(caught.value), "ISO is not offered"


@pytest.mark.parametrize("formats", [["%Y%d%m"], ["%Y-%d-%m %H:%M", "%Y-%d-%m"]])
def test_neither_with_a_time(formats: list[str]) -> None:
    with pytest.raises(CellError):
        parsed("2026-01-13T10:00:00Z" if "-" in formats[0] else "20260113T100000Z", *formats)


# -- zones -----------------------------------------------------------------------------------------------------------
@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A machine whose clock shows another zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        # Berlin's clocks show 2:30 twice in this night, and never in the other.
        ("2026-10-25 02:30", utc(2026, 10, 25, 2, 30)),
        ("2026-03-29 02:30", utc(2026, 3, 29, 2, 30)),
        ("2026-03-08 02:30", utc(2026, 3, 8, 2, 30)),
        ("2026-10-25T02:30:00+02:00", utc(2026, 10, 25, 0, 30)),
        ("2026-10-25T02:30:00+01:00", utc(2026, 10, 25, 1, 30)),
    ],
)
def test_what_names_no_zone_is_utc_on_every_machine_and_no_hour_is_there_twice(
    machine: str, written: str, meant: datetime
) -> None:
    assert parsed(written) == meant
    assert parsed(written, "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%z") == meant


def test_control_the_machines_zone_is_in_force(machine: str) -> None:
    assert time.localtime(1_785_000_000).tm_gmtoff == {
        "UTC": 0, "Europe/Berlin": 7_200, "America/New_York": -14_400, "Asia/Kolkata": 19_800
    }[machine]  # fmt: skip
    assert os.environ["TZ"] == machine


@pytest.mark.parametrize("written", ["2026-01-05+02:00", "2026-01-05-05:00", "2026-01-05909:30", "2026-01-05_09:30"])
def test_an_offset_is_not_taken_for_a_time(written: str) -> None:
    with pytest.raises(CellError):
        parsed(written)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("%Y-%m-%d %H:%M %Z", "depends on the machine"),
        ("%c", "depends on the machine"),
        ("%d/%m/%Y %I:%M", "does not say which half"),
        ("%H:%M", "does not say year, month and day"),
    ],
)
def test_a_format_that_leaves_the_instant_open_is_refused_with_what_to_write(written: str, words: str) -> None:
    with pytest.raises(FlywheelError, match=words):
        parsed("05/01/2026 09:30", written)


def test_control_a_percent_sign_is_no_hour() -> None:
    assert parsed("2026-01-05 5%I", "%Y-%m-%d 5%%I") == utc(2026, 1, 5)
