"""Flywheels that come as recipes: where they are, and as Dagster definitions."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components.flywheel import FlywheelComponent
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.paths import RECIPES_DIR
from flywheel_pipelines.spec import load_spec

LEAD_SCORING = RECIPES_DIR / "lead_scoring"


def definitions_of(folder: Path) -> dg.Definitions:
    """The component of a recipe's YAML, with the resources it needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = FlywheelComponent(load_spec(folder / "defs.yaml"), folder).build_defs(None)  # type: ignore[arg-type]
    resources = {"lake": LakeResource(duckdb=DuckDBResource(database=":memory:")), "llm": LlmResource()}
    return dg.Definitions.merge(made, dg.Definitions(resources=resources))
