"""The outbox: what an export says is new, and files that spreadsheets and mail tools can take as they are."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import EXPORTS, PUBLISHED_OUTPUTS
from flywheel_pipelines.production.outbox import FIXED_COLUMNS, Export, csv_text, export_rows, jsonl_text, write_outbox
from flywheel_pipelines_tests.production.written import WEEK, brief, briefs, output, outputs

MONDAY = datetime(2026, 1, 5, 9, 30, 0, 123456, tzinfo=UTC)
SEQUENCE = {"messages": [{"subject": "Oil", "body": "Hi."}, {"subject": "Again", "body": "Still there?"}], "note": "P."}


def published(*ids: str, arm: str = "flywheel") -> pa.Table:
    rows = [
        {"output_id": name, "arm": arm, "brief_id": "b0", "segment": "garages", "text": f"Text of {name}"}
        | {"predicted": 0.0, "weight": 1.0, "probability": 1.0, "choice": "best"}
        for name in ids
    ]
    return pa.Table.from_pylist(rows, schema=PUBLISHED_OUTPUTS.schema)


def export(going_out: pa.Table, exports: pa.Table | None = None, at: datetime = MONDAY, **values: Any) -> Export:
    ids = sorted(set(going_out["output_id"].to_pylist()))
    made = outputs([output(name, content=json.dumps(SEQUENCE)) for name in ids])
    known = EXPORTS.empty() if exports is None else exports
    how = {"flywheel": "mail", "cycle": WEEK, "recorded_at": at, "is_simulated": True} | values
    return export_rows(going_out, made, briefs(brief()), known, **how)


def row(**content: Any) -> dict[str, Any]:
    return {**dict.fromkeys(FIXED_COLUMNS, "x"), "export": 1, "is_simulated": False, "content": content or None}


def read_csv(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(rows), newline="")))


def test_a_row_tells_a_mail_tool_what_it_needs_and_not_the_arm() -> None:
    found = export(published("a")).rows[0]
    assert found == {
        "output_id": "a",
        "brief_id": "b0",
        "segment": "garages",
        "locale": "en",
        "export": 1,
        "exported_at": "2026-01-05T09:30:00.123456+00:00",
        "is_simulated": True,
        "text": "Text of a",
        "content": SEQUENCE,
    }
    assert "arm" not in csv_text([found]).splitlines()[0]


def test_the_same_again_is_the_same_to_the_byte_and_nothing_new(tmp_path: Path) -> None:
    """Through a real lake, since that is where the instant of the first export comes back from."""
    lake = Lake(tmp_path / "lake")
    first = export(published("b", "a"))
    assert first.facts is not None
    lake.append_batch("mail", first.facts.header, {EXPORTS: first.facts.rows})
    paths = write_outbox(tmp_path, "mail", WEEK, first.rows)
    before = [path.read_bytes() for path in paths]
    again = export(published("a", "b"), lake.read(EXPORTS, "mail", WEEK), MONDAY + timedelta(days=1))
    write_outbox(tmp_path, "mail", WEEK, again.rows)
    assert (again.facts, again.n_new, first.n_new) == (None, 0, 2)
    assert [path.read_bytes() for path in paths] == before
    assert [path.name for path in paths] == ["2026-01-05.csv", "2026-01-05.jsonl"]
    assert sorted(path.name for path in (tmp_path / "mail").iterdir()) == ["2026-01-05.csv", "2026-01-05.jsonl"]


def test_what_is_added_later_carries_a_higher_number_and_what_was_there_keeps_its_own() -> None:
    first = export(published("b"))
    assert first.facts is not None
    later = export(published("a", "b"), first.facts.rows.drop_columns(["cycle"]), MONDAY + timedelta(days=1))
    assert [(one["output_id"], one["export"], one["exported_at"][:10]) for one in later.rows] == [
        ("b", 1, "2026-01-05"),
        ("a", 2, "2026-01-06"),
    ]
    assert later.facts is not None
    assert later.facts.rows["output_id"].to_pylist() == ["a"]
    assert later.n_new == 1


def test_an_output_published_for_two_arms_stands_once() -> None:
    both = pa.concat_tables([published("a"), published("a", arm="control")])
    found = export(both)
    assert [one["output_id"] for one in found.rows] == ["a"]
    assert found.facts is not None
    assert found.facts.rows.num_rows == 2


def test_what_is_no_longer_published_leaves_the_file() -> None:
    first = export(published("a", "b"))
    assert first.facts is not None
    assert [one["output_id"] for one in export(published("b"), first.facts.rows.drop_columns(["cycle"])).rows] == ["b"]


def test_parts_have_columns_of_their_own_in_the_order_of_the_content() -> None:
    longer = {**SEQUENCE, "messages": [*SEQUENCE["messages"], {"subject": "Last", "body": "Bye."}]}
    found = read_csv([row(**SEQUENCE), row(**longer)])
    assert list(found[0])[len(FIXED_COLUMNS) :] == [
        *(f"message_{number}_{part}" for number in (1, 2, 3) for part in ("subject", "body")),
        "note",
    ]
    assert (found[0]["message_2_subject"], found[0]["message_3_body"], found[1]["message_3_body"]) == (
        "Again",
        "",
        "Bye.",
    )


def test_a_plain_text_needs_no_column_beside_it() -> None:
    assert list(read_csv([row(text="x")])[0]) == list(FIXED_COLUMNS)


def test_a_part_that_is_named_like_a_column_is_told_apart() -> None:
    found = read_csv([row(segment="mine", outline=["one"], outline_1="other")])[0]
    assert (found["content_segment"], found["segment"]) == ("mine", "x")
    assert sorted(found[name] for name in ("outline_1", "content_outline_1")) == ["one", "other"]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_cell_that_a_spreadsheet_would_compute_is_marked_as_text(cell: str) -> None:
    assert read_csv([row(note=cell)])[0]["note"].startswith("'")
    assert json.loads(jsonl_text([row(note=cell)]))["content"]["note"] == cell, "the JSON lines are exact"


def test_control_other_cells_are_left_alone() -> None:
    assert read_csv([row(note="1 = 1, 'quoted' \"twice\"")])[0]["note"] == "1 = 1, 'quoted' \"twice\""


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_no_text_breaks_a_file(notes: list[str]) -> None:
    rows = [row(note=note, more="x") for note in notes]
    lines = jsonl_text(rows)
    assert [json.loads(line)["content"]["note"] for line in lines.splitlines()] == notes
    plain = [note.replace("\r\n", "\n").replace("\r", "\n") for note in notes]
    assert [one["note"].removeprefix("'") for one in read_csv(rows)] == [note.removeprefix("'") for note in plain]


def test_duckdb_reads_both_files(tmp_path: Path) -> None:
    hostile = 'two\nlines, "quoted"; =1 \u2028 ü'
    paths = write_outbox(tmp_path, "mail", WEEK, [row(note=hostile, more="x"), row(note="plain", more="y")])
    with duckdb.connect() as connection:
        table = connection.execute(f"select note from read_csv('{paths[0]}', header = true)").fetchall()
        lines = connection.execute(f"select content.note from read_json('{paths[1]}')").fetchall()
    assert table == lines == [(hostile,), ("plain",)]


def test_an_empty_cycle_has_a_header_and_no_rows(tmp_path: Path) -> None:
    table, lines = write_outbox(tmp_path, "mail", WEEK, [])
    assert table.read_text() == ",".join(FIXED_COLUMNS) + "\n"
    assert lines.read_text() == ""
