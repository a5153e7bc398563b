"""Dagster's own storage for the command line: where it is, and that telemetry stays off.

Here: opening the instance that `make dev`, replays and the UI share. Not here: definitions, or running anything.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flywheel_pipelines.paths import PROJECT_ROOT, DataPaths

if TYPE_CHECKING:
    import dagster as dg

SETTINGS = "dagster.yaml"


def prepare_home(paths: DataPaths) -> None:
    """Make the Dagster home of this data directory, with the project's settings, and name it in the environment."""
    home = paths.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    settings = PROJECT_ROOT / SETTINGS
    if settings.exists() and not (home / SETTINGS).exists():
        (home / SETTINGS).write_bytes(settings.read_bytes())
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")


def open_instance(paths: DataPaths) -> dg.DagsterInstance:
    """The instance of this data directory, the same one that the UI shows."""
    import dagster as dg

    prepare_home(paths)
    return dg.DagsterInstance.get()
