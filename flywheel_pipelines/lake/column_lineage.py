"""Which columns a column of a mart is made from, read from the SQL of the dbt models.

Here: pure readings of dbt's manifest, by sqlglot. Not here: the marts themselves (`marts.py`), and how the UI shows it
(`components/`).

A column is traced through CTEs, staging and intermediate models to the lake's tables and to other marts. What decides
about rows only (joins, filters) is no source of a column. sqlglot cannot follow `unpivot`, so no model uses it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

_REF = re.compile(r"\{\{\s*ref\('(\w+)'\)\s*\}\}")
_CONFIG = re.compile(r"^\{\{ config\(.*\) \}\}$", re.MULTILINE)
_STAGING = "stg_"
_INTERMEDIATE = "int_"


@dataclass(frozen=True, order=True)
class Source:
    """A column of another mart, or of a table of the lake."""

    table: str
    column: str
    is_mart: bool


Lineage = dict[str, dict[str, frozenset[Source]]]
"""By mart and column, the columns that it is made from."""


def kept_column_lineage(manifest: Mapping[str, Any], folder: Path) -> Lineage:
    """As `column_lineage`, which takes seconds; kept in a folder until a model changes."""
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    seen = sorted((node["name"], node["raw_code"], list(node["columns"])) for node in models)
    path = folder / f"column_lineage-{hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]}.json"
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {
            mart: {column: frozenset(Source(*source) for source in sources) for column, sources in columns.items()}
            for mart, columns in kept.items()
        }
    found = column_lineage(manifest)
    as_lists = {
        mart: {column: [astuple(source) for source in sorted(sources)] for column, sources in columns.items()}
        for mart, columns in found.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    writing = folder / f".writing-{uuid4().hex}"
    writing.write_text(json.dumps(as_lists), encoding="utf-8")
    os.replace(writing, path)
    return found


def column_lineage(manifest: Mapping[str, Any]) -> Lineage:
    """By mart and column, the columns that it is made from; none for a constant or a count of rows."""
    models = {
        node["name"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["fqn"][1] != "staging"
    }
    schema = {
        node["name"]: {name: column.get("data_type") or "varchar" for name, column in node["columns"].items()}
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model"
    }
    direct = cache(lambda name: _direct_sources(models[name]["raw_code"], schema))

    def sources(name: str, column: str) -> frozenset[Source]:
        found: set[Source] = set()
        for table, source in direct(name).get(column, ()):
            if table.startswith(_STAGING):
                found.add(Source(table.removeprefix(_STAGING), source, is_mart=False))
            elif table.startswith(_INTERMEDIATE):
                found |= sources(table, source)
            else:
                found.add(Source(table, source, is_mart=True))
        return frozenset(found)

    marts = [name for name, node in models.items() if node["fqn"][1] == "marts"]
    return {name: {column: sources(name, column) for column in schema[name]} for name in sorted(marts)}


def _direct_sources(raw_code: str, schema: Mapping[str, Mapping[str, str]]) -> dict[str, set[tuple[str, str]]]:
    """By column, the tables and columns that the query of one model takes it from."""
    # Slow to import, and only those who load definitions need it.
    from sqlglot.expressions import Table
    from sqlglot.lineage import lineage

    names = set(_REF.findall(raw_code))
    query = _CONFIG.sub("", _REF.sub(r"\1", raw_code))
    known = {name: dict(schema[name]) for name in names}
    nodes = lineage(None, query, known, dialect="duckdb", trim_selects=False)
    return {
        column: {
            (node.expression.name, node.name.split(".")[-1].strip('"'))
            for node in top.walk()
            if isinstance(node.expression, Table) and node.expression.name in names
        }
        for column, top in nodes.items()
    }
