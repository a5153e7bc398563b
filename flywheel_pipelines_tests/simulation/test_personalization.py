"""The recipe `personalization`: segments told apart against one size that fits all, and no false word about any."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.segments import N_NULL, play
from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.writing import without_segments
from flywheel_pipelines.momentum.intervals import Lift, verdict_words
from flywheel_pipelines.recipe_book import Recipe, recipe_named
from flywheel_pipelines.spec import parse_spec
from flywheel_pipelines_tests.recipe_world import RecipeWorld

RECIPE = recipe_named("personalization")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> RecipeWorld:
    """Three cycles. Read only."""
    return RecipeWorld(tmp_path_factory.mktemp("segments"), RECIPE, n_cycles=3).play_plainly()


def shown_to(world: RecipeWorld, arm: str) -> dict[str, set[str]]:
    """Segment -> segments of the references that its briefs of an arm were shown in the last cycle."""
    segments = {row["output_id"]: row["segment"] for row in world.rows(tables.PUBLISHED_OUTPUTS)}
    shown: dict[str, set[str]] = defaultdict(set)
    for row in world.rows(tables.GENERATED_OUTPUTS, world.cycles[-1]):
        if row["arm"] == arm:
            shown[row["segment"]] |= {segments[reference] for reference in row["reference_ids"]}
    return shown


def test_the_flywheel_is_shown_what_won_in_the_segment_and_the_control_what_won_anywhere(played: RecipeWorld) -> None:
    own, pooled = shown_to(played, "flywheel"), shown_to(played, "control")
    assert own.keys() == pooled.keys()
    assert sum(found == {segment} for segment, found in own.items()) >= 3
    assert len({frozenset(found) for found in pooled.values()}) == 1
    assert len(next(iter(pooled.values()))) > 1


def test_both_arms_take_the_same_effort_and_choose_alike(played: RecipeWorld) -> None:
    outputs = played.rows(tables.GENERATED_OUTPUTS, played.cycles[-1])
    per_brief = defaultdict(set)
    for arm in ("flywheel", "control"):
        rows = [row for row in outputs if row["arm"] == arm]
        per_brief[arm] = {sum(row["brief_id"] == brief for row in rows) for brief in {row["brief_id"] for row in rows}}
    assert per_brief["flywheel"] == per_brief["control"] == {3}
    published = played.rows(tables.PUBLISHED_OUTPUTS, played.cycles[-1])
    assert {row["choice"] for row in published if row["arm"] == "control"} <= {"best", "explored"}


def test_predictions_of_the_control_know_no_segment() -> None:
    rows = pa.table({"arm": ["flywheel", "control"], "segment": ["regulars"] * 2, "text": ["same"] * 2})
    asked: list[Any] = []

    def predict(table: pa.Table) -> np.ndarray:
        asked.extend(table["segment"].to_pylist())
        return np.zeros(table.num_rows)

    without_segments(predict, rows)
    assert asked[0] == "regulars" != asked[1]


def test_the_offer_is_one_of_those_that_there_are_and_stands_in_the_outbox(played: RecipeWorld) -> None:
    offers = {row["offer"] for row in played.outbox(played.cycles[0])}
    assert offers <= {"discount", "free_shipping", "gift", "early_access"}
    assert len(offers) > 1


def test_of_150_segments_without_a_difference_none_is_called_better_and_alone_some_are() -> None:
    said = play(seed=1)
    assert said["shared error, all looks"].false == 0
    assert said["shared error, all looks"].true > 10
    # The control: each segment by an interval of its own, looked at every cycle.
    assert said["alone, any look"].false > 0.05 * N_NULL


@pytest.mark.slow
def test_it_ties_where_segments_do_not_differ(tmp_path: Path) -> None:
    """The control of the test that all recipes share: there, segments differ, and telling them apart wins."""
    folder = tmp_path / "personalization"
    shutil.copytree(RECIPE.folder, folder)
    audience = folder / "audience.yaml"
    alike = audience.read_text(encoding="utf-8").replace("segment_own: 0.95", "segment_own: 0.0")
    assert alike != audience.read_text(encoding="utf-8")
    audience.write_text(alike, encoding="utf-8")
    momentum = RecipeWorld(tmp_path, Recipe(folder), n_cycles=15).play_plainly().momentum
    assert momentum["anytime_lower"] < 0 < momentum["anytime_upper"]


def test_the_verdict_names_what_the_control_is() -> None:
    """It learns as well, so it is no treadmill."""
    lift = Lift(0.3, 0.1, 0.5)
    assert verdict_words(lift, RECIPE.spec.arms.rival).endswith("over one size for all.")
    assert verdict_words(lift, recipe_named("prototypes").spec.arms.rival).endswith("over the treadmill.")


@pytest.mark.parametrize("arms", [{"control": "off"}, {"control": 0.3, "challenger": 0.2}])
def test_one_size_needs_the_control_arm_for_itself(arms: dict[str, Any]) -> None:
    settings = RECIPE.spec.model_dump(mode="json") | {"arms": {"control_is": "one_size_fits_all", **arms}}
    with pytest.raises(SpecError, match="one_size_fits_all"):
        parse_spec(settings, "test")
