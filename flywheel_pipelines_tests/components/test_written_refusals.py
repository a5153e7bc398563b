"""What opening a written cycle refuses: no provider, no budget, two runs at once. And that no key is ever kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines.llm.offline.answering import RequestError
from flywheel_pipelines_tests.small_world import changed_files, failure
from flywheel_pipelines_tests.written_world import (
    NAME,
    WEEKS,
    CountedServer,
    WrittenWorld,
    counted_server,
)

FIRST, SECOND = WEEKS[0], WEEKS[1]


@pytest.fixture(scope="module")
def server() -> Iterator[CountedServer]:
    with counted_server() as counted:
        yield counted


@pytest.fixture(scope="module")
def real(server: CountedServer, tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """One cycle written at the server and closed without any feedback. Read only."""
    world = WrittenWorld.make(tmp_path_factory.mktemp("real"))
    assert world.open(FIRST, server).success
    assert world.run("close", FIRST).success
    return world


@pytest.fixture
def copied(real: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    return real.copy_to(tmp_path)


# -- no provider -----------------------------------------------------------------------------------------------------
def test_a_cycle_of_a_provider_is_not_called_synthetic(real: WrittenWorld) -> None:
    assert real.manifest(FIRST)["is_synthetic"] is False
    assert real.manifest(FIRST)["model"] == "gpt-5-mini"


def test_a_key_that_went_missing_does_not_fill_a_real_flywheel_with_simulated_texts(copied: WrittenWorld) -> None:
    before = copied.bytes_of("cycle_manifest", "generated_outputs", "published_outputs")
    result = copied.open(SECOND)
    assert not result.success
    said = failure(result)
    assert f"Cycle {FIRST} of {NAME} was opened for gpt-5-mini, but no provider is configured now" in said
    assert "OPENAI_API_KEY" in said
    assert "is_synthetic: true" in said
    assert changed_files(before, copied.bytes_of("cycle_manifest", "generated_outputs", "published_outputs")) == []


def test_simulating_on_purpose_goes_on_and_says_so(copied: WrittenWorld) -> None:
    assert copied.open(SECOND, is_synthetic=True).success
    opened = copied.manifest(SECOND)
    assert (opened["is_synthetic"], opened["model"]) == (True, "offline-writer")
    assert {row["model"] for row in copied.rows(tables.GENERATED_OUTPUTS, SECOND)} == {"offline-writer"}


def test_a_published_cycle_needs_no_provider_to_be_made_anew(copied: WrittenWorld) -> None:
    before = copied.bytes_of()
    assert copied.open(FIRST).success
    assert changed_files(before, copied.bytes_of()) == []


def test_another_attempt_of_a_real_cycle_without_a_provider_is_refused(copied: WrittenWorld) -> None:
    result = copied.open(FIRST, attempt=2)
    assert "The cycle is to be written by gpt-5-mini, but no provider is configured" in failure(result)
    assert {row["is_superseded"] for row in copied.rows(tables.GENERATED_OUTPUTS, FIRST)} == {False}


@pytest.mark.parametrize("options", [{"repin": True}, {"repin": True, "attempt": 3}])
def test_pinning_a_real_cycle_anew_without_a_provider_is_refused(copied: WrittenWorld, options: dict) -> None:
    assert f"Cycle {FIRST} of {NAME} was opened for gpt-5-mini" in failure(copied.open(FIRST, **options))


def test_a_first_cycle_that_failed_with_a_provider_is_not_finished_without(
    server: CountedServer, tmp_path: Path
) -> None:
    world = WrittenWorld.make(tmp_path, producer={"max_failed": 0})
    server.babbles = lambda prompt: "Saves 11 hours" in prompt
    try:
        assert not world.open(FIRST, server).success
    finally:
        server.babbles = lambda _: False
    assert "no provider is configured now" in failure(world.open(FIRST))


def test_a_flywheel_of_the_offline_model_is_simulated_also_beside_a_provider(
    server: CountedServer, tmp_path: Path
) -> None:
    world = WrittenWorld.make(tmp_path, producer={"model": "offline-writer"})
    assert world.open(FIRST, server).success
    assert world.manifest(FIRST)["is_synthetic"] is True


# -- money -----------------------------------------------------------------------------------------------------------
def test_a_budget_that_is_too_small_is_refused_before_anything_is_sent(server: CountedServer, tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path, producer={"max_cost_per_cycle": 0.000001})
    result, asked = server.asked_by(lambda: world.open(FIRST, server))
    assert not result.success
    assert asked == []
    assert "max_cost_per_cycle" in failure(result)
    assert world.rows(tables.LLM_REQUESTS) == []


def test_control_a_budget_that_is_large_enough_is_not_refused(server: CountedServer, tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path, producer={"max_cost_per_cycle": 5})
    result, asked = server.asked_by(lambda: world.open(FIRST, server))
    assert result.success
    assert len(asked) == 10


def test_a_budget_cannot_be_held_to_without_a_price(server: CountedServer, tmp_path: Path) -> None:
    """Unknown is not nothing."""
    producer = {"max_cost_per_cycle": 5, "prices": {"another-model": {"input": 1, "output": 1}}}
    try:
        world = WrittenWorld.make(tmp_path, producer=producer)
    except Exception as error:
        assert "price" in str(error)
        return
    result, asked = server.asked_by(lambda: world.open(FIRST, server))
    assert "price" in failure(result)
    assert asked == []


def test_what_a_cycle_cost_stands_beside_its_outputs(real: WrittenWorld) -> None:
    rows = real.rows(tables.LLM_REQUESTS)
    assert all(row["cost"] > 0 for row in rows)
    assert all(
        row["cost"] == pytest.approx(row["prompt_tokens"] * 0.25e-6 + row["completion_tokens"] * 2e-6) for row in rows
    )


def test_estimate_and_actuals_are_numbers_in_the_metadata_of_the_run(server: CountedServer, tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path)
    first, again = (shown_by(world.open(FIRST, server)) for _ in range(2))
    rows = world.rows(tables.LLM_REQUESTS)
    assert first["prompt_tokens"] == sum(row["prompt_tokens"] for row in rows)
    assert first["completion_tokens"] == sum(row["completion_tokens"] for row in rows)
    assert first["cost"] == first["cost_of_cycle_so_far"] == pytest.approx(sum(row["cost"] for row in rows), abs=1e-6)
    # Before there is experience, answers are expected to be as long as they may be.
    assert first["expected_cost"] > first["cost"]
    spent = {name: again[name] for name in ("prompt_tokens", "completion_tokens", "expected_cost", "cost")}
    assert spent == dict.fromkeys(spent, 0)
    assert again["cost_of_cycle_so_far"] == pytest.approx(first["cost"], abs=2e-6)


def test_control_without_a_price_they_are_called_unknown(server: CountedServer, tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path, producer={"model": "unpriced"})
    shown = shown_by(world.open(FIRST, server))
    assert {shown[name] for name in ("expected_cost", "cost", "cost_of_cycle_so_far")} == {"unknown"}
    assert shown["prompt_tokens"] > 0


def shown_by(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of `generated_outputs` as plain values."""
    (made,) = (
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey([NAME, "generated_outputs"])
    )
    return {name: value.value for name, value in made.metadata.items()}


