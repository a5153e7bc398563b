"""The demo: seasons of several flywheels through the real Dagster jobs, published, and reported on.

Here: what is set up before a season and what is made of it after. Not here: the season itself (`season`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.landing import measures_of
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.provider import BASE_URL_VARIABLE, KEY_VARIABLE
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT, DataPaths
from flywheel_pipelines.report.page import FlywheelReport, write_report
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.dagster_runs import execute_job, load_definitions, replace_earlier
from flywheel_pipelines.simulation.market import World, kind_of
from flywheel_pipelines.simulation.season import (
    SAMPLES,
    SIMULATED,
    TAG,
    DagsterStage,
    Season,
    deliver_briefs,
    play,
)
from flywheel_pipelines.spec import FlywheelSpec

OnCycle = Callable[[date, int, int], None]
OWN_SOURCES = (
    f"{SAMPLES}, *", f"{SIMULATED}, *", "quality floor in *", "prompt", "export * to the outbox", "llm", "llm batch",
)  # fmt: skip
"""Patterns of what a demo and its openings record; a flywheel that holds more than this is somebody's own."""


@dataclass(frozen=True)
class DemoPlan:
    """What is simulated. `floor` None is the YAML's, "off" feeds everything back; a flat world has no preferences."""

    specs: tuple[FlywheelSpec, ...]
    n_cycles: int = 26
    seed: int = 1
    world: World = "lively"
    floor: str | None = None

    def season(self, spec: FlywheelSpec) -> Season:
        """The season of one of the flywheels."""
        kind = kind_of(measures_of(spec))
        audience = Audience(kind, seed=self.seed, world=self.world, cadence=spec.cadence)
        return Season.of(Flywheel(spec, DEFS_DIR / spec.name), self.n_cycles, audience, self.floor)


def sample_briefs(spec: FlywheelSpec) -> Path:
    """The sample briefs that come with a flywheel. Raises FlywheelError when there are none."""
    folder = PROJECT_ROOT / "data" / "samples" / spec.name
    found = sorted(folder.glob("*.csv"))
    if not found:
        raise FlywheelError(f"{folder}: no sample briefs (*.csv) for {spec.name}, so there is nothing to write about.")
    return found[0]


def run_demo(plan: DemoPlan, paths: DataPaths, on_cycle: OnCycle = lambda *_: None) -> list[FlywheelReport]:
    """Play the season of each flywheel, one after the other, publish the DuckDB file once, and report on each.

    An earlier demo of the same flywheels is replaced. Every cycle is a partition in the Dagster instance of this data
    directory, so the UI shows it afterwards. The offline writer writes, whatever provider the environment names.

    Raises:
        FlywheelError: a step failed, or a flywheel holds data that did not come from a demo.
    """
    lake = Lake(paths.lake)
    total = plan.n_cycles * len(plan.specs)
    # Whatever cannot be played is refused before anything is replaced.
    played = [(plan.season(spec), sample_briefs(spec)) for spec in plan.specs]
    with _no_provider(), open_instance(paths) as instance:
        definitions = load_definitions()
        for spec in plan.specs:
            replace_earlier(lake, instance, definitions, spec.name, own=OWN_SOURCES, what=TAG)
            _remove_files(paths, spec.name)
        for number, (season, briefs) in enumerate(played):
            deliver_briefs(season.flywheel, briefs, lake, cycle_start(season.cycles[0]) - timedelta(days=1))

            def counted(cycle: date, done: int, _: int, before: int = number * plan.n_cycles) -> None:
                on_cycle(cycle, before + done, total)

            play(season, DagsterStage(season.flywheel, definitions, instance), lake, paths, counted)
        execute_job(definitions.resolve_job_def("warehouse__publish"), instance, [], {}, TAG)
    return [write_report(paths, spec) for spec in plan.specs]


def _remove_files(paths: DataPaths, flywheel: str) -> None:
    """What an earlier demo sent out and was told; its cycles are gone, and the present ones may be fewer."""
    sent = (paths.outbox / flywheel).glob("*")
    told = (paths.inbox / flywheel).glob("*/simulated-*.csv")
    for path in (*sent, *told):
        path.unlink()


@contextmanager
def _no_provider() -> Iterator[None]:
    """The environment without a provider: nobody pays for reactions that are drawn by lot."""
    kept = {name: os.environ.pop(name) for name in (BASE_URL_VARIABLE, KEY_VARIABLE) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
