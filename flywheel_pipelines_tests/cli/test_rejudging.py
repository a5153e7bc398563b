"""Threshold versions: what judges a cycle, from when on, and that the past is judged again only when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.cli import restating, shared
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import ABSENT
from flywheel_pipelines.simulation import dagster_runs
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.components.test_metric_kinds import CASES, turn, world_of
from flywheel_pipelines_tests.small_world import failure
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

FIRST, SECOND, THIRD = WEEKS[:3]
CASE = CASES["rate"]
STRICT: dict[str, Any] = {"metric": "quality", "above": 0.5, "min_exposure": 20, "confidence": 0.8}
"""Nothing is replied to by half of the readers: it rejects everything."""


def settings(**floor: Any) -> dict[str, Any]:
    return {"metrics": {"quality": CASE.metric}, "floor": floor}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Two cycles that were opened with the usual floor and closed; since then the YAML has a strict one."""
    world = world_of(tmp_path_factory.mktemp("closed") / "world", CASE)
    turn(world, CASE, FIRST)
    turn(world, CASE, SECOND)
    world.configure(**settings(**STRICT))
    return world


@pytest.fixture
def world(closed: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenWorld]:
    copy = closed.copy_to(tmp_path / "world")
    monkeypatch.setattr(shared, "DEFS_DIR", copy.root / "defs")
    monkeypatch.setattr(restating, "DEFS_DIR", copy.root / "defs")
    monkeypatch.setattr(dagster_runs, "load_definitions", copy.definitions)
    with copy.in_force(DAGSTER_HOME=str(copy.paths.root / "dagster_home")):
        yield copy


def decisions(world: WrittenWorld, cycle: date) -> dict[str, str]:
    return {row["output_id"]: row["decision"] for row in world.rows(tables.SCORED_OUTPUTS, cycle)}


def judges(world: WrittenWorld, cycle: date) -> set[str]:
    return {row["threshold_version"] for row in world.rows(tables.SCORED_OUTPUTS, cycle)}


def test_another_floor_in_the_yaml_does_not_judge_what_was_opened_before(world: WrittenWorld) -> None:
    before = world.bytes_of()
    assert world.run("close", SECOND, momentum={"plot": False}).success
    assert world.bytes_of() == before
    assert "promote" in decisions(world, SECOND).values()


def test_the_next_cycle_is_opened_with_the_new_floor(world: WrittenWorld) -> None:
    assert world.open(THIRD).success
    pinned = world.manifest(THIRD)["threshold_version"]
    assert pinned != world.manifest(SECOND)["threshold_version"]
    rows = {row["threshold_version"]: row for row in world.rows(tables.THRESHOLDS)}
    assert rows[pinned]["effective_from"] == THIRD


def test_asked_for_it_judges_the_past_again_and_says_so(run: Run, world: WrittenWorld) -> None:
    old = world.manifest(SECOND)["threshold_version"]
    before = {cycle: decisions(world, cycle) for cycle in (FIRST, SECOND)}
    ran = run("restate", "--flywheel", NAME, "--threshold")
    assert ran.code == 0, ran.said
    assert set(decisions(world, SECOND).values()) == {"reject"}
    (new,) = judges(world, SECOND)
    assert new != old
    assert world.manifest(SECOND)["threshold_version"] == old
    flipped = [row for row in world.rows(tables.RESTATEMENTS) if row["subject"] == "decision"]
    assert {(row["cycle"], row["output_id"]) for row in flipped} == {
        (cycle, output_id)
        for cycle in before
        for output_id, decision in before[cycle].items()
        if decision != decisions(world, cycle)[output_id]
    }
    assert {(row["old_threshold"], row["new_threshold"]) for row in flipped} == {(old, new)}
    asked = {row["batch_id"] for row in world.rows(tables.REJUDGEMENTS)}
    assert {batch for row in flipped for batch in row["caused_by"]} == asked
    assert world.rows(tables.REFERENCE_CORPUS, SECOND) == []
    assert f"{len(flipped)} decisions flipped" in ran.said


