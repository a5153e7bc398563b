"""Write-audit-publish on a lake worked out by hand. A publish costs seconds, so one serves many tests."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.lake import dbt_docs
from flywheel_pipelines.lake.dbt import DBT_PROJECT, dbt_manifest
from flywheel_pipelines.lake.layer_views import view_columns
from flywheel_pipelines.lake.marts import read_marts
from flywheel_pipelines.lake.publish import AuditError, PublishReport, publish
from flywheel_pipelines.lake.snapshot import create_layer_views
from flywheel_pipelines.lake.store import Lake, write_atomically
from flywheel_pipelines.lake.tables import ALL_TABLES, METRIC_LEDGER, MOMENTUM, PUBLISHED_OUTPUTS
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, RECORDED_AT, WEEKS, published_rows, rows, write_sample_lake

MARTS = (
    "ancestry", "audit", "costs", "cycles", "fix_effects", "lineage", "llm_requests", "momentum", "momentum_parts",
    "outputs", "performance", "prompt_library", "prompt_performance", "prompt_versions", "prompts_used", "quarantine",
    "reference_corpus", "reference_corpus_history", "restatements", "reviews", "scores", "segments", "theme_learning",
    "theme_weekly", "themes",
)  # fmt: skip
READER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
for line in sys.stdin:
    print(connection.execute("select count(*) from cycles").fetchone()[0], flush=True)
"""
PUBLISHER = """
import sys, pathlib
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.paths import DataPaths
publish(DataPaths(pathlib.Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataPaths, PublishReport]:
    paths = DataPaths(tmp_path_factory.mktemp("sample"))
    lake = Lake(paths.lake)
    write_sample_lake(lake)
    # A batch that was cut off: its rows are there, its row in `batches` is not.
    folder = lake.partition_dir(METRIC_LEDGER, flywheel=FLYWHEEL, cycle=WEEKS[0])
    torn = {"output_id": "torn", "batch_id": "torn", "recorded_at": RECORDED_AT}
    write_atomically(folder / "torn.parquet", rows(METRIC_LEDGER, [torn]))
    # A file in the making, as a killed writer leaves it.
    (folder / ".writing-0").write_bytes(b"not parquet")
    return paths, publish(paths)


def query(path: Path, sql: str) -> list[tuple]:
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
        return connection.execute(sql).fetchall()


def ask(reader: subprocess.Popen[str]) -> str:
    """Have the reader in its own process count the cycles."""
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("\n")
    reader.stdin.flush()
    return reader.stdout.readline().strip()


def leftovers(paths: DataPaths) -> set[str]:
    return {path.name for path in paths.root.iterdir()} - {
        "lake",
        "flywheel.duckdb",
        ".published",
        ".publish.lock",
        "reports",
    }


@pytest.mark.slow
def test_an_empty_lake_publishes_every_mart_without_rows(tmp_path):
    report = publish(DataPaths(tmp_path))
    assert report.mart_rows == dict.fromkeys(MARTS, 0)
    assert [outcome.name for outcome in report.outcomes if outcome.status != "pass"] == []


def test_nothing_but_the_published_file_is_left(sample):
    paths, report = sample
    assert report.path == paths.published_file
    assert report.n_bytes == paths.published_file.stat().st_size
    assert leftovers(paths) == set()


def test_only_the_four_schemas_are_published(sample):
    relations = query(
        sample[0].published_file,
        "select distinct schema_name from duckdb_views() where not internal "
        "union select distinct schema_name from duckdb_tables()",
    )
    assert sorted(relations) == [("intermediate",), ("lake",), ("main",), ("staging",)]


def test_cycles_counts_each_week(sample):
    found = query(
        sample[0].published_file,
        "select cycle, n_briefs, n_candidates, n_published, n_published_flywheel, n_published_control, n_measured, "
        "n_promoted, n_held, n_rejected, corpus_size, is_closed, prompt_changed, opened_with_gap from cycles",
    )
    assert found == [
        (WEEKS[0], 2, 4, 4, 2, 4, 4, 1, 1, 2, 1, True, True, False),
        (WEEKS[1], 2, 4, 4, 2, 4, 4, 1, 1, 2, 2, True, True, False),
        (WEEKS[2], 2, 4, 4, 2, 4, 0, 0, 0, 0, 0, False, False, True),
    ]


def test_momentum_shows_the_cycle_beside_the_cumulative_figures(sample):
    found = query(
        sample[0].published_file,
        "select cycle, n_briefs, lift, lower, upper, cumulative_n_briefs, cumulative_lift from momentum",
    )
    assert found == [(WEEKS[0], 2, 0.5, 0.4, 0.6, 2, 0.5), (WEEKS[1], 2, 0.5, 0.4, 0.6, 4, 0.5)]


def test_outputs_knows_everything_about_a_winner(sample):
    found = query(
        sample[0].published_file,
        "select brief_title, arms, flywheel_weight, control_weight, metrics['ctr'], observed_value, decision, "
        "is_reference, reference_since, n_times_used_as_reference from outputs where output_id = 'w1-a-0'",
    )
    # A reference for the four outputs of week two and the four of week three.
    assert found == [("Brief a", ["control", "flywheel"], 1.0, 0.5, 0.3, 0.3, "promote", True, WEEKS[0], 8)]


def test_outputs_leaves_open_what_is_not_known_yet(sample):
    found = query(
        sample[0].published_file,
        "select arms, in_flywheel_arm, decision, metrics, is_reference from outputs where output_id = 'w3-b-1'",
    )
    assert found == [(["control"], False, None, None, False)]


def test_reference_corpus_tells_when_each_entry_served(sample):
    found = query(
        sample[0].published_file,
        "select reference_id, first_cycle, last_cycle, n_cycles, best_rank, last_rank, is_current "
        "from reference_corpus",
    )
    assert found == [
        ("w2-a-0", WEEKS[1], WEEKS[1], 1, 1, 1, True),
        ("w1-a-0", WEEKS[0], WEEKS[1], 2, 1, 2, True),
    ]


def test_lineage_leads_from_an_output_round_the_loop_to_later_outputs(sample):
    found = query(
        sample[0].published_file,
        """
        with recursive walk as (
            select to_kind, to_id, 1 as step from lineage where from_id = 'w1-a-0' and relation = 'entered'
            union all
            select edge.to_kind, edge.to_id, step + 1
            from walk inner join lineage as edge on edge.from_kind = walk.to_kind and edge.from_id = walk.to_id
            where step < 4 and edge.relation in ('rendered_into', 'pinned_by', 'produced') and walk.to_kind <> 'output'
        )
        select distinct step, to_kind, to_id from walk where to_id in ('corpus-1', 'prompt-1', '2026-01-12', 'w2-b-1')
        order by all
        """,
    )
    assert (1, "corpus", "corpus-1") in found
    assert (2, "prompt", "prompt-1") in found
    assert (3, "cycle", "2026-01-12") in found
    assert (4, "output", "w2-b-1") in found


def test_lineage_tells_what_a_winner_was_a_reference_for(sample):
    found = query(
        sample[0].published_file,
        "select to_kind, to_id from lineage where from_id = 'w1-a-0' and relation = 'reference_for' order by all",
    )
    assert found == [("cycle", "2026-01-12"), ("cycle", "2026-01-19")]


def test_lineage_has_no_edge_from_what_was_not_learned_yet(sample):
    assert query(sample[0].published_file, "select count(*) from lineage where from_id = 'none'") == [(0,)]
    found = query(sample[0].published_file, "select from_kind from lineage where to_id = '2026-01-05' order by all")
    assert found == [("prompt",), ("threshold",)]


def test_ledger_rows_show_only_when_their_batch_is_complete(sample):
    found = query(
        sample[0].published_file, "select count(*), count(*) filter (batch_id = 'torn') from lake.metric_ledger"
    )
    assert found == [(8, 0)]


def test_the_docs_have_every_mart_and_need_no_other_file(sample):
    paths, report = sample
    page = report.docs.read_text(encoding="utf-8")
    assert report.docs == paths.reports / "dbt_docs" / "index.html"
    assert [mart for mart in MARTS if f'"model.flywheel_warehouse.{mart}"' not in page] == []
    assert "INLINE DATA" not in page


def test_another_release_s_page_is_refused(sample, monkeypatch):
    monkeypatch.setattr(dbt_docs, "_dbts_page", lambda: "<html>")
    with pytest.raises(PublishError, match=r'expected "MANIFEST\.JSON INLINE DATA" once, found it 0 times'):
        dbt_docs.write_dbt_docs(sample[0], dbt_manifest(), {})


def test_views_survive_another_catalog_name(sample, tmp_path):
    copy = tmp_path / "renamed.duckdb"
    shutil.copy(sample[0].published_file, copy)
    assert query(copy, "select count(*) from staging.stg_generated_outputs") == [(12,)]


@pytest.mark.parametrize("contract", ALL_TABLES, ids=lambda contract: contract.name)
def test_lake_views_have_the_contract_s_columns_types_and_descriptions(sample, contract):
    found = query(
        sample[0].published_file,
        "select column_name, data_type, comment from duckdb_columns() "
        f"where schema_name = 'lake' and table_name = '{contract.name}' order by column_index",
    )
    assert found == [(name, kind, text) for name, (kind, text) in view_columns(contract).items()]
    assert all(text for _, _, text in found)


def test_all_columns_of_all_layers_are_described_in_the_file(sample):
    found = query(
        sample[0].published_file,
        "select table_name, column_name from duckdb_columns() where comment is null and not internal",
    )
    assert found == []


def test_mart_columns_are_those_of_the_yaml(sample):
    described = {mart.name: set(mart.columns) for mart in read_marts(dbt_manifest())}
    found = query(
        sample[0].published_file,
        "select table_name, list(column_name) from duckdb_columns() where schema_name = 'main' and not internal "
        "group by table_name",
    )
    assert {name: set(columns) for name, columns in found} == described


@pytest.fixture
def published(sample, tmp_path) -> DataPaths:
    """A data folder of its own with the sample's lake and yesterday's file."""
    shutil.copytree(sample[0].root, tmp_path / "data")
    return DataPaths(tmp_path / "data")


def test_a_failing_test_leaves_yesterdays_file_and_names_test_and_rows(published):
    before = published.published_file.read_bytes()
    Lake(published.lake).write(PUBLISHED_OUTPUTS, published_rows(2, (0.5, 0.2)), flywheel=FLYWHEEL, cycle=WEEKS[1])
    with pytest.raises(AuditError) as caught:
        publish(published)
    text = str(caught.value)
    assert "weights_sum_to_one (on stg_published_outputs): 2 row(s) object" in text
    assert "brief_id='w2-a', arm='control', total_weight=0.7" in text
    assert "stays as it was" in text
    assert published.published_file.read_bytes() == before
    assert leftovers(published) == set()


@dataclass(frozen=True)
class Republished:
    """What was seen of a second publish, made under the worst circumstances at hand."""

    paths: DataPaths
    report: PublishReport
    reader_saw: list[str]
    stray_target: Path


@pytest.fixture(scope="module")
def republished(sample, tmp_path_factory) -> Iterator[Republished]:
    """A publish with a reader on the old file, a killed publish's leftovers, a foreign log, and DBT_* variables set."""
    root = tmp_path_factory.mktemp("again") / "data"
    shutil.copytree(sample[0].root, root)
    paths, stray = DataPaths(root), root.parent / "stray_target"
    (root / ".building-dead").mkdir()
    (root / ".building-dead" / "flywheel.duckdb").write_bytes(b"half")
    lake = Lake(paths.lake)
    write_sample_lake(lake, flywheel="mail")
    figures = {"metric": "ctr", "lift": 0.5, "lower": 0.4, "upper": 0.6}
    stale = [figures | {"scope": "cycle", "n_briefs": 2}, figures | {"scope": "cumulative", "n_briefs": 3}]
    lake.write(MOMENTUM, rows(MOMENTUM, stale), flywheel="mail", cycle=WEEKS[1])
    command = [sys.executable, "-c", READER, str(paths.published_file)]
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader,
    ):
        saw = [ask(reader)]
        patch.setenv("DBT_SEND_ANONYMOUS_USAGE_STATS", "true")
        patch.setenv("DBT_TARGET_PATH", str(stray))
        paths.published_file.with_name("flywheel.duckdb.wal").write_bytes(b"of somebody who opened it for writing")
        report = publish(paths)
        saw.append(ask(reader))
    yield Republished(paths, report, saw, stray)


