"""Changes of a table: what they amount to, and files of every version read by today's contract, also in SQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.errors import ContractError, PublishError
from flywheel_pipelines.lake import layer_views, snapshot
from flywheel_pipelines.lake.changes import Added, Change, Dropped, Loosened, Renamed, Widened
from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.files import LakeFile
from flywheel_pipelines.lake.markers import latest_recorded
from flywheel_pipelines.lake.parts import LedgerPart, write_parts
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.store import PART, CycleWindow, Lake
from flywheel_pipelines.lake.tables import ALL_TABLES, BATCHES, BRIEFS, INPUT_VERSIONS, METRIC_LEDGER, PROMPT_VERSIONS
from flywheel_pipelines.lake.versions import recorded_inputs
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines_tests.lake.old_files import raw, rewrite, stamp_of
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, WEEKS, rows, write_sample_lake

TEXT, WHOLE, SMALL, REAL, FLAG = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
MONDAY = date(2026, 1, 5)


def things(*fields: pa.Field, changes: tuple[Change, ...] = ()) -> TableContract:
    return TableContract("things", "lake", "Things.", ("id",), pa.schema(fields), changes=changes)


ID = column("id", TEXT, "Its id.")
NOW = things(
    ID,
    column("n", WHOLE, "How many."),
    column("title", TEXT, "Its name.", nullable=True),
    column("is_good", FLAG, "Whether."),
    column("tags", pa.list_(TEXT), "Marks."),
    column("note", TEXT, "Said of it.", nullable=True),
    column("kind", TEXT, "What it is."),
    changes=(
        Renamed("label", "name"),
        Widened("n", SMALL),
        Dropped("size", REAL),
        Added("is_good", True),
        Added("tags", ()),
        Renamed("name", "title"),
        Loosened("title"),
        Added("note"),
        Added("kind", "it's plain"),
    ),
)
OLDEST = {"id": "a", "n": 3, "label": "A", "size": 1.5}


def test_every_version_has_the_columns_that_it_had():
    found = [[f"{field.name} {field.type}{'?' * field.nullable}" for field in one] for one in NOW.history.schemas]
    assert found[0] == ["id string", "n int32", "label string", "size double"]
    assert found[3] == ["id string", "n int64", "name string"]
    assert found[9] == [f"{field.name} {field.type}{'?' * field.nullable}" for field in NOW.schema]
    assert len(found) == NOW.version + 1


def test_a_file_of_the_oldest_version_is_filled_renamed_and_widened(tmp_path: Path):
    lake = Lake(tmp_path)
    oldest = things(*NOW.history.schemas[0])
    lake.write(oldest, pa.Table.from_pylist([OLDEST], schema=oldest.schema), flywheel="f", cycle=MONDAY)
    expected = {"id": "a", "n": 3, "title": "A", "is_good": True, "tags": [], "note": None, "kind": "it's plain"}
    found = lake.read(NOW, "f")
    assert found.to_pylist() == [{"cycle": MONDAY, **expected}]
    assert found.select(NOW.columns).schema == NOW.schema
    assert lake.read(NOW, "f", where="kind = 'it''s plain' and title = 'A'").num_rows == 1
    assert lake.values(NOW, "f", MONDAY, "title").to_pylist() == ["A"]
    assert lake.values(NOW, "f", MONDAY, "is_good").to_pylist() == [True]


# -- declared wrongly --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "changes", "words"),
    [
        ((ID,), (Added("other"),), "change 1 .* no column other behind it; there are id"),
        ((ID, column("x", WHOLE, "")), (Dropped("x", WHOLE),), "change 1 .* still among the columns"),
        ((ID, column("x", WHOLE, "")), (Widened("x", REAL),), "double does not widen to int64: values could be lost"),
        ((ID, column("x", WHOLE, "")), (Widened("x", WHOLE),), "int64 does not widen to int64"),
        ((ID, column("x", WHOLE, "")), (Loosened("x"),), "may not be null behind it"),
        ((ID, column("x", WHOLE, "")), (Added("x"),), "column x: it may not be null, and is filled with None"),
        ((ID, column("x", WHOLE, "", nullable=True)), (Added("x", 0),), "x: it may be null, and is filled with 0"),
        ((ID, column("x", WHOLE, "")), (Added("x", "none"),), "column x: 'none' is no int64"),
        (
            (ID, column("x", TEXT, "", nullable=True)),
            (Dropped("x", WHOLE), Added("x")),
            r"change 2 .* a column had the name x before",
        ),
        ((ID, column("y", TEXT, "")), (Renamed("y", "x"), Renamed("x", "y")), r"change 2 .* had the name y before"),
    ],
)  # fmt: skip
def test_changes_that_do_not_lead_to_the_columns_are_refused(fields: Any, changes: Any, words: str):
    with pytest.raises(ContractError, match=f"Table things.*{words}"):
        _ = things(*fields, changes=changes).history


def test_the_changes_of_every_table_lead_to_its_columns():
    assert [len(table.history.schemas) for table in ALL_TABLES] == [table.version + 1 for table in ALL_TABLES]
    assert sum(table.version for table in ALL_TABLES) > 0


# -- any history -------------------------------------------------------------------------------------------------------
KINDS: dict[pa.DataType, tuple[Any, ...]] = {
    TEXT: ("", "it's", "b"), SMALL: (-1, 7), WHOLE: (2**40, 5), REAL: (0.5, -2.0), FLAG: (True, False),
    pa.list_(TEXT): ([], ["x", "y"]),
}  # fmt: skip
WIDER = {SMALL: WHOLE, pa.float32(): REAL}


@st.composite
def histories(draw: st.DrawFn) -> tuple[TableContract, ...]:
    """A table's contract in each of its versions, drawn by lot."""
    fields = [ID, *(pa.field(f"c{i}", draw(st.sampled_from([*KINDS])), draw(st.booleans())) for i in range(2))]
    versions, changes = [tuple(fields)], []
    for number in range(draw(st.integers(1, 6))):
        at = draw(st.integers(1, len(fields))) if len(fields) > 1 else len(fields)
        old = fields[at] if at < len(fields) else None
        what = draw(st.sampled_from(["add", "rename", "drop", "widen", "loosen"]))
        if old is None or what == "add":
            kind, nullable = draw(st.sampled_from([*KINDS])), draw(st.booleans())
            value = None if nullable else draw(st.sampled_from(KINDS[kind] if kind != pa.list_(TEXT) else [()]))
            fields = [*fields, pa.field(f"n{number}", kind, nullable)]
            changes.append(Added(f"n{number}", value))
        elif what == "rename":
            fields = [*fields[:at], old.with_name(f"n{number}"), *fields[at + 1 :]]
            changes.append(Renamed(old.name, f"n{number}"))
        elif what == "widen" and old.type in WIDER:
            fields = [*fields[:at], old.with_type(WIDER[old.type]), *fields[at + 1 :]]
            changes.append(Widened(old.name, old.type))
        elif what == "loosen" and not old.nullable and not _was_filled(old.name, changes):
            fields = [*fields[:at], old.with_nullable(True), *fields[at + 1 :]]
            changes.append(Loosened(old.name))
        else:
            fields = [*fields[:at], *fields[at + 1 :]]
            changes.append(Dropped(old.name, old.type, old.nullable))
        versions.append(tuple(fields))
    return tuple(things(*of, changes=tuple(changes[:number])) for number, of in enumerate(versions))


