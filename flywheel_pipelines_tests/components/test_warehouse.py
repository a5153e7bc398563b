"""The warehouse component: its graph, and what Dagster records when a publish succeeds or fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.components import warehouse
from flywheel_pipelines.components.kit import INSIGHT_LOOP, LOOP
from flywheel_pipelines.components.warehouse import (
    GROUP,
    INSIGHT_TYPE,
    PUBLISHED_FILE,
    TABLES_OF_OTHER_ASSETS,
    TABLES_OF_OTHER_INSIGHTS,
    TABLES_WITHOUT_ASSET,
    check_result,
    find_flywheels,
    publishing_asset,
    upstream_assets,
)
from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.lake.dbt import NodeOutcome, dbt_manifest
from flywheel_pipelines.lake.marts import Mart, read_marts
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS, TABLES
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, DataPaths
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, WEEKS, published_rows, write_sample_lake

FLYWHEEL_YAML = "type: flywheel_pipelines.components.FlywheelComponent\nattributes:\n  name: {}\n"


@pytest.fixture(scope="module")
def marts() -> list[Mart]:
    return read_marts(dbt_manifest())


def keys(*paths: str) -> list[dg.AssetKey]:
    return [dg.AssetKey(path.split("/")) for path in paths]


def test_flywheels_are_found_by_the_type_of_their_yaml(tmp_path):
    for name in ("outreach", "content"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "defs.yaml").write_text(FLYWHEEL_YAML.format(name))
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse" / "defs.yaml").write_text("type: flywheel_pipelines.components.WarehouseComponent\n")
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "defs.yaml").write_text(FLYWHEEL_YAML.format("desk").replace(".Fly", ".InsightFly"))
    assert find_flywheels(tmp_path) == ["content", "outreach"]
    assert find_flywheels(tmp_path, INSIGHT_TYPE) == ["desk"]


def test_a_mart_is_downstream_of_the_assets_of_every_flywheel(marts):
    momentum = next(mart for mart in marts if mart.name == "momentum")
    assert upstream_assets(momentum, ["mail", "news"]) == keys("mail/momentum", "news/momentum")


def test_a_mart_names_the_mart_it_reads_and_not_what_lies_behind_it(marts):
    outputs = next(mart for mart in marts if mart.name == "outputs")
    assert upstream_assets(outputs, ["news"]) == keys(
        "news/scored_outputs",
        "warehouse/reference_corpus",
    )


def test_tables_named_by_the_component_exist():
    assert {*TABLES_OF_OTHER_ASSETS, *TABLES_OF_OTHER_INSIGHTS, *TABLES_WITHOUT_ASSET} <= set(TABLES)


def test_every_table_of_a_mart_belongs_to_an_asset_or_is_said_to_have_none(marts):
    """A table that no loop knows would leave a mart without the arrow that it needs."""
    known = {*LOOP, *INSIGHT_LOOP, *TABLES_OF_OTHER_ASSETS, *TABLES_OF_OTHER_INSIGHTS, *TABLES_WITHOUT_ASSET}
    read = {table for mart in marts for table in mart.lake_tables}
    assert read <= known
    assert "theme_trends" in read


def test_every_mart_column_reaches_the_ui_with_type_and_description(marts):
    asset = publishing_asset(marts, [FLYWHEEL], [])
    for mart in marts:
        schema = asset.specs_by_key[dg.AssetKey([GROUP, mart.name])].metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == list(mart.columns)
        assert all(column.type != "?" and column.description for column in schema.columns)


@pytest.mark.parametrize(
    ("status", "passed", "severity"),
    [
        ("pass", True, None),
        ("warn", False, dg.AssetCheckSeverity.WARN),
        ("fail", False, dg.AssetCheckSeverity.ERROR),
        ("error", False, dg.AssetCheckSeverity.ERROR),
        ("skipped", False, dg.AssetCheckSeverity.ERROR),
    ],
)
def test_a_check_is_green_only_when_everything_passed(status, passed, severity):
    outcome = NodeOutcome("some_test", "test", status, ("outputs",), 1, "", ({"id": 1},))
    for key in (dg.AssetKey([GROUP, "outputs"]), PUBLISHED_FILE):
        result = check_result(key, [outcome])
        assert result.passed is passed
        assert passed or result.severity == severity
    assert check_result(dg.AssetKey([GROUP, "momentum"]), [outcome]).passed


def test_a_run_may_ask_for_all_of_it_anew(marts, monkeypatch):
    asked = []

    def publish(paths: DataPaths, *, full: bool) -> None:
        asked.append(full)
        raise PublishError("asked")

    monkeypatch.setattr(warehouse, "publish", publish)
    config = {"ops": {"write_audit_publish": {"config": {"full": True}}}}
    for run_config in ({}, config):
        ran = dg.materialize([publishing_asset(marts, [FLYWHEEL], [])], run_config=run_config, raise_on_error=False)
        assert not ran.success
    assert asked == [False, True]


@pytest.fixture(scope="module")
def runs(marts, tmp_path_factory) -> Iterator[dict[str, dg.ExecuteInProcessResult]]:
    """One run that publishes, and one on weights that do not add up."""
    root: Path = tmp_path_factory.mktemp("warehouse")
    lake = Lake(DataPaths(root).lake)
    write_sample_lake(lake)
    assets = [publishing_asset(marts, [FLYWHEEL], [])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_DIR_VARIABLE, str(root))
        good = dg.materialize(assets)
        yesterday = DataPaths(root).published_file.read_bytes()
        lake.write(PUBLISHED_OUTPUTS, published_rows(2, (0.5, 0.2)), flywheel=FLYWHEEL, cycle=WEEKS[1])
        bad = dg.materialize(assets, raise_on_error=False)
        assert DataPaths(root).published_file.read_bytes() == yesterday
        yield {"good": good, "bad": bad}


@pytest.mark.slow
def test_a_publish_materializes_every_mart_and_the_file(runs, marts):
    good = runs["good"]
    found = {event.asset_key for event in good.get_asset_materialization_events()}
    assert found == {PUBLISHED_FILE, *(dg.AssetKey([GROUP, mart.name]) for mart in marts)}
    assert all(check.passed for check in good.get_asset_check_evaluations())


@pytest.mark.slow
def test_row_counts_are_metadata_of_the_marts(runs):
    materialized = {m.asset_key: m for m in runs["good"].asset_materializations_for_node("write_audit_publish")}
    assert materialized[dg.AssetKey([GROUP, "outputs"])].metadata["dagster/row_count"].value == 12


@pytest.mark.slow
def test_column_lineage_is_metadata_of_the_marts(runs):
    materialized = {m.asset_key: m for m in runs["good"].asset_materializations_for_node("write_audit_publish")}
    lineage = materialized[dg.AssetKey([GROUP, "outputs"])].metadata["dagster/column_lineage"].value
    [source] = lineage.deps_by_column["observed_value"]
    assert (source.asset_key, source.column_name) == (dg.AssetKey([FLYWHEEL, "scored_outputs"]), "observed")


@pytest.mark.slow
def test_a_failed_audit_materializes_nothing(runs):
    assert not runs["bad"].success
    assert runs["bad"].get_asset_materialization_events() == []


@pytest.mark.slow
def test_a_failed_audit_turns_the_files_check_red_and_names_test_and_rows(runs):
    checks = {check.asset_key: check for check in runs["bad"].get_asset_check_evaluations()}
    red = checks[PUBLISHED_FILE]
    assert not red.passed
    assert red.metadata["failing"].value == ["weights_sum_to_one"]
    assert "total_weight=0.7" in str(red.metadata["objections"].value)
    assert checks[dg.AssetKey([GROUP, "momentum"])].passed


@pytest.mark.slow
def test_a_failed_audit_turns_the_check_of_each_mart_red_that_rests_on_the_rows(runs):
    """`outputs` reads the rows that object, so dbt did not build it: its check is red and says why."""
    checks = {check.asset_key: check for check in runs["bad"].get_asset_check_evaluations()}
    red = checks[dg.AssetKey([GROUP, "outputs"])]
    assert not red.passed
    assert red.severity == dg.AssetCheckSeverity.ERROR
    assert red.metadata["skipped"].value > 0