@pytest.mark.slow
def test_what_was_asked_for_stays_when_a_cycle_closes_again(run: Run, world: WrittenWorld) -> None:
    run("restate", "--flywheel", NAME, "--threshold")
    before = world.bytes_of("scored_outputs", "reference_corpus", "restatements", "rejudgements")
    assert world.run("close", SECOND, momentum={"plot": False}).success
    assert world.bytes_of("scored_outputs", "reference_corpus", "restatements", "rejudgements") == before
    assert "judges these cycles already" in run("restate", "--flywheel", NAME, "--threshold").said


@pytest.mark.slow
def test_a_version_that_was_registered_takes_it_back(run: Run, world: WrittenWorld) -> None:
    old, before = world.manifest(SECOND)["threshold_version"], decisions(world, SECOND)
    run("restate", "--flywheel", NAME, "--threshold")
    run("restate", "--flywheel", NAME, "--threshold", "--threshold-version", old)
    assert decisions(world, SECOND) == before
    assert judges(world, SECOND) == {old}


@pytest.mark.slow
def test_only_the_chosen_cycles_are_judged_again(run: Run, world: WrittenWorld) -> None:
    first = decisions(world, FIRST)
    run("restate", "--flywheel", NAME, "--threshold", "--cycles", SECOND.isoformat())
    assert decisions(world, FIRST) == first
    assert set(decisions(world, SECOND).values()) == {"reject"}


@pytest.mark.slow
def test_a_dry_run_says_what_would_flip_and_writes_nothing(run: Run, world: WrittenWorld) -> None:
    before = world.bytes_of()
    said = run("restate", "--flywheel", NAME, "--threshold", "--dry-run", "--json").json
    assert world.bytes_of() == before
    assert world.lake.version(tables.REJUDGEMENTS, NAME, SECOND) == ABSENT
    run("restate", "--flywheel", NAME, "--threshold")
    flipped = {row["output_id"] for row in world.rows(tables.RESTATEMENTS) if row["subject"] == "decision"}
    assert {row["output_id"] for row in said["decisions"]} == flipped != set()
    assert {row["new_threshold"] for row in said["decisions"]} == {said["threshold_version"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "--threshold-version", "nobody"], "Threshold version nobody is not in the ledger"),
        (["--threshold-version", "nobody", "--cycles", "2026-01-05"], "write --threshold with it"),
        (["--threshold", __file__], "two reasons for a decision to change"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_words(
    run: Run, world: WrittenWorld, arguments: list[str], said: str
) -> None:
    ran = run("restate", *arguments, "--flywheel", NAME)
    assert ran.code == 2
    assert said in ran.said


# -- effective_from --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_before_its_first_cycle_the_floor_before_it_stays_in_force(world: WrittenWorld) -> None:
    world.configure(**settings(**STRICT, effective_from=WEEKS[3].isoformat()))
    assert world.open(THIRD).success
    assert world.manifest(THIRD)["threshold_version"] == world.manifest(SECOND)["threshold_version"]
    registered = {row["threshold_version"]: row["effective_from"] for row in world.rows(tables.THRESHOLDS)}
    assert WEEKS[3] in registered.values()
    turn(world, CASE, THIRD)
    assert world.open(WEEKS[3]).success
    assert registered[world.manifest(WEEKS[3])["threshold_version"]] == WEEKS[3]


def test_the_first_cycle_of_all_needs_a_floor(tmp_path: Path) -> None:
    world = world_of(tmp_path / "world", CASE, floor={**STRICT, "effective_from": SECOND.isoformat()})
    opened = world.open(FIRST)
    assert not opened.success
    assert f"Cycle {FIRST} of {NAME} has no floor: floor.effective_from is {SECOND}" in failure(opened)