@pytest.mark.slow
def test_a_reader_keeps_the_old_file_and_the_next_one_gets_the_new(republished):
    assert republished.reader_saw == ["3", "3"]
    assert query(republished.paths.published_file, "select count(*) from cycles") == [(6,)]


@pytest.mark.slow
def test_leftovers_of_a_killed_publish_and_a_foreign_log_are_removed(republished):
    assert leftovers(republished.paths) == set()


@pytest.mark.slow
def test_a_warning_is_reported_and_does_not_stop_the_publish(republished):
    assert [warning.name for warning in republished.report.warnings] == ["cumulative_momentum_adds_up"]
    assert republished.report.warnings[0].rows[0]["flywheel"] == "mail"


@pytest.mark.slow
def test_variables_meant_for_another_dbt_project_are_not_obeyed(republished):
    assert not republished.stray_target.exists()
    assert not (DBT_PROJECT / ".user.yml").exists()


def test_an_unreadable_lake_file_is_named_before_dbt_starts(published):
    part = Lake(published.lake).partition_dir(MOMENTUM, flywheel=FLYWHEEL, cycle=WEEKS[0]) / "part.parquet"
    part.write_bytes(b"not parquet")
    with pytest.raises(PublishError, match=r"Table momentum: the files below .* cannot be read"):
        publish(published)
    assert leftovers(published) == set()


def test_a_folder_with_glob_characters_and_a_quote_in_its_name_is_read(sample, tmp_path):
    shutil.copytree(sample[0].lake, tmp_path / "o'brien [2026]*" / "lake")
    build = tmp_path / "build.duckdb"
    create_layer_views(build, tmp_path / "o'brien [2026]*" / "lake")
    assert query(build, "select count(*) from lake.briefs") == [(6,)]


@pytest.mark.slow
def test_a_publish_killed_in_its_audit_changes_nothing_and_the_next_one_cleans_up(published):
    before = published.published_file.read_bytes()
    with subprocess.Popen([sys.executable, "-c", PUBLISHER, str(published.root)]) as publisher:
        while not list(published.root.glob(".building-*/dbt/partial_parse.msgpack")):
            time.sleep(0.05)
        publisher.kill()
    assert published.published_file.read_bytes() == before
    assert leftovers(published) != set()
    publish(published)
    assert leftovers(published) == set()
