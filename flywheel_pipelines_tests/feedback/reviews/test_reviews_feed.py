"""The feed of reviews: what a row becomes, what is put aside and why, and who overrules whom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.errors import FlywheelError, InputFileError, SpecError
from flywheel_pipelines.feedback.landing import land_file, measures_of
from flywheel_pipelines.feedback.reviews.drafts import draft_hash, is_same_text
from flywheel_pipelines.feedback.reviews.latest import latest_reviews, review_measurements, standing_reviews
from flywheel_pipelines.feedback.reviews.reviewers import pseudonym_of
from flywheel_pipelines.feedback.reviews.similarity import edit_similarity
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.feedback.reviews.desks import (
    DRAFTS,
    NAME,
    NOW,
    WEEKS,
    Desk,
    latest,
    make_spec,
    only,
    problem_code,
    review,
)
from flywheel_pipelines_tests.feedback.reviews.test_similarity import LIGHT, REWRITTEN, real_pairs


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# -- what a row becomes ----------------------------------------------------------------------------------------------
def test_an_edit_is_a_fact_of_the_cycle_of_its_output(desk: Desk) -> None:
    batch = desk.land(
        review("aaaa", "Edited ", final_text="Save ten hours a week.", comment="rounder", date="2026-01-19")
    )
    assert (batch.n_rows, batch.n_quarantined, batch.cycles) == (1, 0, [WEEKS[0]])
    (row,) = desk.reviews()
    assert (row["decision"], row["final_text"], row["comment"]) == ("edited", "Save ten hours a week.", "rounder")
    assert (row["reviewer"], row["reviewed_on"], row["cycle"]) == ("editor-1", date(2026, 1, 19), WEEKS[0])
    assert row["edit_similarity"] == edit_similarity(DRAFTS["aaaa"], "Save ten hours a week.")


@pytest.mark.parametrize(
    ("said", "final", "decision", "kept", "similarity"),
    [
        ("accepted", "", "accepted", None, 1.0),
        ("accepted", DRAFTS["aaaa"] + " \r\n", "accepted", None, 1.0),
        ("ACCEPTED", DRAFTS["aaaa"], "accepted", None, 1.0),
        ("", DRAFTS["aaaa"], "accepted", None, 1.0),
        ("", " Save hours. ", "edited", " Save hours. ", 3 / 6),
        ("rejected", "", "rejected", None, None),
        ("rejected", DRAFTS["aaaa"], "rejected", None, None),
    ],
)
def test_the_decision_and_the_text_that_is_kept(
    desk: Desk, said: str, final: str, decision: str, kept: str | None, similarity: float | None
) -> None:
    desk.land(review("aaaa", said, final_text=final))
    (row,) = desk.reviews()
    assert (row["decision"], row["final_text"], row["edit_similarity"]) == (decision, kept, similarity)


def test_rows_that_say_nothing_are_left_out_and_counted(desk: Desk) -> None:
    batch = desk.land(review("aaaa", "accepted"), review("bbbb"), review("nobody"))
    assert (batch.n_rows, batch.n_quarantined, batch.n_blank) == (1, 0, 2)
    assert dict(batch.decisions) == {"accepted": 1, "edited": 0, "rejected": 0}


def test_without_a_date_the_day_is_the_one_on_which_the_file_came(desk: Desk) -> None:
    desk.land(review("aaaa", "accepted"))
    assert desk.reviews()[0]["reviewed_on"] == NOW.date()


@pytest.mark.parametrize(
    ("cells", "field", "words"),
    [
        ({"decision": "great"}, "decision", "expected accepted, edited or rejected"),
        ({"decision": "edited"}, "decision", "final_text is empty"),
        ({"decision": "edited", "final_text": DRAFTS["aaaa"]}, "decision", "final_text is the draft"),
        ({"decision": "accepted", "final_text": "Other."}, "decision", "is not the draft"),
        ({"decision": "rejected", "final_text": "Other."}, "decision", "is not the draft"),
        ({"comment": "hm"}, "decision", "empty beside a comment"),
        ({"decision": "accepted", "date": "2027-01-01"}, "date", "in the future"),
        ({"decision": "accepted", "date": "yesterday"}, "date", "not an instant"),
        ({"decision": "edited", "final_text": "a\x07b"}, "final_text", "control characters"),
        ({"decision": "accepted", "output_id": ""}, "output_id", "empty"),
    ],
)
def test_a_row_that_is_wrong_is_put_aside_with_what_to_do(
    desk: Desk, cells: dict[str, str], field: str, words: str
) -> None:
    batch = desk.land(review("aaaa") | cells)
    found, reason = only(batch)
    assert (found, problem_code(desk)) == (field, "invalid")
    assert words in reason
    assert desk.reviews() == []


def test_an_output_that_was_never_published_is_unmatched(desk: Desk) -> None:
    batch = desk.land(review("zzzz", "accepted"))
    assert only(batch)[0] == "output_id"
    assert (problem_code(desk), batch.header["n_unmatched"]) == ("unmatched", 1)


def test_headers_of_a_tool_are_mapped_by_its_feed(tmp_path: Path) -> None:
    columns = {"output_id": "Tag", "decision": "Verdict", "date": "When"}
    feeds = {"editors": {"kind": "reviews", "path": "e/*", "columns": columns, "dates": ["%d.%m.%Y"]}}
    desk = Desk(tmp_path, feeds=feeds)
    desk.land(
        {"Tag": "aaaa", "Verdict": "accepted", "When": "14.01.2026", "E-mail": "anna@example.com"}, feed="editors"
    )
    assert [(row["reviewer"], row["reviewed_on"]) for row in desk.reviews()] == [("unnamed", date(2026, 1, 14))]


def test_a_file_without_decisions_and_texts_is_refused_with_its_header(desk: Desk) -> None:
    with pytest.raises(InputFileError, match=r"no column for decision.*output_id, note"):
        desk.land({"output_id": "aaaa", "note": "fine"})


def test_the_same_file_twice_is_one_batch(desk: Desk) -> None:
    path = desk.file(review("aaaa", "accepted"))
    outcomes = [land_file(desk.lake, desk.spec, "review_sheet", path, recorded_at=NOW)[1] for _ in range(2)]
    assert outcomes == [True, False]


def test_a_feed_of_that_name_that_is_neither_declared_nor_built_in_is_refused(desk: Desk) -> None:
    with pytest.raises(FlywheelError, match="there is none of that name"):
        desk.land(review("aaaa", "accepted"), feed="sheet")


# -- stale sheets ----------------------------------------------------------------------------------------------------
def test_a_review_of_what_a_later_attempt_replaced_is_stale(desk: Desk) -> None:
    batch = desk.land(review("gone", "accepted"))
    assert problem_code(desk) == "stale"
    assert "later attempt" in only(batch)[1]


@pytest.mark.parametrize("seen", [{"draft_hash": draft_hash("An older text.")}, {"draft": "An older text."}])
def test_a_review_of_another_text_is_stale(desk: Desk, seen: dict[str, str]) -> None:
    batch = desk.land(review("aaaa", "accepted", **seen))
    assert (only(batch)[0], problem_code(desk)) == (next(iter(seen)), "stale")


@pytest.mark.parametrize("seen", [{"draft_hash": draft_hash(DRAFTS["bbbb"])}, {"draft": "A rota,\r\nfor bakers. "}])
def test_control_a_review_of_todays_text_is_not_stale(desk: Desk, seen: dict[str, str]) -> None:
    assert desk.land(review("bbbb", "accepted", **seen)).n_quarantined == 0


@pytest.mark.parametrize("said", ["", "accepted", "edited"])
def test_an_edit_in_the_wrong_column_is_noticed(desk: Desk, said: str) -> None:
    seen = {"draft": "Save ten hours.", "draft_hash": draft_hash(DRAFTS["aaaa"])}
    batch = desk.land(review("aaaa", said, **seen))
    assert "the draft was changed in the sheet" in only(batch)[1]
    assert batch.n_blank == 0


# -- persons ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("written", ["anna@example.com", "Anna Schmidt", "anna.schmidt", "anna", "Ánna1"])
def test_what_may_be_a_name_becomes_a_pseudonym_that_stays_the_same(written: str) -> None:
    name, is_replaced = pseudonym_of(written)
    assert is_replaced
    assert pseudonym_of(f"  {written.upper()} ") == (name, True)
    assert pseudonym_of(name) == (name, False)


@pytest.mark.parametrize("written", ["editor-3", "W3", "team_7"])
def test_control_a_code_stays(written: str) -> None:
    assert pseudonym_of(written) == (written, False)


def test_addresses_of_reviewers_are_nowhere_in_the_lake(desk: Desk) -> None:
    path = desk.file(
        review("aaaa", "accepted", reviewer="anna@example.com"),
        review("bbbb", "edited", reviewer="Anna Schmidt"),
        review("aaaa", "rejected", reviewer="bo@example.com"),
    )
    path.write_text(path.read_text() + "aaaa,accepted,cy@example.com,one cell too many\n")
    batch = desk.land_path(path)
    assert (batch.n_pseudonyms, batch.n_rows, batch.n_quarantined) == (3, 1, 3)
    stored = json.dumps([desk.reviews(), desk.quarantine()], default=str)
    assert "example.com" not in stored
    assert "Schmidt" not in stored
    assert pseudonym_of("anna@example.com")[0] in stored


# -- what holds, and what it counts as -------------------------------------------------------------------------------
def test_as_known_at_an_instant_later_reviews_do_not_count(desk: Desk) -> None:
    desk.land(review("aaaa", "rejected"))
    desk.land(review("aaaa", "accepted"))
    assert latest(desk, NOW + timedelta(minutes=1))["aaaa"]["decision"] == "rejected"
    assert latest(desk, NOW) == {}


def test_reviews_of_what_was_replaced_since_do_not_count(desk: Desk) -> None:
    desk.land(review("aaaa", "accepted"), review("bbbb", "accepted"))
    desk.publish(WEEKS[0], {"bbbb": DRAFTS["bbbb"]}, superseded={"aaaa": DRAFTS["aaaa"]})
    assert set(latest(desk)) == {"bbbb"}


def test_an_output_is_one_review_however_many_agreed(desk: Desk) -> None:
    desk.land(review("aaaa", "accepted"), review("bbbb", "rejected"), review("cccc", "edited", final_text="x"))
    desk.land(review("aaaa", "accepted", reviewer="editor-2"))
    published = desk.lake.read(tables.PUBLISHED_OUTPUTS, NAME, WEEKS[0])
    reviewed = latest_reviews(desk.lake.read(tables.REVIEWS, NAME, WEEKS[0]), published, knowledge_cutoff=None)
    counted = {
        (row["output_id"], row["measure"]): row["value"] for row in review_measurements(reviewed, WEEKS[0]).to_pylist()
    }
    assert [counted[name, "reviews"] for name in ("aaaa", "bbbb", "cccc")] == [1.0, 1.0, 1.0]
    assert [counted[name, "accepted_as_is"] for name in ("aaaa", "bbbb", "cccc")] == [1.0, 0.0, 0.0]
    assert [counted[name, "edited"] for name in ("aaaa", "bbbb", "cccc")] == [0.0, 0.0, 1.0]
    assert [counted[name, "rejected"] for name in ("aaaa", "bbbb", "cccc")] == [0.0, 1.0, 0.0]


def test_the_latest_row_says_what_the_standing_review_says(desk: Desk) -> None:
    desk.land(review("aaaa", "accepted"))
    desk.land(review("aaaa", "accepted", reviewer="editor-2"))
    standing: Mapping[str, Any] = standing_reviews(desk.reviews())["aaaa"]
    assert (standing["reviewer"], latest(desk)["aaaa"]["reviewer"]) == ("editor-1", "editor-2")
    assert standing["decision"] == latest(desk)["aaaa"]["decision"]


# -- the spec --------------------------------------------------------------------------------------------------------
def test_measures_of_reviews_are_asked_of_no_file() -> None:
    assert measures_of(make_spec()) == []


def test_a_feed_of_metrics_cannot_bring_what_reviews_give() -> None:
    feeds = {"tool": {"kind": "metrics", "path": "t/*", "columns": {"accepted_as_is": "Accepted"}}}
    with pytest.raises(SpecError, match="accepted_as_is cannot come by a feed of kind metrics"):
        make_spec(feeds=feeds)


@pytest.mark.parametrize(("successes", "exposure"), [("clicks", "reviews"), ("edited", "sends"), ("reviews", "edited")])
def test_decisions_are_counted_out_of_reviews_and_of_nothing_else(successes: str, exposure: str) -> None:
    with pytest.raises(SpecError, match="do not make a rate"):
        make_spec(metrics={"acceptance": {"kind": "rate", "successes": successes, "exposure": exposure}})


# -- real edits ------------------------------------------------------------------------------------------------------
def test_real_pairs_of_draft_and_edit_become_reviews(tmp_path: Path) -> None:
    drafts = {f"out{number:03}": draft for number, (draft, _) in enumerate(real_pairs())}
    desk = Desk(tmp_path, drafts)
    rows = [
        review(name, final_text=final, date="2026-01-15") for name, (_, final) in zip(drafts, real_pairs(), strict=True)
    ]
    batch = desk.land(*rows)
    assert (batch.n_rows, batch.n_quarantined, dict(batch.decisions)["edited"]) == (150, 0, 150)
    landed = {row["output_id"]: row for row in desk.reviews()}
    assert [landed[name]["final_text"] for name in drafts] == [final for _, final in real_pairs()]
    light = [landed[f"out{index:03}"]["edit_similarity"] for index in LIGHT]
    heavy = [landed[f"out{index:03}"]["edit_similarity"] for index in REWRITTEN]
    assert min(light) > max(heavy)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("a\r\nb ", "a\nb", True), ("\n a", "a", True), ("a b", "a  b", False), ("a\n\nb", "a\nb", False)],
)
def test_which_texts_are_one_to_a_reader(first: str, second: str, same: bool) -> None:
    assert is_same_text(first, second) is same


def test_the_clock_of_the_machine_plays_no_part(tmp_path: Path) -> None:
    """A file from the past is judged by when it came, not by today."""
    desk = Desk(tmp_path)
    path = desk.file(review("aaaa", "accepted", date="2019-05-05"))
    early = datetime(2019, 5, 1, tzinfo=UTC)
    batch, _ = land_file(desk.lake, desk.spec, "review_sheet", path, recorded_at=early)
    assert batch.n_quarantined == 1
