"""`flywheel quarantine`: what people see of rows that were put aside, and what they can do about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.feedback.quarantine_desk import FLYWHEEL, Desk, line
from flywheel_pipelines_tests.small_world import changed_files, fingerprint


@pytest.fixture
def desk(empty: Path) -> Desk:
    empty.mkdir()
    made = Desk(empty)
    made.publish("aaaa", "bbbb")
    made.land(line("aaaa", sends="many"), line("nobody"), "one cell")
    return made


def test_the_list_shows_every_open_row_with_its_reason_and_what_to_do(run: Run, desk: Desk) -> None:
    ran = run("quarantine", "list")
    assert ran.code == 0
    for row_id in desk.ids():
        assert row_id in ran.out
    assert "outreach: 3 rows (1 invalid, 1 unmatched, 1 unreadable) in quarantine" in ran.said
    assert "--set COLUMN=VALUE" in ran.said
    assert f"flywheel quarantine show {desk.ids()[0]}" in ran.said


def test_the_list_is_cut_short_and_says_so(run: Run, desk: Desk) -> None:
    ran = run("quarantine", "list", "--limit", "1")
    assert desk.ids()[0] in ran.out
    assert desk.ids()[1] not in ran.out
    assert "1 of 3 shown" in ran.said


def test_the_list_is_narrowed_down(run: Run, desk: Desk) -> None:
    found = run("quarantine", "list", "--flywheel", FLYWHEEL, "--problem", "unmatched", "--json").json
    assert [row["id"] for row in found] == [desk.ids()[1]]
    assert found[0]["cells"]["tracking_tag"] == "nobody"
    assert run("quarantine", "list", "--feed", "leads", "--json").json == []


def test_nothing_in_quarantine_is_said_so(run: Run, empty: Path) -> None:
    assert "Nothing is in quarantine" in run("quarantine", "list").said


def test_a_row_is_shown_with_its_cells_and_its_fate(run: Run, desk: Desk) -> None:
    row_id = desk.ids()[0]
    ran = run("quarantine", "show", row_id)
    for part in (row_id, "invalid", "many", "tracking_tag", "aaaa", "open"):
        assert part in ran.said
    run("quarantine", "discard", row_id, "--note", "a test mail", "--by", "ana")
    assert "discarded by ana" in run("quarantine", "show", row_id).said


def test_a_row_is_released_with_a_correction(run: Run, desk: Desk) -> None:
    row_id = desk.ids()[0]
    before = fingerprint(desk.root / "lake")
    tried = run("quarantine", "release", row_id, "--set", "sends=40", "--dry-run")
    assert "1 row of feed mailer would be handed in: 1 would land about the cycles 2026-01-05" in tried.said
    assert "Nothing was written" in tried.said
    assert changed_files(before, fingerprint(desk.root / "lake")) == []
    ran = run("quarantine", "release", row_id, "--set", "sends=40", "--by", "ana", "--note", "typed wrongly")
    assert "1 row of feed mailer handed in again: 1 landed" in ran.said
    assert "outreach__close" in ran.said
    assert row_id not in desk.ids()
    assert desk.events()[0]["note"] == "typed wrongly"


def test_all_rows_of_a_problem_are_released_at_once_and_may_come_back(run: Run, desk: Desk) -> None:
    (old,) = desk.ids(problem="unmatched")
    ran = run("quarantine", "release", "--problem", "unmatched")
    (new,) = desk.ids(problem="unmatched")
    assert f"{old} is now {new}" in ran.said
    assert "1 in quarantine again" in ran.said


def test_status_counts_rows_that_are_open(run: Run, desk: Desk) -> None:
    def counted() -> int:
        return {row["flywheel"]: row["n_quarantined"] for row in run("status", "--json").json}[FLYWHEEL]

    assert counted() == 3
    run("quarantine", "discard", desk.ids()[2], "--note", "cut off")
    assert counted() == 2
    assert "flywheel quarantine list" in run("status").said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("release",), "No rows were chosen"),
        (("release", "1f3a77c0:1", "--feed", "mailer"), "not both"),
        (("release", "--feed", "leads"), "No row in quarantine fits"),
        (("release", "nonsense"), "is not the id of a row"),
        (("release", "00000000:9"), "no row of that id"),
        (("release", "--problem", "odd"), "there are unreadable, invalid"),
        (("release", "--feed", "mailer", "--set", "sends"), "expected COLUMN=VALUE"),
        (("release", "--problem", "invalid", "--set", "Sent=4"), "has no column Sent"),
        (("release", "--problem", "unreadable"), "could not be split"),
        (("list", "--since", "soon"), "expected a day such as 2026-01-05"),
        (("list", "--flywheel", "nobody"), "there are"),
        (("discard", "--feed", "mailer", "--note", " "), "say why"),
        (("discard", "--note", "why"), "No rows were chosen"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(run: Run, desk: Desk, arguments: tuple[str, ...], words: str) -> None:
    before = fingerprint(desk.root / "lake")
    ran = run("quarantine", *arguments)
    assert ran.code == 2
    assert words in ran.said
    assert changed_files(before, fingerprint(desk.root / "lake")) == []
