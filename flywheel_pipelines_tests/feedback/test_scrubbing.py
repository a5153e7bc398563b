"""Personal data never gets into the lake: not by a text, not by a row that is put aside, not by its requester."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.feedback.feeds.scrubbing import scrubbed
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.personal_data import personal_data_in
from flywheel_pipelines_tests.feedback.reviews.desks import NAME, make_spec
from flywheel_pipelines_tests.shared_data import shared_file

NOW = datetime(2026, 1, 20, tzinfo=UTC)
PRIVATE = ("anna.karenina@example.com", "4111 1111 1111 1111", "+49 30 901820", "@anna_k", "Karenina")
TEXT = f"I am Anna Karenina, {PRIVATE[0]}, card {PRIVATE[1]}, call {PRIVATE[2]} or {PRIVATE[3]}. ANNA"


def _everything_stored(root: Path) -> str:
    found = [json.dumps(pq.read_table(path).to_pylist(), default=str) for path in sorted(root.rglob("*.parquet"))]
    return "\n".join([*found, *(str(path) for path in root.rglob("*"))])


def _land(root: Path, *rows: str) -> Lake:
    columns = {"created_at": "opened", "text": "message", "requester": "name"}
    spec = make_spec(feeds={"desk": {"kind": "tickets", "path": "t/*", "columns": columns}})
    path = root / "tickets.csv"
    path.write_text("\n".join(["opened,name,message,subject,locale", *rows]) + "\n", encoding="utf-8")
    lake = Lake(root / "lake")
    land_file(lake, spec, "desk", path, recorded_at=NOW)
    return lake


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("mail me: a.b@example.org!", (), "mail me: [e-mail address]!"),
        ("@Acme my phone", (), "[handle] my phone"),
        ("see https://example.com/@channel please", (), "see https://example.com/@channel please"),
        ("Ann's annual bill, says ANN LEE", ("Ann Lee",), "[name]'s annual bill, says [name]"),
        ("order 20260105 of 2 items", (), "order 20260105 of 2 items"),
    ],
)  # fmt: skip
def test_what_is_masked_and_what_stays(text: str, names: tuple[str, ...], expected: str) -> None:
    assert scrubbed(text, names, "en")[0] == expected


def test_what_was_removed_is_counted_and_nowhere_stored(tmp_path: Path) -> None:
    lake = _land(tmp_path, f'2026-01-08,Anna Karenina,"{TEXT}",from {PRIVATE[0]},de')
    (row,) = lake.read(tables.TICKETS, NAME).to_pylist()
    counted = {"card number": 1, "e-mail address": 2, "handle": 1, "name": 2, "phone number": 1}
    assert json.loads(row["removed"]) == counted
    assert (row["locale"], row["subject"]) == ("de", "from [e-mail address]")
    assert not [one for one in PRIVATE if one in _everything_stored(lake.root)]


def test_a_row_that_is_put_aside_keeps_nothing_of_a_person_either(tmp_path: Path) -> None:
    lake = _land(tmp_path, f'no day,Anna Karenina,"{TEXT}",,de', f'2026-01-08,Anna Karenina,"{TEXT}\x07",,de')
    assert len(lake.read(tables.QUARANTINE, NAME).to_pylist()) == 2
    assert lake.read(tables.TICKETS, NAME).num_rows == 0
    assert not [one for one in PRIVATE if one in _everything_stored(lake.root)]


def test_without_masking_the_search_would_find_it(tmp_path: Path) -> None:
    """The control of the two tests above."""
    (tmp_path / "lake").mkdir()
    pq.write_table(tables.TICKETS.schema.empty_table(), tmp_path / "lake" / "empty.parquet")
    (tmp_path / "lake" / PRIVATE[0]).touch()
    assert PRIVATE[0] in _everything_stored(tmp_path / "lake")


def test_real_conversations_land_without_addresses_numbers_and_handles(tmp_path: Path) -> None:
    path = shared_file("support/conversations.csv")
    columns = {"created_at": "created_at", "text": "first_customer_message", "segment": "brand"}
    dates = ["%Y-%m-%dT%H:%M:%S.%fZ"]
    spec = make_spec(feeds={"desk": {"kind": "tickets", "path": "t/*", "columns": columns, "dates": dates}})
    lake = Lake(tmp_path / "lake")
    batch, _ = land_file(lake, spec, "desk", path, recorded_at=NOW)
    rows = lake.read(tables.TICKETS, NAME).to_pylist()
    assert (len(rows), batch.n_quarantined) == (1025, 0)
    texts = [row["text"] for row in rows]
    assert not [found for text in texts for found in personal_data_in(text, "en")]
    assert not [text for text in texts if re.search(r"(?<![\w@/.])@\w\w", text)]
    removed = sum((Counter(json.loads(row["removed"])) for row in rows if row["removed"]), Counter())
    assert removed["handle"] > 500
