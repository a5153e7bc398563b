"""`flywheel backup`, `restore` and `health` on a flywheel that has run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

TIMED = ("llm_requests", "batches", "input_versions")
"""Tables that hold how long each answer took, and what is named after it."""


def written(world: WrittenWorld) -> dict[str, str]:
    return {name: digest for name, digest in world.bytes_of().items() if name.split("/")[0] not in TIMED}


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenWorld]:
    """Three closed cycles, and a Dagster home."""
    world = played.copy_to(tmp_path / "world")
    monkeypatch.setenv("DAGSTER_HOME", str(world.paths.root / "dagster_home"))
    with world.in_force():
        yield world


def test_after_a_loss_the_next_cycle_is_the_same_bytes(world: WrittenWorld, run: Run, tmp_path: Path) -> None:
    with open_instance(world.paths) as instance:
        closed = world.execute("close", WEEKS[2], instance)
        assert closed.success
    assert run("backup", tmp_path / "copy", "--json").json["files"] > 50
    with open_instance(world.paths) as instance:
        assert world.execute("open", WEEKS[3], instance).success
    never_lost = written(world)

    shutil.rmtree(world.paths.root)
    assert "each as its digest says" in run("restore", tmp_path / "copy").said
    with open_instance(world.paths) as instance:
        assert [one.run_id for one in instance.get_runs()] == [closed.run_id]
        assert instance.all_logs(closed.run_id)
        assert world.execute("open", WEEKS[3], instance).success
    assert written(world) == never_lost


def test_a_run_at_work_is_named_and_nothing_is_written(world: WrittenWorld, run: Run, tmp_path: Path) -> None:
    with open_instance(world.paths) as instance:
        job = world.definitions().resolve_job_def(f"{NAME}__close")
        at_work = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        refused = run("backup", tmp_path / "copy")
        assert refused.code == 2
        assert f"{at_work.run_id[:8]} ({NAME}__close)" in refused.said
        assert not list(tmp_path.glob("*copy*"))
        instance.report_run_canceled(at_work)
    assert run("backup", tmp_path / "copy").code == 0


def test_health_is_one_json_document_and_an_exit_code(empty: Path, run: Run) -> None:
    ill = run("health", "--json")
    assert (ill.code, ill.json["is_well"]) == (1, False)
    assert [one["name"] for one in ill.json["findings"] if not one["is_well"]] == ["daemon"]
    with open_instance(DataPaths(empty)) as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), kind, "a-daemon", []))
    well = run("health", "--json", "--min-free", "0")
    assert (well.code, well.json["is_well"]) == (0, True)
    assert run("health", "--min-free", "1e9").code == 1


def test_no_restore_beside_a_daemon(world: WrittenWorld, run: Run, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "copy").code == 0
    with open_instance(world.paths) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), "SENSOR", "a-daemon", []))
    before = world.bytes_of()
    refused = run("restore", tmp_path / "copy", "--replace")
    assert (refused.code, world.bytes_of()) == (2, before)
    assert "Stop the daemon" in refused.said
