"""The resources that the assets use: the lake with its DuckDB connections, and whoever writes."""

import os
from datetime import datetime

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.writing import ProviderWriters, writers_from_environment
from flywheel_pipelines.paths import DataPaths


class LakeResource(dg.ConfigurableResource):
    """The lake below `FLYWHEEL_DATA_DIR`, read through in-memory DuckDB connections."""

    duckdb: dg.ResourceDependency[DuckDBResource]

    def open(self) -> Lake:
        """The lake of the data directory that is in force when the step runs."""
        return Lake(DataPaths.from_environment().lake, connect=self.duckdb.get_connection)


class LlmResource(dg.ConfigurableResource):
    """Language models behind an OpenAI-compatible endpoint; the offline writer where none is configured.

    The endpoint and its key come from the environment alone (OPENAI_BASE_URL, OPENAI_API_KEY), so that neither stands
    in a file, in run config, or in the UI.
    """

    def writers(self, recorded_at: datetime | None = None) -> ProviderWriters:
        """Whoever answers requests in this step; `recorded_at` is recorded instead of now."""
        return writers_from_environment(os.environ, DataPaths.from_environment().journal, recorded_at)
