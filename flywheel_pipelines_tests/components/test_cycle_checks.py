"""The checks between the steps of a cycle in Dagster: passing, failing, and that what they guard did not run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.components.cycle_checks import CYCLE_CHECKS
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.loop.inspecting import control_arm
from flywheel_pipelines.production.arms import arms_of
from flywheel_pipelines_tests.components.test_feed_checks import close, succeeded
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import N_BRIEFS, NAME, WEEKS, WrittenWorld, counted_server, later

FIRST, SECOND, THIRD, FOURTH = WEEKS[:4]
BEHIND_METRICS = {"scored_outputs", "reference_corpus", "refreshed_prompt", "momentum"}
RED, YELLOW = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> Iterator[WrittenWorld]:
    """Three weeks were opened and closed."""
    made = played.copy_to(tmp_path / "world")
    with made.in_force():
        yield made


def check_of(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    [evaluation] = [one for one in result.get_asset_check_evaluations() if one.check_name == name]
    return evaluation


def numbers(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {key: value.value for key, value in evaluation.metadata.items()}


def overwrite(world: WrittenWorld, table: TableContract, cycle: date, columns: Mapping[str, Any]) -> None:
    """Columns of a partition with one value in every row."""
    records = world.lake.read(table, NAME, cycle).select(table.columns).to_pylist()
    changed = [{**row, **columns} for row in records]
    world.lake.write(table, pa.Table.from_pylist(changed, schema=table.schema), flywheel=NAME, cycle=cycle)


def overwrite_ledger(folder: Path, pattern: str, column: str, value: Any) -> None:
    """One column of a ledger's files with one value, as nothing in the project ever does."""
    paths = list(folder.glob(pattern))
    assert paths
    for path in paths:
        stored = pq.ParquetFile(path).read()
        position = stored.schema.get_field_index(column)
        kept = stored.schema.field(position)
        pq.write_table(stored.set_column(position, kept, pa.array([value] * stored.num_rows, kept.type)), path)


# -- all of them -----------------------------------------------------------------------------------------------------
def test_a_cycle_that_is_fine_passes_every_check_with_its_numbers(world: WrittenWorld) -> None:
    opened, closed = world.open(FOURTH, is_synthetic=True), close(world, THIRD)
    assert opened.success
    assert closed.success
    found = {one.check_name: one for result in (opened, closed) for one in result.get_asset_check_evaluations()}
    for check in CYCLE_CHECKS:
        assert found[check.name].passed, found[check.name].description
        assert found[check.name].blocking is check.blocking
        assert found[check.name].metadata
        assert found[check.name].description
    assert numbers(found["control_arm_present"])["control_answered"] > 0
    assert numbers(found["manifest_complete"])["predecessor"] == THIRD.isoformat()
    assert numbers(found["prompt_within_budget"])["longest_tokens"] > 100


# -- manifest --------------------------------------------------------------------------------------------------------
def test_a_manifest_that_pins_a_lost_prompt_stops_before_anything_is_written(world: WrittenWorld) -> None:
    shutil.rmtree(world.paths.lake / "prompt_versions")
    result = world.open(THIRD, is_synthetic=True)
    assert not result.success
    evaluation = check_of(result, "manifest_complete")
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, RED, True)
    assert f"prompt_version {world.manifest(THIRD)['prompt_version']}" in (evaluation.description or "")
    assert "repin: true" in (evaluation.description or "")
    assert not {"generated_outputs", "published_outputs"} & succeeded(result)


def test_a_manifest_whose_predecessor_is_no_longer_closed_is_not_complete(world: WrittenWorld) -> None:
    shutil.rmtree(world.paths.lake / "momentum" / f"flywheel={NAME}" / f"cycle={SECOND}")
    evaluation = check_of(world.open(THIRD, is_synthetic=True), "manifest_complete")
    assert not evaluation.passed
    assert f"predecessor {SECOND}, which is not closed" in (evaluation.description or "")


# -- control arm -----------------------------------------------------------------------------------------------------
def test_a_cycle_without_an_answer_in_its_control_arm_is_not_published(tmp_path: Path) -> None:
    """The flywheel would be compared with nothing."""
    world = WrittenWorld.make(tmp_path, producer={"max_failed": 0.9})
    numbered = range(N_BRIEFS)
    treadmill = [
        one for one in numbered if "control" in arms_of(f"w0b{one}", world.spec.arms, flywheel=NAME, cycle=FIRST)
    ]
    with counted_server() as server:
        server.babbles = lambda prompt: any(f"Saves {11 + one} hours" in prompt for one in treadmill)
        result = world.open(FIRST, server)
    assert not result.success
    evaluation = check_of(result, "control_arm_present")
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, RED, True)
    assert f"None of the {len(treadmill)} briefs of the control arm" in (evaluation.description or "")
    assert "cycle_manifest" in succeeded(result)
    assert not {"generated_outputs", "published_outputs"} & succeeded(result)
    assert world.rows(tables.PUBLISHED_OUTPUTS) == []


