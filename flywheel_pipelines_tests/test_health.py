"""What a monitor is told: each finding well and not well."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.backups import Contents
from flywheel_pipelines.dagster_state import daemon_ages, working_runs
from flywheel_pipelines.health import (
    WorkingRun,
    daemon_finding,
    disk_finding,
    published_finding,
    restore_finding,
    runs_finding,
    tables_finding,
    turns_finding,
    yaml_finding,
)
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import PART, Lake
from flywheel_pipelines.overview import read_specs
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.restoring import STAGING
from flywheel_pipelines.starter import starter_yaml
from flywheel_pipelines_tests.lake.old_files import raw, rewrite
from flywheel_pipelines_tests.lake_samples import WEEKS, write_sample_lake
from flywheel_pipelines_tests.small_world import FLYWHEEL, spec

BROKEN_YAML = starter_yaml("bad", date(2026, 1, 5)) + "\n  colour: green\n"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    return DataPaths(tmp_path)


@pytest.mark.parametrize(
    ("ages", "said"),
    [({}, "No daemon"), ({"SENSOR": None}, "SENSOR: never"), ({"SENSOR": 5.0, "SCHEDULER": 301.0}, "SCHEDULER: 301 s")],
)
def test_a_daemon_that_is_not_heard_is_red(ages: dict[str, float | None], said: str) -> None:
    found = daemon_finding(ages, 300)
    assert not found.is_well
    assert said in found.words


def test_daemons_that_are_heard_are_well() -> None:
    assert daemon_finding({"SENSOR": 5.0, "SCHEDULER": 299.0}, 300).is_well


def test_every_daemon_of_the_projects_settings_is_asked_for(paths: DataPaths) -> None:
    with open_instance(paths) as instance:
        found = daemon_ages(instance, NOW)
    assert {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= set(found)
    assert set(found.values()) == {None}


def test_a_run_that_is_too_old_is_named() -> None:
    since = NOW - timedelta(hours=6, minutes=1)
    found = runs_finding([WorkingRun("0123456789", "a__close", "STARTED", since)], NOW)
    assert not found.is_well
    assert "01234567 (a__close, STARTED since 2026-03-02 05:59)" in found.words
    assert runs_finding([WorkingRun("0123456789", "a__close", "QUEUED", NOW)], NOW).is_well


def test_runs_at_work_are_those_that_dagster_lists(paths: DataPaths) -> None:
    @dg.op
    def nothing() -> None: ...

    job = dg.GraphDefinition(name="waits", node_defs=[nothing]).to_job()
    with open_instance(paths) as instance:
        waiting = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING)
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS)
        [found] = working_runs(instance)
    assert (found.run_id, found.job, found.status) == (waiting.run_id, "waits", "STARTING")
    assert abs(found.since - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_cycle_past_its_hours_of_grace_is_red() -> None:
    opened = {FLYWHEEL: [date(2026, 2, 23)]}
    due = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=spec().schedule.hour + spec().schedule.grace_hours)
    late = turns_finding([spec()], opened, {FLYWHEEL: []}, due)
    assert not late.is_well
    assert "2026-02-23" in late.words
    assert turns_finding([spec()], opened, {FLYWHEEL: []}, due - timedelta(seconds=1)).is_well
    assert turns_finding([spec()], opened, opened, due).is_well


def close(paths: DataPaths, ago: timedelta) -> None:
    partition = paths.lake / tables.MOMENTUM.name / f"flywheel={FLYWHEEL}" / "cycle=2026-02-23"
    partition.mkdir(parents=True)
    (partition / PART).write_bytes(b"closed")
    at = (NOW - ago).timestamp()
    for path in (partition / PART, partition):
        os.utime(path, (at, at))


def test_a_close_that_nobody_published_for_an_hour_is_red(paths: DataPaths) -> None:
    assert published_finding(paths, NOW).is_well
    close(paths, timedelta(minutes=61))
    found = published_finding(paths, NOW)
    assert not found.is_well
    assert found.numbers["behind"] == {FLYWHEEL: 1}


def test_a_close_of_just_now_may_be_on_its_way(paths: DataPaths) -> None:
    close(paths, timedelta(minutes=59))
    assert published_finding(paths, NOW).is_well


def test_a_full_disk_is_red(paths: DataPaths) -> None:
    assert disk_finding(paths, minimum=0).is_well
    found = disk_finding(paths, minimum=2**80)
    assert not found.is_well
    assert "dagster_home" in found.words


def test_a_yaml_that_is_refused_is_red_with_its_words_and_the_others_are_read(tmp_path: Path) -> None:
    for name, text in {"good": starter_yaml("good", date(2026, 1, 5)), "bad": BROKEN_YAML}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "defs.yaml").write_text(text, encoding="utf-8")
    specs, refused = read_specs(tmp_path)
    assert [one.name for one in specs] == ["good"]
    found = yaml_finding(refused)
    assert not found.is_well
    assert "bad/defs.yaml" in found.words
    assert "colour" in found.words
    assert yaml_finding({}).is_well


def test_a_restore_that_was_cut_off_is_red(paths: DataPaths) -> None:
    assert restore_finding(paths).is_well
    (paths.root / STAGING).mkdir()
    Contents(NOW.isoformat(), "1.0", False, {}).write(paths.root / STAGING)
    assert not restore_finding(paths).is_well


# -- tables ------------------------------------------------------------------------------------------------------------
def test_tables_of_the_newest_cycle_are_looked_at_with_their_versions(paths: DataPaths) -> None:
    assert tables_finding(paths).is_well
    write_sample_lake(Lake(paths.lake))
    manifest = Lake(paths.lake).partition_dir(tables.CYCLE_MANIFEST, flywheel="news", cycle=WEEKS[2]) / PART
    rewrite(manifest, raw(manifest), 1)
    found = tables_finding(paths)
    assert found.is_well
    assert found.numbers["cycle_manifest"] == {"newest": 1, "known": 2}
    assert found.numbers["input_versions"] == {"newest": 0, "known": 0}


def test_a_table_of_a_newer_version_is_red_and_says_what_to_do(paths: DataPaths) -> None:
    write_sample_lake(Lake(paths.lake))
    manifest = Lake(paths.lake).partition_dir(tables.CYCLE_MANIFEST, flywheel="news", cycle=WEEKS[2]) / PART
    rewrite(manifest, raw(manifest), 3)
    found = tables_finding(paths)
    assert not found.is_well
    assert f"{manifest}: is of version 3 of the table cycle_manifest" in found.words
    assert "upgrade flywheel-pipelines" in found.words
