"""The recipe `support_replies`: what goes out, what goes to a person, and durations and ratings among the feedback."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines.production.guardrails.for_people import for_a_person
from flywheel_pipelines.recipe_book import recipe_named
from flywheel_pipelines.spec.producers import ConfidenceSpec, EscalationSpec, GuardrailsSpec
from flywheel_pipelines_tests.recipe_world import RecipeWorld

RECIPE = recipe_named("support_replies")
RULES = GuardrailsSpec(confidence=ConfidenceSpec(at_least=0.5), escalation=EscalationSpec())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> RecipeWorld:
    """Two cycles. Read only."""
    return RecipeWorld(tmp_path_factory.mktemp("support"), RECIPE, n_cycles=2).play_plainly()


def test_what_goes_out_is_sure_of_itself_and_no_escalation(played: RecipeWorld) -> None:
    for cycle in played.cycles:
        for row in played.outbox(cycle):
            assert float(row["confidence"]) >= 0.5
            assert row["action"] != "escalate"


def test_a_brief_goes_to_a_person_only_when_no_draft_may_go_out_and_with_the_reason(played: RecipeWorld) -> None:
    n_people = 0
    for cycle in played.cycles:
        drafts = defaultdict(list)
        for row in played.rows(tables.GENERATED_OUTPUTS, cycle):
            drafts[row["brief_id"]].append(row)
        people = {row["brief_id"]: row for row in played.for_people(cycle)}
        assert people.keys() == {brief for brief, rows in drafts.items() if all(row["blocked"] for row in rows)}
        for brief, row in people.items():
            assert "a person answers" in row["why"]
            assert row["draft"] in {one["text"] for one in drafts[brief]}
        n_people += len(people)
    assert n_people > 0


def test_what_is_meant_for_colleagues_is_no_part_of_the_text(played: RecipeWorld) -> None:
    for row in played.rows(tables.GENERATED_OUTPUTS):
        assert row["text"] == json.loads(row["content"])["body"].strip()


def test_stars_and_minutes_are_measured_and_unlike_what_a_rate_could_be(played: RecipeWorld) -> None:
    values = defaultdict(list)
    for row in played.rows(tables.PERFORMANCE_METRICS):
        if row["exposure"]:
            values[row["metric"]].append(row["value"])
    assert values.keys() == {"satisfaction", "resolution_time", "edit_rate", "reopen_rate"}
    assert all(1 <= value <= 5 for value in values["satisfaction"])
    assert all(value > 10 for value in values["resolution_time"])
    assert all(0 <= value <= 1 for value in values["edit_rate"] + values["reopen_rate"])


def test_a_reply_that_brings_too_many_back_is_no_example(played: RecipeWorld) -> None:
    assert RECIPE.spec.floor.veto == {"reopen_rate": 0.25}
    scored = played.rows(tables.SCORED_OUTPUTS)
    measured = played.rows(tables.PERFORMANCE_METRICS)
    back = {row["output_id"]: row["value"] for row in measured if row["metric"] == "reopen_rate"}
    promoted = [row["output_id"] for row in scored if row["decision"] == "promote"]
    assert promoted
    assert max(back[output_id] for output_id in promoted) < 0.25 < max(back.values())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"action": "reply", "confidence": 0.5}, []),
        ({"action": "reply", "confidence": 1}, []),
        ({"action": "reply", "confidence": 0.49}, ["0.49, at least 0.5"]),
        ({"action": "reply"}, ["no number in confidence"]),
        ({"action": "reply", "confidence": True}, ["no number in confidence"]),
        ({"action": "reply", "confidence": "0.9"}, ["no number in confidence"]),
        ({"action": "escalate", "escalation_reason": "needs a refund", "confidence": 0.9}, ["needs a refund"]),
        ({"action": "escalate", "confidence": 0.1}, ["no reason given", "0.1, at least"]),
        (None, ["no number in confidence"]),
    ],
)
def test_who_answers(content: Any, words: list[str]) -> None:
    found = for_a_person(content, RULES)
    assert len(found) == len(words)
    assert all(word in reason for word, reason in zip(words, found, strict=True))
    assert for_a_person(content, GuardrailsSpec()) == []
