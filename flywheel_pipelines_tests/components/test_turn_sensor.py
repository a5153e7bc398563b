"""The sensor that turns a flywheel, tick by tick: one turn at a time, in order, whatever became of the runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components import automation
from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.components.runs import WILL_RETRY_TAG, is_about_to_be_retried
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT
from flywheel_pipelines_tests.components.turning import NAME, START, Wheel, record_run, turning_spec
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.small_world import definitions
from flywheel_pipelines_tests.written_world import WrittenWorld

MONDAYS = [START + timedelta(weeks=number) for number in range(6)]


class Clockwork:
    """Ticks of the sensor at the times a test says, and runs that end as it says."""

    def __init__(self, wheel: Wheel, instance: dg.DagsterInstance, patch: pytest.MonkeyPatch) -> None:
        self.wheel, self.instance = wheel, instance
        self.now = datetime(2019, 1, 1, tzinfo=UTC)
        self.definitions = wheel.definitions()
        patch.setattr(automation, "utc_now", lambda: self.now)

    def tick(self, day: date | None = None, hour: int = 6) -> dg.SensorResult:
        if day is not None:
            self.now = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
        sensor = self.definitions.resolve_sensor_def(f"{self.wheel.spec.name}__turn")
        resources = {"lake": LakeResource(duckdb=DuckDBResource(database=":memory:"))}
        with dg.build_sensor_context(instance=self.instance, resources=resources) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def requested(self, day: date | None = None) -> dg.RunRequest:
        [request] = self.tick(day).run_requests or []
        return request

    def skipped(self, day: date | None = None, hour: int = 6) -> str:
        result = self.tick(day, hour)
        assert not result.run_requests
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)

    def run(self, request: dg.RunRequest, **tags: str) -> None:
        """Run what was requested to its end."""
        job = self.definitions.resolve_job_def(str(request.job_name))
        job.execute_in_process(
            partition_key=request.partition_key, instance=self.instance, tags={**request.tags, **tags}
        )

    def record(
        self,
        request: dg.RunRequest,
        status: dg.DagsterRunStatus,
        tags: Mapping[str, str] | None = None,
        *,
        by_hand: bool = False,
    ) -> dg.DagsterRun:
        """A run of a request that is where the test says, without running it; by hand is in a process of its own."""
        return record_run(
            self.instance,
            self.definitions.resolve_job_def(str(request.job_name)),
            status,
            by_hand=by_hand,
            tags={"flywheel": self.wheel.spec.name, **request.tags, **(tags or {})},
        )


def add_backfill(instance: dg.DagsterInstance, status: BulkActionStatus | str) -> str:
    """A backfill of a status, or the id of one that was deleted; returns the id."""
    if isinstance(status, BulkActionStatus):
        instance.add_backfill(PartitionBackfill("one", status, False, {}, time.time(), partition_names=[]))
    return "one"


def asked(request: dg.RunRequest) -> tuple[str, str]:
    return str(request.job_name).removeprefix(f"{NAME}__"), str(request.partition_key)


@contextmanager
def clockwork(root: Path, cadence: str = "weekly", **schedule: Any) -> Iterator[Clockwork]:
    with pytest.MonkeyPatch.context() as patch, new_instance() as instance:
        patch.setenv(DATA_DIR_VARIABLE, str(root))
        yield Clockwork(Wheel(root, turning_spec(cadence, **schedule)), instance, patch)


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clockwork]:
    with clockwork(tmp_path) as made:
        yield made


def test_a_monday_closes_the_week_and_its_success_opens_the_next(clock: Clockwork) -> None:
    clock.run(clock.requested(MONDAYS[0]))
    assert "it closes at 2020-01-13 06:00 UTC" in clock.skipped(MONDAYS[1], hour=5)
    closing = clock.requested(MONDAYS[1])
    assert asked(closing) == ("close", "2020-01-06")
    clock.run(closing)
    opening = clock.requested()
    assert asked(opening) == ("open", "2020-01-13")
    clock.run(opening)
    assert "it closes at 2020-01-20" in clock.skipped()
    assert clock.wheel.journal() == [("open", MONDAYS[0]), ("close", MONDAYS[0]), ("open", MONDAYS[1])]


def test_the_next_week_does_not_open_while_the_close_is_under_way(clock: Clockwork) -> None:
    clock.wheel.take("open", MONDAYS[0])
    closing = clock.requested(MONDAYS[1])
    run = clock.record(closing, dg.DagsterRunStatus.STARTED)
    assert f"Run {run.run_id[:8]} (wheel__close) is under way" in clock.skipped()
    # Its last write is in the lake; its run has not ended.
    clock.wheel.take("close", MONDAYS[0])
    assert "is under way" in clock.skipped()


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_turn_whose_run_failed_waits_for_a_person_and_nothing_overtakes_it(
    clock: Clockwork, status: dg.DagsterRunStatus
) -> None:
    clock.wheel.take("open", MONDAYS[0])
    closing = clock.requested(MONDAYS[1])
    run = clock.record(closing, status)
    for day in MONDAYS[1:3]:
        said = clock.skipped(day)
        assert f"Run {run.run_id[:8]} was requested for this and ended as {status.value}: re-execute it" in said
    clock.run(closing)  # as the UI does when somebody re-executes it
    assert asked(clock.requested()) == ("open", "2020-01-13")


def test_a_run_that_died_and_is_about_to_be_retried_is_waited_for(clock: Clockwork) -> None:
    """It may have died after its last write, so that the lake alone does not tell."""
    opening = clock.requested(MONDAYS[0])
    clock.wheel.take("open", MONDAYS[0])
    died = clock.record(opening, dg.DagsterRunStatus.FAILURE, {WILL_RETRY_TAG: "true"})
    assert f"Run {died.run_id[:8]} (wheel__open) died and is about to be retried" in clock.skipped(MONDAYS[1])
    clock.instance.add_run_tags(died.run_id, {"dagster/auto_retry_run_id": "x"})
    clock.run(opening)
    assert asked(clock.requested()) == ("close", "2020-01-06")


@pytest.mark.parametrize(("by_hand", "backfill"), [(True, None), (False, BulkActionStatus.CANCELED), (False, "gone")])
def test_a_run_that_died_and_that_dagster_cannot_run_again_is_not_waited_for(
    clock: Clockwork, by_hand: bool, backfill: BulkActionStatus | str | None
) -> None:
    """Dagster tags any run that died; whoever waited for these would wait for ever."""
    clock.wheel.take("open", MONDAYS[0])
    closing = clock.requested(MONDAYS[1])
    tags = {WILL_RETRY_TAG: "true", "turn": "another"}
    if backfill is not None:
        tags["dagster/backfill"] = add_backfill(clock.instance, backfill)
    clock.record(closing, dg.DagsterRunStatus.FAILURE, tags, by_hand=by_hand)
    assert asked(clock.requested()) == asked(closing)


def test_control_a_run_of_a_backfill_that_goes_on_is_waited_for(clock: Clockwork) -> None:
    closing = clock.requested(MONDAYS[0])
    backfill = add_backfill(clock.instance, BulkActionStatus.REQUESTED)
    tags = {WILL_RETRY_TAG: "true", "turn": "another", "dagster/backfill": backfill}
    clock.record(closing, dg.DagsterRunStatus.FAILURE, tags)
    assert "died and is about to be retried" in clock.skipped()


def test_a_restatement_that_was_interrupted_gets_dagsters_promise_of_a_retry_and_is_not_waited_for(
    tmp_path: Path,
) -> None:
    """`flywheel restate` runs a close in its own process; Ctrl-C there once stopped the wheel for good."""
    (tmp_path / "dagster.yaml").write_bytes((PROJECT_ROOT / "dagster.yaml").read_bytes())

    @dg.asset
    def interrupted() -> None:
        raise KeyboardInterrupt

    unresolved = dg.define_asset_job(f"{NAME}__close", [interrupted], tags={"flywheel": NAME})
    made = dg.Definitions(assets=[interrupted], jobs=[unresolved], executor=dg.in_process_executor)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        made.resolve_job_def(f"{NAME}__close").execute_in_process(instance=instance, raise_on_error=False)
        [run] = instance.get_runs()
        assert (run.status, run.tags[WILL_RETRY_TAG]) == (dg.DagsterRunStatus.FAILURE, "true")
        assert not is_about_to_be_retried(instance, run)


def test_a_run_that_ended_well_and_left_nothing_is_not_requested_again(clock: Clockwork) -> None:
    clock.record(clock.requested(MONDAYS[0]), dg.DagsterRunStatus.SUCCESS)
    assert "but the cycle is not done: it waits for a batch" in clock.skipped()


def test_any_run_of_the_flywheel_is_waited_for_and_runs_of_others_are_not(clock: Clockwork) -> None:
    first = clock.requested(MONDAYS[0])
    clock.record(first, dg.DagsterRunStatus.STARTED, {"flywheel": "another", "turn": "another"})
    assert asked(clock.requested()) == asked(first)
    clock.record(first, dg.DagsterRunStatus.STARTING, {"turn": "by hand"})
    assert "is under way; this waits for its end" in clock.skipped()


def test_a_request_that_was_made_twice_has_one_key(clock: Clockwork) -> None:
    """A daemon that is killed between the tick and its book asks again; Dagster knows the run by its key."""
    assert clock.requested(MONDAYS[0]).run_key == clock.requested(MONDAYS[0]).run_key == "wheel:open:2020-01-06"


def test_weeks_without_a_daemon_are_caught_up_in_order(clock: Clockwork) -> None:
    clock.wheel.take("open", MONDAYS[0])
    done = []
    clock.now = datetime(2020, 1, 29, tzinfo=UTC)
    while requests := clock.tick().run_requests:
        [request] = requests
        done.append(asked(request))
        clock.run(request)
    weeks = [monday.isoformat() for monday in MONDAYS]
    assert done == [
        ("close", weeks[0]), ("open", weeks[1]), ("close", weeks[1]), ("open", weeks[2]), ("close", weeks[2]),
        ("open", weeks[3]),
    ]  # fmt: skip


def test_too_many_missed_weeks_start_nothing_and_say_so(clock: Clockwork) -> None:
    clock.wheel.take("open", MONDAYS[0])
    assert "9 cycles have begun since the newest open one" in clock.skipped(MONDAYS[0] + timedelta(weeks=9))


def test_a_hole_in_history_is_said_and_nothing_is_opened_into_it(clock: Clockwork) -> None:
    for verb, cycle in (("open", MONDAYS[0]), ("close", MONDAYS[0]), ("open", MONDAYS[2])):
        clock.wheel.take(verb, cycle)
    assert f"History has a hole: cycle {MONDAYS[1]} was never opened" in clock.skipped(MONDAYS[2])
    assert asked(clock.requested(MONDAYS[3])) == ("close", MONDAYS[2].isoformat())


@pytest.mark.parametrize(
    ("cadence", "first", "following"), [("daily", "2020-01-06", "2020-01-07"), ("monthly", "2020-02-01", "2020-03-01")]
)
def test_other_cadences_turn_alike(tmp_path: Path, cadence: str, first: str, following: str) -> None:
    with clockwork(tmp_path, cadence, hour=3) as clock:
        clock.now = datetime.fromisoformat(f"{first}T03:00+00:00")
        clock.run(clock.requested())
        clock.now = datetime.fromisoformat(f"{following}T02:59+00:00")
        assert f"it closes at {following} 03:00 UTC" in clock.skipped()
        clock.now = datetime.fromisoformat(f"{following}T03:00+00:00")
        closing = clock.requested()
        assert asked(closing) == ("close", first)
        clock.run(closing)
        assert asked(clock.requested()) == ("open", following)


def test_control_a_condition_on_cron_loses_the_weeks_it_missed() -> None:
    """Why the turns are no automation conditions: after three missed Mondays, one week is requested."""
    partitions = AssetKit(turning_spec()).partitions
    condition = dg.AutomationCondition.on_cron("0 6 * * 1")

    @dg.asset(partitions_def=partitions, automation_condition=condition)
    def close() -> None: ...

    with new_instance() as instance:
        before = dg.evaluate_automation_conditions([close], instance, evaluation_time=datetime(2020, 1, 7, tzinfo=UTC))
        late = dg.evaluate_automation_conditions(
            [close], instance, evaluation_time=datetime(2020, 1, 28, tzinfo=UTC), cursor=before.cursor
        )
    assert late.total_requested == 1
    assert late.get_requested_partitions(close.key) == {"2020-01-27"}


# -- what starts by itself -------------------------------------------------------------------------------------------
def test_each_flywheel_has_its_sensors_by_name_and_turning_is_off_until_switched_on() -> None:
    sensors = {sensor.name: sensor for sensor in definitions().get_repository_def().sensor_defs}
    for flywheel in ("archive_headlines", "content", "outreach"):
        turn = sensors[f"{flywheel}__turn"]
        assert turn.default_status == dg.DefaultSensorStatus.STOPPED
        assert {job.name for job in turn.jobs} == {f"{flywheel}__open", f"{flywheel}__close"}
    assert {"content__inbox", "outreach__inbox"} <= sensors.keys()


def test_a_flywheel_that_waits_for_batches_turns_and_has_no_run_for_both_halves(tmp_path: Path) -> None:
    made = WrittenWorld.make(tmp_path, producer={"requests": "batch"}).definitions()
    names = {sensor.name for sensor in made.get_repository_def().sensor_defs}
    assert names == {"offers__turn", "offers__batches", "offers__inbox"}
    assert "offers__catch_up" not in {job.name for job in made.resolve_all_job_defs()}
