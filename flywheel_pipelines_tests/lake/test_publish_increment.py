"""Incremental publishes: after any changes the file has the rows of a full one."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flywheel_pipelines.lake import increment, snapshot
from flywheel_pipelines.lake import publish as publishing
from flywheel_pipelines.lake.dbt import DBT_PROJECT
from flywheel_pipelines.lake.increment import Copy, Increment, LakeState, find_increment, slices_of
from flywheel_pipelines.lake.publish import AuditError, publish
from flywheel_pipelines.lake.snapshot import create_audited_views
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import (
    BRIEFS,
    CYCLE_MANIFEST,
    GENERATED_OUTPUTS,
    METRIC_LEDGER,
    PERFORMANCE_METRICS,
    PUBLISHED_OUTPUTS,
    REFERENCE_CORPUS,
    SCORED_OUTPUTS,
)
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines_tests.lake.written_samples import write_written_lake
from flywheel_pipelines_tests.lake_samples import (
    FLYWHEEL,
    RECORDED_AT,
    WEEKS,
    published_rows,
    rows,
    write_sample_lake,
)
from flywheel_pipelines_tests.warehouse_world import MIXED, append_mixed, open_mixed_week, write_mixed_lake

Change = Callable[[Lake, random.Random], None]


def new_cycle(lake: Lake, lot: random.Random) -> None:
    open_mixed_week(lake, 3)


def correction(lake: Lake, lot: random.Random) -> None:
    append_mixed(lake, lot, lot.randrange(100, 200) * 12)


def judged_anew(lake: Lake, lot: random.Random) -> None:
    changed(lake, SCORED_OUTPUTS, lot.choice(WEEKS[:2]), p_above=lambda found: [lot.random() for _ in found])


def measured_anew(lake: Lake, lot: random.Random) -> None:
    changed(lake, PERFORMANCE_METRICS, lot.choice(WEEKS[:2]), n_reports=lambda rows: [lot.randrange(9) for _ in rows])


def reclosed_with_fewer_references(lake: Lake, lot: random.Random) -> None:
    """The reference is of the first week, which nothing else touches."""
    rows = lake.read(REFERENCE_CORPUS, FLYWHEEL, WEEKS[1]).drop_columns(["cycle"])
    lake.write(REFERENCE_CORPUS, rows.slice(0, 1), flywheel=FLYWHEEL, cycle=WEEKS[1])


def written_without_references(lake: Lake, lot: random.Random) -> None:
    changed(lake, GENERATED_OUTPUTS, WEEKS[2], reference_ids=lambda rows: [lot.choice([[], one]) for one in rows])


CHANGES: tuple[Change, ...] = (
    new_cycle, correction, correction, judged_anew, measured_anew, reclosed_with_fewer_references,
    written_without_references,
)  # fmt: skip


def changed(lake: Lake, table, cycle, **columns: Callable[[list], list]) -> None:
    """Materialize a cycle of a table again, with other values in some columns."""
    rows = lake.read(table, FLYWHEEL, cycle).drop_columns(["cycle"])
    for name, make in columns.items():
        field = rows.schema.field(name)
        values = pa.array(make(rows.column(name).to_pylist()), field.type)
        rows = rows.set_column(rows.schema.get_field_index(name), field, values)
    lake.write(table, rows, flywheel=FLYWHEEL, cycle=cycle)


def differing(first: Path, second: Path) -> dict[str, int]:
    """By table of the file, how many rows only one of two files has; tables without any left out. So with functions."""
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(f"attach '{first}' as first (read_only); attach '{second}' as second (read_only)")
        tables = connection.execute(
            "select distinct schema_name || '.' || table_name from duckdb_tables() "
            "where database_name in ('first', 'second')"
        ).fetchall()
        found = {}
        for (table,) in tables:
            one, other = f"first.{table}", f"second.{table}"
            only = connection.execute(
                f"select (select count(*) from (from {one} except all from {other})) "
                f"+ (select count(*) from (from {other} except all from {one}))"
            ).fetchone()
            if only and only[0]:
                found[table] = only[0]
        functions = connection.execute(
            "select function_name, count(*) = 2 and count(distinct macro_definition) = 1 from duckdb_functions() "
            "where database_name in ('first', 'second') and not internal group by 1"
        ).fetchall()
        assert functions != []
        return found | {name: 1 for name, is_same in functions if not is_same}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    paths = DataPaths(tmp_path_factory.mktemp("started") / "data")
    lake = Lake(paths.lake)
    write_sample_lake(lake)
    write_written_lake(lake)
    write_mixed_lake(lake, n_batches=6)
    assert publish(paths).n_cycles is None
    return paths


@pytest.fixture
def paths(started: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    """The same lake and published file in a folder of their own, which counts as untouched."""
    monkeypatch.setattr(increment, "MOST_TOUCHED", 1.0)
    copied = DataPaths(tmp_path / "data")
    shutil.copytree(started.root, copied.root, symlinks=True)
    record = copied.published_file.resolve().with_name(increment.RECORD)
    state = LakeState.of(copied.lake, DBT_PROJECT)
    kept = copied.published_file.resolve().with_name(increment.COPIES)
    increment.write_record(copied.published_file.resolve(), state, map(Copy, kept.iterdir()))
    assert record.exists()
    return copied


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 8])
def test_any_sequence_of_changes_gives_the_rows_of_a_full_publish(paths: DataPaths, seed: int):
    lot = random.Random(seed)
    steps = lot.sample(CHANGES, len(CHANGES))
    for step in (steps[:3], steps[3:]):
        for change in step:
            change(Lake(paths.lake), lot)
        assert publish(paths).n_cycles is not None
    incremental = shutil.copyfile(paths.published_file, paths.root.parent / "incremental.duckdb")
    assert publish(paths, full=True).n_cycles is None
    assert differing(incremental, paths.published_file) == {}


@pytest.mark.slow
def test_a_full_publish_in_slices_gives_the_same_rows(paths: DataPaths, monkeypatch: pytest.MonkeyPatch):
    whole = shutil.copyfile(paths.published_file, paths.root.parent / "whole.duckdb")
    # A slice per cycle.
    monkeypatch.setattr(increment, "SLICE_BYTES", 1)
    assert len(slices_of(LakeState.of(paths.lake, DBT_PROJECT))) > 3
    assert publish(paths, full=True).n_cycles is None
    assert differing(whole, paths.published_file) == {}
    with contextlib.closing(duckdb.connect(str(paths.published_file), read_only=True)) as connection:
        schemas = connection.execute("select distinct schema_name from duckdb_columns() where not internal").fetchall()
    assert {name for (name,) in schemas} == {"main", "intermediate", "staging", "lake"}


@pytest.mark.slow
def test_a_slice_that_is_passed_over_is_refused(paths: DataPaths, monkeypatch: pytest.MonkeyPatch):
    before = paths.published_file.resolve()
    monkeypatch.setattr(increment, "SLICE_BYTES", 1)
    monkeypatch.setattr(publishing, "slices_of", lambda state: slices_of(state)[1:])
    with pytest.raises(AuditError) as caught:
        publish(paths, full=True)
    assert paths.published_file.resolve() == before
    found = {outcome.name: outcome.rows for outcome in caught.value.outcomes if outcome.status == "fail"}
    assert {"every_cycle_has_its_outputs", "every_cycle_has_its_edges", "every_cycle_has_its_scores"} <= set(found)
    (row,) = found["every_cycle_has_its_scores"]
    assert row["n_rows"] == 0
    assert row["n_rows_in_the_lake"] > 0
    assert f"cycle={row['cycle']}" in str(caught.value)


def test_slices_hold_every_cycle_once_and_are_none_for_a_small_lake(paths: DataPaths, monkeypatch: pytest.MonkeyPatch):
    state = LakeState.of(paths.lake, DBT_PROJECT)
    assert slices_of(state) == []
    total = sum(size for files in state.files.values() for size, _ in files.values())
    monkeypatch.setattr(increment, "SLICE_BYTES", total // 3)
    slices = slices_of(state)
    assert 3 <= len(slices) <= 6
    assert sum(map(len, slices)) == len(frozenset().union(*slices)) == len(state.files)
    assert [max(cycle for _, cycle in one) for one in slices] == sorted(
        max(cycle for _, cycle in one) for one in slices
    )


@pytest.mark.slow
def test_a_cycle_that_is_passed_over_is_noticed(paths: DataPaths, monkeypatch: pytest.MonkeyPatch):
    """The control of the test above: were a touched cycle forgotten, rows would differ."""

    def forgetful(published: Path, state: LakeState) -> Increment | None:
        found = find_increment(published, state)
        return found and Increment(found.base, found.cycles - {(FLYWHEEL, WEEKS[0])})

    changed(Lake(paths.lake), SCORED_OUTPUTS, WEEKS[0], p_above=lambda rows: [0.123] * len(rows))
    monkeypatch.setattr(publishing, "find_increment", forgetful)
    assert publish(paths).n_cycles == 0
    incremental = shutil.copyfile(paths.published_file, paths.root.parent / "incremental.duckdb")
    publish(paths, full=True)
    found = differing(incremental, paths.published_file)
    assert {"main.outputs", "main.scores"} <= set(found)


@pytest.mark.slow
def test_a_touched_cycle_that_breaks_a_rule_is_refused(paths: DataPaths):
    before = paths.published_file.read_bytes()
    Lake(paths.lake).write(PUBLISHED_OUTPUTS, published_rows(2, (0.5, 0.2)), flywheel=FLYWHEEL, cycle=WEEKS[1])
    with pytest.raises(AuditError, match=r"weights_sum_to_one \(on stg_published_outputs\): 2 row\(s\) object"):
        publish(paths)
    assert paths.published_file.read_bytes() == before


@pytest.mark.slow
def test_the_rules_of_feeds_are_held_against_touched_cycles(paths: DataPaths):
    """A declared feed, in a cycle of its own: one of its facts is about an output that never went out."""
    lake, at = Lake(paths.lake), {"flywheel": "content", "cycle": WEEKS[0]}
    for table in (BRIEFS, GENERATED_OUTPUTS, PUBLISHED_OUTPUTS):
        lake.write(table, lake.read(table, FLYWHEEL, WEEKS[0]).drop_columns(["cycle"]), **at)
    known = lake.read(PUBLISHED_OUTPUTS, "content", WEEKS[0]).column("output_id")[0].as_py()
    fact = {"measure": "clicks", "measured_on": WEEKS[0], "value": 1.0, "feed": "search_console", "batch_id": "b"}
    facts = [
        fact | {"output_id": name, "source_row": row, "recorded_at": RECORDED_AT}
        for row, name in enumerate([known, "never published"])
    ]
    ledger = rows(METRIC_LEDGER, facts).append_column("cycle", pa.array([WEEKS[0]] * 2, pa.date32()))
    header = {"batch_id": "b", "recorded_at": RECORDED_AT, "source": "f.csv", "n_rows": 2, "n_quarantined": 0}
    lake.append_batch("content", header | {"feed": "search_console"}, {METRIC_LEDGER: ledger})
    with pytest.raises(AuditError, match=r"content__search_console__known_outputs .*: 1 row\(s\) object") as caught:
        publish(paths)
    assert "never published" in str(caught.value)


def test_nothing_is_touched_when_nothing_was_written(paths: DataPaths):
    found = find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT))
    assert found is not None
    assert found.cycles == frozenset()


def test_cycles_are_touched_by_what_counts_alone(paths: DataPaths):
    lake = Lake(paths.lake)
    folder = lake.partition_dir(PERFORMANCE_METRICS, flywheel=FLYWHEEL, cycle=WEEKS[1])
    (folder / ".writing-0").write_bytes(b"in the making")
    changed(lake, SCORED_OUTPUTS, WEEKS[0], p_above=lambda rows: [0.5] * len(rows))
    (lake.partition_dir(GENERATED_OUTPUTS, flywheel=MIXED, cycle=WEEKS[1]) / "part.parquet").unlink()
    found = find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT))
    assert found is not None
    assert found.cycles == {(FLYWHEEL, WEEKS[0]), (MIXED, WEEKS[1])}


def test_other_settings_ask_for_a_full_publish(paths: DataPaths):
    lake = Lake(paths.lake)
    rows = lake.read(CYCLE_MANIFEST, MIXED, WEEKS[2]).drop_columns(["cycle"])
    position = rows.schema.get_field_index("settings")
    other = pa.array(['{"metrics": {}}'], pa.string())
    rows = rows.set_column(position, rows.schema.field(position), other)
    lake.write(CYCLE_MANIFEST, rows, flywheel=MIXED, cycle=WEEKS[2])
    assert find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT)) is None


def test_a_file_that_somebody_has_written_to_is_no_start(paths: DataPaths):
    with contextlib.closing(duckdb.connect(str(paths.published_file.resolve()))) as connection:
        connection.execute("update outputs set p_above = 1")
    assert find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT)) is None


def test_many_touched_cycles_ask_for_a_full_publish(paths: DataPaths, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(increment, "MOST_TOUCHED", 0.2)
    for cycle in WEEKS[:2]:
        changed(Lake(paths.lake), SCORED_OUTPUTS, cycle, p_above=lambda rows: [0.5] * len(rows))
    assert find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT)) is None


@pytest.mark.parametrize("most_outdated", [12, 0], ids=["read beside the copy", "copied anew"])
def test_copies_of_small_tables_are_right_where_cycles_were_touched(
    paths: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_outdated: int
):
    monkeypatch.setattr(snapshot, "MOST_OUTDATED", most_outdated)
    lake = Lake(paths.lake)
    changed(lake, SCORED_OUTPUTS, WEEKS[0], p_above=lambda rows: [0.5] * len(rows))
    found = find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT))
    assert found is not None
    former = found.copies[SCORED_OUTPUTS.name]
    assert former.outdated == found.cycles == {(FLYWHEEL, WEEKS[0])}
    assert copied_scores(paths, tmp_path / "renewed", found) == copied_scores(paths, tmp_path / "anew", None)
    is_same = (tmp_path / "renewed" / "copies" / former.path.name).samefile(former.path)
    assert is_same == (most_outdated > 0)
    # The controls: a copy that somebody changed is not used, and the cycle is what makes the difference.
    stale = replace(found, copies={SCORED_OUTPUTS.name: Copy(former.path)})
    assert copied_scores(paths, tmp_path / "stale", stale) != copied_scores(paths, tmp_path / "again", None)
    former.path.write_bytes(b"changed")
    again = find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT))
    assert again is not None
    assert set(found.copies) - set(again.copies) == {SCORED_OUTPUTS.name}


def test_a_copy_stays_outdated_until_it_is_made_anew(paths: DataPaths):
    published = paths.published_file.resolve()
    former = published.with_name(increment.COPIES) / "scored_outputs.parquet"
    state = LakeState.of(paths.lake, DBT_PROJECT)
    increment.write_record(published, state, [Copy(former, frozenset({(MIXED, WEEKS[1])}))])
    changed(Lake(paths.lake), SCORED_OUTPUTS, WEEKS[0], p_above=lambda rows: [0.5] * len(rows))
    found = find_increment(paths.published_file, LakeState.of(paths.lake, DBT_PROJECT))
    assert found is not None
    assert found.cycles == {(FLYWHEEL, WEEKS[0])}
    assert found.copies == {"scored_outputs": Copy(former, found.cycles | {(MIXED, WEEKS[1])})}


def copied_scores(paths: DataPaths, folder: Path, found: Increment | None) -> list[tuple]:
    """What a build reads as the scores of all cycles."""
    folder.mkdir()
    create_audited_views(folder / "flywheel.duckdb", paths.lake, folder / "copies", found)
    with contextlib.closing(duckdb.connect(str(folder / "flywheel.duckdb"))) as connection:
        return connection.execute("from lake.scored_outputs order by all").fetchall()