def _was_filled(name: str, changes: list[Change]) -> bool:
    for change in reversed(changes):
        if isinstance(change, Renamed) and change.new == name:
            name = change.old
        if isinstance(change, Added) and change.column == name:
            return change.fill is not None
    return False


def step_by_step(row: dict[str, Any], changes: tuple[Change, ...]) -> dict[str, Any]:
    """What a row becomes: the oracle, which goes forward where the code looks back."""
    row = dict(row)
    for change in changes:
        match change:
            case Added(name, fill):
                row[name] = [] if fill == () else fill
            case Renamed(old, new):
                row[new] = row.pop(old)
            case Dropped(name):
                del row[name]
    return row


def rows_three_ways(history: tuple[TableContract, ...], data: st.DataObject) -> tuple[list[Any], list[Any], list[Any]]:
    """A row written by each version: by the oracle, as the lake reads it by the last one, and as SQL does."""
    now, expected = history[-1], []
    with TemporaryDirectory() as folder:
        lake = Lake(folder)
        for version, contract in enumerate(history):
            cycle = date.fromordinal(MONDAY.toordinal() + 7 * version)
            row = {"id": "a"} | {
                field.name: data.draw(st.sampled_from([*KINDS[field.type], *[None] * field.nullable]))
                for field in contract.schema
                if field.name != "id"
            }
            written = lake.write(contract, pa.Table.from_pylist([row], contract.schema), flywheel="f", cycle=cycle)
            if data.draw(st.booleans()):
                # As one of before there were versions.
                rewrite(written.path, raw(written.path), None)
            expected.append({"cycle": cycle} | step_by_step(row, now.changes[version:]))
        found = lake.read(now, "f")
        sql = (
            f"select cycle, {', '.join(now.columns)} from ({layer_views.select_rows(now, Path(folder))}) order by cycle"
        )
        in_order = [{name: row[name] for name in found.column_names} for row in expected]
        return in_order, found.to_pylist(), duckdb.sql(sql).to_arrow_table().to_pylist()


