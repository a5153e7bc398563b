"""Runs whose process is gone are noticed, whoever else died with it; those of living processes are left alone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import freeze_time
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from flywheel_pipelines.components.kit import LOOP
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.run_launcher import WatchedRunLauncher, is_alive, worker_health
from flywheel_pipelines_tests.instances import prepare_settings
from flywheel_pipelines_tests.small_world import definitions


@dg.job
def wait() -> None: ...


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """With the settings that `make dev` uses."""
    prepare_settings(tmp_path, monkeypatch)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def started(instance: dg.DagsterInstance, pid: int | None) -> dg.DagsterRun:
    """A run that has begun, in a process or before it has noted one."""
    run = instance.create_run_for_job(wait, status=dg.DagsterRunStatus.STARTED)
    if pid is not None:
        instance.report_engine_event("Started process for run.", run, EngineEventData.in_process(pid))
    return run


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as made:
        yield made
        made.kill()


def monitor(instance: dg.DagsterInstance) -> None:
    """One look of the daemon."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        list(execute_run_monitoring_iteration(workspace, logging.getLogger("quiet")))


def test_the_settings_name_the_launcher_and_hold_a_flywheel_to_one_run(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_launcher, WatchedRunLauncher)
    settings = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    assert settings["run_monitoring"]["poll_interval_seconds"] <= 60
    assert settings["concurrency"]["pools"] == {"granularity": "run", "default_limit": 1}
    graph = definitions().resolve_asset_graph()
    assert {frozenset(graph.get(dg.AssetKey(["outreach", table])).pools or ()) for table in LOOP} == {
        frozenset({"outreach"})
    }


def test_a_run_whose_process_was_killed_is_marked_failed_and_frees_its_place(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = started(instance, process.pid)
    monitor(instance)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]
    process.kill()
    process.wait()
    monitor(instance)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])) == 0


def test_a_process_that_was_killed_and_is_not_yet_buried_is_gone(process: subprocess.Popen[bytes]) -> None:
    since = time.time()
    assert is_alive(process.pid, since)
    process.kill()
    deadline = time.monotonic() + 20
    while is_alive(process.pid, since) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(process.pid, since)
    os.kill(process.pid, 0)  # the id is still taken, by what is left of it


def test_an_id_that_another_process_has_by_now_is_not_taken_for_the_run(process: subprocess.Popen[bytes]) -> None:
    assert not is_alive(process.pid, time.time() - 3_600)


def test_a_run_that_has_not_noted_its_process_is_left_to_the_start_timeout(instance: dg.DagsterInstance) -> None:
    assert worker_health(instance, started(instance, None)).status == WorkerStatus.RUNNING


@pytest.mark.parametrize(("seconds", "status"), [(179, "STARTED"), (181, "FAILURE")])
def test_a_run_that_was_killed_before_it_noted_its_process_frees_its_place_after_that_timeout(
    instance: dg.DagsterInstance, seconds: float, status: str
) -> None:
    run = started(instance, None)
    with freeze_time(time.time() + seconds):
        monitor(instance)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus[status]  # type: ignore[union-attr]


def test_steps_in_processes_of_their_own_are_not_taken_for_the_run(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    """A step's process ends long before its run does."""
    run = started(instance, process.pid)
    with subprocess.Popen([sys.executable, "-c", ""]) as step:
        step.wait()
    instance.report_engine_event("Executing step.", run, EngineEventData.in_process(step.pid))
    assert worker_health(instance, run).status == WorkerStatus.RUNNING
