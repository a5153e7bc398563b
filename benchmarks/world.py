"""A flywheel on a synthetic archive in a folder of its own, run with Dagster and without.

Without Dagster means: the steps that the assets take, one after the other. Both ways write the same bytes.

Here: setting up and running. Not here: measuring.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components.flywheel import FlywheelComponent
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.archive import find_mapping, read_archive
from flywheel_pipelines.feedback.files import read_header
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, DEFS_DIR, DataPaths
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.replay import ReplayPlan, deliver_candidates, deliver_feedback
from flywheel_pipelines.simulation.season import PlainStage
from flywheel_pipelines.simulation.synthetic_archive import make_synthetic_archive
from flywheel_pipelines.spec import FlywheelSpec, load_spec, parse_spec

FLYWHEEL = "archive_headlines"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CLOSE_TABLES = (
    tables.PERFORMANCE_METRICS, tables.SCORED_OUTPUTS, tables.SCORING_MODEL, tables.SCORING_MODEL_TERMS,
    tables.REFERENCE_CORPUS, tables.REFRESHED_PROMPT, tables.BRIEF_OUTCOMES, tables.MOMENTUM, tables.AUDIT,
)  # fmt: skip


@contextmanager
def temporary_data() -> Iterator[DataPaths]:
    """A data directory that the environment names, gone with the block; Dagster keeps quiet meanwhile."""
    # Dagster sets the level of its own logger whenever it makes a context; only this is above that.
    logging.disable(logging.CRITICAL)
    before = {name: os.environ.get(name) for name in (DATA_DIR_VARIABLE, "DAGSTER_HOME")}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ[DATA_DIR_VARIABLE] = folder
        os.environ["DAGSTER_HOME"] = f"{folder}/dagster_home"
        try:
            yield DataPaths(Path(folder))
        finally:
            logging.disable(logging.NOTSET)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


class World:
    """One flywheel whose cycles can be opened and closed."""

    def __init__(
        self, paths: DataPaths, *, weeks: int, briefs: int, window: int, feeds: Mapping[str, Any] | None = None
    ) -> None:
        """Write the archive and read it; `window` is how many cycles a close looks back, in all that looks back."""
        archive = paths.inbox / "archive.csv.gz"
        make_synthetic_archive(archive, weeks=weeks, briefs_per_week=briefs, n_broken=0, seed=1)
        mapping = find_mapping(read_header(archive), str(archive))[1]
        self.paths, self.lake = paths, Lake(paths.lake)
        spec = _spec(window, feeds or {})
        self.plan = ReplayPlan(spec, read_archive(archive, mapping, cadence=spec.cadence), "full", is_synthetic=True)
        self.cycles = self.plan.cycles
        deliver_candidates(self.lake, self.plan)

    def copy(self, folder: Path) -> World:
        """The same world as it is now, in a folder of its own; either can then go on without the other."""
        shutil.copytree(self.paths.root, folder)
        other = copy(self)
        other.paths = DataPaths(folder)
        other.lake = Lake(other.paths.lake)
        return other

    def in_force(self) -> None:
        """Name this world's folder in the environment, where the assets look it up."""
        os.environ[DATA_DIR_VARIABLE] = str(self.paths.root)
        os.environ["DAGSTER_HOME"] = str(self.paths.root / "dagster_home")

    def turn(self, cycle: date) -> None:
        """Open a cycle, deliver its feedback, close it; without Dagster."""
        self._stage.open(cycle, OpenOptions(recorded_at=cycle_start(cycle), publish="all", is_synthetic=True))
        deliver_feedback(self.lake, self.plan, cycle)
        self.close(cycle)

    def close(self, cycle: date) -> None:
        """Close a cycle without Dagster."""
        self._stage.close([cycle], is_last=False)

    @property
    def _stage(self) -> PlainStage:
        # An archive has its texts already, so nobody is asked to write.
        return PlainStage(Flywheel(self.plan.spec), self.lake, DirectWriters(), self.paths.outbox)

    def versions(self, cycle: date) -> list[str]:
        """The versions of everything that closing a cycle writes."""
        return [self.lake.version(table, FLYWHEEL, cycle) for table in CLOSE_TABLES]

    @contextmanager
    def closing_job(self) -> Iterator[ClosingJob]:
        """The job that closes a cycle, on a Dagster instance in this data directory."""
        found = self.definitions()
        self.in_force()
        with open_instance(self.paths) as instance:
            yield ClosingJob(found.resolve_job_def(f"{FLYWHEEL}__close"), instance, self)

    def definitions(self) -> dg.Definitions:
        """The assets, jobs and sensors of this world's flywheel, with the resources they need."""
        # The component makes its definitions from the spec alone and asks nothing of the context.
        made = FlywheelComponent(self.plan.spec).build_defs(None)  # type: ignore[arg-type]
        lake = LakeResource(duckdb=DuckDBResource(database=":memory:"))
        return dg.Definitions.merge(made, dg.Definitions(resources={"lake": lake, "llm": LlmResource()}))


class ClosingJob:
    """The close job and the instance it runs on."""

    def __init__(self, job: dg.JobDefinition, instance: dg.DagsterInstance, world: World) -> None:
        """A resolved job of a world."""
        self._job, self._instance, self._world = job, instance, world

    def run(self, cycle: date, last: date | None = None) -> None:
        """Close a cycle, or all to `last` in one run, through Dagster. Raises whatever a step raises."""
        self._world.in_force()
        ops = {f"{FLYWHEEL}__{tables.MOMENTUM.name}": {"config": {"plot": False}}}
        where: dict[str, Any] = {"partition_key": cycle.isoformat()}
        if last is not None:
            ends = {"start": cycle, "end": last}
            where = {"tags": {f"dagster/asset_partition_range_{end}": day.isoformat() for end, day in ends.items()}}
        self._job.execute_in_process(instance=self._instance, run_config={"ops": ops, **QUIET}, **where)

    @property
    def n_runs(self) -> int:
        """How many runs the instance has on its books."""
        return self._instance.get_runs_count()


def _spec(window: int, feeds: Mapping[str, Any]) -> FlywheelSpec:
    settings = load_spec(DEFS_DIR / FLYWHEEL / "defs.yaml").model_dump(mode="json")
    settings["scoring_model"]["window"] = window
    settings["corpus"]["lookback"] = window
    settings["feeds"] = dict(feeds)
    return parse_spec(settings, "benchmark")
