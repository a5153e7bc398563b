"""What the dbt project says about its marts: descriptions, columns, and which lake tables each is made from.

Here: pure readings of dbt's manifest. Not here: making the manifest (`dbt.py`) and the Dagster assets (`components/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

_KEY_OF_TEST = {"keeps_its_rules": "key", "unique_combination": "columns"}
"""The argument of a test that names columns which no two rows share."""


@dataclass(frozen=True)
class Mart:
    """One table that analysts query. `columns` maps name to (type, description)."""

    name: str
    description: str
    columns: dict[str, tuple[str, str]]
    lake_tables: frozenset[str]
    marts: frozenset[str]


def read_marts(manifest: Mapping[str, Any]) -> list[Mart]:
    """The marts, each after the marts it is made from.

    A mart's `lake_tables` are those it reads itself or through models that are no marts; what it takes from another
    mart is named in `marts`.
    """
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    marts = {key: _read_mart(key, models) for key in sorted(models) if _is_mart(models[key])}
    by_name = {mart.name: mart for mart in marts.values()}
    return [by_name[name] for name in TopologicalSorter({m.name: m.marts for m in marts.values()}).static_order()]


def read_keys(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """By mart, the columns that its tests hold to be unique together."""
    nodes = manifest["nodes"]
    found = {}
    for node in nodes.values():
        test = node.get("test_metadata") or {}
        model = nodes.get(node.get("attached_node"))
        argument = _KEY_OF_TEST.get(test.get("name", ""))
        if argument and model and _is_mart(model):
            found[model["name"]] = test["kwargs"][argument]
    return found


def _read_mart(key: str, models: Mapping[str, Any]) -> Mart:
    node = models[key]
    tables: set[str] = set()
    marts: set[str] = set()
    pending = list(node["depends_on"]["nodes"])
    while pending:
        parent = pending.pop()
        if parent.startswith("source."):
            tables.add(parent.split(".")[-1])
        elif _is_mart(models[parent]):
            marts.add(models[parent]["name"])
        else:
            pending += models[parent]["depends_on"]["nodes"]
    columns = {name: (column.get("data_type") or "", column["description"]) for name, column in node["columns"].items()}
    return Mart(node["name"], node["description"], columns, frozenset(tables), frozenset(marts))


def _is_mart(node: Mapping[str, Any]) -> bool:
    return node["fqn"][1] == "marts"
