"""Batch mode in Dagster: the open job hands over and ends well, the sensor waits, the collect job goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components import automation
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.llm.offline.batches import BatchOptions
from flywheel_pipelines.loop.batches import MAX_REJECTED
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.small_world import changed_files, failure
from flywheel_pipelines_tests.written_world import NAME, WEEKS, CountedServer, WrittenWorld, counted_server, later

FIRST = WEEKS[0]
BATCH = {"requests": "batch"}
PRODUCED = ("generated_outputs", "published_outputs")


class Clock:
    """The provider's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[CountedServer]:
    """Batches take an hour of its clock."""
    with counted_server(batch=BatchOptions(seconds=3_600, clock=clock)) as counted:
        yield counted


@pytest.fixture
def world(tmp_path: Path) -> WrittenWorld:
    return WrittenWorld.make(tmp_path, producer=BATCH)


def open_batch(world: WrittenWorld, server: CountedServer, **config: Any) -> dg.ExecuteInProcessResult:
    return world.run("open", FIRST, environment=server.environment, **config)


def collect(world: WrittenWorld, server: CountedServer) -> dg.ExecuteInProcessResult:
    return world.run("collect", FIRST, environment=server.environment)


def tick(world: WrittenWorld, server: CountedServer) -> list[dg.RunRequest | dg.SkipReason]:
    """One evaluation of the sensor."""
    sensor = world.definitions().resolve_sensor_def(f"{NAME}__batches")
    resources = {"lake": LakeResource(duckdb=DuckDBResource(database=":memory:")), "llm": LlmResource()}
    with (
        world.in_force(**server.environment),
        new_instance() as instance,
        dg.build_sensor_context(instance=instance, resources=resources) as context,
    ):
        return list(sensor(context) or [])  # type: ignore[arg-type]


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


def answered(world: WrittenWorld) -> set[str]:
    return {row["request_key"] for row in world.rows(tables.LLM_REQUESTS) if row["status"] == "answered"}


def test_the_open_job_hands_over_and_ends_well_without_outputs(world: WrittenWorld, server: CountedServer) -> None:
    result = open_batch(world, server)
    assert result.success
    assert materialized(result) == {"briefs", "cycle_manifest"}
    assert world.rows(tables.GENERATED_OUTPUTS) == []
    (event,) = world.rows(tables.LLM_BATCHES)
    assert (event["event"], event["n_requests"]) == ("submitted", 10)
    assert server.arrived == []


def test_opening_again_while_it_is_under_way_submits_nothing_more(world: WrittenWorld, server: CountedServer) -> None:
    open_batch(world, server)
    assert open_batch(world, server).success
    assert len(world.rows(tables.LLM_BATCHES)) == 1


def test_the_sensor_waits_asks_for_one_run_and_not_again(
    world: WrittenWorld, server: CountedServer, clock: Clock
) -> None:
    (nothing_yet,) = tick(world, server)
    assert isinstance(nothing_yet, dg.SkipReason)
    assert "No batch" in str(nothing_yet.skip_message)
    open_batch(world, server)
    assert tick(world, server) == []
    clock.now += 3_601
    (first,), (second,) = tick(world, server), tick(world, server)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.partition_key == FIRST.isoformat()
    # Dagster starts no second run for the key of an earlier one.
    assert first.run_key == second.run_key
    assert collect(world, server).success
    assert [type(one) for one in tick(world, server)] == [dg.SkipReason]


def test_the_collect_job_goes_on_to_the_outbox(world: WrittenWorld, server: CountedServer, clock: Clock) -> None:
    open_batch(world, server)
    clock.now += 3_601
    result = collect(world, server)
    assert result.success
    assert materialized(result) == {"llm_batches", *PRODUCED}
    assert len(world.rows(tables.PUBLISHED_OUTPUTS)) == 6
    assert {row["mode"] for row in world.rows(tables.LLM_REQUESTS)} == {"batch"}
    assert (world.paths.outbox / NAME / f"{FIRST}.csv").exists()


def test_collecting_too_early_changes_nothing(world: WrittenWorld, server: CountedServer) -> None:
    open_batch(world, server)
    before = world.bytes_of()
    result = collect(world, server)
    assert result.success
    assert materialized(result) == set()
    assert changed_files(before, world.bytes_of()) == []


def test_opening_a_collected_cycle_again_submits_nothing_and_gives_the_same_bytes(
    world: WrittenWorld, server: CountedServer, clock: Clock
) -> None:
    open_batch(world, server)
    clock.now += 3_601
    collect(world, server)
    before, n_answered = world.bytes_of(), len(server.arrived)
    result = open_batch(world, server)
    assert result.success
    assert materialized(result) == {"briefs", "cycle_manifest", "llm_batches", *PRODUCED}
    assert len(server.arrived) == n_answered
    assert changed_files(before, world.bytes_of()) == []


def test_what_an_expired_batch_left_is_submitted_again(world: WrittenWorld, clock: Clock) -> None:
    with counted_server(batch=BatchOptions(seconds=3_600, clock=clock, max_answers=6)) as server:
        open_batch(world, server)
        clock.now += 3_601
        first = collect(world, server)
        assert first.success
        assert materialized(first) == set()
        assert len(answered(world)) == 6
        events = [(row["event"], row["n_requests"], row["n_answered"]) for row in world.rows(tables.LLM_BATCHES)]
        assert sorted(events) == [("expired", 10, 6), ("submitted", 4, 0), ("submitted", 10, 0)]
        assert tick(world, server) == []
        clock.now += 3_601
        (request,) = tick(world, server)
        assert isinstance(request, dg.RunRequest)
        last = collect(world, server)
    assert last.success
    assert materialized(last) == {"llm_batches", *PRODUCED}
    assert len(answered(world)) == 10 == len(world.rows(tables.GENERATED_OUTPUTS))


