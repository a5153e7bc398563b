"""Files of metrics whose rows say no day: their days overlap, or are remembered by rows that wait in quarantine."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.releasing import release, retry_unmatched
from flywheel_pipelines.lake import tables
from flywheel_pipelines.spec import FlywheelSpec
from flywheel_pipelines_tests.feedback.quarantine_desk import AT, CYCLE, FLYWHEEL, Desk

HEADER = "tracking_tag,sends,opens,replies,unsubscribes"
Days = tuple[date, date]


def days(first: int, last: int) -> Days:
    return date(2026, 1, first), date(2026, 1, last)


WEEK = days(5, 11)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.publish("a", "b")
    return made


def spec_of(desk: Desk, corrections: str = "upsert") -> FlywheelSpec:
    spec = desk.spec
    mailer = spec.feeds["mailer"]
    columns = {name: header for name, header in mailer.columns.items() if name != "date"}
    feed = mailer.model_copy(update={"corrections": corrections, "columns": columns})
    return spec.model_copy(update={"feeds": {**spec.feeds, "mailer": feed}})


def land(
    desk: Desk, period: Days, *outputs: str, hours: int = 0, corrections: str = "upsert", replies: int = 3
) -> None:
    path = desk.root / f"export-{hours}.csv"
    path.write_text("\n".join([HEADER, *(f"{one},40,10,{replies},0" for one in outputs)]) + "\n", encoding="utf-8")
    at = AT + timedelta(hours=hours)
    land_file(desk.lake, spec_of(desk, corrections), "mailer", path, recorded_at=at, period=period)


def test_an_export_that_overlaps_an_earlier_one_is_refused_with_what_to_do(desk: Desk) -> None:
    land(desk, WEEK, "a", "b")
    with pytest.raises(InputFileError, match=r"(?s)2026-01-08 to 2026-01-14; export-0.csv was about 2026-01-05.*twice"):
        land(desk, days(8, 14), "a", hours=1)
    assert desk.known() == {("a", WEEK[1]): 3.0, ("b", WEEK[1]): 3.0}


def test_a_longer_export_takes_the_place_of_a_shorter_one_where_it_replaces_a_range(desk: Desk) -> None:
    land(desk, days(5, 7), "a", corrections="replace_range")
    land(desk, WEEK, "a", hours=1, corrections="replace_range", replies=9)
    assert len(desk.lake.read(tables.BATCHES, FLYWHEEL)) == 2


def test_a_longer_export_is_refused_where_it_only_adds(desk: Desk) -> None:
    land(desk, days(5, 7), "a")
    with pytest.raises(InputFileError, match="count twice"):
        land(desk, WEEK, "a", hours=1)


def test_control_the_same_days_again_correct(desk: Desk) -> None:
    land(desk, WEEK, "a")
    land(desk, WEEK, "a", hours=1, replies=9)
    assert desk.known() == {("a", WEEK[1]): 9.0}


def test_control_days_that_do_not_overlap_add_up(desk: Desk) -> None:
    land(desk, WEEK, "a")
    land(desk, days(12, 18), "a", hours=1)
    assert len(desk.known()) == 2


def test_control_overlapping_exports_about_different_outputs_do_not_meet(desk: Desk) -> None:
    land(desk, WEEK, "a")
    land(desk, days(8, 14), "b", hours=1)
    assert len(desk.known()) == 2


def test_a_row_that_is_released_keeps_the_days_of_its_file(desk: Desk) -> None:
    land(desk, WEEK, "a", "nobody")
    [row] = desk.open()
    [done] = release(
        desk.lake, spec_of(desk), [row], recorded_at=AT + timedelta(hours=1), decided_by="me",
        changes={"tracking_tag": "b"},
    )  # fmt: skip
    assert done.batch.n_rows == 1
    assert desk.known() == {("a", WEEK[1]): 3.0, ("b", WEEK[1]): 3.0}


def test_a_row_that_finds_its_output_keeps_the_days_of_its_file(desk: Desk) -> None:
    land(desk, WEEK, "a", "late")
    desk.publish("a", "b", "late", cycle=CYCLE)
    [batch] = retry_unmatched(desk.lake, spec_of(desk), AT + timedelta(hours=1))
    assert batch.n_rows == 1
    assert desk.known()[("late", WEEK[1])] == 3.0


def test_rows_of_files_about_other_days_are_released_apart(desk: Desk) -> None:
    land(desk, WEEK, "a", "x")
    land(desk, days(12, 18), "a", "x", hours=1)
    at = AT + timedelta(hours=2)
    done = release(
        desk.lake, spec_of(desk), desk.open(), recorded_at=at, decided_by="me", changes={"tracking_tag": "b"}
    )
    assert len(done) == 2
    assert {day for output, day in desk.known() if output == "b"} == {WEEK[1], date(2026, 1, 18)}
