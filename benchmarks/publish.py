"""What write-audit-publish costs: `python -m benchmarks.publish`.

Against a publish stands the SQL of the same models, run by DuckDB alone: the same views and tables in a new file,
without dbt, without its tests, without the snapshot of the lake and without the rename. The difference is what it costs
that nobody ever opens a file that did not pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from benchmarks.measurement import Measurement, run_alone, side_by_side
from benchmarks.world import World, temporary_data
from flywheel_pipelines.lake.dbt import dbt_manifest
from flywheel_pipelines.lake.layer_views import SCHEMA, create_view
from flywheel_pipelines.lake.publish import PublishReport, publish
from flywheel_pipelines.lake.tables import ALL_TABLES

NAME = "publish"


def run(cycles: int = 50, outputs: int = 200, repeats: int = 3) -> list[Measurement]:
    """The time of a publish over that of the bare SQL, on a lake of `cycles` cycles of `outputs` outputs."""
    with temporary_data() as paths:
        world = World(paths, weeks=cycles, briefs=outputs // 4, window=2)
        for cycle in world.cycles:
            world.turn(cycle)
        statements = bare_statements(dbt_manifest(), paths.lake)
        reports: list[PublishReport] = []
        published, bare = side_by_side(
            lambda: reports.append(publish(paths, full=True)),
            lambda: run_bare(statements, reports[-1].mart_rows),
            repeats,
        )
        report = reports[-1]
    size = f"{cycles} cycles of {outputs} outputs, {report.n_bytes / 1e6:.0f} MB"
    tests = sum(outcome.kind != "model" for outcome in report.outcomes)
    return [
        Measurement(NAME, "publish / DuckDB running the models' SQL alone", published / bare, notes=size),
        Measurement(NAME, "publish", published, "s", notes=f"start of dbt, {tests} tests, snapshot, rename; median"),
        Measurement(NAME, "the models' SQL alone", bare, "s", notes="median"),
    ]


def bare_statements(manifest: Mapping[str, Any], lake: Path) -> list[str]:
    """The SQL that builds the same views and tables, each after what it reads."""
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    names = {node["name"]: f'"{node["schema"]}"."{node["name"]}"' for node in models.values()}
    macros: dict[str, Any] = {
        "ref": lambda name: names[name],
        "source": lambda _, table: f'{SCHEMA}."{table}"',
        # What a model asks of dbt is no part of its SQL.
        "config": lambda **_: "",
    }
    statements = [f"create schema if not exists {SCHEMA}", *(create_view(table, lake) for table in ALL_TABLES)]
    statements += [f'create schema if not exists "{node["schema"]}"' for node in models.values()]
    done: set[str] = set()
    while len(done) < len(models):
        for key, node in models.items():
            if key not in done and all(parent in done for parent in node["depends_on"]["nodes"] if parent in models):
                done.add(key)
                kind = "table" if node["config"]["materialized"] == "table" else "view"
                query = jinja2.Template(node["raw_code"]).render(**macros)
                statements.append(f"create {kind} {names[node['name']]} as {query}")
    return statements


def run_bare(statements: list[str], expected: Mapping[str, int], memory: str | None = None) -> None:
    """Run the SQL on a new file, within `memory` (as DuckDB takes it) where that is said.

    Raises:
        RuntimeError: it does not make the rows that a publish makes.
    """
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        duckdb.connect(f"{folder}/flywheel.duckdb") as connection,
    ):
        if memory:
            connection.execute(f"set memory_limit = '{memory}'")
        for statement in statements:
            connection.execute(statement)
        for mart, rows in expected.items():
            found = connection.execute(f'select count(*) from main."{mart}"').fetchall()[0][0]
            if found != rows:
                raise RuntimeError(f"{mart}: the SQL alone makes {found} rows, a publish {rows}: not the same work.")


if __name__ == "__main__":
    run_alone(run, __doc__)
