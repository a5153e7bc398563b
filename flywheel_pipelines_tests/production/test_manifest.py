"""The manifest: what it pins, and on top of which cycle another may be opened."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.lake.tables import CYCLE_MANIFEST
from flywheel_pipelines.production.manifest import CarriedIn, build_manifest, choose_predecessor
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines.starter import starter_yaml

W = [date(2026, 1, 5) + timedelta(weeks=number) for number in range(6)]
SPEC = parse_spec(yaml.safe_load(starter_yaml("news", W[0]))["attributes"], "defs.yaml")
CARRIED = CarriedIn(W[0], "prompt", "corpus", "model", datetime(2026, 1, 12, tzinfo=UTC))


def choose(number: int, *, opened: list[int], closed: list[int], allow_gap: bool = False) -> date | None:
    return choose_predecessor(
        W[number], W[number - 1], opened=[W[n] for n in opened], closed=[W[n] for n in closed], allow_gap=allow_gap
    )


def test_the_very_first_cycle_has_no_predecessor() -> None:
    assert choose(3, opened=[], closed=[]) is None


def test_a_cycle_builds_on_the_closed_one_before() -> None:
    assert choose(2, opened=[0, 1], closed=[0, 1]) == W[1]


def test_an_unclosed_predecessor_is_refused_with_the_latest_closed_and_both_ways_out() -> None:
    with pytest.raises(CycleOrderError) as caught:
        choose(2, opened=[0, 1], closed=[0])
    said = str(caught.value)
    assert f"cycle {W[1]} was opened but never closed" in said
    assert f"latest closed: {W[0]}" in said
    assert f"Close {W[1]} first" in said
    assert "allow_gap: true" in said


def test_a_hole_in_the_calendar_is_refused() -> None:
    with pytest.raises(CycleOrderError, match=f"cycle {W[2]} was never opened"):
        choose(3, opened=[0, 1], closed=[0, 1])


def test_an_allowed_gap_falls_back_on_the_latest_closed_cycle() -> None:
    assert choose(4, opened=[0, 1, 2], closed=[0, 1], allow_gap=True) == W[1]


def test_an_allowed_gap_before_anything_was_closed_starts_from_nothing() -> None:
    assert choose(2, opened=[1], closed=[], allow_gap=True) is None


def test_a_later_cycle_is_never_a_predecessor() -> None:
    assert choose(1, opened=[3], closed=[3]) is None
    assert choose(2, opened=[0, 3], closed=[3], allow_gap=True) is None


@given(st.integers(1, 5), st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)), st.booleans())
def test_whatever_was_closed_learning_comes_from_the_past_only(
    number: int, opened: set[int], closed: set[int], allow_gap: bool
) -> None:
    try:
        chosen = choose(number, opened=sorted(opened | closed), closed=sorted(closed), allow_gap=allow_gap)
    except CycleOrderError:
        assert not allow_gap
        assert number - 1 not in closed
        return
    assert chosen is None or (chosen < W[number] and W.index(chosen) in closed)


def test_the_manifest_pins_everything_that_was_carried_in() -> None:
    row = CYCLE_MANIFEST.conform(
        build_manifest(CARRIED, SPEC, threshold_version="floor", control_prompt_version="base", gap_allowed=False)
    )
    pinned = row.to_pylist()[0]
    assert (pinned["predecessor"], pinned["prompt_version"], pinned["corpus_version"]) == (W[0], "prompt", "corpus")
    assert (pinned["scoring_model_version"], pinned["threshold_version"]) == ("model", "floor")
    assert (pinned["knowledge_cutoff"], pinned["config_hash"]) == (CARRIED.knowledge_cutoff, SPEC.config_hash)


def test_the_settings_of_the_day_can_be_read_back() -> None:
    row = build_manifest(
        CARRIED, SPEC, threshold_version="floor", control_prompt_version="base", gap_allowed=True
    ).to_pylist()[0]
    assert FlywheelSpec.model_validate_json(row["settings"]) == SPEC
    assert row["gap_allowed"] is True


def test_an_archive_cycle_names_no_model_and_is_the_first_attempt() -> None:
    row = build_manifest(
        CARRIED, SPEC, threshold_version="floor", gap_allowed=False, control_prompt_version="base"
    ).to_pylist()[0]
    assert (row["model"], row["output_schema"], row["challenger_prompt_version"], row["attempt"]) == (
        None,
        None,
        None,
        1,
    )
    assert row["control_prompt_version"] == "base"


def test_a_written_cycle_pins_model_schema_prompts_and_attempt() -> None:
    settings = yaml.safe_load(starter_yaml("news", W[0]))["attributes"]
    settings |= {"producer": {"kind": "llm", "model": "tiny"}, "briefs": {"feed": "leads"}}
    settings |= {"feeds": {"leads": {"kind": "briefs", "path": "leads/*.csv"}}}
    settings["arms"] = {"control": 0.2}
    schema = {"properties": {"zeta": {}, "alpha": {}}}
    row = CYCLE_MANIFEST.conform(
        build_manifest(
            CARRIED,
            parse_spec(settings, "defs.yaml"),
            threshold_version="floor",
            gap_allowed=False,
            control_prompt_version="base",
            challenger_prompt_version="trial",
            output_schema=schema,
            attempt=2,
        )
    ).to_pylist()[0]
    assert (row["model"], row["attempt"], row["challenger_prompt_version"]) == ("tiny", 2, "trial")
    assert list(json.loads(row["output_schema"])["properties"]) == ["zeta", "alpha"], "texts are read in this order"
