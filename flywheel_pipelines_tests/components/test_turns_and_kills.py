"""Two years of turns, simulated, while the daemon is killed ten times: order is held, no cycle is lost or doubled."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from flywheel_pipelines.components.automation import TURN_TAG
from flywheel_pipelines.cycles import Cadence, cycle_range
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.components.turning import NAME, START, Wheel, record_run, turning_spec
from flywheel_pipelines_tests.components.turning_daemon import prepare, set_clock

WEEKS, KILLS, SEED = 104, 10, 6
LAST = START + timedelta(weeks=WEEKS)
CYCLES = list(cycle_range(START, LAST, Cadence.WEEKLY))
TURNS = [*((verb, cycle) for cycle in CYCLES[:-1] for verb in ("open", "close")), ("open", LAST)]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]


def play(root: Path, last: date, kills: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flywheel_pipelines_tests.components.turning_daemon", str(root)]
    command += [str(last), str(kills), str(SEED)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "DAGSTER_DISABLE_TELEMETRY": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """After the season."""
    root = tmp_path_factory.mktemp("turning")
    prepare(root)
    done = play(root, LAST + timedelta(days=1), KILLS)
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.count("killed at") == KILLS
    return Wheel(root, turning_spec())


@pytest.fixture(scope="module")
def runs(wheel: Wheel) -> list[dg.DagsterRun]:
    """Every run, the oldest first."""
    with dg.DagsterInstance.from_config(str(wheel.root / "home")) as instance:
        return list(reversed(instance.get_runs()))


def test_every_turn_was_taken_in_order(wheel: Wheel) -> None:
    """A kill may have the turn repeated that it hit, right after itself and never later."""
    assert [turn for turn, _ in itertools.groupby(wheel.journal())] == TURNS


def test_no_cycle_is_lost(wheel: Wheel) -> None:
    assert wheel.marks("open") == CYCLES
    assert wheel.marks("close") == CYCLES[:-1]


def test_no_turn_ended_well_twice(runs: list[dg.DagsterRun]) -> None:
    succeeded = [run.tags[TURN_TAG] for run in runs if run.status == dg.DagsterRunStatus.SUCCESS]
    cut_off = {run.tags[TURN_TAG] for run in runs} - set(succeeded)
    wanted = [f"{NAME}:{verb}:{cycle}" for verb, cycle in TURNS]
    assert succeeded == [turn for turn in wanted if turn not in cut_off]


def test_the_kills_hit_runs_and_each_was_retried(wheel: Wheel, runs: list[dg.DagsterRun]) -> None:
    """The control: a season in which nothing was hit would prove nothing.

    A run that was hit between the end of its work and its own has nothing to be retried.
    """
    died = [run for run in runs if run.status != dg.DagsterRunStatus.SUCCESS]
    assert len(died) >= KILLS // 2
    assert {run.status for run in died} == {dg.DagsterRunStatus.FAILURE}
    parents = {run.parent_run_id for run in runs}
    with dg.DagsterInstance.from_config(str(wheel.root / "home")) as instance:
        not_done = [run for run in died if not instance.get_run_stats(run.run_id).steps_succeeded]
    assert not_done, "no kill hit a run at work"
    assert all(run.run_id in parents for run in not_done)


def test_control_a_wheel_that_stands_still_is_noticed(tmp_path: Path) -> None:
    """A run that lives and does not end: no tick fails, and the season must not go by without a turn."""
    prepare(tmp_path)
    set_clock(tmp_path, datetime.combine(CYCLES[1], datetime.min.time(), UTC))
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        job = Wheel(tmp_path, turning_spec()).definitions().resolve_job_def(f"{NAME}__open")
        run = record_run(instance, job, dg.DagsterRunStatus.STARTED, by_hand=False, tags={"flywheel": NAME})
        instance.report_engine_event("Started process for run.", run, EngineEventData.in_process(os.getpid()))
    done = play(tmp_path, LAST, kills=0)
    assert done.returncode == 1
    assert "nothing happens any more: Nothing is open yet" in done.stderr
    assert "is under way; this waits for its end." in done.stderr


def test_control_a_tick_that_fails_is_noticed(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "lake" / "momentum" / f"flywheel={NAME}" / "cycle=no-day").mkdir(parents=True)
    done = play(tmp_path, LAST, kills=0)
    assert done.returncode == 1
    assert "the daemon met an error: " in done.stderr
    assert "Invalid isoformat string: 'no-day'" in done.stderr


def test_control_a_turn_out_of_order_would_show(tmp_path: Path) -> None:
    wheel = Wheel(tmp_path, turning_spec())
    for verb, cycle in (TURNS[0], TURNS[1], TURNS[0]):
        wheel.note(verb, date.fromisoformat(str(cycle)))
    assert [turn for turn, _ in itertools.groupby(wheel.journal())] != TURNS[:2]
