"""A flywheel whose cycles cost nothing: its jobs only leave in the lake what tells that a cycle is open or closed.

For tests in which nothing but the order of turns is at stake. The sensor is the project's own. As a file it is also a
code location; `TURNING_DATA` says where its data are.
"""

# No `from __future__ import annotations`: Dagster reads the type of an asset's context from the annotation itself.
import os
import sys
import time
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components import automation
from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DATA_DIR_VARIABLE
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines.starter import starter_yaml
from flywheel_pipelines_tests.lake_samples import rows

NAME = "wheel"
DATA = "TURNING_DATA"
HOLD, HELD = "hold", "held"
"""Files: from which instant of the clock a turn waits to be killed, and where; and that one does."""
PLACES = ("launched", "at_work", "written")
"""Before the run has started; in its step, before anything is written; in its step, when everything is."""
START = date(2020, 1, 6)
"""Long past, since Dagster asks the machine's own clock which partitions there are."""
MARKS = {"open": tables.PUBLISHED_OUTPUTS, "close": tables.MOMENTUM}


def turning_spec(cadence: str = "weekly", **schedule: Any) -> FlywheelSpec:
    attributes = yaml.safe_load(starter_yaml(NAME, START))["attributes"]
    start = {"daily": START, "weekly": START, "monthly": START.replace(month=2, day=1)}[cadence]
    return parse_spec({**attributes, "cadence": cadence, "start": start, "schedule": schedule}, "defs.yaml")


@dataclass(frozen=True)
class Wheel:
    """A data directory, with a journal of what the jobs have done."""

    root: Path
    spec: FlywheelSpec

    @property
    def lake(self) -> Lake:
        return Lake(self.root / "lake")

    def journal(self) -> list[tuple[str, date]]:
        """Every turn that was taken to its end, in order; one that a kill had repeated stands there twice."""
        path = self.root / "journal"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [(verb, date.fromisoformat(cycle)) for verb, cycle in (line.split() for line in lines)]

    def take(self, verb: str, cycle: date) -> None:
        """Open or close a cycle: the mark in the lake, then a line in the journal."""
        table = MARKS[verb]
        self.lake.write(table, rows(table, [{}]), flywheel=self.spec.name, cycle=cycle)
        self.note(verb, cycle)

    def note(self, verb: str, cycle: date) -> None:
        with (self.root / "journal").open("a", encoding="utf-8") as journal:
            journal.write(f"{verb} {cycle}\n")

    def marks(self, verb: str) -> list[date]:
        return self.lake.cycles(MARKS[verb], self.spec.name)

    def definitions(self) -> dg.Definitions:
        """Two assets and their jobs under the names of a flywheel, and the sensor that turns it."""
        kit = AssetKit(self.spec)
        assets = {verb: self._asset(kit, verb) for verb in MARKS}
        jobs = {
            verb: dg.define_asset_job(
                f"{self.spec.name}__{verb}",
                selection=dg.AssetSelection.assets(asset),
                executor_def=dg.in_process_executor,
                tags={"flywheel": self.spec.name},
            )
            for verb, asset in assets.items()
        }
        return dg.Definitions(
            assets=list(assets.values()),
            jobs=list(jobs.values()),
            sensors=[
                automation.turn_sensor(
                    kit, jobs["open"], jobs["close"], partial(automation.due_in, kit), kit.spec.briefs.published_by
                )
            ],
            resources={"lake": LakeResource(duckdb=DuckDBResource(database=":memory:"))},
        )

    def _asset(self, kit: AssetKit, verb: str) -> dg.AssetsDefinition:
        @dg.asset(key=[self.spec.name, MARKS[verb].name], partitions_def=kit.partitions)
        def turn(context: dg.AssetExecutionContext) -> None:
            wait_to_be_killed(self.root, "at_work")
            self.take(verb, date.fromisoformat(context.partition_key))
            wait_to_be_killed(self.root, "written")

        return turn


def wait_to_be_killed(root: Path, place: str) -> None:
    """Wait here for a kill, if one was asked for at this place and its instant has come."""
    if not (root / HOLD).exists():
        return
    moment, where = (root / HOLD).read_text(encoding="utf-8").split()
    if place != where or read_clock(root) < datetime.fromisoformat(moment):
        return
    (root / HELD).touch()
    time.sleep(300)
    raise AssertionError(f"nobody has killed what waits for it ({place})")


def read_clock(root: Path) -> datetime:
    """The simulated present."""
    return datetime.fromisoformat((root / "clock").read_text(encoding="utf-8"))


def record_run(
    instance: dg.DagsterInstance, job: dg.JobDefinition, status: dg.DagsterRunStatus, *, by_hand: bool, **options: Any
) -> dg.DagsterRun:
    """A run that is where a test says, without running it.

    As one that a sensor or the UI has launched, it names the code location it came from; by hand it does not, as one
    that was executed in a process of its own.
    """
    if not by_hand:
        location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("turning"), "__repository__")
        code = RepositoryPythonOrigin(sys.executable, ModuleCodePointer("turning", "defs"))
        options |= {
            "remote_job_origin": RemoteJobOrigin(location, job.name),
            "job_code_origin": JobPythonOrigin(job.name, code),
        }
    return instance.create_run_for_job(job, status=status, **options)


def defs() -> dg.Definitions:
    """What a code location shows; the clock is the file `clock` of the data directory."""
    root = Path(os.environ[DATA])
    os.environ[DATA_DIR_VARIABLE] = str(root)
    automation.utc_now = lambda: read_clock(root)
    return Wheel(root, turning_spec(catch_up=60)).definitions()
