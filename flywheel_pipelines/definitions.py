"""Loads everything below `defs/`; decides nothing."""

import dagster as dg

from flywheel_pipelines.paths import PROJECT_ROOT


@dg.definitions
def defs() -> dg.Definitions:
    """All flywheels, the warehouse and their resources."""
    return dg.load_from_defs_folder(path_within_project=PROJECT_ROOT)
