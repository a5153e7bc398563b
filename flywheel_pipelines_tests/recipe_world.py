"""A recipe in a folder of its own, played through Dagster or without before the audience that it declares."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import dagster as dg
import pytest

from flywheel_pipelines.cycles import cycle_end, cycle_start
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.performance import known_measurements
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.loop.writing import Writers, writers_from_environment
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, DEFS_DIR, DataPaths
from flywheel_pipelines.recipe_book import Recipe, find_recipes
from flywheel_pipelines.simulation.audience_export import Export
from flywheel_pipelines.simulation.audience_files import FeedReport, reports_of
from flywheel_pipelines.simulation.demo import DemoPlan
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.market import SOURCE, World
from flywheel_pipelines.simulation.season import DagsterStage, PlainStage, deliver_briefs, play
from flywheel_pipelines.spec import load_spec
from flywheel_pipelines_tests.recipes import definitions_of

EIGHTH = Recipe(Path(__file__).parent / "eighth_recipe")
WRITTEN = [recipe for recipe in [*find_recipes(), EIGHTH] if recipe.spec.producer.kind == "llm"]
"""The recipes that a language model writes for."""


class RecipeWorld:
    """One data directory in which a recipe is played."""

    def __init__(
        self, root: Path, recipe: Recipe, *, n_cycles: int, world: World = "lively", seed: int = 1, asks: bool = False
    ) -> None:
        self.recipe, self.spec = recipe, recipe.spec
        self.paths = DataPaths(root / "data")
        self.lake = Lake(self.paths.lake)
        # Asked over HTTP, every request is in the ledger, as the published file wants it; directly is faster.
        self.writers: Writers = writers_from_environment({}, self.paths.journal) if asks else DirectWriters()
        plan = DemoPlan((self.spec,), n_cycles=n_cycles, seed=seed, world=world, recipe=recipe)
        self.season = plan.season(self.spec)
        self._publish_sources()
        first_known = cycle_start(self.spec.start) - timedelta(days=1)
        for path in recipe.sample_briefs:
            deliver_briefs(self.season.flywheel, path, self.lake, first_known, self.paths.inbox)

    @staticmethod
    def empty_lake(root: Path) -> Lake:
        """A lake in which nothing ever happened."""
        return Lake(DataPaths(root).lake)

    def _publish_sources(self) -> None:
        """Open the cycles of the flywheel whose outputs are the briefs; its feedback is of no interest here."""
        name = self.spec.briefs.published_by
        if name is None:
            return
        plan = DemoPlan((load_spec(DEFS_DIR / name / "defs.yaml"),), n_cycles=len(self.season.cycles))
        season = plan.season(plan.specs[0])
        for path in plan.briefs(plan.specs[0]):
            deliver_briefs(season.flywheel, path, self.lake, cycle_start(self.spec.start) - timedelta(days=1))
        stage = PlainStage(season.flywheel, self.lake, self.writers, self.paths.outbox)
        for cycle in season.cycles:
            stage.open(cycle, OpenOptions(recorded_at=cycle_start(cycle), allow_gap=True, is_synthetic=True))

    def play_with_dagster(self) -> RecipeWorld:
        with self.dagster() as stage:
            play(self.season, stage, self.lake, self.paths)
        return self

    def play_plainly(self) -> RecipeWorld:
        play(
            self.season,
            PlainStage(self.season.flywheel, self.lake, self.writers, self.paths.outbox),
            self.lake,
            self.paths,
        )
        return self

    @contextmanager
    def dagster(self) -> Iterator[DagsterStage]:
        """The recipe's own jobs on this data directory, with no provider."""
        with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
            patch.setenv(DATA_DIR_VARIABLE, str(self.paths.root))
            for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
                patch.delenv(name, raising=False)
            yield DagsterStage(self.season.flywheel, definitions_of(self.recipe.folder), instance)

    def copied_to(self, root: Path) -> RecipeWorld:
        """The same world as it is now, in a folder of its own."""
        other = object.__new__(RecipeWorld)
        other.__dict__.update(self.__dict__)
        shutil.copytree(self.paths.root, root / "data")
        other.paths = DataPaths(root / "data")
        other.lake = Lake(other.paths.lake)
        return other

    # -- what is there ------------------------------------------------------------------------------------------------
    @property
    def cycles(self) -> Sequence[date]:
        return self.season.cycles

    def rows(self, table: tables.TableContract, cycle: date | None = None) -> list[dict[str, Any]]:
        return self.lake.read(table, self.spec.name, cycle).to_pylist()

    def outbox(self, cycle: date) -> list[dict[str, str]]:
        with (self.paths.outbox / self.spec.name / f"{cycle}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def for_people(self, cycle: date) -> list[dict[str, str]]:
        """Briefs that went to a person instead."""
        path = self.paths.outbox / self.spec.name / f"{cycle}.people.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def report(self) -> FeedReport:
        """What the feed of the floor's numerator gets."""
        reports = reports_of(self.spec, self.season.audience.kind)
        return next(one for one in reports if self.spec.metric.numerator in one.measures)

    def mean_value(self, output_ids: Iterable[str]) -> float:
        """Mean of the floor's metric over some outputs, higher for better ones."""
        wanted, metric = set(output_ids), self.spec.floor.metric
        measured = [row for row in self.rows(tables.PERFORMANCE_METRICS) if row["metric"] == metric]
        sign = 1 if self.spec.metric.better == "higher" else -1
        return sign * fmean(row["value"] for row in measured if row["output_id"] in wanted and row["exposure"])

    @property
    def momentum(self) -> dict[str, Any]:
        rows = self.rows(tables.MOMENTUM, self.cycles[-1])
        return next(row for row in rows if row["scope"] == "cumulative")

    # -- what comes in ------------------------------------------------------------------------------------------------
    def correct(self, output_id: str, cycle: date, change: Callable[[float], float], folder: Path) -> list[date]:
        """Land a file in which the numerator of an output's days is another; returns the cycles it touches."""
        report, numerator = self.report, self.spec.metric.numerator
        ledger = self.lake.read(tables.METRIC_LEDGER, self.spec.name, cycle)
        known: dict[date, dict[str, float]] = {}
        for row in known_measurements(ledger, self.lake.read(tables.METRIC_REPLACEMENTS, self.spec.name)).to_pylist():
            if row["output_id"] == output_id:
                known.setdefault(row["measured_on"], {})[row["measure"]] = row["value"]
        rows = []
        for day, values in sorted(known.items()):
            changed = values | {numerator: change(values.get(numerator, 0.0))}
            cells = [f"{changed.get(name, 0.0):.0f}" for name in report.measures]
            rows.append((output_id, day.isoformat(), *cells, SOURCE))
        path = folder / f"corrected{report.suffix}"
        assert report.write(path, Export(cycle, ("output_id", "date", *report.measures, "source"), tuple(rows), ()))
        known_at = cycle_end(self.cycles[-1], self.spec.cadence) + timedelta(days=1)
        batch, _ = land_file(self.lake, self.spec, report.feed_name, path, recorded_at=known_at)
        return batch.cycles
