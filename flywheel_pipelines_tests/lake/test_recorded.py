"""The record of the tables' versions: every change of a column must be declared, and what was recorded stays."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.cli.contracts import refuse_undeclared
from flywheel_pipelines.errors import ContractError, FlywheelError
from flywheel_pipelines.lake.changes import Added, Change, Dropped, Loosened, Renamed, Widened
from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.recorded import VERSIONS_FILE, read_record, undeclared, versions_text
from flywheel_pipelines.lake.tables import ALL_TABLES, BRIEFS, CYCLE_MANIFEST
from flywheel_pipelines.paths import PROJECT_ROOT

RECORD = read_record((PROJECT_ROOT / VERSIONS_FILE).read_text(encoding="utf-8"), VERSIONS_FILE)
TEXT, WHOLE, SMALL = pa.string(), pa.int64(), pa.int32()


def with_column(contract: TableContract, field: pa.Field, **changes: Any) -> TableContract:
    """A contract with a column more, or another one in the place of the column of that name."""
    at = contract.schema.get_field_index(field.name)
    schema = contract.schema.append(field) if at < 0 else contract.schema.set(at, field)
    return replace(contract, schema=schema, **changes)


def without(contract: TableContract, name: str, **changes: Any) -> TableContract:
    return replace(contract, schema=contract.schema.remove(contract.schema.get_field_index(name)), **changes)


NOTE = column("note", TEXT, "A note.", nullable=True)
SHORT = with_column(BRIEFS, column("n_candidates", SMALL, "Few."))
"""Briefs with a narrower column, as an earlier version might have had."""


def test_the_project_declares_every_change():
    assert undeclared(RECORD, ALL_TABLES) == []
    assert (PROJECT_ROOT / VERSIONS_FILE).read_text(encoding="utf-8") == versions_text(ALL_TABLES)
    recorded = RECORD["cycle_manifest"]["versions"]
    assert len(recorded) == CYCLE_MANIFEST.version + 1
    assert [*recorded[1]["columns"].items() - recorded[0]["columns"].items()] == [
        ("no_references_prompt_version", "string or null")
    ]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (BRIEFS, with_column(BRIEFS, NOTE), r'note: it \(string or null\) is new. Declare Added\("note"\), at the end'),
        (
            BRIEFS,
            with_column(BRIEFS, NOTE.with_nullable(False)),
            r'note: it \(string\) is new. Declare Added\("note", fill=...\), at the end',
        ),
        (BRIEFS, without(BRIEFS, "title"), r'title: it is gone. Declare Dropped\("title", .* or.* Renamed\("title"'),
        (SHORT, BRIEFS, r'n_candidates: it was int32 and is int64. Declare Widened\("n_candidates", ...\)'),
        (
            BRIEFS,
            with_column(BRIEFS, BRIEFS.schema.field("title").with_nullable(True)),
            r'title: it may be null from now on. Declare Loosened\("title"\)',
        ),
        (
            BRIEFS,
            with_column(BRIEFS, BRIEFS.schema.field("locale").with_nullable(False)),
            "locale: it may no longer be null, but files of before hold nulls. Take it back, or add another column",
        ),
        (BRIEFS, replace(BRIEFS, key=("brief_id", "segment")), r"its key was \['brief_id'\] and is .* no change can"),
        (BRIEFS, replace(BRIEFS, partition_by=("flywheel",)), "its partitions was"),
        (BRIEFS, replace(BRIEFS, kind="ledger"), "its kind was table and is ledger"),
        (BRIEFS, with_column(BRIEFS, NOTE, changes=(Dropped("note", TEXT),)), "note.* is still among the columns"),
    ],
)  # fmt: skip
def test_a_column_that_changed_without_a_declared_change_is_named_with_what_to_declare(
    tmp_path: Path, before: TableContract, now: TableContract, words: str
):
    path = tmp_path / VERSIONS_FILE
    path.parent.mkdir(parents=True)
    path.write_text(versions_text([before]), encoding="utf-8")
    refuse_undeclared(tmp_path, [before])
    with pytest.raises(FlywheelError, match=rf"(?s){VERSIONS_FILE}: .*Table briefs[,:] .*{words}"):
        refuse_undeclared(tmp_path, [now])


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (BRIEFS, with_column(BRIEFS, NOTE, changes=(Added("note"),))),
        (BRIEFS, without(BRIEFS, "title", changes=(Dropped("title", TEXT),))),
        (
            BRIEFS,
            with_column(without(BRIEFS, "title"), column("name", TEXT, ""), changes=(Renamed("title", "name"),)),
        ),
        (SHORT, with_column(BRIEFS, BRIEFS.schema.field("n_candidates"), changes=(Widened("n_candidates", SMALL),))),
        (
            BRIEFS,
            with_column(BRIEFS, BRIEFS.schema.field("title").with_nullable(True), changes=(Loosened("title"),)),
        ),
    ],
)
def test_declared_changes_are_taken_and_recorded_behind_what_was_there(before: TableContract, now: TableContract):
    record = json.loads(versions_text([before]))
    assert undeclared(record, [now]) == []
    written = json.loads(versions_text([now]))["briefs"]["versions"]
    assert written[:1] == record["briefs"]["versions"]
    assert len(written) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ((), "of its changes Added.*'note'.* is no longer declared, and files of version 1 may lie in a lake"),
        ((Added("note"), Added("other")), None),
        ((Added("other"), Added("note")), r"its change 1 was Added\(column='note'.* and is Added\(column='other'"),
    ],
)
def test_what_was_recorded_once_stays_declared(changes: tuple[Change, ...], words: str | None):
    once = with_column(BRIEFS, NOTE, changes=(Added("note"),))
    record = json.loads(versions_text([once]))
    now = with_column(once, NOTE.with_name("other"), changes=changes) if changes else once
    found = undeclared(record, [replace(now, changes=changes)])
    if words is None:
        assert found == []
    else:
        [problem] = found
        assert re.search(words, problem)


def test_a_table_that_is_gone_is_noticed_and_a_new_one_is_only_not_yet_written():
    record = json.loads(versions_text([BRIEFS]))
    assert undeclared(record, [BRIEFS, CYCLE_MANIFEST]) == []
    [problem] = undeclared(record, [CYCLE_MANIFEST])
    assert problem.startswith("Table briefs is gone: its files stay in every lake, and nothing reads them.")


def test_a_record_that_is_no_json_is_named():
    with pytest.raises(ContractError, match=rf"{VERSIONS_FILE}: it cannot be read"):
        read_record("{", VERSIONS_FILE)
