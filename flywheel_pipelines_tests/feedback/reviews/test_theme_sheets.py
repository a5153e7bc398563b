"""The sheet of themes: new ones wait there, and so do pairs that have become alike, once."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.drafts import draft_hash, theme_draft
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake

NAME = "support"
FIRST, SECOND, THIRD = date(2026, 1, 5), date(2026, 1, 12), date(2026, 1, 19)
OLDER, YOUNGER, NEW = "th-0000000001", "th-0000000002", "th-0000000003"


def _write(lake: Lake, table: TableContract, cycle: date, rows: list[dict[str, Any]]) -> None:
    empty = {field.name: None for field in table.schema}
    lake.write(table, pa.Table.from_pylist([empty | row for row in rows], schema=table.schema), flywheel=NAME,
               cycle=cycle)  # fmt: skip


def _candidate(theme_id: str, name: str) -> dict[str, Any]:
    return {
        "theme_id": theme_id, "name": name, "summary": f"Customers write about {name}.", "quotes": ["It broke."],
        "quoted_ids": ["T-1"], "n_refused": 0, "member_ids": ["T-1", "T-2"], "coherence": 0.3,
    }  # fmt: skip


def _kept(theme_id: str, name: str) -> dict[str, Any]:
    return {
        "theme_id": theme_id, "name": name, "founded": FIRST, "status": "accepted", "summary": "s", "coherence": 0.3,
        "n_tickets": 2, "example_ids": [], "examples": [],
    }  # fmt: skip


SUGGESTED = {"event_number": 1, "event": "merge_suggested", "theme_id": YOUNGER, "other_id": OLDER,
             "detail": "12 tickets lie between the two"}  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    _write(lake, tables.THEME_CANDIDATES, FIRST, [_candidate(OLDER, "Parcels"), _candidate(YOUNGER, "Deliveries")])
    _write(lake, tables.THEME_CANDIDATES, SECOND, [_candidate(NEW, "Invoices")])
    for cycle in (SECOND, THIRD):
        _write(lake, tables.THEME_LIBRARY, cycle, [_kept(OLDER, "Late parcels"), _kept(YOUNGER, "Deliveries")])
        _write(lake, tables.THEME_EVENTS, cycle, [SUGGESTED])
    return lake


def test_a_suggested_merge_waits_below_the_new_themes_with_what_to_write(lake: Lake) -> None:
    new, merge = theme_sheet_rows(lake, NAME, SECOND)
    assert (new["output_id"], new["segment"]) == (NEW, "2 tickets")
    assert (merge["output_id"], merge["segment"]) == (YOUNGER, "merge?")
    assert "'Late parcels'" in (merge["brief"] or "")
    assert f"merge into {OLDER}" in (merge["brief"] or "")
    # The draft is the one that reviews of this theme are checked against.
    draft = theme_draft("Deliveries", "Customers write about Deliveries.")
    assert (merge["draft"], merge["draft_hash"]) == (draft, draft_hash(draft))


def test_a_suggestion_that_nobody_took_up_is_not_made_again(lake: Lake) -> None:
    assert lake.read(tables.THEME_EVENTS, NAME, THIRD).num_rows == 1
    assert theme_sheet_rows(lake, NAME, THIRD) == []
