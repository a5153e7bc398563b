"""What the assets show: pictures that can be read in both themes, the prompt's diff, links, code references."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from matplotlib import image

from flywheel_pipelines.lake import tables
from flywheel_pipelines.learning.score_plot import MOST_INTERVALS, score_plot
from flywheel_pipelines.loop.showing import about_prompt
from flywheel_pipelines_tests.components.test_feed_checks import close
from flywheel_pipelines_tests.lake_samples import rows
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

LIGHT_PAGE, DARK_PAGE = (255, 255, 255), (15, 20, 28)


@pytest.fixture(scope="module")
def world(played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WrittenWorld]:
    made = played.copy_to(tmp_path_factory.mktemp("shown"))
    with made.in_force():
        yield made


@pytest.fixture(scope="module")
def closed(world: WrittenWorld) -> dg.ExecuteInProcessResult:
    result = close(world, WEEKS[2])
    assert result.success
    return result


def shown(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dg.MetadataValue]:
    [event] = result.asset_materializations_for_node(f"{NAME}__{asset}")
    return dict(event.metadata)


def pixels(markdown: str) -> np.ndarray:
    """The pixels of a picture in Markdown, 0 to 255, with what is transparent as a fourth value."""
    head, _, encoded = markdown.partition("base64,")
    assert head.endswith("(data:image/png;")
    return (image.imread(io.BytesIO(base64.b64decode(encoded.rstrip(")")))) * 255).round().astype(int)


def contrast(one: np.ndarray | tuple[int, ...], other: np.ndarray | tuple[int, ...]) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: np.ndarray | tuple[int, ...]) -> float:
        share = np.array(colour[:3]) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ np.array([0.2126, 0.7152, 0.0722]))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("asset", ["momentum", "scored_outputs"])
def test_pictures_stand_on_a_card_of_their_own_so_that_either_theme_shows_them(
    world: WrittenWorld, closed: dg.ExecuteInProcessResult, asset: str
) -> None:
    if asset == "momentum":
        closed = world.run("close", WEEKS[2], select=["momentum"], momentum={"plot": True})
    [(_, markdown)] = [(key, one.value) for key, one in shown(closed, asset).items() if key.endswith("_plot")]
    found = pixels(str(markdown))
    assert found.shape[2] == 3 or (found[..., 3] == 255).all()  # nothing shines through
    card = found[2, 2]
    dark = found.reshape(-1, found.shape[2])[found.reshape(-1, found.shape[2])[:, :3].sum(axis=1).argmin()]
    assert contrast(card, dark) > 7
    assert contrast(card, DARK_PAGE) > 7


def test_control_ink_without_a_card_would_vanish_on_a_dark_page() -> None:
    assert contrast((34, 39, 46), DARK_PAGE) < 2


def scored(n: int) -> bytes | None:
    made = [
        {
            "output_id": f"o{number}",
            "metric": "ctr",
            "posterior_mean": 0.1 + number / 1_000,
            "lower": 0.05,
            "upper": 0.9,
        }
        | {"floor_level": 0.12, "decision": ("promote", "hold", "reject")[number % 3]}
        for number in range(n)
    ]
    return score_plot(rows(tables.SCORED_OUTPUTS, made), title="scores")


@pytest.mark.parametrize("n", [1, MOST_INTERVALS, MOST_INTERVALS + 1])
def test_scores_are_drawn_for_few_and_for_many_and_the_same_each_time(n: int) -> None:
    assert scored(n) == scored(n)
    assert scored(n) != scored(n + 1)


def test_without_scores_there_is_no_picture() -> None:
    assert scored(0) is None


# -- the prompt ------------------------------------------------------------------------------------------------------
def test_the_prompt_shows_what_came_and_what_left(world: WrittenWorld, closed: dg.ExecuteInProcessResult) -> None:
    before, now = (world.rows(tables.REFRESHED_PROMPT, week)[0]["text"] for week in WEEKS[1:3])
    found = shown(closed, "refreshed_prompt")
    assert str(found["prompt"].value).endswith(f"{now}\n```") or now in str(found["prompt"].value)
    diff = str(found["prompt_diff"].value)
    if before == now:
        assert diff == "nothing changed"
    else:
        assert diff.startswith("```")
        assert "diff\n--- before\n+++ now" in diff


def test_a_diff_counts_lines_and_survives_fences_within() -> None:
    found = about_prompt("one\n```\ntwo", "one\n```\nthree\nfour")
    assert (found["prompt_lines_in"], found["prompt_lines_out"]) == (2, 1)
    assert str(found["prompt_diff"]).startswith("````diff\n")
    assert "-two\n+three\n+four" in str(found["prompt_diff"])
    assert about_prompt("same", "same")["prompt_diff"] == "nothing changed"
    assert about_prompt(None, "first")["prompt_diff"] == "the first prompt"


# -- links -----------------------------------------------------------------------------------------------------------
def test_what_went_out_is_linked_and_can_be_traced(world: WrittenWorld, tmp_path: Path) -> None:
    made = world.copy_to(tmp_path)
    with made.in_force():
        found = shown(made.open(WEEKS[2], is_synthetic=True), "published_outputs")
    path = Path(str(found["outbox_jsonl"].value))
    assert path.exists()
    assert found["outbox_jsonl_link"].value == path.resolve().as_uri()
    output = str(found["trace"].value).removeprefix("flywheel trace ")
    assert output in {row["output_id"] for row in made.rows(tables.PUBLISHED_OUTPUTS, WEEKS[2])}


def test_every_asset_says_where_its_code_is(world: WrittenWorld) -> None:
    for spec in world.definitions().resolve_all_asset_specs():
        [reference] = spec.metadata["dagster/code_references"].code_references
        path, line = Path(reference.file_path), reference.line_number
        assert path.parent.name == "components"
        assert f"def {spec.key.path[-1]}(" in "".join(path.read_text().splitlines(True)[line - 1 : line + 12])
