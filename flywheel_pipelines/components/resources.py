"""The resource that the assets use: the lake with its DuckDB connections."""

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DataPaths


class LakeResource(dg.ConfigurableResource):
    """The lake below `FLYWHEEL_DATA_DIR`, read through in-memory DuckDB connections."""

    duckdb: dg.ResourceDependency[DuckDBResource]

    def open(self) -> Lake:
        """The lake of the data directory that is in force when the step runs."""
        return Lake(DataPaths.from_environment().lake, connect=self.duckdb.get_connection)
