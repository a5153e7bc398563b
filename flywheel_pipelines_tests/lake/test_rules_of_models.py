"""What the YAML of the models says of their columns: declared in one way, and each kind of fault found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
import yaml

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.dbt import BUILD_FILE_VARIABLE, RULES_TEST, NodeOutcome
from flywheel_pipelines.lake.dbt_project import CLI, DBT_PROJECT, parsed, run_dbt
from flywheel_pipelines.lake.publish import AuditError, publish
from flywheel_pipelines.lake.snapshot import create_layer_views
from flywheel_pipelines.lake.store import Lake, write_atomically
from flywheel_pipelines.lake.tables import (
    AUDIT,
    GENERATED_OUTPUTS,
    PUBLISHED_OUTPUTS,
    SCORED_OUTPUTS,
    TABLES,
)
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, WEEKS, write_sample_lake

STAGING = sorted((DBT_PROJECT / "models" / "staging").glob("stg_*.yml"))
OWN_MACROS = ("not_null", "accepted_values", "in_range", "unique_combination")
"""Tests of dbt's that a rule of a column, or the key, says in one query."""


def model_of(path: Path) -> dict[str, Any]:
    [model] = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    return model


def names_of(tests: list[Any]) -> list[str]:
    return [test if isinstance(test, str) else next(iter(test)) for test in tests]


# -- how rules are declared ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", STAGING, ids=lambda path: path.stem)
def test_a_staging_model_says_its_rules_in_one_test(path: Path) -> None:
    model = model_of(path)
    of_columns = [test for column in model["columns"] for test in names_of(column.get("data_tests", []))]
    of_model = names_of(model["data_tests"])
    assert of_model.count(RULES_TEST) == 1
    assert {*of_columns, *of_model} & set(OWN_MACROS) == set()
    [declared] = [test[RULES_TEST] for test in model["data_tests"] if RULES_TEST in test]
    assert declared["name"] == f"{path.stem}_{RULES_TEST}"
    assert set(declared["arguments"]["key"]) <= {column["name"] for column in model["columns"]}


def test_no_rule_stands_on_a_model_that_does_not_examine_its_rules() -> None:
    """A rule in the YAML is only looked at by that test, so without it the rule would hold of nothing."""
    checked = 0
    for path in sorted((DBT_PROJECT / "models").rglob("*.yml")):
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", []):
            ruled = [
                column["name"] for column in model["columns"] if "rules" in column.get("config", {}).get("meta", {})
            ]
            assert not ruled or RULES_TEST in names_of(model.get("data_tests", [])), (path.name, ruled)
            checked += len(ruled)
    assert checked > 150


def test_a_row_is_told_apart_by_its_flywheel_too() -> None:
    """Ids are unique within a flywheel, so a key without it would find faults that are none, or show rows of nobody."""
    for path in STAGING:
        [declared] = [test[RULES_TEST] for test in model_of(path)["data_tests"] if RULES_TEST in test]
        assert declared["arguments"]["key"][0] == "flywheel", path.stem


# -- each kind of fault ----------------------------------------------------------------------------------------------
def plant(lake: Lake, contract: TableContract, row: int, **change: Any) -> None:
    """Change a row of week one past the checks that writing makes, as a file that another program wrote."""
    table = lake.read(contract, FLYWHEEL, WEEKS[0], columns=contract.columns)
    records = table.to_pylist()
    records[row] |= change
    lax = pa.schema([field.with_nullable(True) for field in contract.schema])
    folder = lake.partition_dir(contract, flywheel=FLYWHEEL, cycle=WEEKS[0])
    write_atomically(folder / "part.parquet", pa.Table.from_pylist(records, schema=lax))


class Fault(NamedTuple):
    """A change of one row, the test that has to find it, and what that test has to show."""

    contract: TableContract
    row: int
    change: dict[str, Any]
    test: str
    shown: str


