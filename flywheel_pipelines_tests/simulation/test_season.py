"""A season before the simulated audience: what arrives late closes its cycles again, and two stages play the same."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import cycle_end
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.versions import stale_cycles
from flywheel_pipelines.loop import closing
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.momentum.summary import summarise
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, Stage, play
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

CYCLES = WEEKS[:3]
BOOKS = ("llm_requests", "batches", "input_versions")
"""What a stage without HTTP keeps no ledger of, and what names that ledger."""


def play_plain(world: WrittenWorld, n_cycles: int, stage: Stage | None = None, **season: Any) -> WrittenWorld:
    """A season without Dagster and without HTTP."""
    stage = stage or PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox)
    audience = world.audience(world=season.pop("preferences", "lively"))
    play(Season.of(world.flywheel, n_cycles, audience, **season), stage, world.lake, world.paths)
    return world


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """The season of `played`, on the other stage. Read only."""
    return play_plain(WrittenWorld.make(tmp_path_factory.mktemp("plain")), len(CYCLES))


# -- two stages ------------------------------------------------------------------------------------------------------
def test_both_stages_give_the_same_bytes(played: WrittenWorld, plain: WrittenWorld) -> None:
    with_dagster, without = (fingerprint(world.paths.lake, *BOOKS) for world in (played, plain))
    assert len(with_dagster) > 30
    assert changed_files(with_dagster, without) == []


def test_both_stages_fill_the_same_outbox_and_inbox(played: WrittenWorld, plain: WrittenWorld) -> None:
    for folder in ("outbox", "inbox"):
        found = [fingerprint(world.paths.root / folder) for world in (played, plain)]
        assert found[0] == found[1] != {}


def test_control_another_audience_gives_other_bytes(plain: WrittenWorld, tmp_path: Path) -> None:
    other = play_plain(WrittenWorld.make(tmp_path), len(CYCLES), preferences="flat")
    changed = changed_files(fingerprint(plain.paths.lake, *BOOKS), fingerprint(other.paths.lake, *BOOKS))
    assert any(path.startswith("metric_ledger") for path in changed)


def test_what_is_left_out_of_the_comparison_is_what_the_other_stage_does_not_keep(plain: WrittenWorld) -> None:
    assert plain.rows(tables.LLM_REQUESTS) == []


# -- late feedback ---------------------------------------------------------------------------------------------------
class Watched:
    """A stage that remembers which cycles were closed when."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.closed: list[list[Any]] = []

    def open(self, cycle: Any, options: Any) -> None:
        self.stage.open(cycle, options)

    def close(self, cycles: Any, *, is_last: bool) -> None:
        self.closed.append(list(cycles))
        self.stage.close(cycles, is_last=is_last)


def test_late_feedback_closes_the_cycles_it_is_about_again(tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path)
    watched = Watched(PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox))
    play_plain(world, 3, watched)
    assert watched.closed[0] == CYCLES[:1]
    for number, cycle in enumerate(CYCLES):
        landed = {
            row["cycle"]
            for row in world.rows(tables.METRIC_LEDGER)
            if row["recorded_at"] == cycle_end(cycle, world.spec.cadence)
        }
        assert watched.closed[number] == CYCLES[CYCLES.index(min(landed)) : number + 1]
    assert len(watched.closed[2]) > 1


def test_no_learning_is_stale_after_a_season(played: WrittenWorld, plain: WrittenWorld) -> None:
    """What was opened before a correction stays as it went out; everything that learns knows of it."""
    closing_tables = [table for table in tables.ALL_TABLES if table.layer in ("feedback", "learning", "momentum")]
    for world in (played, plain):
        assert stale_cycles(world.lake, NAME, closing_tables) == {}


def test_a_close_as_known_then_gives_what_was_known_then(plain: WrittenWorld, tmp_path: Path) -> None:
    """The first cycle by the end of the first, although corrections came in the two after it."""
    first = play_plain(WrittenWorld.make(tmp_path / "first"), 1)
    later = plain.copy_to(tmp_path / "later")
    cycle = CYCLES[0]

    def metrics(world: WrittenWorld) -> list[dict[str, Any]]:
        return world.rows(tables.PERFORMANCE_METRICS, cycle)

    assert metrics(later) != metrics(first)
    cutoff = cycle_end(cycle, later.spec.cadence)
    closing.measure(later.flywheel, Recorder(later.lake, NAME), [cycle], cutoff)
    known = ("output_id", "metric", "successes", "exposure", "value", "known_at")
    assert [[row.get(name) for name in known] for row in metrics(later)] == [
        [row.get(name) for name in known] for row in metrics(first)
    ]


