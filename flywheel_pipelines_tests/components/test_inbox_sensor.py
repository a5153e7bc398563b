"""The inbox sensor: a file that is dropped lands, and the cycles it touches are requested in one run."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.components import inbox_sensor
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop import landing_desk
from flywheel_pipelines_tests.corrections import (
    Ticks,
    inbox_of,
    marks,
    range_of,
    settle,
    ticking,
    write_correction,
)
from flywheel_pipelines_tests.small_world import changed_cycles
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

FIRST, SECOND, THIRD = WEEKS[:3]


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    return played.copy_to(tmp_path)


def test_it_is_on_from_the_start(played: WrittenWorld) -> None:
    sensor = played.definitions().resolve_sensor_def(f"{NAME}__inbox")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_an_empty_inbox_requests_nothing(world: WrittenWorld) -> None:
    with ticking(world) as ticks:
        assert ticks.skipped() == "No closed cycle is touched."


def test_a_correction_requests_one_run_over_exactly_the_range_it_touches(world: WrittenWorld) -> None:
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        request = ticks.requested()
    assert range_of(request) == (SECOND.isoformat(), THIRD.isoformat())
    assert request.tags["touched_cycles"] == SECOND.isoformat()
    assert "1 file landed (mailer/correction.csv): 1 rows." in request.tags["landed"]


def test_a_correction_of_the_newest_cycle_requests_that_cycle_alone(world: WrittenWorld) -> None:
    write_correction(world, THIRD, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        assert ticks.requested().partition_key == THIRD.isoformat()


def test_the_run_closes_the_range_again_and_then_nothing_is_left_to_do(world: WrittenWorld) -> None:
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        request = ticks.requested()
        before = world.bytes_of()
        assert ticks.execute(request).success
        changed = changed_cycles(before, world.bytes_of())
        assert ticks.skipped() == "No closed cycle is touched."
    assert changed["performance_metrics"] == [SECOND]
    assert changed["momentum"] == [SECOND, THIRD]


def test_the_same_state_gives_the_same_run_key(world: WrittenWorld) -> None:
    """Dagster starts no second run for the key of an earlier one."""
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        assert ticks.requested().run_key == ticks.requested().run_key


def test_another_correction_of_the_same_cycle_has_another_key(world: WrittenWorld) -> None:
    write_correction(world, SECOND, inbox_of(world) / "one.csv")
    with ticking(world) as ticks:
        first = ticks.requested()
        write_correction(world, SECOND, inbox_of(world) / "two.csv", replies=1)
        assert ticks.requested().run_key != first.run_key


def test_a_kill_between_landing_and_the_request_loses_nothing(world: WrittenWorld) -> None:
    """The tick landed, and neither its cursor nor its request arrived anywhere."""
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        lost = ticks.requested()
    with ticking(world) as ticks:
        again = ticks.requested()
    assert again.run_key == lost.run_key
    assert range_of(again) == range_of(lost)


def test_a_file_is_read_once(world: WrittenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = inbox_sensor.land
    monkeypatch.setattr(inbox_sensor, "land", lambda *given: (read.append(given[2].name), real(*given))[1])
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        for _ in range(3):
            ticks.tick()
    assert read == ["mailer/correction.csv"]


def test_a_file_that_changes_is_read_again(world: WrittenWorld) -> None:
    path = inbox_of(world) / "correction.csv"
    write_correction(world, SECOND, path)
    with ticking(world) as ticks:
        ticks.execute(ticks.requested())
        write_correction(world, FIRST, path, replies=17)
        assert range_of(ticks.requested()) == (FIRST.isoformat(), THIRD.isoformat())


def test_what_is_gone_from_the_inbox_is_forgotten(world: WrittenWorld) -> None:
    path = inbox_of(world) / "correction.csv"
    write_correction(world, SECOND, path)
    with ticking(world) as ticks:
        ticks.tick()
        assert len(marks(world, ticks.cursor)) == 1
        path.unlink()
        ticks.tick()
        assert marks(world, ticks.cursor) == frozenset()


def test_what_another_door_landed_is_closed_again_as_well(world: WrittenWorld, tmp_path: Path) -> None:
    from flywheel_pipelines.feedback.landing import land_file
    from flywheel_pipelines_tests.written_world import later

    path = tmp_path / "elsewhere.csv"
    write_correction(world, SECOND, path)
    land_file(world.lake, world.spec, "mailer", path, recorded_at=later(WEEKS[7], days=1))
    with ticking(world) as ticks:
        assert range_of(ticks.requested()) == (SECOND.isoformat(), THIRD.isoformat())


def test_an_open_cycle_that_was_never_closed_is_left_to_its_schedule(world: WrittenWorld) -> None:
    assert world.open(WEEKS[3]).success
    output = world.rows(tables.PUBLISHED_OUTPUTS, WEEKS[3])[0]["output_id"]
    path = inbox_of(world) / "fourth.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"output_id,day,replies,sends\n{output},{WEEKS[3]},3,50\n", encoding="utf-8")
    settle(path)
    with ticking(world) as ticks:
        said = ticks.skipped()
    assert "1 file landed" in said
    assert "No closed cycle is touched." in said
    assert world.rows(tables.METRIC_LEDGER, WEEKS[3])


# -- runs in the way -------------------------------------------------------------------------------------------------
def test_while_a_run_of_the_flywheel_is_under_way_no_second_one_is_requested(world: WrittenWorld) -> None:
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        run = started_run(ticks, "close")
        said = ticks.skipped()
        assert f"Run {run.run_id[:8]} ({NAME}__close) is under way" in said
        assert "1 file landed" in said
        ticks.instance.report_run_failed(run)
        assert range_of(ticks.requested()) == (SECOND.isoformat(), THIRD.isoformat())


def test_control_a_run_of_another_flywheel_is_not_in_the_way(world: WrittenWorld) -> None:
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        started_run(ticks, "close", flywheel="another")
        assert ticks.requested()


def started_run(ticks: Ticks, verb: str, flywheel: str = NAME) -> dg.DagsterRun:
    job = ticks.definitions.resolve_job_def(f"{NAME}__{verb}")
    tags = {"flywheel": flywheel, "dagster/partition": SECOND.isoformat()}
    return ticks.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)


def test_a_correction_whose_run_failed_is_not_requested_again_and_again(world: WrittenWorld) -> None:
    write_correction(world, SECOND, inbox_of(world) / "correction.csv")
    with ticking(world) as ticks:
        request = ticks.requested()
        job = ticks.definitions.resolve_job_def(f"{NAME}__close")
        failed = ticks.instance.create_run_for_job(
            job, tags={"dagster/run_key": str(request.run_key)}, status=dg.DagsterRunStatus.FAILURE
        )
        said = ticks.skipped()
    assert f"Run {failed.run_id[:8]} was requested for this and ended as FAILURE" in said
    assert "re-execute it" in said


# -- what is landed --------------------------------------------------------------------------------------------------
def test_new_briefs_land_too(world: WrittenWorld) -> None:
    path = inbox_of(world, "leads") / "more.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"brief_id,week,segment\nlate1,{WEEKS[5]},bakeries\n", encoding="utf-8")
    settle(path)
    with ticking(world) as ticks:
        assert "1 file landed (leads/more.csv): 1 rows." in ticks.skipped()
    assert "late1" in {row["brief_id"] for row in world.rows(tables.BRIEF_LEDGER, WEEKS[5])}


def test_a_file_that_cannot_be_used_shows_in_quarantine_and_is_not_read_again(world: WrittenWorld) -> None:
    path = inbox_of(world) / "broken.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("what,is,this\n1,2,3\n", encoding="utf-8")
    settle(path)
    with ticking(world) as ticks:
        said = ticks.skipped()
        again = ticks.skipped()
    assert "Not usable:" in said
    assert "no column for" in said
    assert "Not usable" not in again
    (row,) = [row for row in world.lake.read(tables.QUARANTINE, NAME).to_pylist() if row["field"] == "(file)"]
    assert row["problem"] == "unreadable"
    assert row["source"] == "mailer/broken.csv"


def test_a_file_that_could_not_be_used_is_read_again_when_its_feed_is_declared_otherwise(world: WrittenWorld) -> None:
    path = inbox_of(world) / "other.csv"
    write_correction(world, SECOND, path)
    path.write_text(path.read_text(encoding="utf-8").replace("output_id", "tag"), encoding="utf-8")
    settle(path)
    with ticking(world) as ticks:
        assert "Not usable" in ticks.skipped()
        feeds = world.spec.model_dump(mode="json", exclude_none=True)["feeds"]
        feeds["mailer"]["columns"] = {"date": "day", "output_id": "tag"}
        world.configure(feeds=feeds)
        ticks.definitions = world.definitions()
        assert range_of(ticks.requested()) == (SECOND.isoformat(), THIRD.isoformat())


def test_rows_in_quarantine_are_counted_in_words(world: WrittenWorld) -> None:
    path = inbox_of(world) / "mixed.csv"
    write_correction(world, SECOND, path)
    with path.open("a", encoding="utf-8") as handle:
        handle.write(f"nobody,{SECOND},1,10\n")
    settle(path)
    with ticking(world) as ticks:
        assert "1 rows, 1 in quarantine." in ticks.requested().tags["landed"]


def test_a_file_that_was_landed_before_changes_nothing(world: WrittenWorld) -> None:
    """What the simulated audience reported, put where the feed looks."""
    before = world.bytes_of("metric_ledger")
    inbox_of(world).mkdir(parents=True)
    for path in (world.paths.inbox / NAME / "mailer").glob("*.csv"):
        shutil.copy2(path, inbox_of(world))
        settle(inbox_of(world) / path.name)
    with ticking(world) as ticks:
        assert ticks.skipped() == "3 files held nothing that was not landed before. No closed cycle is touched."
    assert world.bytes_of("metric_ledger") == before


# -- a tick has a limit ----------------------------------------------------------------------------------------------
def test_a_tick_lands_what_fits_and_the_next_goes_on(world: WrittenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_sensor, "TICK_SECONDS", 0.0)
    hold = threading.Event()
    real = inbox_sensor.land
    monkeypatch.setattr(inbox_sensor, "land", lambda *given: (hold.wait(20), real(*given))[1])
    for number in range(3):
        path = inbox_of(world) / f"part{number}.csv"
        write_correction(world, THIRD, path, replies=10 + number)
        settle(path, 1_000 - number)
    with ticking(world) as ticks:
        said = ticks.skipped()
        assert "mailer/part0.csv" in said
        assert "still being read; the next tick goes on." in said
        assert "2 files left for the next tick." in said
        hold.set()
        monkeypatch.setattr(inbox_sensor, "TICK_SECONDS", 20.0)
        assert "3 files landed" in ticks.requested().tags["landed"]
    assert landing_desk.desk_of(str(world.lake.root), NAME)._running is None


def test_a_file_that_was_changed_a_moment_ago_waits(world: WrittenWorld) -> None:
    path = inbox_of(world) / "growing.csv"
    write_correction(world, SECOND, path)
    os.utime(path)
    with ticking(world) as ticks:
        assert "1 file changed a moment ago; the next tick looks again." in ticks.skipped()
        settle(path)
        assert ticks.requested()


def test_a_file_from_a_clock_that_runs_ahead_does_not_wait_for_ever(world: WrittenWorld) -> None:
    path = inbox_of(world) / "future.csv"
    write_correction(world, SECOND, path)
    settle(path, -86_400.0)
    with ticking(world) as ticks:
        assert ticks.requested()


# -- a correction that a contract stops -----------------------------------------------------------------------------
def test_a_close_that_a_red_contract_stopped_is_not_requested_again(world: WrittenWorld) -> None:
    """The run that failed left everything as it was, so that the same correction keeps its key."""
    path = inbox_of(world) / "bad.csv"
    write_correction(world, SECOND, path)
    with path.open("a", encoding="utf-8") as file:
        file.write("nobody,2026-01-12,3,40\n" * 4)
    settle(path)
    with ticking(world) as ticks:
        request = ticks.requested()
        assert not ticks.execute(request).success
        said = ticks.skipped()
    assert "was requested for this and ended as FAILURE" in said


def test_a_corrected_file_is_another_correction_after_a_red_contract(world: WrittenWorld) -> None:
    path = inbox_of(world) / "bad.csv"
    write_correction(world, SECOND, path)
    good = path.read_text(encoding="utf-8")
    path.write_text(good + "nobody,2026-01-12,3,40\n" * 4, encoding="utf-8")
    settle(path)
    with ticking(world) as ticks:
        assert not ticks.execute(ticks.requested()).success
        path.write_text(good + "\n", encoding="utf-8")
        settle(path, 30)
        assert ticks.execute(ticks.requested()).success
        assert ticks.skipped() == "No closed cycle is touched."
