"""`proposed_prompt` in Dagster: between the briefs and the manifest, asked once through the request ledger."""

from __future__ import annotations

import dagster as dg
import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

NEXT = WEEKS[3]
SETTINGS = {
    "arms": {"challenger": 0.3},
    "prompt": {"refresh": "reflect", "reflect_every": 1, "reflect_support": 1},
}


@pytest.fixture
def world(played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Three closed cycles, and a model that may propose from now on."""
    copied = played.copy_to(tmp_path_factory.mktemp("proposed"))
    copied.configure(**SETTINGS)
    return copied


def reflections(world: WrittenWorld) -> list[str]:
    return [row["request_key"] for row in world.rows(tables.LLM_REQUESTS) if row["arm"] == "reflection"]


def test_it_stands_between_the_briefs_and_the_manifest(world: WrittenWorld) -> None:
    graph = world.definitions().resolve_asset_graph()
    parents = {
        asset: {parent.path[-1] for parent in graph.get(dg.AssetKey([NAME, asset])).parent_keys}
        for asset in ("proposed_prompt", "cycle_manifest")
    }
    assert parents == {"proposed_prompt": {"briefs"}, "cycle_manifest": {"proposed_prompt"}}


def test_opening_asks_once_and_opening_again_asks_nothing(world: WrittenWorld) -> None:
    assert world.open(NEXT, is_synthetic=True).success
    [row] = world.rows(tables.PROPOSED_PROMPT, NEXT)
    assert row["outcome"] in ("proposed", "nothing_new"), row["reason"]
    [key] = reflections(world)
    assert world.open(NEXT, is_synthetic=True).success
    assert reflections(world) == [key]


def test_a_flywheel_of_references_alone_has_no_such_asset(world: WrittenWorld) -> None:
    world.configure()
    keys = {spec.key.path[-1] for spec in world.definitions().resolve_all_asset_specs()}
    assert "proposed_prompt" not in keys
