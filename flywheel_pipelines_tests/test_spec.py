"""The YAML contract: what is refused, and that each refusal names file, key, what was found and what is allowed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.paths import DEFS_DIR
from flywheel_pipelines.spec import FlywheelSpec, load_spec, parse_spec
from flywheel_pipelines.spec.explaining import nested_models
from flywheel_pipelines.starter import starter_yaml, write_starter

WEDNESDAY = date(2026, 1, 7)
STARTER = yaml.safe_load(starter_yaml("news", WEDNESDAY))["attributes"]
FILE = "defs/news/defs.yaml"
GONE = object()


def changed(key: str, value: object) -> dict[str, Any]:
    """The starter's attributes with one key changed (dots lead into sections), or taken away."""
    attributes = copy.deepcopy(STARTER)
    *sections, last = key.split(".")
    section = attributes
    for name in sections:
        section = section.setdefault(name, {})
    if value is GONE:
        del section[last]
    else:
        section[last] = value
    return attributes


def refusal(attributes: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(attributes, FILE)
    return str(caught.value)


def test_control_the_starter_is_accepted() -> None:
    assert parse_spec(STARTER, FILE).name == "news"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("measurment_window", "measurement_window"),
        ("floor.confidnce", "confidence"),
        ("arms.contol", "control"),
        ("metrics.click_rate.sucesses", "successes"),
    ],
)
def test_a_typo_is_refused_with_the_key_that_was_meant(key: str, meant: str) -> None:
    said = refusal(changed(key, 1))
    assert FILE in said
    assert f"key {key}: unknown key. Did you mean {meant}? Allowed here: " in said


def test_an_unknown_key_unlike_any_other_is_refused_with_those_allowed() -> None:
    said = refusal(changed("xyz", 1))
    assert "key xyz: unknown key. Allowed here: arms, briefs, cadence" in said
    assert "Did you mean" not in said


