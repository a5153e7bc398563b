"""The published file beside the lake: when it is behind, the check that says so, and the sensor that publishes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.components.upkeep import freshness_check, publish_when_behind
from flywheel_pipelines.components.warehouse import PUBLISHED_FILE
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.freshness import freshness
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, DataPaths
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, WEEKS, rows, write_sample_lake
from flywheel_pipelines_tests.small_world import definitions


class Published:
    """A small lake with a file beside it that is newer; only its age counts here."""

    def __init__(self, root: Path) -> None:
        self.paths = DataPaths(root)

    def close(self, week: int) -> None:
        """Close a week again, with another result, after what was published."""
        lake = self.lake
        lake.write(tables.MOMENTUM, rows(tables.MOMENTUM, [{"scope": "cycle"}]), flywheel=FLYWHEEL, cycle=WEEKS[week])
        later = self.paths.published_file.stat().st_mtime + 60
        os.utime(
            lake.partition_dir(tables.MOMENTUM, flywheel=FLYWHEEL, cycle=WEEKS[week]) / "part.parquet", (later, later)
        )

    @property
    def lake(self):
        from flywheel_pipelines.lake.store import Lake

        return Lake(self.paths.lake)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    made = Published(tmp_path)
    write_sample_lake(made.lake)
    made.paths.published_file.touch()
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    yield made


def check() -> dg.AssetCheckEvaluation:
    asset = dg.AssetSpec(PUBLISHED_FILE)
    made = dg.Definitions(assets=[asset], asset_checks=[freshness_check()])
    with new_instance() as instance:
        job = made.resolve_implicit_global_asset_job_def()
        [evaluation] = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    return evaluation


def tick(instance: dg.DagsterInstance) -> dg.SensorResult:
    with dg.build_sensor_context(instance=instance) as context:
        result = publish_when_behind(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_file_that_knows_what_was_closed_is_fresh(published: Published) -> None:
    evaluation = check()
    assert evaluation.passed
    assert evaluation.metadata["cycles_behind"].value == 0


def test_a_file_that_is_behind_is_a_warning_that_names_the_cycles(published: Published) -> None:
    published.close(1)
    evaluation = check()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"{FLYWHEEL}: 1, newest {WEEKS[1]}" in (evaluation.description or "")
    assert "warehouse__publish" in (evaluation.description or "")
    assert evaluation.metadata["behind"].value == {FLYWHEEL: [str(WEEKS[1])]}


def test_a_file_that_is_not_there_is_behind_everything(published: Published) -> None:
    published.paths.published_file.unlink()
    assert freshness(published.paths).behind == {FLYWHEEL: list(WEEKS[:2])}


def test_control_an_empty_lake_is_behind_nothing(tmp_path: Path) -> None:
    assert freshness(DataPaths(tmp_path)).is_fresh


def test_a_publish_is_requested_once_for_each_state_of_what_is_closed(published: Published) -> None:
    with new_instance() as instance:
        assert not tick(instance).run_requests
        published.close(1)
        [first] = tick(instance).run_requests or []
        [again] = tick(instance).run_requests or []
        assert first.run_key == again.run_key
        published.close(0)
        [other] = tick(instance).run_requests or []
    assert other.run_key != first.run_key


def test_a_publish_waits_for_runs_that_may_change_what_is_closed(published: Published) -> None:
    published.close(1)
    with new_instance() as instance:
        job = definitions().resolve_job_def("warehouse__publish")
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"flywheel": FLYWHEEL})
        result = tick(instance)
    assert not result.run_requests
    assert f"Run {run.run_id[:8]}" in str(result.skip_reason)


def test_the_deployment_has_the_check_its_schedule_and_its_sensors() -> None:
    found = definitions().get_repository_def()
    assert "is_fresh" in {key.name for key in found.asset_graph.asset_check_keys if key.asset_key == PUBLISHED_FILE}
    statuses = {sensor.name: sensor.default_status for sensor in found.sensor_defs}
    assert statuses["warehouse__publish_when_behind"] == dg.DefaultSensorStatus.STOPPED
    for name in ("alerts__failures", "alerts__objections", "alerts__overdue"):
        assert statuses[name] == dg.DefaultSensorStatus.RUNNING
    [schedule] = [one for one in found.schedule_defs if one.name == "warehouse__check_freshness_every_morning"]
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
