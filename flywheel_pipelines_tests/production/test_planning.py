"""Requests of a cycle: who is asked what, how often, and that the same plan has the same keys."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.production.arms import arms_of
from flywheel_pipelines.production.planning import PlannedRequest, PromptInUse, plan_requests
from flywheel_pipelines.prompt_text import BRIEF_SLOT, REFERENCES_SLOT
from flywheel_pipelines.spec import ArmsSpec, LlmProducer
from flywheel_pipelines_tests.production.test_rendering import HOSTILE
from flywheel_pipelines_tests.production.written import WEEK, brief, briefs, references

SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}}
MANIFEST = {"model": "tiny", "output_schema": json.dumps(SCHEMA), "attempt": 1}
WINNERS = references(("garages", "A winner."), ("bakeries", "Another."))
LEARNED = PromptInUse("v2", f"Learn.\n\n# References\n\n{REFERENCES_SLOT}\n\n# Brief\n\n{BRIEF_SLOT}", WINNERS)
PROMPTS = {
    "control": PromptInUse("v1", f"Write.\n\n# Brief\n\n{BRIEF_SLOT}"),
    "flywheel": LEARNED,
    "challenger": PromptInUse("v3", f"Try.\n\n{REFERENCES_SLOT}\n\n{BRIEF_SLOT}", WINNERS),
}
PRODUCER = LlmProducer(kind="llm", model="ignored", variants=3, parameters={"temperature": 0.9}, max_output_tokens=99)
ARMS = ArmsSpec(control=0.3, challenger=0.3)
MANY = [brief(f"b{number}", segment=("garages", "bakeries")[number % 2]) for number in range(40)]


def plan(rows: list[dict[str, Any]] = MANY, arms: ArmsSpec = ARMS, **manifest: Any) -> list[PlannedRequest]:
    return plan_requests(briefs(*rows), MANIFEST | manifest, PROMPTS, PRODUCER, arms, flywheel="mail", cycle=WEEK)


def test_every_brief_is_asked_for_by_its_arm_as_often_as_the_arm_has_candidates() -> None:
    asked = {(one.request.brief_id, one.request.arm, one.request.variant) for one in plan()}
    assert len(asked) == len(plan())
    assert asked == {
        (row["brief_id"], arm, variant)
        for row in MANY
        for arm in arms_of(row["brief_id"], ARMS, flywheel="mail", cycle=WEEK)
        for variant in range(1 if arm == "control" else 3)
    }
    assert {arm for _, arm, _ in asked} == {"flywheel", "control", "challenger"}


def test_a_request_says_everything_that_the_answer_depends_on() -> None:
    request = next(one.request for one in plan() if one.request.arm == "challenger")
    assert (request.model, request.schema, request.attempt) == ("tiny", SCHEMA, 1)
    assert (request.parameters, request.max_output_tokens) == ({"temperature": 0.9}, 99)
    assert (request.flywheel, request.cycle, request.prompt_version) == ("mail", WEEK, "v3")


def test_the_control_never_sees_a_reference() -> None:
    prompts = {**PROMPTS, "control": LEARNED}
    planned = plan_requests(briefs(*MANY), MANIFEST, prompts, PRODUCER, ARMS, flywheel="mail", cycle=WEEK)
    control = [one for one in planned if one.request.arm == "control"]
    assert control
    assert {one.reference_ids for one in control} == {()}
    assert not any("winner" in message.content for one in control for message in one.request.messages)


def test_the_others_say_which_references_they_saw() -> None:
    shown = {(one.segment, one.reference_ids) for one in plan() if one.request.arm == "flywheel"}
    assert shown == {("garages", ("o1",)), ("bakeries", ("o2",))}


def test_references_that_find_no_room_are_counted_with_the_request() -> None:
    many = references(*(("garages", f"Winner {number}. " + "Long " * 60) for number in range(8)))
    prompts = {**PROMPTS, "flywheel": PromptInUse("v2", LEARNED.frame, many)}
    tight = PRODUCER.model_copy(update={"max_prompt_tokens": 400})
    ample = PRODUCER.model_copy(update={"max_prompt_tokens": 4_000})
    for producer, all_shown in ((tight, False), (ample, True)):
        planned = plan_requests(briefs(*MANY), MANIFEST, prompts, producer, ARMS, flywheel="mail", cycle=WEEK)
        garages = [one for one in planned if one.request.arm == "flywheel" and one.segment == "garages"]
        assert garages
        assert {one.n_dropped + len(one.reference_ids) for one in garages} == {len(many)}
        assert {one.n_dropped == 0 for one in garages} == {all_shown}


def test_the_same_plan_has_the_same_keys_whatever_the_order_of_briefs() -> None:
    assert [one.request.key for one in plan()] == [one.request.key for one in plan(MANY[::-1])]


def test_variants_differ_by_key_and_seed_alone() -> None:
    rows = [one.request for one in plan(MANY[:1], ArmsSpec(control="off"))]
    assert len({request.key for request in rows}) == len({request.seed for request in rows}) == 3
    assert len({request.messages for request in rows}) == 1


def test_another_attempt_asks_everything_anew() -> None:
    first, second = ({one.request.key for one in plan(attempt=attempt)} for attempt in (1, 2))
    assert not first & second


def test_requests_that_begin_alike_stand_together() -> None:
    groups = [(one.request.arm, one.segment) for one in plan()]
    assert len(set(groups)) == 1 + sum(one != other for one, other in pairwise(groups))


def test_plain_text_has_no_schema() -> None:
    assert {one.request.schema is None for one in plan(output_schema=None)} == {True}


def test_an_arm_without_a_prompt_is_refused() -> None:
    with pytest.raises(FlywheelError, match=r"arm challenger, but has no prompt for it \(prompts: control, flywheel\)"):
        prompts = {arm: PROMPTS[arm] for arm in ("flywheel", "control")}
        plan_requests(briefs(*MANY), MANIFEST, prompts, PRODUCER, ARMS, flywheel="mail", cycle=WEEK)


def test_a_cycle_without_a_model_is_refused() -> None:
    with pytest.raises(FlywheelError, match="names no language model"):
        plan(model=None)


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)), st.integers(0, 30))
def test_what_a_brief_says_changes_neither_arm_nor_schema_nor_system_message(text: str, number: int) -> None:
    fine, bad = (plan([brief(f"b{number}", title=title, facts=title)]) for title in ("Fine", text))
    for one, other in zip(fine, bad, strict=True):
        assert (one.request.arm, one.request.schema) == (other.request.arm, other.request.schema)
        assert one.request.messages[0] == other.request.messages[0]
        assert len(one.request.messages) == len(other.request.messages) == 2
