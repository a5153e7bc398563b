"""The table functions of the published file, against what the close itself knows at an instant."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest

from flywheel_pipelines.cycles import cycle_end, cycle_start, shift_cycle
from flywheel_pipelines.feedback.performance import performance_view
from flywheel_pipelines.feedback.reviews.latest import latest_reviews, with_reviews
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.warehouse_world import CORRECTED_AT, MIXED, MIXED_SPEC, N_PLAYED, WarehouseWorld
from flywheel_pipelines_tests.written_world import NAME, WEEKS

pytestmark = pytest.mark.slow
COLUMNS = ("output_id", "metric", "numerator", "exposure", "value", "n_reports", "is_mature", "known_at")
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def alone(warehouse: WarehouseWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published file under another name, in a session of another time zone that may read no file but this one."""
    path = tmp_path_factory.mktemp("alone") / "renamed.duckdb"
    shutil.copy(warehouse.paths.published_file, path)
    shut: dict[str, Any] = {"enable_external_access": "false"}
    with contextlib.closing(duckdb.connect(str(path), read_only=True, config=shut)) as connection:
        connection.execute("set timezone = 'America/New_York'")
        yield connection


def ask(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> Rows:
    return connection.execute(sql, list(parameters)).fetchall()


def instants(warehouse: WarehouseWorld, flywheel: str) -> list[datetime]:
    """Every instant at which something was recorded, one before all of them, and one second before each."""
    known = set(warehouse.lake.read(tables.BATCHES, flywheel)["recorded_at"].to_pylist())
    return sorted({*known, *(at - timedelta(seconds=1) for at in known)})


def closed_at(warehouse: WarehouseWorld, cutoff: datetime, cycle: date) -> Rows:
    """What a close of the cycle measures when it knows what was recorded up to the cutoff."""
    lake, spec = warehouse.lake, MIXED_SPEC
    published = lake.read(tables.PUBLISHED_OUTPUTS, MIXED, cycle, columns=["output_id"])
    reviewed = latest_reviews(lake.read(tables.REVIEWS, MIXED, cycle), published, knowledge_cutoff=cutoff)
    known = performance_view(
        with_reviews(lake.read(tables.METRIC_LEDGER, MIXED, cycle), reviewed, cycle),
        lake.read(tables.METRIC_REPLACEMENTS, MIXED, cycle),
        published,
        spec.metrics,
        knowledge_cutoff=cutoff,
        matures_at=cycle_end(shift_cycle(cycle, spec.cadence, spec.measurement_window - 1), spec.cadence),
        latest_batch=lake.latest_batch(MIXED, up_to=cutoff),
    )
    return sorted(tuple(row[name] for name in COLUMNS) for row in known.to_pylist())


def test_the_past_of_every_kind_of_metric_is_what_a_close_with_that_cutoff_measures(warehouse, alone):
    query = f"select {', '.join(COLUMNS)} from outputs_as_known(?) where flywheel = ? and cycle = ?"
    seen = set()
    for cutoff in instants(warehouse, MIXED):
        for cycle in WEEKS[:3]:
            expected = closed_at(warehouse, cutoff, cycle)
            assert sorted(ask(alone, query, cutoff.isoformat(), MIXED, cycle)) == expected, (cutoff, cycle)
            seen |= {(row[1], row[6]) for row in expected}
    # Otherwise the lot drew a lake that proves little.
    assert seen == {(metric, is_mature) for metric in MIXED_SPEC.metrics for is_mature in (False, True)}


REPLACED = """
    select facts.*, min(exports.recorded_at) as replaced_at
    from staging.stg_metric_ledger as facts
    inner join intermediate.int_outputs_known as known using (flywheel, cycle, output_id)
    left join staging.stg_metric_replacements as exports
        on facts.flywheel = exports.flywheel and facts.cycle = exports.cycle and facts.feed = exports.feed
        and facts.measured_on between exports.first_day and exports.last_day
        and (exports.recorded_at, exports.batch_id) > (facts.recorded_at, facts.batch_id)
    where facts.flywheel = 'mixed'
    group by all
"""


def test_replacements_and_ties_matter_in_that_lake(warehouse):
    """The control: without them, other values would have come out; also without what comes back after a replacement."""
    count = f"with facts as ({REPLACED}) select count(*) from facts"
    same = (
        "facts.output_id = older.output_id and facts.measure = older.measure and facts.measured_on = older.measured_on"
    )
    back = (
        f"{count} inner join facts as older on {same} and older.recorded_at < facts.recorded_at "
        "and coalesce(older.replaced_at, 'infinity') > facts.replaced_at"
    )
    tied = (
        f"{count} inner join facts as older on {same} and older.recorded_at = facts.recorded_at "
        "and older.value < facts.value"
    )
    with contextlib.closing(duckdb.connect(str(warehouse.paths.published_file), read_only=True)) as connection:
        for query in (f"{count} where replaced_at is not null", back, tied):
            [(found,)] = ask(connection, query)
            assert found > 9, query


def test_what_is_known_in_the_end_is_the_mart(alone):
    """Only flywheels whose closed cycles rest on the whole ledger, through its own settings."""
    both = "select flywheel, cycle, arm, metric, n_outputs, numerator, exposure, value, is_mature, known_at from {}"
    known = ask(alone, f"{both.format('performance_as_known(?)')} where flywheel = ? order by all", "2030-01-01", NAME)
    assert known == ask(alone, f"{both.format('performance')} where flywheel = ? order by all", NAME)
    assert known != []


def test_first_known_values_are_those_of_the_first_close(warehouse, alone):
    """Feedback of a cycle arrives at its end and is closed at once, so that instant is when it was first known."""
    query = (
        "select arm, metric, exposure, value from performance_as_known(?) where flywheel = ? and cycle = ? order by all"
    )
    first = (
        "select arm, metric, first_known_exposure, first_known_value from performance "
        "where flywheel = ? and cycle = ? and first_known_value is not null order by all"
    )
    for cycle in WEEKS[:N_PLAYED]:
        known = ask(alone, query, cycle_end(cycle, warehouse.written.spec.cadence), NAME, cycle)
        found = ask(alone, first, NAME, cycle)
        assert [row[:2] for row in found] == [row[:2] for row in known]
        assert [row[2:] for row in found] == [pytest.approx(row[2:]) for row in known]


def test_a_date_is_its_first_instant_in_utc_whatever_the_session(alone):
    at = "select count(*) from outputs_as_known({}) where flywheel = 'offers'"
    as_date, as_text, as_instant, before = (
        ask(alone, at.format(moment))
        for moment in ("date '2026-01-12'", "'2026-01-12'", "'2026-01-12T00:00:00Z'", "'2026-01-11 23:59:59'")
    )
    assert as_date == as_text == as_instant
    assert as_date != before == [(0,)]
    assert ask(alone, at.format("timestamptz '2026-01-12 01:00:00+01:00'")) == as_date


def test_the_corpus_of_the_past_is_what_cycles_were_opened_with_before_anything_was_corrected(warehouse, alone):
    before = warehouse.corpora
    query = "select reference_id from corpus_as_known(?) where flywheel = ? order by rank"
    for cycle in WEEKS[1:N_PLAYED]:
        found = [name for (name,) in ask(alone, query, cycle_start(cycle), NAME)]
        assert found == before[str(cycle)], cycle
    assert before[str(WEEKS[N_PLAYED - 1])] != []


def test_closes_since_then_have_rewritten_some_of_these_corpora(warehouse):
    """The control: read from the lake as it is, the past would be another."""
    earlier = [(opened, shift_cycle(opened, warehouse.written.spec.cadence, -1)) for opened in WEEKS[1:N_PLAYED]]
    now = {str(opened): warehouse.written.rows(tables.REFERENCE_CORPUS, cycle) for opened, cycle in earlier}
    assert {one: {row["reference_id"] for row in kept} for one, kept in now.items()} != {
        one: set(warehouse.corpora[one]) for one in now
    }


def test_the_corpus_of_today_is_that_of_the_last_close(warehouse, alone):
    last = WEEKS[N_PLAYED - 1]
    query = "select reference_id, text, cycle, known_by from corpus_as_known(?) where flywheel = ? order by rank"
    kept = sorted(warehouse.written.rows(tables.REFERENCE_CORPUS, last), key=lambda row: row["rank"])
    expected = [(row["reference_id"], row["text"], last, "close") for row in kept]
    assert ask(alone, query, CORRECTED_AT, NAME) == expected
    # The control: until the correction was known, something else was in force.
    just_before = ask(alone, query, CORRECTED_AT - timedelta(seconds=1), NAME)
    assert just_before != expected
    assert just_before != []


def test_what_a_correction_flips_is_told_output_by_output(warehouse, alone):
    flips = [
        row
        for row in warehouse.lake.read(tables.RESTATEMENTS, NAME, WEEKS[1]).to_pylist()
        if row["subject"] == "decision"
    ]
    first = {row["output_id"]: row for row in sorted(flips, key=lambda row: row["recorded_at"], reverse=True)}
    now = {row["output_id"]: row["decision"] for row in warehouse.written.rows(tables.SCORED_OUTPUTS, WEEKS[1])}
    expected = {name: (first.get(name, {}).get("old_decision", now[name]), now[name]) for name in now}
    query = "select output_id, first_decision, decision, what_if from what_if_corrected(?) where flywheel = ?"
    found = ask(alone, query, str(WEEKS[1]), NAME)
    assert {name: (old, new) for name, old, new, _ in found} == expected
    assert {name for name, *_, words in found if words != "the same"} == {
        name for name, (old, new) in expected.items() if old != new
    }
    assert any(old != new for old, new in expected.values())


def test_descendants_and_ancestors_are_two_ways_of_saying_the_same(alone):
    pairs = {
        (ancestor, row[0], row[1])
        for (ancestor,) in ask(alone, "select ancestor_id from ancestry where flywheel = ?", NAME)
        for row in ask(alone, "select output_id, generation from descendants_of(?)", ancestor)
    }
    back = {
        (row[0], output, row[1])
        for (output,) in ask(alone, "select output_id from outputs where flywheel = ?", NAME)
        for row in ask(alone, "select output_id, generation from ancestors_of(?)", output)
    }
    assert pairs == back
    assert pairs != set()


def test_ancestry_counts_the_descendants_that_the_function_names(alone):
    counted = ask(
        alone, "select ancestor_id, n_children, n_descendants, n_promoted from ancestry where flywheel = ?", NAME
    )
    for ancestor, n_children, n_descendants, n_promoted in counted:
        found = ask(alone, "select generation, decision from descendants_of(?)", ancestor)
        assert len(found) == n_descendants
        assert sum(generation == 1 for generation, _ in found) == n_children
        assert sum(decision == "promote" for _, decision in found) == n_promoted


def test_the_lake_is_out_of_reach_here(alone):
    """The control of all of the above: nothing but tables answered."""
    with pytest.raises(duckdb.PermissionException):
        ask(alone, "select count(*) from lake.metric_ledger")


def test_every_function_says_what_it_does(alone):
    found = ask(
        alone,
        "select function_name, comment from duckdb_functions() where schema_name = 'main' and not internal order by 1",
    )
    assert [name for name, _ in found] == [
        "ancestors_of", "corpus_as_known", "descendants_of", "outputs_as_known", "performance_as_known",
        "what_if_corrected",
    ]  # fmt: skip
    assert all(comment for _, comment in found)


def test_nothing_known_before_the_beginning(alone):
    at = datetime(2025, 1, 1, tzinfo=UTC)
    for function in ("outputs_as_known", "performance_as_known", "corpus_as_known"):
        assert ask(alone, f"select count(*) from {function}(?)", at) == [(0,)]
