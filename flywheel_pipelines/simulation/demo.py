"""The demo: seasons of several flywheels through the real Dagster jobs, published, and reported on.

Here: what is set up before a season and what is made of it after. Not here: the season itself (`season`).
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import dagster as dg

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.frames import TEMPLATE_SOURCE
from flywheel_pipelines.llm.provider import BASE_URL_VARIABLE, KEY_VARIABLE
from flywheel_pipelines.loop.embedding import SOURCE as EMBEDDINGS
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.restatements import SOURCE as RESTATEMENT
from flywheel_pipelines.paths import DEFS_DIR, DataPaths
from flywheel_pipelines.recipe_book import Recipe
from flywheel_pipelines.report.page import FlywheelReport, write_report
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.dagster_runs import execute_job, load_definitions, replace_earlier
from flywheel_pipelines.simulation.declared import audience_of
from flywheel_pipelines.simulation.few_flushes import few_flushes
from flywheel_pipelines.simulation.insight_season import FILES as INSIGHT_FILES
from flywheel_pipelines.simulation.insight_season import InsightSeason, play_insights
from flywheel_pipelines.simulation.market import World
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
from flywheel_pipelines.spec import FlywheelSpec, load_spec

OnProgress = Callable[[int, int], None]
POLLING_SECONDS = 0.5
OWN_SOURCES = (
    f"{SAMPLES}, *", f"{SIMULATED}, *", "quality floor in *", "prompt", TEMPLATE_SOURCE, "export * to the outbox",
    "llm", "llm batch", f"{RESTATEMENT} *", f"{EMBEDDINGS} *",
)  # fmt: skip
"""Patterns of what a demo and its openings record; a flywheel that holds more than this is somebody's own."""


@dataclass(frozen=True)
class DemoPlan:
    """What is simulated. `floor` None is the YAML's, "off" feeds everything back; a flat world has no preferences.

    `recipe` is where the one flywheel of the plan comes from when it is not below `defs/`; `insights` are seasons of
    insight flywheels besides.
    """

    specs: tuple[FlywheelSpec, ...]
    n_cycles: int = 26
    seed: int = 1
    world: World = "lively"
    floor: str | None = None
    recipe: Recipe | None = None
    insights: tuple[InsightSeason, ...] = ()

    def folder(self, spec: FlywheelSpec) -> Path:
        """Where a flywheel's files are."""
        return self.recipe.folder if self.recipe else DEFS_DIR / spec.name

    def definitions(self) -> dg.Definitions:
        """The project's definitions, and the recipe's."""
        return load_definitions(self.recipe.folder if self.recipe else None)

    def briefs(self, spec: FlywheelSpec) -> list[Path]:
        """The sample briefs of a flywheel. Raises FlywheelError when there are none."""
        return Recipe(self.folder(spec)).sample_briefs

    def sources(self, lake: Lake) -> list[DemoPlan]:
        """The seasons of flywheels whose published outputs are briefs here, of those that have published nothing yet.

        Raises:
            FlywheelError: one has published in some of the cycles, but not in all: going on with it is not ours to do.
        """
        found = []
        for spec in self.specs:
            name = spec.briefs.published_by
            if name is None:
                continue
            source = load_spec(DEFS_DIR / name / "defs.yaml")
            plan = replace(self, specs=(source,), recipe=None)
            wanted, there = set(self.season(spec).cycles), set(lake.cycles(tables.PUBLISHED_OUTPUTS, name))
            if there and wanted - there:
                raise FlywheelError(
                    f"{spec.name} writes about what {name} publishes, and {name} has published in "
                    f"{len(wanted & there)} of the {len(wanted)} cycles. Play it first: flywheel demo "
                    f"--flywheel {name} --cycles {len(wanted)}, or ask for fewer cycles."
                )
            found += [] if there else [plan]
        return found

    def season(self, spec: FlywheelSpec) -> Season:
        """The season of one of the flywheels."""
        flywheel = Flywheel(spec, self.folder(spec))
        audience = Audience(audience_of(flywheel), seed=self.seed, world=self.world, cadence=spec.cadence)
        return Season.of(flywheel, self.n_cycles, audience, self.floor)


def sample_briefs(spec: FlywheelSpec) -> Path:
    """The sample briefs that come with a flywheel below `defs/`. Raises FlywheelError when there are none."""
    return Recipe(DEFS_DIR / spec.name).sample_briefs[0]


