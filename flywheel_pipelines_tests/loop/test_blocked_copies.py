"""A loop that only copies is seen although its guardrails keep the copies from going out."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.writing import Writers
from flywheel_pipelines.production.guardrails import COPIED
from flywheel_pipelines.simulation.copying_writers import CopyingWriters
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines_tests.written_world import WEEKS, WrittenWorld

N_PLAYED = 3


def played(root: Path, writers: Writers) -> WrittenWorld:
    world = WrittenWorld.make(root, n_briefs=14, floor={"confidence": 0.6}, arms={"control": 0.2})
    stage = PlainStage(world.flywheel, world.lake, writers, world.paths.outbox)
    play(Season.of(world.flywheel, N_PLAYED, world.audience()), stage, world.lake, world.paths)
    return world


def sign(world: WrittenWorld) -> dict:
    return next(row for row in world.rows(tables.COLLAPSE_SIGNS, WEEKS[N_PLAYED - 1]) if row["scope"] == "outputs")


def own(world: WrittenWorld, table: tables.TableContract) -> list[dict]:
    return [row for row in world.rows(table, WEEKS[N_PLAYED - 1]) if row["arm"] == "flywheel"]


@pytest.fixture(scope="module")
def copying(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    return played(tmp_path_factory.mktemp("copying"), CopyingWriters())


def test_copies_that_were_blocked_count_once_for_each_brief_that_has_no_output(copying: WrittenWorld) -> None:
    answered = {row["brief_id"] for row in own(copying, tables.PUBLISHED_OUTPUTS)}
    blocked = {
        row["brief_id"] for row in own(copying, tables.GENERATED_OUTPUTS) if COPIED in (row["blocked"] or "")
    } - answered
    assert blocked, "the guardrails kept something back"
    assert sign(copying)["n_texts"] == len(answered) + len(blocked)


def test_control_a_healthy_loop_is_judged_by_what_it_published(copying: WrittenWorld, tmp_path: Path) -> None:
    healthy = played(tmp_path, DirectWriters())
    assert sign(healthy)["n_texts"] == len(own(healthy, tables.PUBLISHED_OUTPUTS))
    assert sign(healthy)["similarity_rise"] < sign(copying)["similarity_rise"]
