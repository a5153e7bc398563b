"""`flywheel restate`: what would change is said before anything is written, and is what then changes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from flywheel_pipelines.cli import restating, shared
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.versions import stale_cycles
from flywheel_pipelines.loop.restating import SNAPSHOT_PREFIX, snapshot
from flywheel_pipelines.simulation import dagster_runs
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.corrections import write_correction
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

FIRST, SECOND, THIRD = WEEKS[:3]


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenWorld]:
    """The written flywheel in place of the project's own."""
    world = played.copy_to(tmp_path)
    monkeypatch.setattr(shared, "DEFS_DIR", world.root / "defs")
    monkeypatch.setattr(restating, "DEFS_DIR", world.root / "defs")
    monkeypatch.setattr(dagster_runs, "load_definitions", world.definitions)
    monkeypatch.setenv("DAGSTER_HOME", str(world.paths.root / "dagster_home"))
    with world.in_force():
        yield world


@pytest.fixture
def correction(world: WrittenWorld) -> Path:
    path = world.root / "mailer" / "correction.csv"
    write_correction(world, SECOND, path)
    return path


def lake_of(world: WrittenWorld) -> dict[str, str]:
    return fingerprint(world.paths.lake)


def leftovers(world: WrittenWorld) -> list[Path]:
    return [path for path in world.paths.root.glob(f"{SNAPSHOT_PREFIX}*") if path.is_dir()]


def decisions(world: WrittenWorld, cycle: date) -> dict[str, str]:
    return {row["output_id"]: row["decision"] for row in world.rows(tables.SCORED_OUTPUTS, cycle)}


def test_a_dry_run_writes_nothing(run: Run, world: WrittenWorld, correction: Path) -> None:
    before = lake_of(world)
    ran = run("restate", correction, "--flywheel", NAME, "--dry-run")
    assert ran.code == 0
    assert f"Cycles {SECOND} to {THIRD} would close again; touched: {SECOND}." in ran.said
    assert "Nothing was written." in ran.said
    assert lake_of(world) == before
    assert leftovers(world) == []


def test_what_the_dry_run_says_is_what_then_happens(run: Run, world: WrittenWorld, correction: Path) -> None:
    said = run("restate", correction, "--flywheel", NAME, "--dry-run", "--json").json
    before = {cycle: decisions(world, cycle) for cycle in (SECOND, THIRD)}
    corpus = {row["reference_id"] for row in world.rows(tables.REFERENCE_CORPUS, THIRD)}
    prompts = {cycle: world.rows(tables.REFRESHED_PROMPT, cycle)[0]["prompt_version"] for cycle in (SECOND, THIRD)}
    assert run("restate", correction, "--flywheel", NAME).code == 0
    flips = {
        (cycle.isoformat(), output, before[cycle].get(output), now)
        for cycle in (SECOND, THIRD)
        for output, now in decisions(world, cycle).items()
        if before[cycle].get(output) != now
    }
    told = {(row["cycle"], row["output_id"], row["old_decision"], row["new_decision"]) for row in said["decisions"]}
    assert told == flips != set()
    now = {row["reference_id"] for row in world.rows(tables.REFERENCE_CORPUS, THIRD)}
    assert {row["reference_id"] for row in said["corpus_in"]} == now - corpus
    assert {row["reference_id"] for row in said["corpus_out"]} == corpus - now
    changed = [
        cycle.isoformat()
        for cycle in (SECOND, THIRD)
        if world.rows(tables.REFRESHED_PROMPT, cycle)[0]["prompt_version"] != prompts[cycle]
    ]
    assert said["prompts"] == changed
    assert (said["first"], said["last"]) == (SECOND.isoformat(), THIRD.isoformat())
    assert len(said["metrics"]) == 1


def test_restating_lands_closes_and_leaves_nothing_stale(run: Run, world: WrittenWorld, correction: Path) -> None:
    ran = run("restate", correction, "--flywheel", NAME)
    assert f"Cycles {SECOND} to {THIRD} were closed again in one run: 1 values changed" in ran.said
    closing = [table for table in tables.ALL_TABLES if table.layer in ("feedback", "learning", "momentum")]
    assert stale_cycles(world.lake, NAME, closing) == {}
    assert "No closed cycle is touched" in run("restate", correction, "--flywheel", NAME).said


