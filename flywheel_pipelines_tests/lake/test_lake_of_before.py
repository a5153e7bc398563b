"""A world that was written before tables had versions: read, gone on with, restated and published by today's code."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import cycle_end
from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.cache import PROCESS_DIGESTS
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.layer_views import create_view, files_of, select_rows
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.store import PART
from flywheel_pipelines.loop.closing import close_cycles
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines_tests.corrections import write_correction
from flywheel_pipelines_tests.lake.old_files import ADDED_SINCE, raw, rewrite, stamp_of, world_of_before
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld, later

NOT_THE_SAME_TWICE = {
    "llm_requests": ("latency", "tries", "batch_id"),
    "batches": ("batch_id",),
    "restatements": ("batch_id",),
    "input_versions": ("input_version",),
}
"""How long an answer took, hashes of files, which say their version, and ids of batches that are hashes of these."""
TABLES_OF_BEFORE = 34


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    return world_of_before(tmp_path_factory.mktemp("before"))


@pytest.fixture
def world(tmp_path: Path) -> WrittenWorld:
    return world_of_before(tmp_path)


def files(world: WrittenWorld, table: TableContract) -> list[Path]:
    return sorted(world.paths.lake.glob(files_of(table)))


def with_files(world: WrittenWorld) -> list[TableContract]:
    return [table for table in tables.ALL_TABLES if files(world, table)]


def by_hand(table: TableContract, path: Path) -> list[dict[str, Any]]:
    """The rows of a file with what has been added since, without the code that is under test."""
    folders = dict(part.split("=", 1) for part in path.parts if "=" in part)
    cycle = {"cycle": folders["cycle"]} if "cycle" in folders else {}
    return [{**cycle, **row, **dict.fromkeys(ADDED_SINCE.get(table.name, ()))} for row in raw(path).to_pylist()]


def in_order(rows: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    return sorted(sorted((name, str(value)) for name, value in row.items()) for row in rows)


@contextlib.contextmanager
def views_of(world: WrittenWorld) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the view of `batches`, which those of ledgers look into."""
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("set timezone = 'UTC'; create schema lake")
        connection.execute(create_view(tables.BATCHES, world.paths.lake))
        yield connection


def in_sql(connection: duckdb.DuckDBPyConnection, table: TableContract, lake: Path) -> list[dict[str, Any]]:
    columns = ", ".join(["cycle"] * ("cycle" in table.partition_by) + table.columns)
    return connection.execute(f"select {columns} from ({select_rows(table, lake)})").to_arrow_table().to_pylist()


def test_every_table_of_before_reads_as_its_files_say_with_what_was_added_since(before: WrittenWorld):
    found, n_rows = with_files(before), 0
    assert len(found) == TABLES_OF_BEFORE
    with views_of(before) as connection:
        for table in found:
            paths = files(before, table)
            assert {stamp_of(path) for path in paths} == {None}
            expected = in_order([row for path in paths for row in by_hand(table, path)])
            n_rows += len(expected)
            assert in_order(before.lake.read(table, NAME).to_pylist()) == expected, table.name
            assert in_order(in_sql(connection, table, before.paths.lake)) == expected, table.name
    assert n_rows > 500


def test_it_lacks_what_was_added_since(before: WrittenWorld):
    """The control: there is something to migrate."""
    for name, added in ADDED_SINCE.items():
        table = tables.TABLES[name]
        assert all(set(raw(path).column_names) == {*table.columns} - {*added} for path in files(before, table))


def test_a_batch_a_prompt_and_a_single_column_of_before_are_read(before: WrittenWorld):
    lake = before.lake
    ids = raw(files(before, tables.TICKETS)[0]).to_pylist()
    batch_id = ids[0]["batch_id"]
    header = lake.batch_header(NAME, batch_id)
    assert header is not None
    assert (header["feed"], header["n_quarantined"]) == ("desk", 1)
    assert lake.values(tables.CYCLE_MANIFEST, NAME, WEEKS[0], "no_references_prompt_version").to_pylist() == [None]
    assert lake.values(tables.TICKETS, NAME, WEEKS[0], "locale").to_pylist() == []
    prompt = before.manifest(WEEKS[0])["prompt_version"]
    assert lake.rows_of_batch(tables.PROMPT_VERSIONS, NAME, f"prompt-{prompt}").num_rows == 1


@pytest.mark.parametrize("column", ["settings", "model"])
def test_a_column_that_no_change_fills_is_missed_also_where_null_is_allowed(world: WrittenWorld, column: str):
    path = files(world, tables.CYCLE_MANIFEST)[1]
    rewrite(path, raw(path).drop_columns([column]), None)
    with pytest.raises(ContractError, match=rf"{path}: is no file of cycle_manifest: it has no column {column}; found"):
        world.lake.read(tables.CYCLE_MANIFEST, NAME)


# -- going on ---------------------------------------------------------------------------------------------------------
def migrate_by_hand(world: WrittenWorld) -> None:
    """Write every file anew as today's code would have, had it written it; and what was recorded of the files."""
    hashes: dict[str, str] = {}
    for table in (*(one for one in with_files(world) if one is not tables.INPUT_VERSIONS), tables.INPUT_VERSIONS):
        for path in files(world, table):
            rows, before = raw(path), PROCESS_DIGESTS.of(path)
            if table is tables.INPUT_VERSIONS:
                known = [hashes.get(version, version) for version in rows["input_version"].to_pylist()]
                rows = rows.drop_columns(["input_version"]).append_column("input_version", pa.array(known))
            for name in ADDED_SINCE.get(table.name, ()):
                rows = rows.append_column(pa.field(name, pa.string()), pa.nulls(rows.num_rows, pa.string()))
            rewrite(path, rows.select(table.columns), len(ADDED_SINCE.get(table.name, ())))
            hashes[before] = PROCESS_DIGESTS.of(path)


