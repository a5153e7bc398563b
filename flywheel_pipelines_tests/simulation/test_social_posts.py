"""The recipe `social_posts`: what one flywheel publishes is what another writes about, in Dagster and in SQL."""

from __future__ import annotations

import json
import re
import warnings
from datetime import date
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError, SpecError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.versions import changed_inputs, stale_cycles
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.overview import flywheel_status
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT
from flywheel_pipelines.published import query
from flywheel_pipelines.recipe_book import recipe_named
from flywheel_pipelines.simulation.dagster_runs import load_definitions
from flywheel_pipelines.simulation.demo import DemoPlan
from flywheel_pipelines.simulation.season import PlainStage
from flywheel_pipelines.spec import load_spec, parse_spec
from flywheel_pipelines_tests.recipe_world import RecipeWorld

RECIPE = recipe_named("social_posts")
CHANNELS = {"microblog", "network"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> RecipeWorld:
    """One cycle. Read only."""
    return RecipeWorld(tmp_path_factory.mktemp("posts"), RECIPE, n_cycles=1, asks=True).play_plainly()


def test_every_article_is_a_brief_for_each_channel(opened: RecipeWorld) -> None:
    cycle = opened.cycles[0]
    articles = {
        row["output_id"]: row for row in opened.lake.read(tables.PUBLISHED_OUTPUTS, "content", cycle).to_pylist()
    }
    briefs = opened.rows(tables.BRIEFS, cycle)
    assert {row["brief_id"] for row in briefs} == {f"{one}.{channel}" for one in articles for channel in CHANNELS}
    for row in briefs:
        article, channel = row["brief_id"].split(".")
        assert row["segment"] == channel
        assert json.loads(row["fields"])["article"] == articles[article]["text"]
        assert row["title"] in articles[article]["text"]


def test_without_articles_nothing_is_opened_and_it_is_said_why(tmp_path: Path, opened: RecipeWorld) -> None:
    world = opened.copied_to(tmp_path)
    world.lake.drop("content")
    world.lake.drop(RECIPE.name)
    with world.dagster() as stage, pytest.raises(FlywheelError, match="Open the cycle of content first"):
        stage.open(world.cycles[0], OpenOptions(recorded_at=cycle_start(world.cycles[0]), is_synthetic=True))


def test_dagster_draws_the_arrow_from_one_flywheel_to_the_other() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = load_definitions(RECIPE.folder).resolve_asset_graph()
    parents = graph.get(dg.AssetKey([RECIPE.name, "briefs"])).parent_keys
    assert parents == {dg.AssetKey(["content", "published_outputs"])}
    assert graph.get(dg.AssetKey(["content", "published_outputs"])).partitions_def is not None


@pytest.mark.slow
def test_sql_follows_a_post_to_the_keyword_that_its_article_was_written_for(
    tmp_path: Path, opened: RecipeWorld
) -> None:
    paths = opened.copied_to(tmp_path).paths
    publish(paths)
    _, rows = query(
        paths,
        """
        select post.to_id, taken.from_id, article.from_id
        from lineage as post
        inner join lineage as taken on post.from_id = taken.to_id and taken.relation = 'taken_up_as'
        inner join lineage as article on taken.from_id = article.to_id and article.relation = 'answered_by'
        where post.flywheel = 'social_posts' and post.relation = 'answered_by'
        """,
    )
    posts = {row["output_id"] for row in opened.rows(tables.GENERATED_OUTPUTS)}
    keywords = {row["brief_id"] for row in opened.lake.read(tables.BRIEFS, "content").to_pylist()}
    assert {post for post, _, _ in rows} == posts
    assert {keyword for _, _, keyword in rows} == keywords


# -- articles that change after they were taken up --------------------------------------------------------------------
class Reopened(NamedTuple):
    """A world in which `content` was closed, then wrote its only cycle anew, after posts were written about it."""

    world: RecipeWorld
    content: PlainStage

    def write_articles_anew(self) -> None:
        again = OpenOptions(recorded_at=cycle_start(self.world.cycles[0]), attempt=2, is_synthetic=True)
        self.content.open(self.world.cycles[0], again)

    def stale(self) -> dict[str, list[date]]:
        return stale_cycles(self.world.lake, RECIPE.name, tables.ALL_TABLES)


@pytest.fixture
def reopened(tmp_path: Path, opened: RecipeWorld) -> Reopened:
    world = opened.copied_to(tmp_path)
    content = Flywheel(load_spec(DEFS_DIR / "content" / "defs.yaml"), DEFS_DIR / "content")
    return Reopened(world, PlainStage(content, world.lake, world.writers, world.paths.outbox))


def test_articles_that_are_written_anew_make_the_briefs_of_posts_stale_until_they_are_opened_again(
    reopened: Reopened,
) -> None:
    world, [cycle] = reopened.world, reopened.world.cycles
    assert reopened.stale() == {}
    reopened.write_articles_anew()
    assert reopened.stale() == {"briefs": [cycle]}
    [changed] = {one.input.table for one in changed_inputs(world.lake, RECIPE.name, [tables.BRIEFS])}
    assert changed == "content/published_outputs"
    rows = {row["flywheel"]: row for row in flywheel_status(world.paths, RECIPE.folder.parent)}
    assert rows[RECIPE.name]["briefs_changed"] == {"published_by": "content", "cycles": [cycle]}
    # Nothing published changes: the new articles get posts of their own beside those that went out.
    before = {row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, cycle)}
    stage = PlainStage(world.season.flywheel, world.lake, world.writers, world.paths.outbox)
    stage.open(cycle, OpenOptions(recorded_at=cycle_start(cycle), is_synthetic=True))
    assert before < {row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, cycle)}
    assert "briefs" not in reopened.stale()


