"""Rows of what was written: text, ids, ranks, and what becomes of earlier attempts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.chat import Answer
from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS
from flywheel_pipelines.production.content import in_schema_order, leaves, readable_text
from flywheel_pipelines.production.identity import output_id
from flywheel_pipelines.production.outputs import judged, outputs_from_answers, ranked, superseded_by
from flywheel_pipelines.production.planning import PlannedRequest
from flywheel_pipelines_tests.production.test_planning import plan
from flywheel_pipelines_tests.production.written import WEEK, output, outputs

SEQUENCE = {
    "properties": {"messages": {"type": "array", "items": {"$ref": "#/$defs/message"}}, "note": {"type": "string"}},
    "$defs": {"message": {"properties": {"subject": {}, "body": {}}}},
}


def answers(planned: list[PlannedRequest], content: dict[str, Any] | None = None) -> list[Answer]:
    return [
        Answer(one.request.key, content or {"title": f"Title {position}"}, None, None)
        for position, one in enumerate(planned)
    ]


def test_an_answer_becomes_a_row_that_keeps_the_contract_and_says_where_it_came_from() -> None:
    planned = plan()
    table = GENERATED_OUTPUTS.conform(outputs_from_answers(planned, answers(planned)))
    by_key = {row["request_key"]: row for row in table.to_pylist()}
    for position, one in enumerate(planned):
        row, request = by_key[one.request.key], one.request
        assert (row["brief_id"], row["arm"], row["variant"]) == (request.brief_id, request.arm, request.variant)
        assert (row["text"], row["content"]) == (f"Title {position}", json.dumps({"title": f"Title {position}"}))
        assert (row["producer"], row["model"], row["prompt_version"]) == ("llm", "tiny", request.prompt_version)
        assert (row["reference_ids"], row["segment"]) == (list(one.reference_ids), one.segment)


def test_a_row_says_how_many_references_its_prompt_had_no_room_for() -> None:
    planned = [replace(one, n_dropped=position) for position, one in enumerate(plan())]
    table = outputs_from_answers(planned, answers(planned))
    dropped = dict(zip(table["request_key"].to_pylist(), table["n_references_dropped"].to_pylist(), strict=True))
    assert dropped == {one.request.key: position for position, one in enumerate(planned)}


def test_a_request_that_failed_has_no_row_and_leaves_the_others_as_they_are() -> None:
    planned = plan()
    whole, part = (outputs_from_answers(planned, answers(planned)[:count]) for count in (None, 5))
    assert part.num_rows == 5
    assert part["output_id"].to_pylist() == whole["output_id"].to_pylist()[:5]
    assert outputs_from_answers(planned, []).num_rows == 0


def test_the_order_of_answers_does_not_matter() -> None:
    planned = plan()
    made = outputs_from_answers(planned, answers(planned))
    assert made.equals(outputs_from_answers(planned, answers(planned)[::-1]))


def test_an_answer_to_another_question_is_refused() -> None:
    with pytest.raises(ContractError, match=r"1 answer\(s\) belong to no request"):
        outputs_from_answers(plan(), [Answer("other", {"title": "x"}, None, None)])


def test_an_id_names_arm_and_variant_and_from_the_second_on_the_attempt() -> None:
    for attempt, suffix in ((1, ""), (2, "-2")):
        planned = plan(attempt=attempt)
        row = outputs_from_answers(planned, answers(planned)).to_pylist()[0]
        expected = output_id("mail", WEEK, row["brief_id"], f"flywheel-0{suffix}")
        assert row["output_id"] == expected


# -- ranks -----------------------------------------------------------------------------------------------------------
def test_outputs_are_ranked_within_brief_arm_and_attempt() -> None:
    rows = [output(f"f{n}") for n in range(3)] + [output("c0", arm="control"), output("g0", brief_id="b1")]
    found = ranked(outputs([*rows, output("old", attempt=2)]), [0.1, 0.3, 0.2, -5.0, -4.0, -9.0])
    assert found["rank"].to_pylist() == [3, 1, 2, 1, 1, 1]
    assert found["predicted"].to_pylist() == [0.1, 0.3, 0.2, -5.0, -4.0, -9.0]


def test_where_lower_is_better_the_lowest_prediction_is_ranked_first() -> None:
    table = judged(outputs([output("a"), output("b"), output("c")]), [None, None, "banned"])
    assert ranked(table, [0.1, 0.3, -5.0], "lower")["rank"].to_pylist() == [1, 2, 3]
    assert ranked(table, [0.1, 0.3, -5.0])["rank"].to_pylist() == [2, 1, 3]


def test_a_blocked_output_is_ranked_after_all_that_are_not() -> None:
    table = judged(outputs([output("a"), output("b"), output("c")]), [None, "banned", None])
    assert ranked(table, [0.1, 0.9, 0.2])["rank"].to_pylist() == [2, 3, 1]


def test_without_an_opinion_the_first_rank_is_a_fair_draw() -> None:
    rows = [output(f"{brief}-{n}", brief_id=str(brief), variant=n) for brief in range(2_000) for n in range(4)]
    found = ranked(outputs(rows), [0.0] * len(rows)).to_pylist()
    first = [row["variant"] for row in found if row["rank"] == 1]
    assert np.bincount(first) == pytest.approx([500] * 4, abs=80)


def test_a_prediction_missing_is_an_error_and_not_a_shift() -> None:
    with pytest.raises(ValueError, match="zip"):
        ranked(outputs([output("a"), output("b")]), [0.1])
    with pytest.raises(ValueError, match="1 values for 2"):
        judged(outputs([output("a"), output("b")]), [None])


# -- attempts --------------------------------------------------------------------------------------------------------
def test_another_attempt_supersedes_and_keeps_what_was_written() -> None:
    earlier, present = outputs([output("a"), output("b")]), outputs([output("c", attempt=2)])
    found = superseded_by(earlier, present, 2).to_pylist()
    assert [(row["output_id"], row["is_superseded"]) for row in found] == [("a", True), ("b", True), ("c", False)]
    assert [row["text"] for row in found] == ["Some text."] * 3


def test_the_same_attempt_again_replaces_its_own_rows() -> None:
    both = superseded_by(outputs([output("a")]), outputs([output("b", attempt=2)]), 2)
    again = superseded_by(both, outputs([output("b", attempt=2), output("c", attempt=2)]), 2)
    assert [(row["output_id"], row["is_superseded"]) for row in again.to_pylist()] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    GENERATED_OUTPUTS.conform(again)


def test_what_the_lake_returns_with_its_cycle_column_can_be_superseded() -> None:
    earlier = outputs([output("a")])
    stored = earlier.add_column(0, "cycle", pa.array([WEEK], pa.date32()))
    assert superseded_by(stored, earlier.slice(0, 0), 2).schema.equals(GENERATED_OUTPUTS.schema)


# -- content ---------------------------------------------------------------------------------------------------------
def test_text_is_read_in_the_order_of_the_schema_without_labels() -> None:
    content = {"note": "P.S.", "messages": [{"body": "Hi.", "subject": "One"}, {"body": "Yo.", "subject": "Two"}]}
    assert readable_text(in_schema_order(content, SEQUENCE)) == "One\n\nHi.\n\nTwo\n\nYo.\n\nP.S."


def test_control_without_the_schema_it_is_read_by_name() -> None:
    assert readable_text(in_schema_order({"b": "2", "a": "1"}, None)) == "1\n\n2"


def test_lists_stand_line_by_line_and_empty_parts_leave_no_trace() -> None:
    assert readable_text({"title": "T", "outline": ["one", "", "two"], "none": None, "n": 3}) == "T\n\none\ntwo\n\n3"


def test_half_a_surrogate_pair_does_not_stop_the_cycle() -> None:
    planned = plan()[:1]
    content = json.loads('{"title": "so \\ud83d what"}')
    assert outputs_from_answers(planned, answers(planned, content))["text"].to_pylist() == ["so \ufffd what"]


json_values = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_ordering_loses_nothing(content: Any) -> None:
    assert in_schema_order(content, SEQUENCE) == content
    assert len({path for path, _ in leaves(content)}) == len(list(leaves(content)))