def test_the_run_is_in_the_instance_that_the_ui_shows(run: Run, world: WrittenWorld, correction: Path) -> None:
    import dagster as dg

    run("restate", correction, "--flywheel", NAME)
    with dg.DagsterInstance.get() as instance:
        (found,) = instance.get_runs()
    assert found.job_name == f"{NAME}__close"
    assert found.tags["dagster/asset_partition_range_start"] == SECOND.isoformat()


def test_a_range_is_closed_again_without_a_file(run: Run, world: WrittenWorld) -> None:
    before = lake_of(world)
    ran = run("restate", "--flywheel", NAME, "--cycles", f"{FIRST}:{THIRD}")
    assert "0 values changed, 0 decisions flipped" in ran.said
    assert changed_files(before, lake_of(world)) == []


def test_a_dry_run_of_what_touches_nothing_says_so(run: Run, world: WrittenWorld) -> None:
    path = world.root / "mailer" / "nobody.csv"
    path.parent.mkdir()
    path.write_text(f"output_id,day,replies,sends\nnobody,{FIRST},1,10\n", encoding="utf-8")
    ran = run("restate", path, "--flywheel", NAME, "--dry-run")
    assert "0 usable rows; 1 would be put aside" in ran.said
    assert "nothing would change" in ran.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a FILE to land, or --cycles"),
        (["--cycles", "soon"], "expected one day, 2026-01-05"),
        (["--cycles", "2026-01-05:2026-02-09"], "2026-01-26, 2026-02-02, 2026-02-09 of offers cannot be closed again"),
        (["/no/such.csv"], "there is no such file"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    run: Run, world: WrittenWorld, arguments: list[str], said: str
) -> None:
    ran = run("restate", *arguments, "--flywheel", NAME)
    assert ran.code == 2
    assert said in ran.said


def test_a_path_that_tells_no_feed_needs_one(run: Run, world: WrittenWorld, correction: Path) -> None:
    elsewhere = world.root / "correction.csv"
    shutil.copy(correction, elsewhere)
    assert "no feed of offers" in run("restate", elsewhere, "--flywheel", NAME, "--dry-run").said
    assert run("restate", elsewhere, "--flywheel", NAME, "--feed", "mailer", "--dry-run").code == 0


# -- snapshots -------------------------------------------------------------------------------------------------------
def test_what_is_written_in_a_snapshot_leaves_the_lake_as_it_is(world: WrittenWorld) -> None:
    before = lake_of(world)
    with snapshot(world.lake, NAME, world.paths.root) as copy:
        assert fingerprint(copy.root) == before
        rows = copy.read(tables.MOMENTUM, NAME, THIRD).drop_columns(["cycle"])
        copy.write(tables.MOMENTUM, rows.slice(0, 0), flywheel=NAME, cycle=THIRD)
        assert fingerprint(copy.root) != before
        assert lake_of(world) == before
    assert leftovers(world) == []


def test_a_snapshot_in_use_is_left_alone(world: WrittenWorld) -> None:
    with snapshot(world.lake, NAME, world.paths.root) as one, snapshot(world.lake, NAME, world.paths.root):
        assert one.root.is_dir()
        assert len(leftovers(world)) == 2


def test_what_a_kill_leaves_is_removed_by_the_next(world: WrittenWorld) -> None:
    script = (
        "import sys, time; from pathlib import Path; from flywheel_pipelines.lake.store import Lake; "
        "from flywheel_pipelines.loop.restating import snapshot\n"
        f"with snapshot(Lake({str(world.paths.lake)!r}), {NAME!r}, Path({str(world.paths.root)!r})):\n"
        "    print('there', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "there"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=20)
    assert len(leftovers(world)) == 1
    with snapshot(world.lake, NAME, world.paths.root):
        assert len(leftovers(world)) == 1
    deadline = time.monotonic() + 5
    while leftovers(world) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert leftovers(world) == []
