"""Registering the quality floor before anything is measured, and reading back the rule that a cycle was opened with.

A threshold is a fact in a ledger: changing the YAML registers a new version from the next opened cycle on and never
re-judges the past. Not here: what a floor means (`floor.py`) or judging by it (`scoring.py`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.tables import THRESHOLDS
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.spec import FloorSpec


@dataclass(frozen=True)
class RegisteredThreshold:
    """A batch of one fact, ready for the ledger."""

    version: str
    header: dict[str, object]
    rows: pa.Table


def register_threshold(
    floor: FloorSpec, better: Literal["higher", "lower"], cycle: date, recorded_at: datetime
) -> RegisteredThreshold:
    """The threshold as a fact recorded at `recorded_at` (UTC), in force from `cycle` on.

    Its version is the hash of the rule alone, so registering the same rule again is the same batch and changes nothing.
    """
    rule = json.dumps({**floor.model_dump(exclude_none=True), "better": better}, sort_keys=True)
    version = hashlib.sha256(rule.encode()).hexdigest()[:16]
    fact = {
        "threshold_version": version,
        "metric": floor.metric,
        "rule": rule,
        "effective_from": cycle,
        "batch_id": f"threshold-{version}",
        "recorded_at": recorded_at,
        "source_row": 1,
    }
    header = {
        "batch_id": fact["batch_id"],
        "source": "quality floor in the flywheel's YAML",
        "recorded_at": recorded_at,
        "n_rows": 1,
        "n_quarantined": 0,
        "first_cycle": cycle,
        "last_cycle": cycle,
    }
    return RegisteredThreshold(version, header, pa.Table.from_pylist([fact], schema=THRESHOLDS.schema))


def floor_rule(thresholds: pa.Table, version: str) -> FloorRule:
    """The rule of one registered version. Raises FlywheelError when it was never registered."""
    for row in thresholds.to_pylist():
        if row["threshold_version"] == version:
            return FloorRule(**json.loads(row["rule"]))
    raise FlywheelError(
        f"Threshold version {version} is not in the ledger `thresholds`. A cycle's manifest pins the floor it was "
        "opened with; open the cycle again so that it is registered."
    )