def test_batches_that_are_rejected_again_and_again_end_in_words(tmp_path: Path, clock: Clock) -> None:
    world = WrittenWorld.make(tmp_path, producer=BATCH)
    with counted_server(batch=BatchOptions(rejects=True, clock=clock)) as server:
        for _ in range(MAX_REJECTED):
            assert open_batch(world, server).success
        refused = open_batch(world, server)
        assert "rejected as a whole" in failure(refused)
        assert f"{NAME}__open" in failure(refused)
        # Nothing was left under way, so the sensor asks for no further run; a person may.
        assert not any(isinstance(said, dg.RunRequest) for said in tick(world, server))
        assert open_batch(world, server).success


def test_answers_to_an_attempt_that_was_replaced_meanwhile_are_kept(
    world: WrittenWorld, server: CountedServer, clock: Clock
) -> None:
    open_batch(world, server)
    open_batch(world, server, cycle_manifest={"attempt": 2})
    clock.now += 3_601
    assert collect(world, server).success
    answered = [row["attempt"] for row in world.rows(tables.LLM_REQUESTS, FIRST) if row["status"] == "answered"]
    assert answered.count(1) == answered.count(2) > 0


def test_live_and_batch_write_the_same_texts(
    world: WrittenWorld, server: CountedServer, clock: Clock, tmp_path: Path
) -> None:
    open_batch(world, server)
    clock.now += 3_601
    collect(world, server)
    live = WrittenWorld.make(tmp_path / "live")
    assert live.open(FIRST, server).success
    by_key = [
        {row["request_key"]: (row["output_id"], row["text"], row["rank"]) for row in one.rows(tables.GENERATED_OUTPUTS)}
        for one in (world, live)
    ]
    assert by_key[0] == by_key[1]
    assert len(by_key[0]) == 10


def test_a_cycle_of_batches_can_be_finished_live(world: WrittenWorld, server: CountedServer, clock: Clock) -> None:
    """The other way of asking has the same ledger: answers of batches are not asked for again."""
    open_batch(world, server)
    clock.now += 3_601
    collect(world, server)
    before = world.bytes_of("generated_outputs", "published_outputs")
    world.configure()
    result, asked = server.asked_by(lambda: world.open(FIRST, server))
    assert result.success
    assert asked == []
    assert changed_files(before, world.bytes_of("generated_outputs", "published_outputs")) == []


def turn(world: WrittenWorld, instance: dg.DagsterInstance) -> tuple[str | None, str | None, str]:
    """What the sensor of the turns asks for (job and cycle), or why it asks for nothing."""
    sensor = world.definitions().resolve_sensor_def(f"{NAME}__turn")
    resources = {"lake": LakeResource(duckdb=DuckDBResource(database=":memory:"))}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for request in result.run_requests or []:
        return request.job_name, request.partition_key, ""
    return None, None, str(result.skip_reason.skip_message if result.skip_reason else "")


@pytest.mark.parametrize("weeks_later", [0, 1, 3])
def test_no_turn_overtakes_a_cycle_that_waits_for_its_batch(
    world: WrittenWorld, server: CountedServer, clock: Clock, monkeypatch: pytest.MonkeyPatch, weeks_later: int
) -> None:
    """Its open ended well and left nothing, and by now other cycles have begun."""
    tags = {automation.TURN_TAG: f"{NAME}:open:{FIRST}", "flywheel": NAME}
    with world.in_force(**server.environment), dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setattr(automation, "utc_now", lambda: later(FIRST, hours=7))
        assert turn(world, instance)[:2] == (f"{NAME}__open", FIRST.isoformat())
        assert world.execute("open", FIRST, instance, tags=tags).success
        monkeypatch.setattr(automation, "utc_now", lambda: later(WEEKS[weeks_later], hours=8))
        asked_for, _, said = turn(world, instance)
        assert asked_for is None
        assert "ended as SUCCESS, but the cycle is not done: it waits for a batch" in said
        clock.now += 3_601
        assert world.execute("collect", FIRST, instance, tags={"flywheel": NAME}).success
        asked_for, cycle, said = turn(world, instance)
    if weeks_later:
        assert (asked_for, cycle) == (f"{NAME}__close", FIRST.isoformat())
    else:
        assert "it closes at" in said


def test_a_budget_holds_for_batches_too(server: CountedServer, tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path, producer={**BATCH, "max_cost_per_cycle": 0.000001})
    result = open_batch(world, server)
    assert not result.success
    assert "max_cost_per_cycle" in failure(result)
    assert world.rows(tables.LLM_BATCHES) == []


def test_a_live_flywheel_has_neither_this_sensor_nor_the_collect_job(tmp_path: Path) -> None:
    made = WrittenWorld.make(tmp_path).definitions()
    assert {sensor.name for sensor in made.sensors or []} == {f"{NAME}__inbox", f"{NAME}__turn"}
    assert {job.name for job in made.jobs or []} == {f"{NAME}__{verb}" for verb in ("open", "close", "catch_up")}
