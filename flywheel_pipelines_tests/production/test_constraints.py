"""Constraints: hard ones keep an output back by name and value, soft ones score and rank; a brief may bring its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.paths import RECIPES_DIR
from flywheel_pipelines.production.content import labelled_text
from flywheel_pipelines.production.guardrails import blocked_reasons, soft_scores
from flywheel_pipelines.production.outputs import judged, ranked
from flywheel_pipelines.spec import ConstraintsSpec, FlywheelSpec, GuardrailsSpec, load_spec
from flywheel_pipelines_tests.production.written import brief, briefs, output, outputs

OFF = {"links": "any", "claims": "any", "personal_data": "allow", "near_copy": None}
OF_BRIEF: dict[str, Any] = {"of_brief": {}}


def design(output_id: str = "a", **content: Any) -> dict[str, Any]:
    return output(output_id, content=json.dumps(content))


def reason(content: dict[str, Any], row: dict[str, Any] | None = None, **constraints: Any) -> str | None:
    guardrails = GuardrailsSpec.model_validate(OFF | {"constraints": constraints})
    return blocked_reasons(outputs([design(**content)]), briefs(row or brief()), (), guardrails, None)[0]


def score(content: dict[str, Any], row: dict[str, Any] | None = None, **constraints: Any) -> Any:
    spec = GuardrailsSpec.model_validate({"constraints": constraints}).constraints
    return soft_scores(outputs([design(**content)]), briefs(row or brief()), spec)[0]


def test_a_hard_constraint_blocks_with_its_name_and_the_value_found() -> None:
    rules: dict[str, Any] = {"hard": {"light": "kb <= brief.max_kb", "short": "steps < 5"}}
    row = brief(max_kb="180")
    assert reason({"kb": 180, "steps": 2}, row, **rules) is None
    found = reason({"kb": 240, "steps": 2}, row, **rules)
    assert found == "constraint light: kb <= brief.max_kb does not hold (kb = 240, brief.max_kb = 180)"
    both = reason({"kb": 240, "steps": 9}, row, **rules) or ""
    assert both.count("constraint ") == 2
    assert "short: steps < 5 does not hold (steps = 9)" in both


def test_what_cannot_be_told_does_not_go_out() -> None:
    rules: dict[str, Any] = {"hard": {"light": "kb <= brief.max_kb"}}
    assert "constraint light: kb <= brief.max_kb cannot be told (there is no max_kb)" in (
        reason({"kb": 1}, **rules) or ""
    )
    assert "neither true nor false" in (reason({"kb": 1}, hard={"light": "kb + 0"}) or "")


def test_goals_are_scored_by_weight_and_within_0_and_1() -> None:
    rules: dict[str, Any] = {
        "soft": {"few": "1 - steps / 8", "light": {"score": "kb < 100", "weight": 3}, "far": "steps * 100"}
    }
    found = score({"steps": 2, "kb": 240}, **rules)
    assert found.by_goal == {"few": 0.75, "light": 0.0, "far": 1.0}
    assert found.mean == pytest.approx((0.75 + 0 + 1) / 5)
    assert score({"steps": 2, "kb": 90}, **rules).mean == pytest.approx((0.75 + 3 + 1) / 5)


def test_a_goal_that_cannot_be_told_is_null_and_counts_as_nothing() -> None:
    found = score({"steps": 2}, soft={"few": "1 - steps / 8", "light": "kb < 100"})
    assert found.by_goal == {"few": 0.75, "light": None}
    assert found.mean == pytest.approx(0.375)


def test_without_goals_nothing_is_scored() -> None:
    assert score({"kb": 1}, hard={"light": "kb < 3"}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"constraints.light": "kb <= 100", "goals.few": "steps == 1", "schema.properties.steps.maximum": "3"},
        {
            "constraints": '{"light": "kb <= 100"}',
            "goals": '{"few": "steps == 1"}',
            "schema": '{"properties": {"steps": {"maximum": 3}}}',
        },
    ],
    ids=["one column each", "one cell of JSON"],
)
def test_a_brief_brings_constraints_of_its_own(fields: dict[str, str]) -> None:
    row = brief(**fields)
    assert reason({"kb": 99, "steps": 3}, row, **OF_BRIEF) is None
    assert "constraint light: kb <= 100 does not hold (kb = 101)" in (
        reason({"kb": 101, "steps": 3}, row, **OF_BRIEF) or ""
    )
    assert "schema of the brief: $.steps 4 is greater" in (reason({"kb": 99, "steps": 4}, row, **OF_BRIEF) or "")
    assert score({"kb": 99, "steps": 1}, row, **OF_BRIEF).mean == 1
    assert reason({"kb": 101, "steps": 4}, row, hard={"known": "kb > 0"}) is None, "nobody asked the brief"


def test_of_one_name_the_briefs_counts() -> None:
    row = brief(**{"constraints.light": "kb <= 300"})
    assert reason({"kb": 240}, row, hard={"light": "kb <= 100"}) is not None
    assert reason({"kb": 240}, row, hard={"light": "kb <= 100"}, **OF_BRIEF) is None


def test_goals_rank_candidates_as_much_as_the_flywheel_says() -> None:
    rows = outputs([design("a", steps=8), design("b", steps=0)])
    spec = GuardrailsSpec.model_validate({"constraints": {"soft": {"few": "1 - steps / 8"}}}).constraints
    scored = judged(rows, [None, None], soft_scores(rows, briefs(brief()), spec))

    def order(table: pa.Table) -> list[str]:
        return [row["output_id"] for row in sorted(table.to_pylist(), key=lambda row: row["rank"])]

    assert scored["soft_score"].to_pylist() == [0.0, 1.0]
    assert json.loads(scored["soft_scores"][1].as_py()) == {"few": 1.0}
    assert order(ranked(scored, [0.3, 0.1])) == ["a", "b"]
    assert order(ranked(scored, [0.3, 0.1], goal_weight=0.5)) == ["b", "a"]
    assert order(ranked(scored, [0.1, 0.3], "lower", goal_weight=0.5)) == ["b", "a"]
    assert ranked(scored, [0.3, 0.1], goal_weight=0.5)["predicted"].to_pylist() == [0.3, 0.1]


def test_a_schema_of_a_brief_leads_nowhere_else() -> None:
    row = brief(schema='{"$ref": "https://example.com/schema.json"}')
    assert "leads out of it and is not followed" in (reason({"kb": 1}, row, **OF_BRIEF) or "")


def test_a_constraint_about_a_field_that_outputs_lack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "design.json").write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {"kb": {"type": "integer"}},
                "required": ["kb"],
                "additionalProperties": False,
            }
        )
    )
    spec = load_spec(RECIPES_DIR / "prototypes" / "defs.yaml").model_dump(mode="json")
    spec["producer"]["output"] = "design.json"

    def schema_with(text: str) -> object:
        spec["guardrails"]["constraints"] = {"hard": {"light": text}}
        return Flywheel(FlywheelSpec.model_validate(spec), tmp_path).output_schema()

    assert schema_with("kb <= brief.max_kb") is not None
    with pytest.raises(SpecError, match=r"hard.light: page_kb <= 9 asks for page_kb, but an output of .* has kb"):
        schema_with("page_kb <= 9")


def test_every_arms_prompt_states_the_constraints_of_the_flywheel() -> None:
    flywheel = Flywheel(load_spec(RECIPES_DIR / "prototypes" / "defs.yaml"), RECIPES_DIR / "prototypes")
    assert "Must hold (light_enough): page_kb <= brief.max_page_kb" in flywheel.frame().lines
    assert "Must hold" not in " ".join(flywheel.spec.prompt.guidelines)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"hard": {"aa": "open('x')"}}, "calls open"),
        ({"soft": {"aa": "1 -"}}, "is no expression"),
        ({"hard": {"aa": "kb < 1"}, "soft": {"aa": "kb"}}, "aa stands in both"),
        ({"soft": {"aa": {"score": "kb", "weight": 0}}}, "greater than 0"),
    ],
)
def test_constraints_that_make_no_sense_are_refused_in_the_yaml(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ConstraintsSpec.model_validate(keys)


def test_data_reads_behind_the_names_of_its_fields() -> None:
    content = {"layout": "one_column", "size": {"w": 3, "h": None}, "tags": ["a", "b"], "rows": [{"n": 1}, {"n": 2}]}
    assert labelled_text(content) == "layout: one_column\nsize.w: 3\ntags: a, b\nrows.1.n: 1\nrows.2.n: 2"
    assert labelled_text({"post": "Only text."}) == "Only text."
