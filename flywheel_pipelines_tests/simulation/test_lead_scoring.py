"""The recipe `lead_scoring`, from leads in to a list out, conversions back and a model that learned from them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from flywheel_pipelines.cycles import cycle_start, shift_cycle
from flywheel_pipelines.feedback.landing import land_file, measures_of
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT, DataPaths
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.leads import TRAITS, leads_csv, read_traits
from flywheel_pipelines.simulation.market import BUYERS, World, kind_of
from flywheel_pipelines.simulation.season import DagsterStage, Season, deliver_briefs, play
from flywheel_pipelines.spec import load_spec
from flywheel_pipelines_tests.recipes import LEAD_SCORING, definitions_of
from flywheel_pipelines_tests.small_world import changed_files, fingerprint

SPEC = load_spec(LEAD_SCORING / "defs.yaml")
N_CYCLES = 15


@contextmanager
def dagster_at(paths: DataPaths) -> Iterator[DagsterStage]:
    """The recipe's own jobs on a data directory."""
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv(DATA_DIR_VARIABLE, str(paths.root))
        yield DagsterStage(Flywheel(SPEC, LEAD_SCORING), definitions_of(LEAD_SCORING), instance)


class LeadWorld:
    """One data directory in which the recipe is played through Dagster before simulated buyers."""

    def __init__(self, root: Path, *, per_cycle: int, n_cycles: int, world: World = "lively") -> None:
        self.paths = DataPaths(root / "data")
        self.lake = Lake(self.paths.lake)
        audience = Audience(kind_of(measures_of(SPEC)), seed=1, world=world)
        self.season = Season.of(Flywheel(SPEC, LEAD_SCORING), n_cycles, audience)
        path = root / "leads.csv"
        path.write_text(leads_csv(self.season.cycles, per_cycle), encoding="utf-8")
        deliver_briefs(self.season.flywheel, path, self.lake, cycle_start(SPEC.start) - timedelta(days=1))

    def play(self) -> LeadWorld:
        with dagster_at(self.paths) as stage:
            play(self.season, stage, self.lake, self.paths)
        return self

    def copied_to(self, root: Path) -> DataPaths:
        shutil.copytree(self.paths.root, root / "data")
        return DataPaths(root / "data")

    def rows(self, table: tables.TableContract, cycle: Any = None) -> list[dict[str, Any]]:
        return self.lake.read(table, SPEC.name, cycle).to_pylist()

    @property
    def momentum(self) -> dict[str, Any]:
        rows = self.rows(tables.MOMENTUM, self.season.cycles[-1])
        return next(row for row in rows if row["scope"] == "cumulative")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> LeadWorld:
    """Three cycles. Read only."""
    return LeadWorld(tmp_path_factory.mktemp("leads"), per_cycle=100, n_cycles=3).play()


