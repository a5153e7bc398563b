"""Every recipe that a model writes for, from files in to files out, through Dagster: the same tests for all of them.

One of them, `eighth_recipe`, is no part of the project: it stands beside the tests, in YAML and sample files alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel_pipelines.cycles import cycle_range, cycle_start
from flywheel_pipelines.lake import tables
from flywheel_pipelines.paths import DEFS_DIR
from flywheel_pipelines.production.guardrails import ESCALATED, UNSURE
from flywheel_pipelines.recipe_book import Recipe, find_recipes
from flywheel_pipelines.simulation.demo import DemoPlan
from flywheel_pipelines.simulation.market import World
from flywheel_pipelines.simulation.season import deliver_briefs
from flywheel_pipelines_tests.recipe_world import EIGHTH, WRITTEN, RecipeWorld

RECIPES = pytest.mark.parametrize("recipe", WRITTEN, ids=lambda recipe: recipe.folder.name)
N_CYCLES, LONG = 3, 15


QUICK = ("knowledge_briefs", "product_descriptions", "prototypes")
"""Those that `make test` plays, too: ten seconds each."""
PLAYED = [
    pytest.param(recipe, id=recipe.folder.name, marks=[] if recipe.folder.name in QUICK else pytest.mark.slow)
    for recipe in WRITTEN
]


@pytest.fixture(scope="module", params=PLAYED)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RecipeWorld:
    """Three cycles of a recipe through its Dagster jobs. Read only."""
    recipe = request.param
    return RecipeWorld(tmp_path_factory.mktemp(recipe.folder.name), recipe, n_cycles=N_CYCLES).play_with_dagster()


def test_files_of_briefs_come_in_and_files_of_outputs_go_out(played: RecipeWorld) -> None:
    for cycle in played.cycles:
        published = {row["output_id"] for row in played.rows(tables.PUBLISHED_OUTPUTS, cycle)}
        briefs = {row["brief_id"] for row in played.rows(tables.BRIEFS, cycle)}
        rows = played.outbox(cycle)
        assert {row["output_id"] for row in rows} == published
        for_people = {row["brief_id"] for row in played.for_people(cycle)}
        assert {row["brief_id"] for row in rows} == briefs - for_people != set()
        assert all(row["is_simulated"] == "true" and row["text"] for row in rows)


def test_nothing_is_held_back_by_its_own_guardrails(played: RecipeWorld) -> None:
    outputs = played.rows(tables.GENERATED_OUTPUTS)
    blocked = [
        row["blocked"] for row in outputs if row["blocked"] and not row["blocked"].startswith((UNSURE, ESCALATED))
    ]
    assert len(blocked) / len(outputs) < 0.1, blocked[:3]


def test_a_file_of_feedback_comes_in_and_every_output_is_measured(played: RecipeWorld) -> None:
    measured = played.rows(tables.PERFORMANCE_METRICS, played.cycles[0])
    of_floor = [row for row in measured if row["metric"] == played.spec.floor.metric]
    assert {row["output_id"] for row in of_floor} == {
        row["output_id"] for row in played.rows(tables.PUBLISHED_OUTPUTS, played.cycles[0])
    }
    assert all(row["exposure"] > 0 for row in of_floor)


def test_the_next_prompt_shows_winners_of_the_last_cycle(played: RecipeWorld) -> None:
    """What was shown then; a close since then may have corrected which of them are winners."""
    before, last = played.cycles[-2:]
    [manifest] = played.rows(tables.CYCLE_MANIFEST, last)
    assert manifest["predecessor"] == before
    outputs = played.rows(tables.GENERATED_OUTPUTS, last)
    shown = {reference for row in outputs for reference in row["reference_ids"]}
    published = [row for cycle in played.cycles[:-1] for row in played.rows(tables.PUBLISHED_OUTPUTS, cycle)]
    texts = {row["output_id"]: row["text"] for row in published}
    assert set() != shown <= texts.keys()
    [prompt] = [
        row for row in played.rows(tables.PROMPT_VERSIONS) if row["prompt_version"] == manifest["prompt_version"]
    ]
    assert all(json.dumps(texts[output_id], ensure_ascii=False) in prompt["shown_references"] for output_id in shown)
    of_control = {tuple(row["reference_ids"]) for row in outputs if row["arm"] == "control"}
    # A treadmill sees none; one size that fits all sees the same for all.
    assert len(of_control) == 1
    assert bool(of_control.pop()) == played.spec.arms.pools_segments
    assert played.mean_value(shown) > played.mean_value(texts.keys())


def test_a_correction_closes_its_cycle_again(played: RecipeWorld, tmp_path: Path) -> None:
    world, cycle = played.copied_to(tmp_path), played.cycles[0]
    metric = world.spec.floor.metric

    def value_of(output_id: str) -> float:
        measured = world.rows(tables.PERFORMANCE_METRICS, cycle)
        return next(row["value"] for row in measured if (row["output_id"], row["metric"]) == (output_id, metric))

    published = world.rows(tables.PUBLISHED_OUTPUTS, cycle)
    output_id = max((row["output_id"] for row in published), key=value_of)
    before = value_of(output_id)
    touched = world.correct(output_id, cycle, lambda count: count // 2, tmp_path)
    assert touched == [cycle]
    with world.dagster() as stage:
        stage.close(list(cycle_range(touched[0], world.cycles[-1], world.spec.cadence)), is_last=False)
    assert value_of(output_id) < before
    assert world.rows(tables.PUBLISHED_OUTPUTS, cycle) == published


@RECIPES
def test_it_says_what_it_needs(recipe: Recipe) -> None:
    needs = dict(recipe.needs)
    assert "a language model" in needs
    assert any(what.startswith("briefs") for what in needs)
    for measure in recipe.spec.measures:
        assert any(measure in where for where in needs.values()), measure


@pytest.mark.parametrize("recipe", [*find_recipes(), EIGHTH], ids=lambda recipe: recipe.folder.name)
def test_its_files_are_small_and_its_feedback_is_called_simulated(recipe: Recipe) -> None:
    assert all(path.stat().st_size < 300_000 for path in recipe.sample_briefs)
    assert recipe.spec.is_synthetic


@pytest.mark.parametrize("recipe", find_recipes(), ids=lambda recipe: recipe.folder.name)
def test_its_samples_have_briefs_for_every_cycle_of_a_demo(tmp_path: Path, recipe: Recipe) -> None:
    """Those of `lead_scoring` once ended after four weeks, and 22 empty ones followed in its demo."""
    # What another flywheel publishes is as long as the samples of that one.
    sampled = recipe if recipe.spec.briefs.published_by is None else Recipe(DEFS_DIR / recipe.spec.briefs.published_by)
    plan = DemoPlan((sampled.spec,), recipe=sampled)
    season, lake = plan.season(sampled.spec), RecipeWorld.empty_lake(tmp_path)
    for path in sampled.sample_briefs:
        deliver_briefs(season.flywheel, path, lake, cycle_start(sampled.spec.start))
    assert len(season.cycles) == 26
    assert set(season.cycles) <= set(lake.cycles(tables.BRIEF_LEDGER, sampled.name))


def test_the_eighth_recipe_is_files_without_python() -> None:
    kinds = {path.suffix for path in EIGHTH.folder.rglob("*") if path.is_file()}
    assert kinds == {".yaml", ".json", ".csv"}


@pytest.mark.slow
@RECIPES
@pytest.mark.parametrize("world", ["lively", "flat"])
@pytest.mark.timeout(900)
def test_the_control_is_beaten_by_cycle_15_where_choices_matter_and_only_there(
    tmp_path: Path, recipe: Recipe, world: World
) -> None:
    """By the interval that holds at all looks: the other one errs in one flat season of forty."""
    momentum = RecipeWorld(tmp_path, recipe, n_cycles=LONG, world=world).play_plainly().momentum
    assert (momentum["anytime_lower"] > 0) == (world == "lively"), momentum
