"""Column lineage of the marts: complete, of columns that exist, and read from the SQL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.lake import column_lineage as module
from flywheel_pipelines.lake.column_lineage import Lineage, Source, column_lineage, kept_column_lineage
from flywheel_pipelines.lake.dbt import dbt_manifest
from flywheel_pipelines.lake.layer_views import view_columns
from flywheel_pipelines.lake.tables import TABLES

WITHOUT_SOURCE = {
    "ancestry": {"n_children", "n_descendants"},
    "costs": {"n_requests", "n_outputs", "cumulative_n_requests"},
    "cycles": {"n_briefs", "corpus_size"},
    "lineage": {"from_kind", "relation", "to_kind"},
    "outputs": {"n_times_used_as_reference"},
    "performance": {"n_outputs", "n_restated"},
    "prompt_performance": {"n_briefs", "n_control_briefs"},
    "prompts_used": {"arm"},
    "reference_corpus": {"n_cycles"},
    "scores": {"role"},
}
"""Counts of rows and words of the model itself. A new column that appears here is one that sqlglot cannot follow."""


@pytest.fixture(scope="module")
def lineage() -> Lineage:
    return column_lineage(dbt_manifest())


def manifest(**models: str) -> dict[str, Any]:
    """A project of models by name; those that no SQL is given for are staging models."""
    layers = {"stg": "staging", "int": "intermediate"}
    return {
        "nodes": {
            name: {
                "name": name,
                "resource_type": "model",
                "fqn": ["project", layers.get(name.split("_")[0], "marts"), name],
                "raw_code": sql,
                "columns": {key: {"data_type": "varchar"} for key in ("flywheel", "n", "m")},
            }
            for name, sql in models.items()
        }
    }


def only(mart: str, column: str, lineage: Mapping[str, Mapping[str, frozenset[Source]]]) -> set[tuple[str, str]]:
    return {(source.table, source.column) for source in lineage[mart][column]}


def test_every_other_column_has_a_source(lineage):
    without = {mart: {name for name, found in columns.items() if not found} for mart, columns in lineage.items()}
    assert {mart: names for mart, names in without.items() if names} == WITHOUT_SOURCE


def test_every_source_is_a_column_that_exists(lineage):
    unknown = {
        source
        for columns in lineage.values()
        for sources in columns.values()
        for source in sources
        if source.column not in (lineage[source.table] if source.is_mart else view_columns(TABLES[source.table]))
    }
    assert unknown == set()


def test_a_renamed_column_is_traced_to_the_lake(lineage):
    assert only("outputs", "observed_value", lineage) == {("scored_outputs", "observed")}


def test_another_mart_is_where_the_trace_ends(lineage):
    assert lineage["outputs"]["reference_since"] == {Source("reference_corpus", "first_cycle", is_mart=True)}


def test_an_intermediate_model_is_looked_through():
    found = column_lineage(
        manifest(
            stg_a="",
            int_b="select flywheel, n + m as n, m from {{ ref('stg_a') }}",
            c="{{ config(post_hook=[\"{{ f() }}\"]) }}\n\nwith b as (select * from {{ ref('int_b') }})\n"
            "select flywheel, n as m, 1 as n from b",
        )
    )
    assert only("c", "m", found) == {("a", "n"), ("a", "m")}
    assert only("c", "n", found) == set()


def test_it_is_read_once_and_anew_when_a_model_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read = []
    monkeypatch.setattr(module, "column_lineage", lambda project: read.append(1) or column_lineage(project))
    project = manifest(stg_a="", c="select flywheel, n, m from {{ ref('stg_a') }}")
    first = kept_column_lineage(project, tmp_path)
    assert kept_column_lineage(project, tmp_path) == first
    assert len(read) == 1
    changed = manifest(stg_a="", c="select flywheel, n, n as m from {{ ref('stg_a') }}")
    assert only("c", "m", kept_column_lineage(changed, tmp_path)) == {("a", "n")}
    assert len(read) == 2