@settings(max_examples=10, deadline=None)
@given(histories(), st.data())
def test_files_of_some_histories_read_as_if_each_change_had_been_made_to_them(history: Any, data: st.DataObject):
    expected, found, in_sql = rows_three_ways(history, data)
    assert found == expected
    assert in_sql == expected


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(histories(), st.data())
def test_files_of_many_histories_read_as_if_each_change_had_been_made_to_them(history: Any, data: st.DataObject):
    expected, found, in_sql = rows_three_ways(history, data)
    assert found == expected
    assert in_sql == expected


# -- what files say ----------------------------------------------------------------------------------------------------
def test_every_file_says_its_version_and_equal_rows_give_equal_bytes(tmp_path: Path):
    for name in ("one", "two"):
        write_sample_lake(Lake(tmp_path / name))
    found = sorted((tmp_path / "one").rglob("*.parquet"))
    versions = {path.relative_to(tmp_path / "one").parts[0]: stamp_of(path) for path in found}
    assert len(versions) > 10
    assert all(stamp_of(path) is not None for path in found)
    assert versions["cycle_manifest"] == b"2"
    assert versions["batches"] == b"0"
    for path in found:
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_part_of_a_ledger_says_its_version_and_reads_as_it_was(lake: Lake, tmp_path: Path):
    path = one_file(lake, METRIC_LEDGER)
    facts = pa.table(raw(path).columns, schema=METRIC_LEDGER.schema)
    part = LedgerPart(WEEKS[0], lambda: facts)
    for name in ("one", "two"):
        write_parts([(tmp_path / name, METRIC_LEDGER, part)])
        assert stamp_of(tmp_path / name) == b"0"
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with LakeFile(METRIC_LEDGER, tmp_path / "one", dictionaries=["measure"]) as file:
        days = raw(path)["measured_on"].to_pylist()
        assert file.ranges("measured_on") == [(min(days), max(days))]
        found = file.read(["measure", "value"])
    assert pa.types.is_dictionary(found.schema.field("measure").type)
    assert found.to_pylist() == raw(path).select(["measure", "value"]).to_pylist()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(tmp_path_factory.mktemp("sample"))
    write_sample_lake(made)
    prompt = rows(
        PROMPT_VERSIONS, [{"prompt_version": "p", "batch_id": "prompt-p", "recorded_at": made.latest_batch(FLYWHEEL)}]
    )
    made.append_batch(
        FLYWHEEL,
        {
            "batch_id": "prompt-p",
            "source": "p",
            "recorded_at": made.latest_batch(FLYWHEEL),
            "n_rows": 1,
            "n_quarantined": 0,
        },
        {PROMPT_VERSIONS: prompt},
    )
    return made


@pytest.fixture
def lake(sample: Lake, tmp_path: Path) -> Lake:
    return Lake(shutil.copytree(sample.root, tmp_path / "lake"))


def one_file(lake: Lake, table: TableContract) -> Path:
    return sorted(lake.root.glob(layer_views.files_of(table)))[0]