IMPOSSIBLE = {
    "name_with_space": ("name", "News Letter", "News Letter", "2 to 48|pattern"),
    "name_too_long": ("name", "n" * 60, "n" * 60, "pattern"),
    "name_is_a_number": ("name", 5, "5", "valid string"),
    "unknown_cadence": ("cadence", "hourly", "'hourly'", "daily, weekly or monthly"),
    "not_a_day": ("start", "soon", "'soon'", "First day of the first cycle"),
    "start_of_another_age": ("start", date(9999, 12, 27), "9999", "2200"),
    "owner_without_team": ("owners", ["growth"], "'growth'", "team:<name> or an e-mail address"),
    "owners_no_list": ("owners", "team:growth", "'team:growth'", "list"),
    "unknown_producer": ("producer.kind", "oracle", "'oracle'", "archive"),
    "publish": ("producer.publish", "some", "'some'", "'all' or 'choice'"),
    "comparison": ("arms.comparison", "across", "'across'", "'between_briefs' or 'within_brief'"),
    "metric_kind": ("metrics.click_rate.kind", "ratio", "'ratio'", "'rate'"),
    "metric_direction": ("metrics.click_rate.better", "bigger", "'bigger'", "'higher' or 'lower'"),
    "metric_name": ("metrics.Bad Name", {"kind": "rate", "successes": "ab", "exposure": "cd"}, "Bad Name", "pattern"),
    "no_metric": ("metrics", {}, "{}", "at least 1"),
    "one_measure_twice": ("metrics.click_rate.successes", "impressions", "'impressions'", "two measures"),
    "window_of_zero": ("measurement_window", 0, "found 0", "greater than or equal to 1"),
    "window_in_words": ("measurement_window", "two", "'two'", "valid integer"),
    "window_in_parts": ("measurement_window", 1.5, "1.5", "valid integer"),
    "window_is_yes": ("measurement_window", True, "True", "no value for this key"),
    "floor_is_yes": ("floor.above", True, "True", "no value for this key"),
    "floor_is_nan": ("floor.above", float("nan"), "nan", "finite number"),
    "floor_is_infinite": ("floor.above", float("inf"), "inf", "finite number"),
    "floor_word": ("floor.above", "contrl", "'contrl'", "'control', 'mean', 'quantile' or 'off'"),
    "certain": ("floor.confidence", 1, "found 1", "less than 1"),
    "coin_toss": ("floor.confidence", 0.5, "0.5", "greater than 0.5"),
    "no_exposure": ("floor.min_exposure", 0, "found 0", "greater than or equal to 1"),
    "endless_exposure": ("floor.min_exposure", float("inf"), "inf", "finite number"),
    "quantile_of_nothing": ("floor.quantile", 0.5, "quantile", "write both or neither"),
    "empty_corpus": ("corpus.size", 0, "found 0", "greater than or equal to 1"),
    "more_than_equal": ("corpus.near_duplicate", 1.1, "1.1", "less than or equal to 1"),
    "section_is_a_list": ("corpus", [1], "[1]", "dictionary"),
    "refresh": ("prompt.refresh", "magic", "'magic'", "references"),
    "embeddings": ("scoring_model.embeddings", "magic", "'magic'", "'local'"),
    "endpoint_of_no_model": ("scoring_model.embeddings", "endpoint", "endpoint", "needs embedding_model"),
    "model_of_no_endpoint": (
        "scoring_model.embedding_model",
        "m",
        "embedding_model",
        "has no use with embeddings: none",
    ),
    "flat_embeddings": ("scoring_model.embedding_dimensions", 1, "found 1", "greater than or equal to 2"),
    "model_window": ("scoring_model.window", 10**6, "1000000", "less than or equal to 1040"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_value_is_refused_with_key_value_and_what_is_allowed(case: str) -> None:
    key, value, found, allowed = IMPOSSIBLE[case]
    said = refusal(changed(key, value))
    assert said.startswith(f"{FILE}: refused.\n")
    assert key.rsplit(".", 1)[0] in said
    assert found in said
    assert any(part in said for part in allowed.split("|"))
    assert said.count("\n") == 1, "one problem is one line"


@pytest.mark.parametrize("key", ["name", "start", "producer", "metrics", "floor", "floor.min_exposure"])
def test_a_missing_key_is_named_with_what_it_is_for(key: str) -> None:
    said = refusal(changed(key, GONE))
    assert f"key {key}: missing. " in said
    assert len(said.split("missing. ")[1]) > 10


@pytest.mark.parametrize("share", [-0.2, 0, 0.01, 0.049, 1.5, float("nan")])
def test_a_control_arm_too_thin_or_too_thick_is_refused_with_the_way_out(share: float) -> None:
    said = refusal(changed("arms.control", share))
    assert "arms" in said
    assert str(float(share)) in said
    assert "0.05" in said or "finite number" in said


@pytest.mark.parametrize("word", ["of", "none", True, None, "0.2x"])
def test_only_off_gives_up_the_control_arm(word: object) -> None:
    assert "key arms.control: found" in refusal(changed("arms.control", word))


@pytest.mark.parametrize("text", ["off", "Off", "'off'", "false"])
def test_control_off_is_understood_however_yaml_reads_it(text: str) -> None:
    arms = yaml.safe_load(f"control: {text}")
    assert parse_spec({**STARTER, "arms": arms}, FILE).arms.control == "off"


def test_a_floor_above_a_control_arm_that_is_off_is_refused() -> None:
    attributes = changed("arms.control", "off")
    attributes["floor"]["above"] = "control"
    assert "floor.above: control needs a control arm" in refusal(attributes)


def test_a_floor_naming_an_unknown_metric_is_refused_with_those_there_are() -> None:
    assert "floor.metric: 'ctr' is not one of the metrics: click_rate" in refusal(changed("floor.metric", "ctr"))


@pytest.mark.parametrize("day", ["2026-01-06", "2026-01-11"])
def test_a_weekly_start_that_is_no_monday_is_refused_with_the_mondays_around_it(day: str) -> None:
    said = refusal(changed("start", day))
    assert f"start: {day}" in said
    assert "2026-01-05 or 2026-01-12" in said


def test_a_monthly_start_that_is_no_first_is_refused() -> None:
    assert "2026-01-01 or 2026-02-01" in refusal({**STARTER, "cadence": "monthly", "start": "2026-01-05"})


def test_publishing_everything_needs_each_brief_to_be_its_own_control() -> None:
    assert "write arms: {control: 1.0, comparison: within_brief}" in refusal(changed("producer.publish", "all"))


def test_every_problem_is_reported_at_once() -> None:
    attributes = changed("measurement_window", 0)
    attributes["floor"]["confidence"] = 2
    attributes["corpus"]["sise"] = 3
    lines = refusal(attributes).splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == [
        "  - key measurement_window",
        "  - key floor.confidence",
        "  - key corpus.sise",
    ]


# -- files -----------------------------------------------------------------------------------------------------------
def test_the_starter_file_loads(tmp_path: Path) -> None:
    spec = load_spec(write_starter("product_descriptions", tmp_path / "x" / "defs.yaml", WEDNESDAY))
    assert (spec.name, spec.start) == ("product_descriptions", date(2026, 1, 5))


@pytest.mark.parametrize("day", [date(2026, 1, 4), date(2026, 1, 5), date(2026, 2, 28), date(2024, 2, 29)])
def test_the_starter_is_valid_whatever_day_it_is_written_on(day: date) -> None:
    spec = parse_spec(yaml.safe_load(starter_yaml("news", day))["attributes"], FILE)
    assert spec.start == day - timedelta(days=day.weekday())


@pytest.mark.parametrize("name", ["", "N", "n", "1st", "two words", "a-b", "../escape", "é", "x" * 49, "a\n"])
def test_the_starter_refuses_a_name_that_no_flywheel_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="lower-case letters"):
        write_starter(name, tmp_path / "defs.yaml", WEDNESDAY)
    assert list(tmp_path.iterdir()) == []


def test_the_starter_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text("mine")
    with pytest.raises(SpecError, match="exists already"):
        write_starter("news", path, WEDNESDAY)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found 'NoneType'"),
        ("- a list", "found 'list'"),
        ("type: other.Thing", "found 'other.Thing', expected flywheel_pipelines.components.FlywheelComponent"),
        ("type: [unclosed", "not readable as YAML"),
        ("type: flywheel_pipelines.components.FlywheelComponent", "key name: missing"),
    ],
)
def test_a_file_that_is_no_flywheel_is_refused_with_its_path(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="flywheel init NAME"):
        load_spec(tmp_path / "defs.yaml")