# -- two runs at once ------------------------------------------------------------------------------------------------
def test_a_second_run_on_the_same_cycle_is_refused_in_words(tmp_path: Path) -> None:
    with counted_server(latency=3) as slow:
        world = WrittenWorld.make(tmp_path, producer={"concurrency": 10})
        assert world.run("open", FIRST, select=["briefs", "cycle_manifest"], environment=slow.environment).success
        with world.in_force(**slow.environment), ThreadPoolExecutor(1) as pool:
            first = pool.submit(produce, world)
            while not slow.arrived:
                assert not first.done()
                time.sleep(0.01)
            result = produce(world)
            assert not first.done()
            said = failure(result)
            assert not result.success
            assert first.result().success
    assert f"{FIRST}" in said
    assert "run" in said
    assert len(slow.arrived) == len(world.rows(tables.LLM_REQUESTS)) == 10


def produce(world: WrittenWorld) -> dg.ExecuteInProcessResult:
    """Only the asking; the environment is in force already, and must not be changed from two threads."""
    with dg.DagsterInstance.ephemeral() as instance:
        return world.execute("open", FIRST, instance, select=["generated_outputs"])


# -- keys ------------------------------------------------------------------------------------------------------------
def test_no_key_is_in_any_event_log_file_or_error(server: CountedServer, tmp_path: Path) -> None:
    """The endpoint even quotes the key back when it refuses it."""
    world = WrittenWorld.make(tmp_path)
    (tmp_path / "dagster_home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster_home")) as instance:
        ok = world.run("open", FIRST, environment=server.environment, instance=instance)
        server.refusal = RequestError(f"Incorrect API key provided: {CountedServer.KEY}.", status=401)
        try:
            again = {"attempt": 2}
            refused = world.run("open", FIRST, environment=server.environment, instance=instance, cycle_manifest=again)
        finally:
            server.refusal = None
        records = [repr(instance.all_logs(run.run_id)) for run in instance.get_runs()]
    assert ok.success
    assert "Incorrect API key provided: [removed]" in failure(refused)
    assert len(records) == 2
    assert CountedServer.KEY not in "".join(records)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("dagster_home" in str(path) for path in files)
    assert [path for path in files if CountedServer.KEY.encode() in path.read_bytes()] == []


def test_control_a_key_in_a_file_would_be_found(tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path, description=f"The key is {CountedServer.KEY}")
    files = [path for path in world.root.rglob("*") if path.is_file()]
    assert [path.name for path in files if CountedServer.KEY.encode() in path.read_bytes()] == ["defs.yaml"]
