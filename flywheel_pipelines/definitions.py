"""Loads everything below `defs/`; decides nothing."""

import dagster as dg
from dagster.components.core.component_tree import ComponentTree

from flywheel_pipelines.loading import load_project
from flywheel_pipelines.paths import PROJECT_ROOT


@dg.definitions
def defs() -> dg.Definitions:
    """All flywheels, the warehouse and their resources."""
    return load_project(ComponentTree.for_project(PROJECT_ROOT))
