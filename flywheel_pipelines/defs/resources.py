"""The resources of this deployment, and how its runs are executed."""

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components.resources import LakeResource, LlmResource


@dg.definitions
def resources() -> dg.Definitions:
    """In-memory DuckDB (two threads, 2 GB: raise both on a larger machine) the lake, and whoever writes."""
    duckdb = DuckDBResource(database=":memory:", connection_config={"threads": 2, "memory_limit": "2GB"})
    return dg.Definitions(
        resources={"duckdb": duckdb, "lake": LakeResource(duckdb=duckdb), "llm": LlmResource()},
        # Also of runs that belong to no job of a flywheel: a backfill of assets, and the button beside them.
        executor=dg.in_process_executor,
    )
