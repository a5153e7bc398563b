"""The recipe `social_posts`: what one flywheel publishes is what another writes about, in Dagster and in SQL."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError, SpecError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.published import query
from flywheel_pipelines.recipe_book import recipe_named
from flywheel_pipelines.simulation.dagster_runs import load_definitions
from flywheel_pipelines.simulation.demo import DemoPlan
from flywheel_pipelines.spec import parse_spec
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
