"""The drift test: contracts, dbt's YAML, Dagster's column schemas and the published file say the same of every column.

That the staging models say what the contracts say is held by `lake/test_staging_follows_contracts.py`.
"""

from __future__ import annotations

import contextlib

import dagster as dg
import duckdb
import pytest
import yaml

from flywheel_pipelines.components.kit import column_schema
from flywheel_pipelines.components.mart_lineage import table_lineage
from flywheel_pipelines.components.warehouse import GROUP, publishing_asset
from flywheel_pipelines.lake.column_lineage import Source
from flywheel_pipelines.lake.dbt import DBT_PROJECT, dbt_manifest
from flywheel_pipelines.lake.layer_views import view_columns
from flywheel_pipelines.lake.marts import read_marts
from flywheel_pipelines.lake.tables import ALL_TABLES, TABLES
from flywheel_pipelines_tests.small_world import definitions
from flywheel_pipelines_tests.warehouse_world import WarehouseWorld

Columns = dict[str, tuple[str, str]]
LONG = {"timestamptz": "timestamp with time zone"}
MODELS = sorted(DBT_PROJECT.glob("models/marts/[!_]*.yml")) + sorted(DBT_PROJECT.glob("models/intermediate/*.yml"))
MARTS = [path.stem for path in MODELS if path.parent.name == "marts"]


def of_yaml(name: str) -> Columns:
    [path] = [path for path in MODELS if path.stem == name]
    [model] = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    return {column["name"]: (column["data_type"], column["description"]) for column in model["columns"]}


def of_dagster(schema: dg.TableSchema) -> Columns:
    return {column.name: (column.type, column.description or "") for column in schema.columns}


@pytest.fixture(scope="module")
def mart_schemas() -> dict[str, dg.TableSchema]:
    asset = publishing_asset(read_marts(dbt_manifest()), ["mail"], [])
    return {name: asset.specs_by_key[dg.AssetKey([GROUP, name])].metadata["dagster/column_schema"] for name in MARTS}


@pytest.mark.parametrize("name", MARTS)
def test_a_mart_has_the_columns_of_its_yaml_in_the_ui(mart_schemas, name):
    assert of_dagster(mart_schemas[name]) == of_yaml(name)


def test_every_mart_is_an_asset():
    assert {mart.name for mart in read_marts(dbt_manifest())} == set(MARTS)


def test_every_table_has_the_columns_of_its_contract_in_the_ui():
    assets = definitions().resolve_asset_graph()
    shown = {
        key.path[1]: assets.get(key).metadata["dagster/column_schema"]
        for key in assets.materializable_asset_keys
        if key.path[0] == "content" and key.path[1] in TABLES
    }
    assert len(shown) > 10
    for name, schema in shown.items():
        found = {column: text for column, (_, text) in of_dagster(schema).items()}
        assert found == {column: text for column, (_, text) in view_columns(TABLES[name]).items()}, name


def test_a_changed_description_or_type_is_noticed():
    """The control: the comparisons look at more than names."""
    schema = column_schema(ALL_TABLES[0])
    changed = [dg.TableColumn(one.name, one.type, description=f"{one.description}!") for one in schema.columns]
    assert of_dagster(schema) != of_dagster(dg.TableSchema(changed))
    retyped = [dg.TableColumn(one.name, "float", description=one.description) for one in schema.columns]
    assert of_dagster(schema) != of_dagster(dg.TableSchema(retyped))


@pytest.mark.slow
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_file_has_the_columns_of_the_yaml_with_types_and_comments(warehouse: WarehouseWorld, path):
    schema = "main" if path.parent.name == "marts" else "intermediate"
    with contextlib.closing(duckdb.connect(str(warehouse.paths.published_file), read_only=True)) as connection:
        found = connection.execute(
            "select column_name, lower(data_type), comment from duckdb_columns() "
            "where schema_name = ? and table_name = ? order by column_index",
            [schema, path.stem],
        ).fetchall()
    expected = [(name, LONG.get(kind, kind), text) for name, (kind, text) in of_yaml(path.stem).items()]
    assert found == expected


def test_a_column_names_those_it_is_made_from_in_every_flywheel():
    columns = {
        "value": frozenset({Source("metrics", "amount", is_mart=False), Source("outputs", "text", is_mart=True)}),
        "batch": frozenset({Source("batches", "source", is_mart=False)}),
    }
    lineage = table_lineage(columns, GROUP, {"metrics": ["news", "mail"]})
    assert {
        name: [(dep.asset_key.path, dep.column_name) for dep in deps] for name, deps in lineage.deps_by_column.items()
    } == {
        "value": [(["mail", "metrics"], "amount"), (["news", "metrics"], "amount"), ([GROUP, "outputs"], "text")],
        "batch": [],
    }