def test_a_folder_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_bytes(b"name: caf\xe9")
    for path in (tmp_path, tmp_path / "defs.yaml"):
        with pytest.raises(SpecError, match="not readable"):
            load_spec(path)


def test_every_flywheel_of_the_project_loads() -> None:
    paths = [path for path in DEFS_DIR.glob("*/defs.yaml") if ".FlywheelComponent" in path.read_text()]
    assert [load_spec(path).name for path in paths] == [path.parent.name for path in paths]
    assert paths


# -- the model -------------------------------------------------------------------------------------------------------
def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field.description
        for nested in nested_models(field.annotation):
            yield from fields_of(nested, f"{prefix}{name}.")


def test_every_key_has_a_description() -> None:
    described = dict(fields_of(FlywheelSpec))
    assert "metrics.successes" in described
    assert [key for key, description in described.items() if not description or len(description) < 9] == []


def test_the_hash_of_the_settings_changes_with_any_setting_and_only_then() -> None:
    same = [parse_spec(STARTER, FILE).config_hash for _ in range(2)]
    others = [
        parse_spec(changed(key, value), FILE).config_hash
        for key, value in (("floor.confidence", 0.91), ("corpus.size", 23), ("description", "Other."))
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 4


def test_settings_survive_json() -> None:
    """The manifest keeps them so; a cycle is published with the settings it was opened with."""
    spec = parse_spec(changed("arms.control", "off"), FILE)
    assert FlywheelSpec.model_validate_json(spec.model_dump_json()) == spec


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.dates(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    ),
    st.sampled_from([key for key, _ in fields_of(FlywheelSpec) if not key.startswith("metrics.")]),
)
def test_any_value_of_any_key_is_accepted_or_refused_in_words(value: object, key: str) -> None:
    try:
        parse_spec(changed(key, value), FILE)
    except SpecError as error:
        assert key.split(".")[0] in str(error)


@pytest.mark.parametrize(
    ("section", "embedder"),
    [
        ({}, None),
        ({"embeddings": "local"}, "local/all-MiniLM-L6-v2"),
        ({"embeddings": "endpoint", "embedding_model": "m"}, "endpoint/m"),
        ({"embeddings": "endpoint", "embedding_model": "m", "embedding_dimensions": 256}, "endpoint/m/256"),
    ],
)
def test_vectors_are_told_apart_by_where_they_come_from_model_and_length(
    section: dict[str, Any], embedder: str | None
) -> None:
    assert parse_spec(changed("scoring_model", section), FILE).scoring_model.embedder == embedder
