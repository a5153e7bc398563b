"""Finding recipes, and copying one as a start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flywheel_pipelines.cli import making
from flywheel_pipelines.cli.running import after_demo
from flywheel_pipelines.errors import FlywheelError, SpecError
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.paths import DEFS_DIR
from flywheel_pipelines.recipe_book import Recipe, copy_recipe, find_recipes, recipe_named
from flywheel_pipelines.simulation.declared import audience_of
from flywheel_pipelines.simulation.demo import DemoPlan
from flywheel_pipelines.simulation.insight_season import InsightSeason
from flywheel_pipelines.spec import load_insight, load_spec
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.recipe_world import EIGHTH


@pytest.mark.parametrize("recipe", find_recipes(), ids=lambda recipe: recipe.folder.name)
def test_a_copy_is_a_flywheel_of_its_own(tmp_path: Path, recipe: Recipe) -> None:
    path = copy_recipe(recipe, "of_my_own", tmp_path / "of_my_own")
    spec = load_spec(path)
    assert spec.name == "of_my_own"
    assert {feed.path.split("/")[0] for feed in spec.feeds.values() if feed.path} == {"of_my_own"}
    assert spec.model_copy(update={"name": recipe.name, "feeds": recipe.spec.feeds}) == recipe.spec
    copied = {file.relative_to(path.parent) for file in path.parent.rglob("*") if file.is_file()}
    assert copied == {file.relative_to(recipe.folder) for file in recipe.folder.rglob("*") if file.is_file()}
    assert not list(tmp_path.glob(".copying-*"))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(SpecError, match="exists already"):
        copy_recipe(EIGHTH, "mine", tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_recipe_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(FlywheelError, match="lead_scoring"):
        recipe_named("lead_scroing")


def test_a_recipe_without_samples_says_where_they_are_missing(tmp_path: Path) -> None:
    shutil.copytree(EIGHTH.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("samples"))
    with pytest.raises(FlywheelError, match="no sample briefs"):
        _ = Recipe(tmp_path / "bare").sample_briefs


def test_an_audience_that_does_not_report_what_is_measured_is_refused(tmp_path: Path) -> None:
    shutil.copytree(EIGHTH.folder, tmp_path / "deaf")
    audience = tmp_path / "deaf" / "audience.yaml"
    audience.write_text(audience.read_text(encoding="utf-8").replace("sign_ups", "calls"), encoding="utf-8")
    with pytest.raises(SpecError, match="nobody reports sign_ups"):
        audience_of(Flywheel(EIGHTH.spec, tmp_path / "deaf"))


def test_recipes_lists_what_each_needs(run: Run) -> None:
    ran = run("recipes")
    assert ran.code == 0
    for recipe in find_recipes():
        assert recipe.name in ran.said
    assert {one["name"] for one in run("recipes", "--json").json} == {one.name for one in find_recipes()}


def test_init_copies_a_recipe(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "DEFS_DIR", tmp_path)
    assert run("init", "my_leads", "--recipe", "lead_scoring").code == 0
    assert load_spec(tmp_path / "my_leads" / "defs.yaml").name == "my_leads"
    assert run("init", "--recipe", "lead_scoring").code == 0
    assert load_spec(tmp_path / "lead_scoring" / "defs.yaml") == recipe_named("lead_scoring").spec
    for line, words in ((("init",), "neither a name nor a recipe"), (("init", "--recipe", "none"), "there are")):
        ran = run(*line)
        assert ran.code == 2
        assert words in ran.said


def test_each_feed_of_metrics_is_said_to_need_what_it_brings() -> None:
    of_tests = dict(recipe_named("prototypes").needs)
    assert of_tests["metrics (ci)"].endswith("with test_seconds, tests_passed, tests_run")
    assert of_tests["metrics (ratings)"].endswith("with ratings, stars")
    of_editor = dict(recipe_named("code_suggestions").needs)["metrics (editor)"]
    asked, counted = of_editor.split(";")
    assert "sessions_ignored" in counted
    assert "sessions_ignored" not in asked


def test_what_to_try_after_a_demo_of_a_recipe_is_about_the_recipe() -> None:
    recipe = recipe_named("prototypes")
    commands = [command for command, _ in after_demo(DemoPlan((recipe.spec,), recipe=recipe), "abc")]
    # Below defs/ there is none yet, so the UI shows it only once it is copied.
    assert commands[:2] == [".venv/bin/flywheel init --recipe prototypes", "make dev"]
    assert ".venv/bin/flywheel demo --recipe prototypes --world flat" in commands
    assert any("where flywheel in ('prototypes')" in command for command in commands)
    assert ".venv/bin/flywheel trace abc" in commands


def test_what_scores_leads_is_written_by_no_model_and_has_perhaps_no_reference() -> None:
    recipe = recipe_named("lead_scoring")
    commands = [command for command, _ in after_demo(DemoPlan((recipe.spec,), recipe=recipe), None)]
    assert not any("OPENAI_API_KEY" in command or "trace" in command for command in commands)


def test_control_the_demo_of_the_project_is_repeated_as_it_was_asked_for() -> None:
    specs = tuple(load_spec(DEFS_DIR / name / "defs.yaml") for name in ("content", "outreach"))
    insights = InsightSeason(load_insight(DEFS_DIR / "support_insights" / "defs.yaml"), 12, 1)
    whole = [command for command, _ in after_demo(DemoPlan(specs, insights=(insights,)), "abc")]
    assert whole[0] == "make dev"
    assert ".venv/bin/flywheel demo --floor off" in whole
    assert any("from fix_effects" in command for command in whole)
    alone = [command for command, _ in after_demo(DemoPlan((), insights=(insights,)), None)]
    assert not any("momentum" in command or "--floor off" in command for command in alone)
    one = [command for command, _ in after_demo(DemoPlan(specs[1:]), "abc")]
    assert ".venv/bin/flywheel demo --flywheel outreach --floor off" in one
