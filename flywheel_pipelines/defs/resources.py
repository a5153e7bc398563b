"""The resources of this deployment."""

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components.resources import LakeResource, LlmResource


@dg.definitions
def resources() -> dg.Definitions:
    """In-memory DuckDB (two threads, 2 GB: raise both on a larger machine) the lake, and whoever writes."""
    duckdb = DuckDBResource(database=":memory:", connection_config={"threads": 2, "memory_limit": "2GB"})
    return dg.Definitions(resources={"duckdb": duckdb, "lake": LakeResource(duckdb=duckdb), "llm": LlmResource()})