def test_control_a_cutoff_after_the_corrections_does_not(plain: WrittenWorld, tmp_path: Path) -> None:
    first = play_plain(WrittenWorld.make(tmp_path / "first"), 1)
    later = plain.copy_to(tmp_path / "later")
    cutoff = cycle_end(CYCLES[-1], later.spec.cadence) + timedelta(days=1)
    closing.measure(later.flywheel, Recorder(later.lake, NAME), [CYCLES[0]], cutoff)
    table = tables.PERFORMANCE_METRICS
    assert later.rows(table, CYCLES[0]) != first.rows(table, CYCLES[0])


def test_through_dagster_a_close_as_known_then_gives_the_same(
    played: WrittenWorld, plain: WrittenWorld, tmp_path: Path
) -> None:
    world, other = played.copy_to(tmp_path / "dagster"), plain.copy_to(tmp_path / "plain")
    cutoff = cycle_end(CYCLES[0], world.spec.cadence)
    config = {"performance_metrics": {"knowledge_cutoff": cutoff.isoformat()}, "momentum": {"plot": False}}
    assert world.run("close", CYCLES[0], **config).success
    closing.measure(other.flywheel, Recorder(other.lake, NAME), [CYCLES[0]], cutoff)
    table = tables.PERFORMANCE_METRICS
    assert world.rows(table, CYCLES[0]) == other.rows(table, CYCLES[0])


# -- what is simulated says so ---------------------------------------------------------------------------------------
def test_broken_rows_are_in_quarantine_with_where_they_come_from(plain: WrittenWorld) -> None:
    kept = plain.lake.read(tables.QUARANTINE, NAME).to_pylist()
    assert kept
    for row in kept:
        assert row["source"].startswith("simulated")
        assert row["reason"]


def test_every_cycle_and_batch_of_a_season_says_that_it_is_simulated(plain: WrittenWorld) -> None:
    assert {row["is_synthetic"] for row in plain.rows(tables.CYCLE_MANIFEST)} == {True}
    assert {row["model"] for row in plain.rows(tables.GENERATED_OUTPUTS)} == {"offline-writer"}
    sources = {row["source"] for row in plain.lake.read(tables.BATCHES, NAME).to_pylist()}
    assert any(source.startswith("simulated audience, ") for source in sources)
    lines = [
        json.loads(line)
        for path in (plain.paths.outbox / NAME).glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert {line["is_simulated"] for line in lines} == {True}


# -- without floor, without preferences ------------------------------------------------------------------------------
def decisions(world: WrittenWorld, cycle: Any) -> set[str]:
    return {row["decision"] for row in world.rows(tables.SCORED_OUTPUTS, cycle)}


def test_without_a_floor_everything_measured_is_fed_back(plain: WrittenWorld, tmp_path: Path) -> None:
    world = play_plain(WrittenWorld.make(tmp_path), 2, floor="off")
    cycle = CYCLES[0]
    assert json.loads(world.manifest(cycle)["settings"])["floor"]["above"] == "off"
    assert world.manifest(cycle)["threshold_version"] != plain.manifest(cycle)["threshold_version"]
    (threshold,) = world.lake.read(tables.THRESHOLDS, NAME).to_pylist()
    assert threshold["threshold_version"] == world.manifest(cycle)["threshold_version"]
    assert "off" in json.dumps(threshold, default=str)
    assert n_promoted(world, cycle) > n_promoted(plain, cycle)


def n_promoted(world: WrittenWorld, cycle: Any) -> int:
    return sum(row["decision"] == "promote" for row in world.rows(tables.SCORED_OUTPUTS, cycle))


def test_the_yaml_is_not_changed_by_a_season_without_a_floor(tmp_path: Path) -> None:
    world = play_plain(WrittenWorld.make(tmp_path), 1, floor="off")
    assert world.spec.floor.above == "mean"


def test_a_flat_world_has_other_reactions_to_the_same_first_texts(plain: WrittenWorld, tmp_path: Path) -> None:
    flat = play_plain(WrittenWorld.make(tmp_path), 1, preferences="flat")
    assert flat.rows(tables.GENERATED_OUTPUTS, CYCLES[0]) == plain.rows(tables.GENERATED_OUTPUTS, CYCLES[0])
    outcome = tables.METRIC_LEDGER
    assert flat.rows(outcome, CYCLES[0]) != plain.rows(outcome, CYCLES[0])
    assert summarise(read(flat, tables.BRIEF_OUTCOMES), better="higher").briefs == 6


def read(world: WrittenWorld, table: TableContract) -> pa.Table:
    return world.lake.read(table, NAME)
