"""Tickets: what customers wrote lands in the cycle in which they wrote it, and nothing else of them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.cycles import Cadence, cycle_of
from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds import FeedBatch
from flywheel_pipelines.feedback.feeds.scrubbing import scrubbed
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines_tests.feedback.reviews.desks import NAME, make_spec
from flywheel_pipelines_tests.shared_data import shared_file

NOW = datetime(2026, 1, 20, tzinfo=UTC)
COLUMNS = {"ticket_id": "id", "created_at": "opened", "segment": "brand", "text": "message"}
JSON_COLUMNS = {"ticket_id": "id", "created_at": "opened", "text": "message"}
HEADER = "id,opened,brand,message,subject,status,e-mail,name"


class SupportDesk:
    """A lake, and files of a support system."""

    def __init__(self, root: Path, **feed: Any) -> None:
        self.root, self.lake = root, Lake(root / "lake")
        settings = {"kind": "tickets", "path": "t/*", "columns": COLUMNS, **feed}
        self.spec = make_spec(feeds={"desk": settings})

    def land(self, *rows: str, header: str = HEADER, at: datetime = NOW) -> FeedBatch:
        path = self.root / "tickets.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return land_file(self.lake, self.spec, "desk", path, recorded_at=at)[0]

    def tickets(self) -> list[dict[str, Any]]:
        return self.lake.read(tables.TICKETS, NAME).to_pylist()


@pytest.fixture
def desk(tmp_path: Path) -> SupportDesk:
    return SupportDesk(tmp_path)


def test_a_ticket_lands_in_the_cycle_in_which_it_was_written(desk: SupportDesk) -> None:
    batch = desk.land("t1,2026-01-08T23:30:00-05:00,Acme,It broke,Help,open,a@example.com,Anna")
    (row,) = desk.tickets()
    assert (batch.cycles, row["created_at"]) == ([date(2026, 1, 5)], datetime(2026, 1, 9, 4, 30, tzinfo=UTC))
    assert (row["ticket_id"], row["segment"], row["text"], row["subject"]) == ("t1", "Acme", "It broke", "Help")
    assert (row["status"], row["channel"]) == ("open", None)


def test_the_zone_decides_the_cycle(desk: SupportDesk) -> None:
    """Sunday evening in New York is Monday in UTC."""
    assert desk.land("t1,2026-01-11T20:00:00-05:00,Acme,x,,,,").cycles == [date(2026, 1, 12)]


def test_control_without_a_zone_it_is_utc(desk: SupportDesk) -> None:
    assert desk.land("t1,2026-01-11 20:00:00,Acme,x,,,,").cycles == [date(2026, 1, 5)]


def test_columns_of_persons_are_nowhere_in_the_lake(desk: SupportDesk) -> None:
    batch = desk.land(
        "t1,2026-01-08,Acme,fine,,,anna@example.com,Anna",
        "t2,never,Acme,a bad date,,,bo@example.com,Bo",
        "t3,2026-01-08,Acme,one cell too many,,,cy@example.com,Cy,x",
    )
    assert (batch.n_rows, batch.n_quarantined) == (1, 2)
    stored = json.dumps([desk.tickets(), desk.lake.read(tables.QUARANTINE, NAME).to_pylist()], default=str)
    assert "a bad date" in stored
    assert not [word for word in ("example.com", "Anna", "Bo", "Cy") if word in stored]


def test_the_same_id_again_is_kept_and_recorded_later(desk: SupportDesk) -> None:
    desk.land("t1,2026-01-08,Acme,It broke,,open,,")
    desk.land("t1,2026-01-08,Acme,It broke,,solved,,", at=NOW + timedelta(days=1))
    assert [row["status"] for row in sorted(desk.tickets(), key=lambda row: row["recorded_at"])] == ["open", "solved"]


def test_one_json_object_a_line_is_read_too(desk: SupportDesk) -> None:
    tickets = [{"id": 7, "opened": "2026-01-08T10:00:00Z", "message": "It broke\nagain", "email": "a@example.com"}]
    path = desk.root / "tickets.jsonl"
    path.write_text("".join(json.dumps(ticket) + "\n" for ticket in tickets))
    desk.spec = make_spec(feeds={"desk": {"kind": "tickets", "path": "t/*", "columns": JSON_COLUMNS}})
    assert land_file(desk.lake, desk.spec, "desk", path, recorded_at=NOW)[0].n_quarantined == 0
    assert [(row["ticket_id"], row["text"]) for row in desk.tickets()] == [("7", "It broke\nagain")]


def test_a_file_without_ids_gets_them_from_what_the_tickets_say(tmp_path: Path) -> None:
    columns = {"created_at": "opened", "text": "message"}
    desk = SupportDesk(tmp_path, columns=columns)
    desk.land("2026-01-08,It broke", "2026-01-08,It broke", "2026-01-08,It works", header="opened,message")
    first, second, third = [row["ticket_id"] for row in sorted(desk.tickets(), key=lambda row: row["source_row"])]
    assert first == second != third


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        (",2026-01-08,Acme,x,,,,", "id", "empty"),
        ("t1,,Acme,x,,,,", "opened", "empty"),
        ("t1,2026-02-31,Acme,x,,,,", "opened", "not an instant"),
        ("t1,2027-01-01,Acme,x,,,,", "opened", "in the future"),
        ("t1,1970-01-01,Acme,x,,,,", "opened", "outside 1990"),
        ("t1,2026-01-08,Acme,,,,,", "message", "empty"),
        ("t1,2026-01-08,Acme,a\x00b,,,,", "message", "control characters"),
    ],
)
def test_a_row_that_is_wrong_is_put_aside_with_what_to_do(desk: SupportDesk, row: str, field: str, words: str) -> None:
    (problem,) = desk.land(row).problems
    assert (problem.field, desk.tickets()) == (field, [])
    assert words in problem.reason


def test_a_file_without_texts_is_refused_with_its_header(desk: SupportDesk) -> None:
    with pytest.raises(InputFileError, match="message"):
        desk.land("t1,2026-01-08", header="id,opened")


# -- real conversations ----------------------------------------------------------------------------------------------
REAL = {"created_at": "created_at", "segment": "brand", "text": "first_customer_message"}


def test_the_real_support_file_loads_as_tickets_with_every_row_accounted_for(tmp_path: Path) -> None:
    path = shared_file("support", "conversations.csv")
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    desk = SupportDesk(tmp_path, columns=REAL)
    batch, is_new = land_file(desk.lake, desk.spec, "desk", path, recorded_at=NOW)
    landed = desk.tickets()
    assert (is_new, len(rows), batch.n_rows + batch.n_quarantined) == (True, 1_025, 1_025)
    assert batch.n_quarantined == 0
    wanted = Counter(cycle_of(date.fromisoformat(row["created_at"][:10]), Cadence.WEEKLY) for row in rows)
    assert Counter(row["cycle"] for row in landed) == wanted
    assert {cycle.year for cycle in wanted} == {2018, 2019, 2020}
    by_row = {row["source_row"]: row for row in landed}
    assert [by_row[number]["text"] for number in range(1, 1_026)] == [
        scrubbed(row["first_customer_message"].strip(), (), "en")[0] for row in rows
    ]
    assert Counter(row["segment"] for row in landed) == Counter(row["brand"] or "all" for row in rows)
    assert set(desk.lake.read(tables.TICKETS, NAME).column_names).isdisjoint({"conversation", "answer_url"})