def go_on(world: WrittenWorld) -> list[str]:
    """Open, measure and close the next cycle, correct the second one, and close it and those behind it again."""
    cycle, corrected = WEEKS[3], WEEKS[1]
    assert world.open(cycle).success
    path = world.root / "next.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        outputs = sorted({row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, cycle)})
        days = [(output, cycle + timedelta(days=2), 3 + number, 40) for number, output in enumerate(outputs)]
        csv.writer(handle).writerows([("output_id", "day", "replies", "sends"), *days])
    land_file(world.lake, world.spec, "mailer", path, recorded_at=cycle_end(cycle, world.spec.cadence))
    assert world.run("close", cycle).success
    path = world.root / "corrected.csv"
    chosen = write_correction(world, corrected, path)
    land_file(world.lake, world.spec, "mailer", path, recorded_at=later(WEEKS[4], days=1))
    close_cycles(world.flywheel, Recorder(world.lake, NAME), WEEKS[1:4])
    return chosen


def said(world: WrittenWorld) -> dict[str, list[list[tuple[str, str]]]]:
    """Every row of every table, without what differs from one time to the next."""
    found = {}
    for table in with_files(world):
        varying = NOT_THE_SAME_TWICE.get(table.name, ())
        rows = world.rows(table)
        found[table.name] = in_order([{k: v for k, v in row.items() if k not in varying} for row in rows])
    return found


def by_day_and_measure(world: WrittenWorld, cycle: date, output: str) -> dict[tuple[date, str], float]:
    """What the newest files say of an output of a cycle."""
    folder = world.lake.partition_dir(tables.METRIC_LEDGER, flywheel=NAME, cycle=cycle)
    rows = [row for path in folder.glob("*.parquet") for row in raw(path).to_pylist() if row["output_id"] == output]
    return {
        (row["measured_on"], row["measure"]): row["value"] for row in sorted(rows, key=lambda row: row["recorded_at"])
    }


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WrittenWorld, WrittenWorld, list[str]]]:
    """The world of before, and the same with its files migrated by hand; both gone on with."""
    old, new = (world_of_before(tmp_path_factory.mktemp(name)) for name in ("old", "new"))
    migrate_by_hand(new)
    chosen = go_on(old)
    assert go_on(new) == chosen
    yield old, new, chosen


@pytest.mark.slow
def test_going_on_with_old_files_gives_what_going_on_with_new_ones_gives(gone_on: Any, before: WrittenWorld):
    old, new, [output] = gone_on
    assert said(old) == said(new)
    corrected = next(row for row in old.rows(tables.PERFORMANCE_METRICS, WEEKS[1]) if row["output_id"] == output)
    counted = by_day_and_measure(before, WEEKS[1], output)
    [first, *_] = sorted({day for day, _ in counted})
    counted |= {(first, "replies"): 400.0, (first, "sends"): 1_000.0}
    replies, sends = (sum(n for (_, of), n in counted.items() if of == measure) for measure in ("replies", "sends"))
    assert (corrected["value"], corrected["exposure"]) == (replies / sends, sends)
    newest = max(row["recorded_at"] for row in old.rows(tables.RESTATEMENTS, WEEKS[1]))
    restated = [row for row in old.rows(tables.RESTATEMENTS, WEEKS[1]) if row["recorded_at"] == newest]
    assert {(row["output_id"], row["subject"]) for row in restated} == {(output, "metric"), (output, "decision")}
    [cause] = {batch for row in restated for batch in row["caused_by"]}
    header = old.lake.batch_header(NAME, cause)
    assert header is not None
    assert header["source"] == "corrected.csv"


@pytest.mark.slow
def test_what_is_written_again_says_its_version_and_the_rest_stays_as_it_was(gone_on: Any):
    old, _, _ = gone_on
    manifests = {
        cycle: old.lake.partition_dir(tables.CYCLE_MANIFEST, flywheel=NAME, cycle=cycle) / PART for cycle in WEEKS[:4]
    }
    assert [stamp_of(path) for path in manifests.values()] == [None, None, None, b"2"]
    momentum = [old.lake.partition_dir(tables.MOMENTUM, flywheel=NAME, cycle=cycle) / PART for cycle in WEEKS[:4]]
    assert [stamp_of(path) for path in momentum] == [None, b"0", b"0", b"0"]
    row = old.manifest(WEEKS[2])
    # Published history is repeated, and written anew.
    assert old.open(WEEKS[2]).success
    assert stamp_of(manifests[WEEKS[2]]) == b"2"
    assert old.manifest(WEEKS[2]) == row


@pytest.mark.slow
def test_it_is_published(gone_on: Any):
    old, _, _ = gone_on
    report = publish(old.paths)
    assert report.n_cycles is None
    with contextlib.closing(duckdb.connect(str(old.paths.published_file), read_only=True)) as connection:
        connection.execute("set timezone = 'UTC'")
        for table in (tables.CYCLE_MANIFEST, tables.TICKETS, tables.MOMENTUM, tables.MOMENTUM_PARTS):
            columns = ", ".join(["cycle", *table.columns])
            shown = connection.execute(f"select {columns} from lake.{table.name}").to_arrow_table().to_pylist()
            assert in_order(shown) == in_order(old.rows(table))
        lifts = connection.execute("select cycle, lift from momentum order by cycle").fetchall()
    expected = [(row["cycle"], row["lift"]) for row in old.rows(tables.MOMENTUM) if row["scope"] == "cycle"]
    assert lifts == expected
    assert len(lifts) == 4
