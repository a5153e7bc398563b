"""Wiring: from a spec to Dagster assets, checks and jobs. No logic lives here."""

from flywheel_pipelines.components.warehouse import WarehouseComponent

__all__ = ["WarehouseComponent"]
