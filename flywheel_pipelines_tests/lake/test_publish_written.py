"""The marts about written outputs: what they cost, why they went out or did not, what they were shown."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flywheel_pipelines.lake.publish import AuditError, PublishReport, publish
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines_tests.lake.written_samples import WINNER, WRITTEN, write_written_lake
from flywheel_pipelines_tests.lake_samples import WEEKS

# Three publishes of half a minute each.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataPaths, PublishReport]:
    paths = DataPaths(tmp_path_factory.mktemp("written"))
    write_written_lake(Lake(paths.lake))
    return paths, publish(paths)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataPaths, PublishReport]:
    """A lake in which no price is known and the requests of week two were answered twice."""
    paths = DataPaths(tmp_path_factory.mktemp("doubtful"))
    write_written_lake(Lake(paths.lake), price=None, answers=2)
    return paths, publish(paths)


def query(path: Path, sql: str) -> list[tuple]:
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
        return connection.execute("set timezone = 'UTC'").execute(sql).fetchall()


def test_costs_counts_what_was_asked_and_what_came_of_it(published):
    found = query(
        published[0].published_file,
        "select cycle, arm, n_requests, n_answered, n_failed, n_tries, tokens, cached_tokens, cost, n_outputs, "
        "n_blocked, n_superseded, n_published, n_promoted from costs",
    )
    assert found == [
        (WEEKS[0], "all", 8, 8, 0, 8, 960, 480, 8.0, 8, 4, 4, 2, 1),
        (WEEKS[0], "control", 4, 4, 0, 4, 480, 240, 4.0, 4, 2, 2, 1, 0),
        (WEEKS[0], "flywheel", 4, 4, 0, 4, 480, 240, 4.0, 4, 2, 2, 1, 1),
        (WEEKS[1], "all", 5, 4, 1, 5, 480, 240, 4.0, 4, 2, 0, 2, None),
        (WEEKS[1], "control", 2, 2, 0, 2, 240, 120, 2.0, 2, 1, 0, 1, None),
        (WEEKS[1], "flywheel", 3, 2, 1, 3, 240, 120, 2.0, 2, 1, 0, 1, None),
    ]


def test_costs_per_output_in_the_cycle_and_so_far(published):
    found = query(
        published[0].published_file,
        "select tokens_per_published, cost_per_promoted, cumulative_tokens, cumulative_cost, "
        "cumulative_tokens_per_published, cumulative_cost_per_promoted from costs where arm = 'all'",
    )
    assert found == [(480.0, 8.0, 960, 8.0, 480.0, 8.0), (240.0, None, 1440, 12.0, 360.0, None)]


def test_an_unknown_price_makes_every_cost_unknown_and_no_token(doubtful):
    found = query(
        doubtful[0].published_file,
        "select distinct cost, cumulative_cost, cost_per_promoted, tokens is null from costs",
    )
    assert found == [(None, None, None, False)]


def test_a_request_that_was_answered_twice_is_reported_and_does_not_multiply_outputs(doubtful):
    paths, report = doubtful
    assert [warning.name for warning in report.warnings] == ["requests_are_answered_once"]
    assert query(paths.published_file, "select count(*), count(distinct output_id) from outputs") == [(12, 12)]


def test_outputs_tells_how_an_output_was_written_chosen_paid_and_sent(published):
    found = query(
        published[0].published_file,
        "select arm, model, attempt, is_superseded, blocked, choice, probability, content, request_tokens, "
        f"request_cost, exported_at, is_synthetic from outputs where output_id = '{WINNER}'",
    )
    exported = datetime(2026, 2, 1, tzinfo=UTC)
    content = '{"subject": "Hello"}'
    assert found == [("flywheel", "some-model", 2, False, None, "best", 0.95, content, 120, 1.0, exported, True)]


def test_outputs_keeps_what_a_guardrail_blocked_with_its_reason(published):
    found = query(
        published[0].published_file,
        "select blocked, is_published, choice, exported_at from outputs where output_id = 'w2-a-1-1'",
    )
    assert found == [("names a price that the brief lacks", False, None, None)]


def test_cycles_counts_candidates_without_what_was_superseded(published):
    found = query(
        published[0].published_file,
        "select n_candidates, n_blocked, n_superseded, n_published, model, attempt, is_synthetic from cycles",
    )
    assert found == [(4, 2, 4, 2, "some-model", 2, True), (4, 2, 0, 2, "some-model", 1, True)]


def test_lineage_tells_which_prompt_shows_an_output(published):
    found = query(
        published[0].published_file,
        f"select relation, to_kind, to_id, cycle from lineage where from_id = '{WINNER}' order by all",
    )
    assert found == [
        ("reference_for", "cycle", "2026-01-12", WEEKS[1]),
        ("shown_in", "prompt", "prompt-2", WEEKS[1]),
    ]


def test_lineage_tells_which_prompts_a_cycle_was_opened_with(published):
    found = query(
        published[0].published_file,
        "select from_id from lineage where relation = 'pinned_by' and from_kind = 'prompt' and to_id = '2026-01-12' "
        "order by all",
    )
    assert found == [("prompt-1",), ("prompt-2",)]


def test_every_mart_says_what_is_synthetic(published):
    found = query(
        published[0].published_file,
        "select table_name from duckdb_tables() where schema_name = 'main' and table_name not in "
        "(select table_name from duckdb_columns() where schema_name = 'main' and column_name = 'is_synthetic')",
    )
    # A row that could not be used belongs to no cycle.
    assert found == [("quarantine",)]


def test_what_is_blocked_or_superseded_cannot_be_published(tmp_path):
    paths = DataPaths(tmp_path)
    lake = Lake(paths.lake)
    write_written_lake(lake)
    generated = lake.read(GENERATED_OUTPUTS, WRITTEN, WEEKS[0], columns=GENERATED_OUTPUTS.columns)
    broken = {WINNER: {"blocked": "too long"}, "w1-b-2-0": {"is_superseded": True}}
    records = [row | broken.get(row["output_id"], {}) for row in generated.to_pylist()]
    table = pa.Table.from_pylist(records, schema=GENERATED_OUTPUTS.schema)
    lake.write(GENERATED_OUTPUTS, table, flywheel=WRITTEN, cycle=WEEKS[0])
    with pytest.raises(AuditError, match=r"what_is_blocked_or_superseded_is_not_out .* 2 row\(s\) object"):
        publish(paths)
