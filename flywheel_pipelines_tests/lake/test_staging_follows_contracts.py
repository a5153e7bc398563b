"""The drift test: Python contracts and dbt's staging YAML describe the same columns."""

from __future__ import annotations

import pytest
import yaml

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.dbt import DBT_PROJECT
from flywheel_pipelines.lake.layer_views import view_columns
from flywheel_pipelines.lake.tables import ALL_TABLES

STAGING = DBT_PROJECT / "models" / "staging"


@pytest.mark.parametrize("contract", ALL_TABLES, ids=lambda contract: contract.name)
def test_staging_yaml_has_the_contracts_columns_types_and_descriptions(contract: TableContract):
    path = STAGING / f"stg_{contract.name}.yml"
    [model] = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    declared = {column["name"]: (column["data_type"], column["description"]) for column in model["columns"]}
    short = {"TIMESTAMP WITH TIME ZONE": "timestamptz"}
    expected = {name: (short.get(kind, kind.lower()), text) for name, (kind, text) in view_columns(contract).items()}
    assert declared == expected, f"{path.name} and the contract {contract.name} in lake/tables/ differ; edit one"
    assert model["description"] == contract.description


@pytest.mark.parametrize("contract", ALL_TABLES, ids=lambda contract: contract.name)
def test_staging_sql_selects_every_column(contract: TableContract):
    lines = (STAGING / f"stg_{contract.name}.sql").read_text(encoding="utf-8").splitlines()
    selected = {line.strip().rstrip(",") for line in lines}
    assert set(view_columns(contract)) <= selected


def test_every_table_is_a_source_with_the_contracts_description():
    [source] = yaml.safe_load((STAGING / "_lake.yml").read_text(encoding="utf-8"))["sources"]
    assert {table["name"]: table["description"] for table in source["tables"]} == {
        contract.name: contract.description for contract in ALL_TABLES
    }


def test_no_staging_model_is_left_of_a_table_that_is_gone():
    assert {path.stem.removeprefix("stg_") for path in STAGING.glob("stg_*.sql")} == {
        contract.name for contract in ALL_TABLES
    }
