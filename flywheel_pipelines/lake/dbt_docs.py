"""dbt's documentation of the warehouse as one page that needs nothing but itself.

Here: what `dbt docs generate --static` writes, put together from the project as it was parsed: dbt itself would read it
once more and ask the database for columns, which every model's YAML has. Not here: Data Docs of the feeds (`report`).
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.paths import DataPaths

FOLDER = "dbt_docs"
_SLOTS = {"manifest": '"MANIFEST.JSON INLINE DATA"', "catalog": '"CATALOG.JSON INLINE DATA"'}


def write_dbt_docs(paths: DataPaths, manifest: Mapping[str, Any], mart_rows: Mapping[str, int]) -> Path:
    """Write `data/reports/dbt_docs/index.html`, whole; returns it. It has the marts' rows of the last publish.

    Raises:
        PublishError: this release of dbt has another page, with no place for what is to be put in.
    """
    page = _dbts_page()
    for name, found in (("manifest", manifest), ("catalog", catalog(manifest, mart_rows))):
        if page.count(_SLOTS[name]) != 1:
            raise PublishError(
                f"dbt's page of documentation: expected {_SLOTS[name]} once, found it "
                f"{page.count(_SLOTS[name])} times. "
                "Another release of dbt-core has another page: adapt lake/dbt_docs.py, or install the locked release."
            )
        # In a script of a page, `</` would end the script.
        page = page.replace(_SLOTS[name], json.dumps(found).replace("</", "<\\/"))
    path = paths.reports / FOLDER / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(".index.html")
    making.write_text(page, encoding="utf-8")
    os.replace(making, path)
    return path


def page_of_mart(index: Path, mart: str) -> str:
    """The address of a mart's own view in the page."""
    return f"{index.as_uri()}#!/model/model.flywheel_warehouse.{mart}"


def catalog(manifest: Mapping[str, Any], mart_rows: Mapping[str, int]) -> dict[str, Any]:
    """The relations with their columns, as dbt's page reads them."""
    nodes = {
        key: _relation(key, node, mart_rows.get(node["name"]))
        for key, node in manifest["nodes"].items()
        if node["resource_type"] == "model"
    }
    return {"metadata": {}, "nodes": nodes, "sources": {}, "errors": None}


def _relation(key: str, node: Mapping[str, Any], n_rows: int | None) -> dict[str, Any]:
    kind = "BASE TABLE" if node["config"]["materialized"] == "table" else "VIEW"
    columns = {
        name: {"name": name, "index": index, "type": column.get("data_type") or "", "comment": column["description"]}
        for index, (name, column) in enumerate(node["columns"].items(), start=1)
    }
    rows = {
        "id": "rows", "label": "Rows", "value": n_rows, "include": n_rows is not None,
        "description": "Rows of the last publish.",
    }  # fmt: skip
    about = {"type": kind, "schema": node["schema"], "name": node["alias"], "database": None, "comment": None}
    return {"unique_id": key, "metadata": about, "columns": columns, "stats": {"rows": rows}}


def _dbts_page() -> str:
    found = importlib.util.find_spec("dbt.task")
    if found is None or found.origin is None:
        raise PublishError("dbt-core is not installed, so there is no page of its documentation: run make install.")
    return (Path(found.origin).parent / "docs" / "index.html").read_text(encoding="utf-8")