READERS: dict[str, tuple[TableContract, Callable[[Lake, Path], object]]] = {
    "read": (BRIEFS, lambda lake, _: lake.read(BRIEFS, FLYWHEEL)),
    "read where": (BRIEFS, lambda lake, _: lake.read(BRIEFS, FLYWHEEL, where="brief_id = 'a'")),
    "values": (BRIEFS, lambda lake, _: lake.values(BRIEFS, FLYWHEEL, WEEKS[0], "brief_id")),
    "a file": (METRIC_LEDGER, lambda _, path: LakeFile(METRIC_LEDGER, path)),
    "footers": (METRIC_LEDGER, lambda lake, _: lake.batch_files(METRIC_LEDGER, FLYWHEEL, CycleWindow())),
    "a batch": (PROMPT_VERSIONS, lambda lake, _: lake.rows_of_batch(PROMPT_VERSIONS, FLYWHEEL, "prompt-p")),
    "a header": (BATCHES, lambda lake, path: lake.batch_header(FLYWHEEL, path.stem.split("-", 1)[1])),
    "headers": (BATCHES, lambda lake, _: lake.batches_in(METRIC_LEDGER, FLYWHEEL, WEEKS)),
    "instants": (
        BATCHES,
        lambda lake, path: latest_recorded(path.parent, raw(path)["recorded_at"][0].as_py()),
    ),
    "inputs": (
        INPUT_VERSIONS,
        lambda lake, path: recorded_inputs(
            lake, FLYWHEEL, date.fromisoformat(path.parts[-3][6:]), _named(path.parts[-2].removeprefix("consumer="))
        ),
    ),
}


def _named(name: str) -> TableContract:
    return next(table for table in ALL_TABLES if table.name == name)


@pytest.mark.parametrize("reader", READERS)
def test_a_file_of_a_newer_version_is_refused_by_every_reader(lake: Lake, reader: str):
    table, read = READERS[reader]
    path = one_file(lake, table)
    read(lake, path)
    rewrite(path, raw(path), table.version + 1)
    newer = table.version + 1
    words = rf"{path}: is of version {newer} of the table {table.name}; .* knows {table.version}.*upgrade flywheel"
    with pytest.raises(ContractError, match=words):
        read(lake, path)


def test_a_view_of_a_table_with_changes_refuses_a_newer_file_also_where_the_query_does_not_ask_for_it(lake: Lake):
    table = next(table for table in ALL_TABLES if table.name == "cycle_manifest")
    query = f"select count(*) from ({layer_views.select_rows(table, lake.root)}) where cycle = '{WEEKS[0]}'"
    assert duckdb.sql(query).fetchall() == [(1,)]
    path = lake.partition_dir(table, flywheel=FLYWHEEL, cycle=WEEKS[2]) / PART
    rewrite(path, raw(path), table.version + 1)
    with pytest.raises(duckdb.Error, match=rf"{path}: is of version 3 of the table cycle_manifest; this view knows 2"):
        duckdb.sql(query).fetchall()


@pytest.mark.parametrize("change", ["newer", "lacking"])
def test_a_publish_looks_into_footers_before_it_builds(lake: Lake, change: str, monkeypatch: pytest.MonkeyPatch):
    paths = DataPaths(lake.root.parent)
    path = one_file(lake, BRIEFS)
    lacking = raw(path).drop_columns(["locale"])
    rewrite(path, raw(path) if change == "newer" else lacking, BRIEFS.version + (change == "newer"))
    monkeypatch.setattr(snapshot, "create_audited_views", lambda *_: pytest.fail("too late"))
    words = "is of version 1 of the table briefs" if change == "newer" else "it has no column locale"
    with pytest.raises(PublishError, match=rf"{words}.*Nothing was published"):
        publish(paths)
    assert not paths.published_file.exists()


def test_a_stamp_that_is_no_number_is_refused(lake: Lake):
    path = one_file(lake, BRIEFS)
    rewrite(path, raw(path), "two")
    with pytest.raises(ContractError, match=rf"{path}: flywheel.contract_version is 'two', expected a whole number"):
        lake.read(BRIEFS, FLYWHEEL)
