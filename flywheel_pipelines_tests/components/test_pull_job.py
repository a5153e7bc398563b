"""The job and the schedule that pull, in a Dagster run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from flywheel_pipelines.components import pull_job
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, postgres
from flywheel_pipelines_tests.pulled_world import FEED, VARIABLE, measured, with_feeds
from flywheel_pipelines_tests.small_world import QUIET, failure
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

__all__ = ["postgres"]
JOB, OP, SCHEDULE = f"{NAME}__pull", f"{NAME}__pull_feeds", f"{NAME}__pull_every_morning"


@pytest.fixture
def world(
    played: WrittenWorld, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WrittenWorld]:
    made = with_feeds(played.copy_to(tmp_path))
    database = postgres.new_database()
    measured(made, postgres, database)
    monkeypatch.setenv(VARIABLE, postgres.url(database))
    with made.in_force():
        yield made


def run_job(world: WrittenWorld, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    job = world.definitions().resolve_job_def(JOB)
    run_config = {"ops": {OP: {"config": config}}, **QUIET}
    return job.execute_in_process(run_config=run_config, instance=instance, raise_on_error=False)


def test_the_job_pulls_every_feed_that_has_a_source(world: WrittenWorld) -> None:
    with new_instance() as instance:
        assert run_job(world, instance, first_day=str(WEEKS[0]), last_day=str(WEEKS[1])).success
        seen = instance.get_latest_materialization_event
        assert seen is not None
        found = instance.fetch_observations(dg.AssetKey([NAME, "inbox", FEED]), limit=1).records[0]
    observation = found.asset_observation
    assert observation is not None
    assert observation.metadata["rows"].value == 2
    assert observation.metadata["first_day"].value == str(WEEKS[0])
    path = Path(str(observation.metadata["file"].value))
    assert path.parent == world.paths.inbox / NAME / FEED
    assert path.exists()


def test_a_run_that_fails_says_why_and_shows_no_secret(
    world: WrittenWorld, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, postgres.url("nowhere", password=f"{PASSWORD}x"))
    monkeypatch.setattr(pull_job, "RETRY_SECONDS", 0.01)
    with new_instance() as instance:
        done = run_job(world, instance, feed=FEED)
        records = [str(record.event_log_entry) for record in instance.get_records_for_run(done.run_id).records]
    assert not done.success
    assert f"Feed {FEED}: cannot connect to the database that {VARIABLE} names" in failure(done)
    assert not [record for record in records if PASSWORD in record]
    # It may be there in a minute, so that it was asked three times.
    assert sum(event.is_step_restarted for event in done.all_events) == 2


def test_a_day_that_is_none_is_refused(world: WrittenWorld) -> None:
    with new_instance() as instance:
        done = run_job(world, instance, first_day="monday")
    assert "Config first_day: found 'monday'" in failure(done)
    assert not any(event.is_step_restarted for event in done.all_events)  # it stays wrong


def test_the_schedule_is_there_and_off(world: WrittenWorld) -> None:
    schedule = world.definitions().resolve_schedule_def(SCHEDULE)
    assert schedule.job_name == JOB
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_control_a_flywheel_of_files_has_neither(played: WrittenWorld) -> None:
    made = played.definitions()
    assert JOB not in {job.name for job in made.resolve_all_job_defs()}
    assert not list(made.schedules or [])
