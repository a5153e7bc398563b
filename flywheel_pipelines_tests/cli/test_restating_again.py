"""`flywheel restate` after a failure in its middle: run again, it does the rest and nothing twice.

The clock of the command stands still, so that the lake must hold the very bytes that it holds after an undisturbed run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from flywheel_pipelines.cli import restating, shared
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.simulation import dagster_runs
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.corrections import Ticks, inbox_of, write_correction
from flywheel_pipelines_tests.loop.histories import killed_before
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

SECOND, THIRD = WEEKS[1:3]
N_LANDING = 2
"""Files that landing puts in their place: the row of the correction, and its batch."""
NOTHING_LEFT = "No closed cycle is touched"


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenWorld]:
    """The written flywheel in place of the project's own, with a correction in its inbox."""
    world = played.copy_to(tmp_path)
    monkeypatch.setattr(shared, "DEFS_DIR", world.root / "defs")
    monkeypatch.setattr(restating, "DEFS_DIR", world.root / "defs")
    monkeypatch.setattr(dagster_runs, "load_definitions", world.definitions)
    monkeypatch.setenv("DAGSTER_HOME", str(world.paths.root / "dagster_home"))
    now = an_hour_after(world)

    class StandingClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return now

    monkeypatch.setattr(restating, "datetime", StandingClock)
    write_correction(world, SECOND, correction_of(world))
    with world.in_force():
        yield world


def an_hour_after(world: WrittenWorld) -> datetime:
    """An hour after the newest batch of a world."""
    newest = world.lake.latest_batch(NAME)
    assert newest is not None
    return newest.astimezone(UTC) + timedelta(hours=1)


def correction_of(world: WrittenWorld) -> Path:
    return inbox_of(world) / "correction.csv"


def restate(run: Run, world: WrittenWorld) -> str:
    return run("restate", correction_of(world), "--flywheel", NAME).said


@pytest.fixture(scope="module")
def straight(played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of the lake when nothing comes in between."""
    world = played.copy_to(tmp_path_factory.mktemp("straight"))
    write_correction(world, SECOND, correction_of(world))
    before = fingerprint(world.paths.lake)
    with dg.DagsterInstance.ephemeral() as instance, world.in_force():
        at, source = an_hour_after(world), correction_of(world).relative_to(world.paths.inbox).as_posix()
        land_file(world.lake, world.spec, "mailer", correction_of(world), recorded_at=at, source=source)
        finish(Ticks(world, instance))
    after = fingerprint(world.paths.lake)
    assert {Path(path).parts[0] for path in changed_files(before, after)} >= {"metric_ledger", "restatements"}
    return after


def finish(ticks: Ticks) -> None:
    """Let the sensor request what is left to do, and run it."""
    request = ticks.requested()
    assert "1 file held nothing that was not landed before." in request.tags["landed"]
    assert ticks.execute(request).success


def assert_done_once(world: WrittenWorld, straight: dict[str, str]) -> None:
    assert changed_files(straight, fingerprint(world.paths.lake)) == []


@pytest.mark.parametrize(
    "rename",
    [
        pytest.param(N_LANDING - 1, marks=pytest.mark.slow),
        pytest.param(N_LANDING + 2, marks=pytest.mark.slow),
        N_LANDING + 15,
    ],
)
def test_a_restatement_that_was_killed_is_finished_by_the_next(
    run: Run, world: WrittenWorld, straight: dict[str, str], rename: int
) -> None:
    """Before its batch counted; early in the close; in the middle of it."""
    with killed_before(rename) as kill:
        restate(run, world)
    assert kill.came
    assert changed_files(straight, fingerprint(world.paths.lake)) != []
    said = restate(run, world)
    assert ("was landed before" in said) == (rename >= N_LANDING)
    assert f"Cycles {SECOND} to {THIRD} were closed again in one run" in said
    assert_done_once(world, straight)
    assert NOTHING_LEFT in restate(run, world)
    assert_done_once(world, straight)


def test_a_restatement_whose_close_failed_says_so_and_is_finished_by_the_next(
    run: Run, world: WrittenWorld, straight: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Lake.write

    def full(lake: Lake, table: Any, *given: Any, **partition: Any) -> Any:
        if table is tables.SCORED_OUTPUTS and partition["cycle"] == THIRD:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(lake, table, *given, **partition)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "write", full)
        ran = run("restate", correction_of(world), "--flywheel", NAME)
    assert ran.code == 2
    assert "No space left on device" in ran.said
    assert f"{NAME}__close" in ran.said
    assert "was landed before" in restate(run, world)
    assert_done_once(world, straight)


@pytest.mark.slow
def test_the_sensor_finishes_what_a_restatement_left(run: Run, world: WrittenWorld, straight: dict[str, str]) -> None:
    with killed_before(N_LANDING + 2):
        restate(run, world)
    with dg.DagsterInstance.ephemeral() as instance:
        finish(Ticks(world, instance))
    assert_done_once(world, straight)
    assert NOTHING_LEFT in restate(run, world)
