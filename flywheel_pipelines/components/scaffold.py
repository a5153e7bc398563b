"""`dg scaffold defs flywheel_pipelines.components.FlywheelComponent NAME`. Wiring only; the text is in `starter.py`."""

from __future__ import annotations

import re
from typing import Any

import dagster as dg

from flywheel_pipelines.starter import write_starter


class FlywheelScaffolder(dg.Scaffolder):
    """`dg scaffold defs flywheel_pipelines.components.FlywheelComponent NAME`."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the starter YAML; the folder's name becomes the flywheel's."""
        name = re.sub(r"[^a-z0-9_]+", "_", request.target_path.name.lower()).strip("_")
        write_starter(name, request.target_path / "defs.yaml")