OF_GENERATED, OF_SCORED = "stg_generated_outputs_keeps_its_rules", "stg_scored_outputs_keeps_its_rules"
FAULTS = (
    Fault(GENERATED_OUTPUTS, 0, {"output_id": None}, OF_GENERATED, "'output_id', broken_rule='not_null', found=None"),
    Fault(GENERATED_OUTPUTS, 1, {"attempt": 0}, OF_GENERATED, "'attempt', broken_rule='at_least 1', found='0'"),
    # The words of a long rule are cut.
    Fault(GENERATED_OUTPUTS, 2, {"arm": "o'ther"}, OF_GENERATED, "'arm', broken_rule='values flywheel, control"),
    Fault(GENERATED_OUTPUTS, 3, {"brief_id": "?"}, "known_in_stg_generated_outputs_brief_id", "brief_id='?'"),
    Fault(SCORED_OUTPUTS, 0, {"p_above": 1.5}, OF_SCORED, "'p_above', broken_rule='at_most 1', found='1.5'"),
    Fault(SCORED_OUTPUTS, 1, {"p_above": float("nan")}, OF_SCORED, "found='nan'"),
    Fault(
        AUDIT, 1, {"item": 1}, "stg_audit_keeps_its_rules",
        "'flywheel, cycle, item', broken_rule='unique', found='2 rows'",
    ),
    Fault(PUBLISHED_OUTPUTS, 0, {"weight": 0.2}, "weights_sum_to_one", "arm='control', total_weight=0.7"),
)  # fmt: skip


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> AuditError:
    """A publish of a lake with one fault of each kind."""
    paths = DataPaths(tmp_path_factory.mktemp("faults"))
    lake = Lake(paths.lake)
    write_sample_lake(lake)
    for fault in FAULTS:
        plant(lake, fault.contract, fault.row, **fault.change)
    with pytest.raises(AuditError) as caught:
        publish(paths)
    assert not paths.published_file.exists()
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.contract.name} {fault.change}")
def test_every_kind_of_fault_is_refused_and_named(refused: AuditError, fault: Fault) -> None:
    [found] = [outcome for outcome in refused.outcomes if outcome.name.startswith(fault.test)]
    assert found.status == "fail"
    assert f"stg_{fault.contract.name}" in found.tested_models
    assert fault.shown in found.explain()
    assert found.explain() in str(refused)


@pytest.mark.slow
def test_many_broken_rows_of_one_rule_do_not_hide_another(refused: AuditError) -> None:
    """Of the generated outputs three rules are broken: rows of each are shown, with how many there are."""
    [found] = [outcome for outcome in refused.outcomes if outcome.name == "stg_generated_outputs_keeps_its_rules"]
    assert {(row["broken_column"], row["n_rows"]) for row in found.rows} == {
        ("output_id", 1),
        ("attempt", 1),
        ("arm", 1),
    }


@pytest.mark.slow
def test_control_tables_without_a_fault_keep_their_rules(refused: AuditError) -> None:
    failed = {name for outcome in refused.outcomes if outcome.status == "fail" for name in outcome.tested_models}
    planted = {f"stg_{fault.contract.name}" for fault in FAULTS}
    kept: list[NodeOutcome] = [one for one in refused.outcomes if one.name.endswith(RULES_TEST)]
    others = {f"stg_{name}" for name in TABLES} - planted
    passed = {name for outcome in kept if outcome.status == "pass" for name in outcome.tested_models}
    # Ids that went missing are missed by the tables that name them.
    assert failed - planted <= {"stg_performance_metrics", "stg_reference_corpus"}
    assert others <= passed


# -- the project itself ----------------------------------------------------------------------------------------------
def changed_project(root: Path, name: str, before: str, after: str) -> Path:
    project = root / "dbt_project"
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    path = project / "models" / name
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    return project


def build(project: Path, root: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    """What dbt's `build` says of each node, on an empty lake."""
    file, target = root / "flywheel.duckdb", root / "target"
    create_layer_views(file, root / "lake")
    done = run_dbt([*CLI, "build", "--quiet", *arguments], project, target, {BUILD_FILE_VARIABLE: str(file)})
    assert (target / "run_results.json").exists(), done.stdout + done.stderr
    results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    return {result["unique_id"]: result for result in results}


@pytest.mark.slow
def test_unit_tests_of_the_models_pass(tmp_path: Path) -> None:
    """They are left out of a publish, because they do not depend on what is in the lake."""
    declared = set(parsed().manifest["unit_tests"])
    results = build(DBT_PROJECT, tmp_path, "--exclude-resource-type", "test")
    found = {name: one for name, one in results.items() if name.startswith("unit_test.")}
    assert len(declared) >= 7
    assert set(found) == declared
    assert {name: one["message"] for name, one in found.items() if one["status"] != "pass"} == {}


@pytest.mark.slow
def test_control_a_model_that_is_wrong_and_a_rule_that_is_none_are_noticed(tmp_path: Path) -> None:
    """In a copy of the project, one model counts otherwise, and a column of another has a rule with a slip."""
    project = changed_project(tmp_path, "staging/stg_audit.yml", "at_least: 1", "at_lest: 1")
    costs = project / "models" / "intermediate" / "int_cycle_costs.sql"
    text = costs.read_text(encoding="utf-8")
    assert "status = 'failed'" in text
    costs.write_text(text.replace("status = 'failed'", "status = 'none'"), encoding="utf-8")
    found = build(project, tmp_path, "--select", "+int_cycle_costs", "stg_audit")
    unit_tests = [one["status"] for name, one in found.items() if name.startswith("unit_test.")]
    assert "fail" in unit_tests
    [slip] = [one for name, one in found.items() if "stg_audit_keeps_its_rules" in name]
    assert slip["status"] == "error"
    assert "stg_audit, column item: the rule 'at_lest: 1' is not known" in slip["message"]
