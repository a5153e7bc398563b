"""The recipe `product_descriptions`: the shop's export goes out again, once per language, ready to be imported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.production.handback import raw_records
from flywheel_pipelines.recipe_book import recipe_named
from flywheel_pipelines.spec import parse_spec
from flywheel_pipelines_tests.recipe_world import RecipeWorld

RECIPE = recipe_named("product_descriptions")
LOCALES = ("en", "de", "es")
TAG = "Text Tag (product.metafields.flywheel.text_tag)"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> RecipeWorld:
    """One cycle. Read only."""
    return RecipeWorld(tmp_path_factory.mktemp("shop"), RECIPE, n_cycles=1).play_plainly()


def export_of(world: RecipeWorld, locale: str) -> Path:
    return world.paths.outbox / RECIPE.name / str(world.cycles[0]) / f"{world.cycles[0]} products.{locale}.csv"


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("locale", LOCALES)
def test_every_product_has_its_text_in_each_language_and_every_other_byte_is_as_it_was(
    opened: RecipeWorld, locale: str
) -> None:
    original, made = RECIPE.sample_briefs[0], export_of(opened, locale)
    written = set(RECIPE.spec.handback.columns if RECIPE.spec.handback else {})
    outputs = {row["output_id"]: row for row in opened.outbox(opened.cycles[0]) if row["locale"] == locale}
    before, after = rows_in(original), rows_in(made)
    assert [{k: v for k, v in row.items() if k not in written} for row in before] == [
        {k: v for k, v in row.items() if k not in written} for row in after
    ]
    firsts = [row for row in after if row["Title"]]
    assert {row[TAG] for row in firsts} == outputs.keys()
    for row in firsts:
        output = outputs[row[TAG]]
        assert output["brief_id"] == f"{row['Handle']}.{locale}"
        assert (row["Body (HTML)"], row["SEO Title"]) == (output["body_html"], output["seo_title"])
        assert row["Body (HTML)"].startswith("<p>")
    old, new = (list(raw_records(path.read_bytes())) for path in (original, made))
    for was, now, row in zip(old[1:], new[1:], after, strict=True):
        assert row["Title"] or was == now
    assert old[0] == new[0]


def test_json_lines_hold_every_language(opened: RecipeWorld) -> None:
    path = opened.paths.outbox / RECIPE.name / f"{opened.cycles[0]}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["locale"] for row in rows} == set(LOCALES)
    assert {row["content"].keys() == {"body_html", "seo_title", "seo_description"} for row in rows} == {True}


def test_the_text_that_is_learned_from_has_no_markup(opened: RecipeWorld) -> None:
    texts = [row["text"] for row in opened.rows(tables.PUBLISHED_OUTPUTS)]
    assert texts
    assert not any("<" in text for text in texts)


def test_opening_again_writes_the_same_bytes(opened: RecipeWorld, tmp_path: Path) -> None:
    again = RecipeWorld(tmp_path, RECIPE, n_cycles=1).play_plainly()
    assert [export_of(again, locale).read_bytes() for locale in LOCALES] == [
        export_of(opened, locale).read_bytes() for locale in LOCALES
    ]


def test_an_original_that_is_gone_is_said_and_holds_nothing_up(tmp_path: Path) -> None:
    world = RecipeWorld(tmp_path, RECIPE, n_cycles=1)
    for path in (world.paths.inbox / RECIPE.name).rglob("*.csv"):
        path.unlink()
    world.play_plainly()
    assert world.outbox(world.cycles[0])
    assert not (world.paths.outbox / RECIPE.name / str(world.cycles[0])).exists()


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        ("briefs", {"feed": "products", "each": {"locale": ["en", "en"]}}, "names a value twice"),
        ("briefs", {"feed": "products"}, "handback.per"),
        ("handback", {"columns": {"SEO Title": "seo_title"}}, "a row has several texts"),
        ("arms", {"control": 0.5, "comparison": "within_brief"}, "a row takes one text"),
    ],
)
def test_what_does_not_fit_together_is_refused(section: str, value: object, words: str) -> None:
    settings = RECIPE.spec.model_dump(mode="json") | {section: value}
    with pytest.raises(SpecError, match=words):
        parse_spec(settings, "test")
