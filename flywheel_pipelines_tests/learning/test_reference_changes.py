"""Why references came in, stayed and left."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.tables import REFERENCE_CHANGES, REFERENCE_CORPUS
from flywheel_pipelines.learning.corpus import Chosen, Fate
from flywheel_pipelines.learning.reference_changes import reference_changes
from flywheel_pipelines_tests.lake_samples import rows

FIRST = date(2026, 1, 5)
SECOND, THIRD = FIRST + timedelta(weeks=1), FIRST + timedelta(weeks=2)


def corpus(*entries: dict[str, Any]) -> pa.Table:
    filled = [{"text": "a text", "reason": "promoted", "by_people": "none", "p_above": 0.9, **one} for one in entries]
    return rows(REFERENCE_CORPUS, filled)


def changes(
    now: pa.Table,
    before: pa.Table,
    known: pa.Table | None = None,
    fates: dict[str, Fate] | None = None,
    cycle: date = SECOND,
) -> dict[tuple[str, str], dict[str, Any]]:
    known = REFERENCE_CHANGES.empty() if known is None else known
    found = reference_changes(Chosen(now, fates or {}), before, known, {}, cycle=cycle)
    return {(row["reference_id"], row["change"]): row for row in found.to_pylist()}


def test_what_is_new_enters_with_its_reason() -> None:
    found = changes(corpus({"reference_id": "a"}, {"reference_id": "b", "reason": "pinned"}), corpus())
    assert {key: row["reason"] for key, row in found.items()} == {
        ("a", "entered"): "promoted",
        ("b", "entered"): "pinned",
    }
    assert found["a", "entered"]["since"] == SECOND


def test_what_stays_keeps_the_cycle_it_came_in() -> None:
    known = rows(REFERENCE_CHANGES, [{"reference_id": "a", "change": "entered", "since": FIRST}])
    found = changes(
        corpus({"reference_id": "a", "rank": 2}), corpus({"reference_id": "a", "rank": 1}), known, cycle=THIRD
    )
    row = found["a", "kept"]
    assert (row["since"], row["rank"], row["rank_before"], row["reason"]) == (FIRST, 2, 1, None)


def test_what_left_says_why() -> None:
    found = changes(corpus(), corpus({"reference_id": "a", "rank": 3}), fates={"a": Fate("near_duplicate", "like b")})
    row = found["a", "left"]
    assert (row["reason"], row["words"], row["rank"], row["rank_before"]) == ("near_duplicate", "like b", None, 3)


def test_what_no_table_knows_any_more_was_withdrawn() -> None:
    assert changes(corpus(), corpus({"reference_id": "a"}))["a", "left"]["reason"] == "withdrawn"


def test_an_edited_text_leaves_and_enters() -> None:
    found = changes(
        corpus({"reference_id": "a", "text": "better", "by_people": "edited"}),
        corpus({"reference_id": "a", "text": "draft"}),
    )
    assert found["a", "left"]["reason"] == "text_changed"
    assert found["a", "entered"]["reason"] == "edited"
    assert (found["a", "left"]["text"], found["a", "entered"]["text"]) == ("draft", "better")


def test_a_pin_that_was_lifted_is_not_called_a_demotion() -> None:
    before = corpus({"reference_id": "a", "reason": "pinned"})
    assert changes(corpus(), before, fates={"a": Fate("demoted", "judged hold")})["a", "left"]["reason"] == "lifted"
    still = {"a": Fate("demoted", "judged reject", is_pinned=True)}
    assert changes(corpus(), before, fates=still)["a", "left"]["reason"] == "demoted"


def test_what_came_back_begins_anew() -> None:
    known = rows(REFERENCE_CHANGES, [{"reference_id": "a", "change": "left", "since": FIRST}])
    assert changes(corpus({"reference_id": "a"}), corpus(), known, cycle=THIRD)["a", "entered"]["since"] == THIRD
