"""The demo: seasons of several flywheels through the real Dagster jobs, published, and reported on.

Here: what is set up before a season and what is made of it after. Not here: the season itself (`season`).
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.landing import measures_of
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.frames import TEMPLATE_SOURCE
from flywheel_pipelines.llm.provider import BASE_URL_VARIABLE, KEY_VARIABLE
from flywheel_pipelines.loop.embedding import SOURCE as EMBEDDINGS
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.restatements import SOURCE as RESTATEMENT
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
    OnCycle,
    Season,
    deliver_briefs,
    play,
)
from flywheel_pipelines.spec import FlywheelSpec

OnProgress = Callable[[int, int], None]
POLLING_SECONDS = 0.5
OWN_SOURCES = (
    f"{SAMPLES}, *", f"{SIMULATED}, *", "quality floor in *", "prompt", TEMPLATE_SOURCE, "export * to the outbox",
    "llm", "llm batch", f"{RESTATEMENT} *", f"{EMBEDDINGS} *",
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


def run_demo(plan: DemoPlan, paths: DataPaths, on_progress: OnProgress = lambda *_: None) -> list[FlywheelReport]:
    """Play the season of each flywheel, each in a process of its own, publish the DuckDB file once, and report.

    An earlier demo of the same flywheels is replaced. Every cycle is a partition in the Dagster instance of this data
    directory, so the UI shows it afterwards. `on_progress` is told the cycles closed so far, and how many there will
    be, in all flywheels together. The offline writer writes, whatever provider the environment names.

    Raises:
        FlywheelError: a step failed, or a flywheel holds data that did not come from a demo.
    """
    lake = Lake(paths.lake)
    # Whatever cannot be played is refused before anything is replaced.
    for spec in plan.specs:
        plan.season(spec)
        sample_briefs(spec)
    with _no_provider(), open_instance(paths) as instance:
        definitions = load_definitions()
        for spec in plan.specs:
            replace_earlier(lake, instance, definitions, spec.name, own=OWN_SOURCES, what=TAG)
            _remove_files(paths, spec.name)
        _play_all(plan, paths, lake, on_progress)
        execute_job(definitions.resolve_job_def("warehouse__publish"), instance, [], {}, TAG)
    return [write_report(paths, spec) for spec in plan.specs]


def _remove_files(paths: DataPaths, flywheel: str) -> None:
    """What an earlier demo sent out and was told; its cycles are gone, and the present ones may be fewer."""
    sent = (paths.outbox / flywheel).glob("*")
    told = (paths.inbox / flywheel).glob("*/simulated-*.csv")
    for path in (*sent, *told):
        path.unlink()


def play_season(plan: DemoPlan, spec: FlywheelSpec, paths: DataPaths, on_cycle: OnCycle = lambda *_: None) -> None:
    """Deliver a flywheel's sample briefs and play its season through its own Dagster jobs."""
    season, lake = plan.season(spec), Lake(paths.lake)
    deliver_briefs(season.flywheel, sample_briefs(spec), lake, cycle_start(spec.start) - timedelta(days=1))
    with open_instance(paths) as instance:
        play(season, DagsterStage(season.flywheel, load_definitions(), instance), lake, paths, on_cycle)


def _play_all(plan: DemoPlan, paths: DataPaths, lake: Lake, on_progress: OnProgress) -> None:
    """Play every season; how far they are is read from the lake, where a closed cycle leaves its last partition."""
    total = plan.n_cycles * len(plan.specs)
    if len(plan.specs) == 1:
        play_season(plan, plan.specs[0], paths, lambda _, done, total: on_progress(done, total))
        return
    # Fresh processes: this one has threads, which do not survive a fork.
    with ProcessPoolExecutor(len(plan.specs), mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(play_season, plan, spec, paths) for spec in plan.specs}
        while running:
            ended, running = wait(running, timeout=POLLING_SECONDS, return_when=FIRST_EXCEPTION)
            for future in ended:
                if future.exception() is not None:
                    pool.shutdown(wait=True, cancel_futures=True)
                future.result()
            closed = sum(len(lake.cycles(tables.MOMENTUM, spec.name)) for spec in plan.specs)
            on_progress(closed, total)


@contextmanager
def _no_provider() -> Iterator[None]:
    """The environment without a provider: nobody pays for reactions that are drawn by lot."""
    kept = {name: os.environ.pop(name) for name in (BASE_URL_VARIABLE, KEY_VARIABLE) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
