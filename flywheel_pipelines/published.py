"""Reading the published DuckDB file, as any analyst would: read-only, and closed again at once.

Here: one query, and the trace of one output. Not here: publishing (`lake.publish`), or showing results (`terminal`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DataPaths

Rows = list[dict[str, Any]]

_OUTPUT = "select * from outputs where output_id = ?"
_CYCLE = "select * from cycles where flywheel = ? and cycle = ?"
_REFERENCE = "select * from reference_corpus where flywheel = ? and reference_id = ?"
_USED_BY = """
with recursive reached as (
    select to_kind, to_id, cycle
    from lineage
    where flywheel = $flywheel and from_kind = 'output' and from_id = $output_id
    union
    select edge.to_kind, edge.to_id, edge.cycle
    from reached
    inner join lineage as edge on edge.from_kind = reached.to_kind and edge.from_id = reached.to_id
    where edge.flywheel = $flywheel and edge.relation in ('rendered_into', 'pinned_by')
)
select
    to_kind as kind,
    count(distinct to_id)::int as n,
    min(cycle) as first_cycle,
    max(cycle) as last_cycle
from reached
where to_kind in ('corpus', 'prompt', 'cycle')
group by to_kind
order by array_position(['corpus', 'prompt', 'cycle'], to_kind)
"""


@dataclass(frozen=True)
class Trace:
    """What produced an output, and what it became a reference for."""

    output: dict[str, Any]
    cycle: dict[str, Any]
    reference: dict[str, Any] | None
    used_by: Rows


def query(paths: DataPaths, sql: str, parameters: object = None) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one query on the published file.

    Raises:
        FlywheelError: nothing is published yet, or DuckDB refuses the query.
    """
    with open_published(paths) as connection:
        try:
            result = connection.execute(sql, parameters)
            return [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as error:
            raise FlywheelError(f"The query was refused: {error}") from error


def open_published(paths: DataPaths) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the published file; raises FlywheelError when there is none."""
    path = paths.published_file
    if not path.exists():
        raise FlywheelError(
            f"{path} does not exist: nothing was published yet. Run `flywheel demo` or `flywheel replay FILE`, or "
            "materialize warehouse/published_file in the Dagster UI."
        )
    try:
        connection = duckdb.connect(str(path), read_only=True)
        connection.execute("set timezone = 'UTC'")
    except duckdb.Error as error:
        raise FlywheelError(f"{path} cannot be opened: {error}") from error
    return connection


def trace(paths: DataPaths, output_id: str) -> Trace:
    """Everything the published file knows about where an output came from and where it went.

    Raises:
        FlywheelError: there is no such output.
    """
    found = _rows(paths, _OUTPUT, [output_id])
    if not found:
        raise FlywheelError(
            f"Output {output_id!r} is not in {paths.published_file}. List some with: "
            'flywheel sql -c "select output_id, text from outputs limit 10"'
        )
    output = found[0]
    flywheel = output["flywheel"]
    references = _rows(paths, _REFERENCE, [flywheel, output_id])
    return Trace(
        output=output,
        cycle=_rows(paths, _CYCLE, [flywheel, output["cycle"]])[0],
        reference=references[0] if references else None,
        used_by=_rows(paths, _USED_BY, {"flywheel": flywheel, "output_id": output_id}),
    )


def _rows(paths: DataPaths, sql: str, parameters: object) -> Rows:
    names, rows = query(paths, sql, parameters)
    return [dict(zip(names, row, strict=True)) for row in rows]