@pytest.mark.parametrize(("control", "verdict"), [(0.05, "warned"), ("off", "passed")])
def test_chance_and_choice_may_leave_the_control_arm_empty(
    world: WrittenWorld, control: float | str, verdict: str
) -> None:
    settings = json.loads(world.manifest(THIRD)["settings"])
    settings["arms"]["control"] = control
    settings["floor"]["above"] = "mean"
    overwrite(world, tables.CYCLE_MANIFEST, THIRD, {"settings": json.dumps(settings)})
    assert control_arm(world.flywheel, world.lake, THIRD).verdict == verdict


# -- budget ----------------------------------------------------------------------------------------------------------
def budgeted(world: WrittenWorld, limit: float, cost: float | None) -> dg.AssetCheckEvaluation:
    """The third cycle as if it had been opened with a budget and its answers had cost something."""
    settings = json.loads(world.manifest(THIRD)["settings"])
    settings["producer"]["max_cost_per_cycle"] = limit
    overwrite(world, tables.CYCLE_MANIFEST, THIRD, {"settings": json.dumps(settings)})
    overwrite_ledger(world.paths.lake / "llm_requests", f"**/cycle={THIRD}/**/*.parquet", "cost", cost)
    result = world.run("open", THIRD, select=["generated_outputs", "published_outputs"])
    assert {"generated_outputs", "published_outputs"} <= succeeded(result)
    return check_of(result, "budget_kept")


def test_a_cycle_within_its_budget_passes(world: WrittenWorld) -> None:
    evaluation = budgeted(world, 5.0, 0.01)
    assert evaluation.passed
    assert 0 < numbers(evaluation)["share_of_budget"] < 1


def test_a_cycle_beyond_its_budget_is_red_and_publishes_what_is_paid(world: WrittenWorld) -> None:
    evaluation = budgeted(world, 0.02, 0.01)
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, RED, False)
    assert "more than producer.max_cost_per_cycle allows" in (evaluation.description or "")


def test_a_cost_that_nobody_knows_is_a_warning(world: WrittenWorld) -> None:
    evaluation = budgeted(world, 5.0, None)
    assert (evaluation.passed, evaluation.severity) == (False, YELLOW)
    assert numbers(evaluation)["cost"] == "unknown"


# -- floor -----------------------------------------------------------------------------------------------------------
def test_a_floor_that_was_chosen_after_the_fact_stops_the_close_before_it_writes(world: WrittenWorld) -> None:
    overwrite_ledger(world.paths.lake / "thresholds", "**/*.parquet", "recorded_at", later(WEEKS[7]))
    before = fingerprint(world.paths.lake)
    result = close(world, FIRST, THIRD)
    assert not result.success
    evaluation = check_of(result, "floor_registered_before_capture")
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, RED, True)
    assert f"Cycle {FIRST}: its floor" in (evaluation.description or "")
    assert numbers(evaluation)["late"] == 3
    assert not (BEHIND_METRICS | {"performance_metrics"}) & succeeded(result)
    assert changed_files(before, fingerprint(world.paths.lake)) == []


# -- prompt ----------------------------------------------------------------------------------------------------------
def test_a_prompt_that_no_brief_fits_into_stops_momentum_so_that_the_next_cycle_does_not_open(
    world: WrittenWorld,
) -> None:
    world.configure(producer={"max_prompt_tokens": 200}, prompt={"guidelines": ["Be kind. " * 100]})
    result = close(world, THIRD)
    assert not result.success
    evaluation = check_of(result, "prompt_within_budget")
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, RED, True)
    assert "prompt tokens without any reference" in (evaluation.description or "")
    assert "reference_corpus" in succeeded(result)
    assert not any(event.is_step_start and "momentum" in str(event.step_key) for event in result.all_events)


def test_a_prompt_that_has_no_room_for_every_reference_is_a_warning(world: WrittenWorld) -> None:
    longest = numbers(check_of(close(world, THIRD), "prompt_within_budget"))["longest_tokens"]
    world.configure(producer={"max_prompt_tokens": int(longest) - 5})
    result = close(world, THIRD)
    assert result.success
    evaluation = check_of(result, "prompt_within_budget")
    assert (evaluation.passed, evaluation.severity) == (False, YELLOW)
    assert numbers(evaluation)["briefs_without_some"] > 0


# -- lift ------------------------------------------------------------------------------------------------------------
def test_a_flywheel_that_loses_cycle_after_cycle_is_a_warning(world: WrittenWorld) -> None:
    for cycle in (FIRST, SECOND, THIRD):
        lines = ["output_id,day,sends,replies"]
        lines += [
            f"{row['output_id']},{cycle},500,{25 if row['arm'] == 'flywheel' else 250}"
            for row in world.rows(tables.PUBLISHED_OUTPUTS, cycle)
        ]
        path = world.root / f"losing-{cycle}.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        land_file(world.lake, world.spec, "mailer", path, recorded_at=later(FOURTH) + timedelta(days=1))
    world.configure(schedule={"losing_cycles": 3})
    result = close(world, FIRST, THIRD)
    assert result.success
    evaluation = check_of(result, "lift_not_below_zero")
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, YELLOW, False)
    assert numbers(evaluation)["losing"] == 3
    assert set(numbers(evaluation)["lifts"]) == {str(cycle) for cycle in (FIRST, SECOND, THIRD)}


def test_control_one_cycle_fewer_is_no_warning(world: WrittenWorld) -> None:
    world.configure(schedule={"losing_cycles": 4})
    assert check_of(close(world, FIRST, THIRD), "lift_not_below_zero").passed
