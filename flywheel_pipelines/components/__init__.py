"""Wiring: from a spec to Dagster assets, checks and jobs. No logic lives here."""

from flywheel_pipelines.components.flywheel import FlywheelComponent
from flywheel_pipelines.components.insight import InsightFlywheelComponent
from flywheel_pipelines.components.warehouse import WarehouseComponent

__all__ = ["FlywheelComponent", "InsightFlywheelComponent", "WarehouseComponent"]