def test_control_closing_the_articles_again_makes_nothing_stale(reopened: Reopened) -> None:
    """What was learned from articles is no input of a post; only the articles are."""
    reopened.content.close(reopened.world.cycles, is_last=True)
    assert reopened.world.lake.cycles(tables.MOMENTUM, "content") == list(reopened.world.cycles)
    assert reopened.stale() == {}


@pytest.mark.slow
def test_sql_shows_the_posts_about_an_article_that_was_replaced(reopened: Reopened) -> None:
    """The query of the recipe's page, before and after."""
    page = (PROJECT_ROOT / "docs" / "flywheels" / "social_posts.md").read_text(encoding="utf-8")
    [asked] = [sql for sql in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "is_superseded" in sql]
    paths, lake = reopened.world.paths, reopened.world.lake
    publish(paths)
    assert query(paths, asked)[1] == []
    articles = {row["output_id"] for row in lake.read(tables.PUBLISHED_OUTPUTS, "content").to_pylist()}
    reopened.write_articles_anew()
    publish(paths)
    assert {(post.split(".")[0], article) for _, post, article in query(paths, asked)[1]} == {
        (article, article) for article in articles
    }


def test_a_demo_plays_the_source_first_when_it_has_published_nothing(opened: RecipeWorld, tmp_path: Path) -> None:
    plan = DemoPlan((RECIPE.spec,), n_cycles=1, recipe=RECIPE)
    [source] = plan.sources(RecipeWorld.empty_lake(tmp_path))
    assert source.specs[0].name == "content"
    assert plan.sources(opened.lake) == []
    longer = DemoPlan((RECIPE.spec,), n_cycles=3, recipe=RECIPE)
    with pytest.raises(FlywheelError, match="in 1 of the 3 cycles"):
        longer.sources(opened.lake)


@pytest.mark.parametrize("source", ["social_posts", "Content"])
def test_a_source_that_cannot_be_is_refused(source: str) -> None:
    with pytest.raises(SpecError, match=r"briefs\.published_by"):
        parse_spec(RECIPE.spec.model_dump(mode="json") | {"briefs": {"published_by": source}}, "test")
