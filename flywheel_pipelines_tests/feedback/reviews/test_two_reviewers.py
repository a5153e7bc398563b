"""What becomes of reviews when two people said something of one output, and of rows that wait for a person."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.feedback.landing import Release
from flywheel_pipelines.feedback.quarantine import Choice, open_rows
from flywheel_pipelines.feedback.releasing import release as release_rows
from flywheel_pipelines.feedback.releasing import retry_unmatched
from flywheel_pipelines.feedback.reviews.drafts import draft_hash
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines_tests.feedback.reviews.desks import (
    DRAFTS,
    NAME,
    NOW,
    WEEKS,
    Desk,
    filled_in,
    latest,
    only,
    problem_code,
    review,
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# -- two reviewers ---------------------------------------------------------------------------------------------------
def test_a_second_reviewer_who_disagrees_is_put_aside_and_told_what_the_first_said(desk: Desk) -> None:
    desk.land(review("aaaa", "rejected", comment="too long", date="2026-01-15"))
    batch = desk.land(review("aaaa", "accepted", reviewer="editor-2"))
    assert problem_code(desk) == "conflict"
    assert "editor-1 said rejected on 2026-01-15 (too long); editor-2 says accepted" in only(batch)[1]
    assert [row["decision"] for row in desk.reviews()] == ["rejected"]


def test_two_reviewers_in_one_file_conflict_too(desk: Desk) -> None:
    desk.land(review("aaaa", "rejected"), review("aaaa", "accepted", reviewer="editor-2"))
    assert (problem_code(desk), len(desk.reviews())) == ("conflict", 1)


def test_two_different_edits_are_a_conflict(desk: Desk) -> None:
    desk.land(review("aaaa", "edited", final_text="One."))
    batch = desk.land(review("aaaa", "edited", final_text="Two.", reviewer="editor-2"))
    assert "with another text" in only(batch)[1]


def test_control_a_second_reviewer_who_agrees_is_a_fact(desk: Desk) -> None:
    desk.land(review("aaaa", "edited", final_text="One."))
    assert desk.land(review("aaaa", "edited", final_text="One.\r\n", reviewer="editor-2")).n_quarantined == 0
    assert len(desk.reviews()) == 2


def test_the_same_reviewer_corrects_himself(desk: Desk) -> None:
    desk.land(review("aaaa", "rejected"))
    assert desk.land(review("aaaa", "accepted")).n_quarantined == 0
    assert latest(desk)["aaaa"]["decision"] == "accepted"


def test_the_first_reviewer_may_change_his_mind_after_another_agreed(desk: Desk) -> None:
    desk.land(review("aaaa", "accepted"))
    desk.land(review("aaaa", "accepted", reviewer="editor-2"))
    assert desk.land(review("aaaa", "rejected")).n_quarantined == 0
    assert latest(desk)["aaaa"]["decision"] == "rejected"


def test_who_agreed_may_not_change_it_alone(desk: Desk) -> None:
    desk.land(review("aaaa", "accepted"))
    desk.land(review("aaaa", "accepted", reviewer="editor-2"))
    desk.land(review("aaaa", "rejected", reviewer="editor-2"))
    assert problem_code(desk) == "conflict"


def test_a_conflict_that_a_person_releases_holds_from_then_on(desk: Desk) -> None:
    desk.land(review("aaaa", "rejected"))
    desk.land(review("aaaa", "accepted", reviewer="editor-2"))
    (aside,) = desk.quarantine()
    release = Release(((aside["batch_id"], aside["source_row"]),), "released", "chief-1", "seen both")
    assert desk.land(json.loads(aside["cells"]), release=release).n_quarantined == 0
    assert latest(desk)["aaaa"]["decision"] == "accepted"
    assert desk.land(review("aaaa", "accepted", reviewer="editor-3")).n_quarantined == 0


def test_the_command_for_quarantine_releases_a_conflict(desk: Desk) -> None:
    odd = "='New\r\ntext"
    path = desk.root / "s.csv"
    desk.land(review("aaaa", "rejected"))
    seen = {"output_id": "aaaa", "draft": DRAFTS["aaaa"], "draft_hash": draft_hash(DRAFTS["aaaa"])}
    write_sheet(path, filled_in([seen], decision="edited", final_text=odd, reviewer="editor-2"), written_as="csv")
    desk.land_path(path)
    rows = open_rows(desk.lake, NAME, Choice(problem="conflict"))
    at = NOW + timedelta(hours=1)
    (done,) = release_rows(desk.lake, desk.spec, rows, recorded_at=at, decided_by="chief-1", note="seen both")
    assert (done.again, open_rows(desk.lake, NAME, Choice())) == ([], [])
    assert (latest(desk)["aaaa"]["decision"], latest(desk)["aaaa"]["final_text"]) == ("edited", odd)


def test_a_review_of_what_is_published_later_is_matched_then(desk: Desk) -> None:
    desk.land(review("eeee", "accepted"))
    assert retry_unmatched(desk.lake, desk.spec, NOW + timedelta(hours=1)) == []
    desk.publish(WEEKS[1], {"eeee": "Published at last."})
    (batch,) = retry_unmatched(desk.lake, desk.spec, NOW + timedelta(hours=2))
    assert (batch.n_rows, [row["cycle"] for row in desk.reviews()]) == (1, [WEEKS[1]])


def test_control_a_row_that_is_matched_by_itself_is_no_decision_of_a_person(desk: Desk) -> None:
    desk.land(review("aaaa", "rejected"))
    release = Release((("some batch", 1),), "matched", "flywheel")
    assert desk.land(review("aaaa", "accepted", reviewer="editor-2"), release=release).n_quarantined == 1


# Unique, since a file handed in twice is one batch: where each row is a file, a repetition adds nothing.
REVIEWS_IN_A_ROW = st.lists(
    st.tuples(
        st.sampled_from(["editor-1", "editor-2", "editor-3"]), st.sampled_from(["accepted", "rejected", "edited"])
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REVIEWS_IN_A_ROW)
def test_one_file_or_one_file_each_come_to_the_same(tmp_path_factory: Any, said: list[tuple[str, str]]) -> None:
    rows = [
        review("aaaa", decision, reviewer=who, **({"final_text": "New."} if decision == "edited" else {}))
        for who, decision in said
    ]
    together, apart = (Desk(tmp_path_factory.mktemp("desk")) for _ in range(2))
    together.land(*rows)
    for row in rows:
        apart.land({**row, "comment": ""})

    def outcome(desk: Desk) -> tuple[list[tuple[str, str]], str]:
        known = sorted(desk.reviews(), key=lambda row: (row["recorded_at"], row["source_row"]))
        return [(row["reviewer"], row["decision"]) for row in known], latest(desk)["aaaa"]["decision"]

    assert outcome(together) == outcome(apart)