def run_demo(plan: DemoPlan, paths: DataPaths, on_progress: OnProgress = lambda *_: None) -> list[FlywheelReport]:
    """Play the season of each flywheel, each in a process of its own, publish the DuckDB file once, and report.

    An earlier demo of the same flywheels is replaced. Every cycle is a partition in the Dagster instance of this data
    directory, so the UI shows it afterwards. `on_progress` is told the cycles closed so far, and how many there will
    be, in all flywheels together, those included whose outputs are briefs here and that are played first. The offline
    writer writes, whatever provider the environment names.

    Raises:
        FlywheelError: a step failed, or a flywheel holds data that did not come from a demo.
    """
    lake = Lake(paths.lake)
    # Whatever cannot be played is refused before anything is replaced.
    for spec in plan.specs:
        plan.season(spec)
        plan.briefs(spec)
    with _no_provider(), open_instance(paths) as instance:
        definitions = plan.definitions()
        sources = plan.sources(lake)
        before = plan.n_cycles * len(sources)
        total = before + plan.n_cycles * len(plan.specs) + sum(season.n_cycles for season in plan.insights)
        for number, source in enumerate(sources):
            first = number * plan.n_cycles
            play_season(
                source, source.specs[0], paths, lambda _, done, __, first=first: on_progress(first + done, total)
            )
        for spec in plan.specs:
            replace_earlier(lake, instance, definitions, spec.name, own=OWN_SOURCES, what=TAG)
            _remove_files(paths, spec.name)
        for season in plan.insights:
            own = tuple(f"{Path(feed.path or '').parent}/{INSIGHT_FILES}" for feed in season.spec.feeds.values())
            replace_earlier(lake, instance, definitions, season.spec.name, own=(*own, "llm"), what=TAG)
            _remove_files(paths, season.spec.name)
            _remove_pages(paths, season.spec.name)
        _play_all(plan, paths, lake, lambda done: on_progress(before + done, total))
        execute_job(definitions.resolve_job_def("warehouse__publish"), instance, [], {}, TAG)
    return [write_report(paths, spec) for spec in plan.specs]


def _remove_files(paths: DataPaths, flywheel: str) -> None:
    """What an earlier demo sent out and was told; its cycles are gone, and the present ones may be fewer."""
    sent = (paths.outbox / flywheel).glob("*")
    told = (paths.inbox / flywheel).glob("*/simulated-*")
    for path in (*sent, *told):
        path.unlink()


def _remove_pages(paths: DataPaths, flywheel: str) -> None:
    """Pages and sheets of an earlier demo of an insight flywheel: a sheet that is there is not written again."""
    for path in (*(paths.reports / flywheel).glob("themes-*"), *(paths.root / "reviews" / flywheel).glob("*.xlsx")):
        path.unlink()


def play_season(plan: DemoPlan, spec: FlywheelSpec, paths: DataPaths, on_cycle: OnCycle = lambda *_: None) -> None:
    """Deliver a flywheel's sample briefs and play its season through its own Dagster jobs."""
    season, lake = plan.season(spec), Lake(paths.lake)
    for path in plan.briefs(spec):
        deliver_briefs(season.flywheel, path, lake, cycle_start(spec.start) - timedelta(days=1), paths.inbox)
    with few_flushes(), open_instance(paths) as instance:
        play(season, DagsterStage(season.flywheel, plan.definitions(), instance), lake, paths, on_cycle)


def play_insight_season(season: InsightSeason, paths: DataPaths, on_cycle: OnCycle = lambda *_: None) -> None:
    """Play the season of an insight flywheel through its own Dagster jobs."""
    with few_flushes(), open_instance(paths) as instance:
        play_insights(season, load_definitions(), instance, paths, on_cycle)


def _play_all(plan: DemoPlan, paths: DataPaths, lake: Lake, on_closed: Callable[[int], None]) -> None:
    """Play every season; how far they are is read from the lake, where a closed cycle leaves its last partition."""
    n_seasons = len(plan.specs) + len(plan.insights)
    if n_seasons == 1:
        for spec in plan.specs:
            play_season(plan, spec, paths, lambda _, done, __: on_closed(done))
        for season in plan.insights:
            play_insight_season(season, paths, lambda _, done, __: on_closed(done))
        return
    # Fresh processes: this one has threads, which do not survive a fork.
    with ProcessPoolExecutor(n_seasons, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(play_season, plan, spec, paths) for spec in plan.specs}
        running |= {pool.submit(play_insight_season, season, paths) for season in plan.insights}
        while running:
            ended, running = wait(running, timeout=POLLING_SECONDS, return_when=FIRST_EXCEPTION)
            for future in ended:
                if future.exception() is not None:
                    pool.shutdown(wait=True, cancel_futures=True)
                future.result()
            closed = sum(len(lake.cycles(tables.MOMENTUM, spec.name)) for spec in plan.specs)
            closed += sum(len(lake.cycles(tables.THEME_LEARNING, season.spec.name)) for season in plan.insights)
            on_closed(closed)


@contextmanager
def _no_provider() -> Iterator[None]:
    """The environment without a provider: nobody pays for reactions that are drawn by lot."""
    kept = {name: os.environ.pop(name) for name in (BASE_URL_VARIABLE, KEY_VARIABLE) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