def outbox(world: LeadWorld, cycle: Any) -> list[dict[str, str]]:
    with (world.paths.outbox / SPEC.name / f"{cycle}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_leads_come_in_and_a_list_goes_out(short: LeadWorld) -> None:
    cycle = short.season.cycles[-1]
    rows = outbox(short, cycle)
    assert {row["output_id"] for row in rows} == {
        row["output_id"] for row in short.rows(tables.PUBLISHED_OUTPUTS, cycle)
    }
    assert {row["band"] for row in rows} == {"A", "B", "C"}
    assert all(75 <= float(row["score"]) <= 100 for row in rows)
    assert "arm" not in rows[0]
    for row in rows:
        assert read_traits(row["text"]).keys() == TRAITS.keys()


def test_conversions_come_back_and_the_model_learns_from_all_that_was_handled(short: LeadWorld) -> None:
    model = short.rows(tables.SCORING_MODEL, short.season.cycles[-1])[0]
    measured = [row for row in short.rows(tables.PERFORMANCE_METRICS) if row["exposure"] > 0]
    assert {row["exposure"] for row in measured} == {1.0}
    assert {row["value"] for row in measured} == {0.0, 1.0}
    assert model["n_outputs"] == len(measured) == len(short.rows(tables.PUBLISHED_OUTPUTS))


def test_from_the_second_cycle_with_enough_leads_on_the_list_follows_the_model(short: LeadWorld) -> None:
    first, last = short.season.cycles[0], short.season.cycles[-1]
    assert {row["predicted"] for row in short.rows(tables.GENERATED_OUTPUTS, first)} == {0.0}
    mine = [row for row in short.rows(tables.GENERATED_OUTPUTS, last) if row["arm"] == "flywheel"]
    assert len({row["predicted"] for row in mine}) > 5
    handled = {row["output_id"]: row["choice"] for row in short.rows(tables.PUBLISHED_OUTPUTS, last)}
    best = [row["predicted"] for row in mine if handled.get(row["output_id"]) == "best"]
    assert min(best) >= max(row["predicted"] for row in mine if row["output_id"] not in handled)


def test_closing_and_opening_again_change_nothing(short: LeadWorld, tmp_path: Path) -> None:
    paths, cycle = short.copied_to(tmp_path), short.season.cycles[-1]
    before = fingerprint(paths.root)
    with dagster_at(paths) as stage:
        stage.open(cycle, OpenOptions(recorded_at=cycle_start(cycle), is_synthetic=True))
        stage.close(list(short.season.cycles), is_last=False)
    changed = changed_files(before, fingerprint(paths.root))
    assert [path for path in changed if "input_versions" not in path] == []


def test_leads_that_come_late_are_a_list_of_their_own(short: LeadWorld, tmp_path: Path) -> None:
    paths, cycle = short.copied_to(tmp_path), shift_cycle(short.season.cycles[-1], SPEC.cadence, 1)
    store, seen = Lake(paths.lake), []
    for n_leads, days in ((40, 0), (90, 2)):
        known_at = cycle_start(cycle) + timedelta(days=days)
        file = tmp_path / f"leads-{days}.csv"
        file.write_text(leads_csv([cycle], n_leads), encoding="utf-8")
        land_file(store, SPEC, "leads", file, recorded_at=known_at)
        with dagster_at(paths) as stage:
            stage.open(cycle, OpenOptions(recorded_at=known_at, is_synthetic=True))
        seen.append(store.read(tables.PUBLISHED_OUTPUTS, SPEC.name, cycle).to_pylist())
    first, both = seen
    assert [row for row in both if row in first] == first != []
    generated = store.read(tables.GENERATED_OUTPUTS, SPEC.name, cycle).to_pylist()
    number = {row["output_id"]: json.loads(row["content"])["list"] for row in generated}
    assert len(number) == 90
    assert {number[row["output_id"]] for row in both if row not in first} == {2}


def test_a_correction_closes_the_cycle_again(short: LeadWorld, tmp_path: Path) -> None:
    """A conversion that is taken back changes what the cycle is known to have achieved."""
    paths, cycle = short.copied_to(tmp_path), short.season.cycles[0]
    store = Lake(paths.lake)
    converted = next(
        row for row in store.read(tables.PERFORMANCE_METRICS, SPEC.name, cycle).to_pylist() if row["value"]
    )
    facts = store.read(tables.METRIC_LEDGER, SPEC.name, cycle).to_pylist()
    days = sorted({row["measured_on"] for row in facts if row["output_id"] == converted["output_id"]})
    lines = [f"{converted['output_id']},{day},{int(day == days[0])},0" for day in days]
    path = tmp_path / "taken-back.csv"
    path.write_text("lead_tag,day,leads_handled,conversions\n" + "\n".join(lines) + "\n", encoding="utf-8")
    land_file(store, SPEC, "crm", path, recorded_at=cycle_start(shift_cycle(short.season.cycles[-1], SPEC.cadence, 2)))
    with dagster_at(paths) as stage:
        stage.close([cycle], is_last=False)
    [row] = [
        row
        for row in store.read(tables.PERFORMANCE_METRICS, SPEC.name, cycle).to_pylist()
        if row["output_id"] == converted["output_id"]
    ]
    assert row["value"] == 0.0


def test_the_buyers_read_the_traits_and_nothing_else() -> None:
    best = {name: values[0] for name, values in TRAITS.items()}
    text = "\n".join(f"{name}: {value}" for name, value in best.items())
    assert read_traits(text + "\nvisits: never\nsomething else") == best
    people = Audience(BUYERS, seed=3)
    people.publish_seen(SPEC.start, [{"output_id": "o", "brief_id": "b", "segment": "hotels", "text": text}])
    assert people.settled("o")["leads_handled"] == 1
    assert dict(people.seen[0].choices) == best


def test_the_sample_is_what_the_simulation_writes() -> None:
    sample = PROJECT_ROOT / "data" / "samples" / SPEC.name / "leads.csv"
    cycles = [SPEC.start + timedelta(weeks=number) for number in range(26)]
    assert sample.read_text(encoding="utf-8") == leads_csv(cycles, 100)


@pytest.mark.slow
@pytest.mark.parametrize("world", ["lively", "flat"])
def test_the_control_is_beaten_by_cycle_15_where_traits_matter_and_only_there(tmp_path: Path, world: World) -> None:
    made = LeadWorld(tmp_path, per_cycle=200, n_cycles=N_CYCLES, world=world).play()
    lower = made.momentum["anytime_lower"]
    assert lower > 0 if world == "lively" else lower < 0
