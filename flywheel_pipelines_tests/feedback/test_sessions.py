"""Telemetry: what was shown, taken and ignored, counted once in a session."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds import Incoming
from flywheel_pipelines.feedback.measuring import read_measurements
from flywheel_pipelines.lake import tables
from flywheel_pipelines.spec import FeedSpec
from flywheel_pipelines_tests.feedback.metric_world import AT, Desk, mail_spec

EVENTS = {"shown": "shown", "accepted": "accepted", "kept_5min": "characters", "dismissed": "dismissed"}
FEED: dict[str, Any] = {
    "columns": {"output_id": "snippet", "date": "at", "event": "event", "session": "session", "count": "characters"},
    "dates": ["%Y-%m-%dT%H:%M:%SZ"],
    "aggregate": "sessions",
    "events": EVENTS,
    "sessions": {"shown": "shown", "ignored": "ignored", "taken": ["accepted"]},
}


def desk(root: Path, **feed: Any) -> Desk:
    return Desk(root, mail_spec(mailer={**FEED, **feed}))


def line(event: str, session: str = "s1", snippet: str = "aaaa", at: str = "2026-01-06T10:00:00Z", **more: Any) -> str:
    return json.dumps({"snippet": snippet, "at": at, "event": event, "session": session, **more})


def land(at: Desk, *lines: str, name: str = "events.jsonl") -> None:
    at.land(*lines, name=name)


def values(at: Desk, output: str = "aaaa", day: int = 1) -> dict[str, float]:
    return {name: value for (one, name, of), value in at.known().items() if (one, of) == (output, day)}


def test_a_session_is_one_exposure_however_often_it_was_shown(tmp_path: Path) -> None:
    at = desk(tmp_path)
    land(at, line("shown"), line("shown"), line("shown", "s2"), line("accepted"), line("accepted"))
    assert values(at) == {"shown": 2, "accepted": 1, "ignored": 1, "characters": 0, "dismissed": 0}


def test_the_control_counts_every_row(tmp_path: Path) -> None:
    at = desk(tmp_path, aggregate="count", sessions=None, columns={**FEED["columns"], "count": "n"})
    land(at, *(line(event, n=1) for event in ("shown", "shown", "accepted", "accepted")))
    assert values(at) == {"shown": 2, "accepted": 2}


def test_shown_and_never_taken_is_ignored(tmp_path: Path) -> None:
    at = desk(tmp_path)
    land(at, *(line("shown", f"s{n}") for n in range(4)), line("accepted", "s0"), line("dismissed", "s1"))
    assert values(at) == {"shown": 4, "accepted": 1, "dismissed": 1, "ignored": 3, "characters": 0}
    any_other = desk(tmp_path / "other", sessions={"shown": "shown", "ignored": "ignored"})
    (tmp_path / "other").mkdir(exist_ok=True)
    land(any_other, *(line("shown", f"s{n}") for n in range(4)), line("accepted", "s0"), line("dismissed", "s1"))
    assert values(any_other)["ignored"] == 2


def test_what_was_kept_is_said_by_the_lowest_row_of_the_session(tmp_path: Path) -> None:
    at = desk(tmp_path)
    kept = [line("kept_5min", characters=n) for n in (90, 80, 80)]
    other = [line(event, "s2") for event in ("shown", "accepted")]
    land(at, line("shown"), line("accepted"), *kept, *other, line("kept_5min", "s2", characters=5))
    assert values(at) == {"shown": 2, "accepted": 2, "characters": 85, "ignored": 0, "dismissed": 0}


def test_a_session_belongs_to_the_day_on_which_it_was_first_shown(tmp_path: Path) -> None:
    at = desk(tmp_path)
    late = "2026-01-07T00:04:00Z"
    land(at, line("accepted", at=late), line("shown", at=late), line("shown", at="2026-01-06T23:59:00Z"))
    assert values(at) == {"shown": 1, "accepted": 1, "ignored": 0, "characters": 0, "dismissed": 0}
    assert values(at, day=2) == {}


def test_two_outputs_in_one_session_are_two_exposures(tmp_path: Path) -> None:
    at = desk(tmp_path)
    land(at, line("shown"), line("shown", snippet="bbbb"), line("accepted", snippet="bbbb"))
    assert (values(at)["ignored"], values(at, "bbbb")["ignored"]) == (1, 0)


def test_a_later_file_corrects_also_what_is_nothing_now(tmp_path: Path) -> None:
    at = desk(tmp_path)
    land(at, line("shown"), line("accepted"), line("kept_5min", characters=9))
    at.land(line("shown"), name="again.jsonl", at=AT.replace(month=5))
    assert values(at) == {"shown": 1, "accepted": 0, "ignored": 1, "characters": 0, "dismissed": 0}


def test_what_nobody_saw_nobody_took(tmp_path: Path) -> None:
    at = desk(tmp_path)
    land(at, line("shown"), line("accepted", "s9"), line("accepted", "s1", snippet="bbbb"))
    assert at.aside() == [(2, "session", "invalid"), (3, "session", "invalid")]
    [reason, _] = [row["reason"] for row in at.lake.read(tables.QUARANTINE, "mail").to_pylist()]
    assert "no row of event shown in this session" in reason
    assert values(at)["ignored"] == 1


def test_broken_rows_are_put_aside_one_by_one(tmp_path: Path) -> None:
    at = desk(tmp_path)
    bad = [
        line("shown", ""), line("shown", "s2", "zzzz"), line("blinked"), line("kept_5min", characters="many"),
        line("shown", "s3", at="yesterday"), "{not json",
    ]  # fmt: skip
    land(at, line("shown"), line("kept_5min", characters=7), *bad)
    assert [row[:2] for row in at.aside()] == [
        (3, "session"), (4, "snippet"), (5, "event"), (6, "characters"), (7, "at"), (8, "(row)"),
    ]  # fmt: skip
    assert values(at)["characters"] == 7


def test_a_file_without_sessions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="column session is missing"):
        land(desk(tmp_path), '{"snippet": "aaaa", "at": "2026-01-06T10:00:00Z", "event": "shown"}')


def test_both_ways_of_reading_say_the_same(tmp_path: Path) -> None:
    lot = random.Random(3)
    lines = [
        line(
            lot.choice(["shown", "shown", "accepted", "kept_5min", "odd"]),
            lot.choice(["s1", "s2", " s2 ", "s3", ""]),
            lot.choice(["aaaa", "bbbb", "zzzz"]),
            lot.choice(["2026-01-06T10:00:00Z", "2026-01-07T10:00:00Z", "soon"]),
            **lot.choice([{}, {"characters": lot.randrange(9)}, {"characters": "-1"}, {"characters": ""}]),
        )
        for _ in range(400)
    ]
    at = desk(tmp_path)
    path = at.file(*lines, name="events.jsonl")
    one, other = (
        read_measurements(Incoming(at.lake, at.spec, "mailer", path, AT), fast=fast) for fast in (True, False)
    )
    assert one.header == other.header
    assert one.problems == other.problems
    made = [[part.make().to_pylist() for part in batch.parts[tables.METRIC_LEDGER]] for batch in (one, other)]
    assert made[0] == made[1] != []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"sessions": None}, "sessions and aggregate: sessions go together"),
        ({"aggregate": "count"}, "sessions and aggregate: sessions go together"),
        ({"events": {}}, "events and aggregate"),
        ({"sessions": {"shown": "seen"}}, "sessions.shown: seen is none of events"),
        ({"sessions": {"shown": "shown", "taken": ["bought"]}}, "sessions.taken: bought is none"),
        ({"sessions": {"shown": "shown", "taken": ["shown"]}}, "is what shows it"),
        ({"sessions": {"shown": "shown", "ignored": "accepted"}}, "counted by an event already"),
        ({"events": {**EVENTS, "seen": "shown"}}, "seen counts as shown, too"),
    ],
)
def test_what_makes_no_sense_is_refused(keys: dict[str, Any], said: str) -> None:
    good = {"kind": "metrics", "path": "x/*", **FEED}
    assert FeedSpec.model_validate(good).event_measures == ("accepted", "characters", "dismissed", "ignored", "shown")
    with pytest.raises(ValidationError, match=said):
        FeedSpec.model_validate({**good, **keys})


KEYS_OF_THE_FIRST = [
    "kind", "preset", "path", "sql", "dlt", "columns", "join", "url_parameter", "dates", "file_date", "numbers",
    "aggregate", "events", "corrections", "max_quarantined", "expected_within", "hold_implausible",
]  # fmt: skip


def test_keys_that_came_later_change_the_identity_of_no_feed_without_them() -> None:
    feed = FeedSpec(kind="metrics", path="x/*")
    # Another key, and every file in every inbox would be landed anew, and its cycles closed again.
    assert list(json.loads(feed.identity)) == KEYS_OF_THE_FIRST
    assert FeedSpec(kind="briefs", path="x/*", fields=[]).identity != FeedSpec(kind="briefs", path="x/*").identity
