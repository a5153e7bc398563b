"""Registering the quality floor before anything is measured, and reading back the rule that a cycle was opened with.

A threshold is a fact in a ledger: changing the YAML registers a new version from the next opened cycle on (or from
`floor.effective_from`) and never re-judges the past. To do that takes a second fact, in `rejudgements`, that a person
asks for. Not here: what a floor means (`floor.py`) or judging by it (`scoring.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import REJUDGEMENTS, THRESHOLDS
from flywheel_pipelines.learning.floor import Better, FloorRule
from flywheel_pipelines.spec import FloorSpec


@dataclass(frozen=True)
class RegisteredThreshold:
    """A batch of one fact, ready for the ledger."""

    version: str
    header: dict[str, object]
    rows: pa.Table


def register_threshold(
    floor: FloorSpec, directions: Mapping[str, Better], cycle: date, recorded_at: datetime
) -> RegisteredThreshold:
    """The threshold as a fact recorded at `recorded_at` (UTC), in force from `cycle` on.

    Its version is the hash of the rule alone, so registering the same rule again is the same batch and changes nothing.

    Args:
        floor: the floor of the YAML.
        directions: which direction is good, of each of the flywheel's metrics.
        cycle: the first cycle that it judges, when the YAML does not say a later one.
        recorded_at: when it is registered.
    """
    rule = json.dumps(_rule_of(floor, directions), sort_keys=True)
    version = hashlib.sha256(rule.encode()).hexdigest()[:16]
    cycle = max(cycle, floor.effective_from or cycle)
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


def _rule_of(floor: FloorSpec, directions: Mapping[str, Better]) -> dict[str, Any]:
    """The rule as JSON: what judges, and not since when."""
    rule = floor.model_dump(exclude_none=True, exclude={"effective_from"})
    if floor.veto is not None:
        rule["veto"] = {name: {"value": limit, "better": directions[name]} for name, limit in floor.veto.items()}
    return {**rule, "better": directions[floor.metric]}


def floor_rule(thresholds: pa.Table, version: str) -> FloorRule:
    """The rule of one registered version. Raises FlywheelError when it was never registered."""
    for row in thresholds.to_pylist():
        if row["threshold_version"] == version:
            return FloorRule.from_json(json.loads(row["rule"]))
    raise FlywheelError(
        f"Threshold version {version} is not in the ledger `thresholds`. A cycle's manifest pins the floor it was "
        "opened with; open the cycle again so that it is registered."
    )


def judged_by(rejudgements: pa.Table, pinned: str) -> str:
    """The version that judges a cycle: the one a person asked for last, or the one it was opened with.

    Args:
        rejudgements: rows of `rejudgements` for the cycle.
        pinned: the version in the cycle's manifest.
    """
    rows = rejudgements.to_pylist()
    latest = max(rows, key=lambda row: (row["recorded_at"], row["batch_id"]), default=None)
    return pinned if latest is None else str(latest["threshold_version"])


def rejudge(
    flywheel: str, version: str, replaced: Mapping[date, str], recorded_at: datetime
) -> tuple[dict[str, object], pa.Table]:
    """The batch (header and rows of `rejudgements`) by which `version` judges some cycles from now on.

    Args:
        flywheel: whose cycles.
        version: a registered threshold.
        replaced: the cycles that it does not judge yet, at least one, with the version that does.
        recorded_at: when a person asked for it (UTC).
    """
    batch_id = f"rejudgement-{content_hash(flywheel, version, recorded_at, *sorted(replaced.items()))}"
    fact = {"threshold_version": version, "batch_id": batch_id, "recorded_at": recorded_at}
    rows = [
        {"cycle": cycle, "replaces_version": before, "source_row": number, **fact}
        for number, (cycle, before) in enumerate(sorted(replaced.items()), start=1)
    ]
    header = {
        "batch_id": batch_id,
        "source": f"restate --threshold: judged by {version}",
        "recorded_at": recorded_at,
        "n_rows": len(rows),
        "n_quarantined": 0,
        "first_cycle": min(replaced),
        "last_cycle": max(replaced),
    }
    schema = REJUDGEMENTS.schema.insert(0, pa.field("cycle", pa.date32()))
    return header, pa.Table.from_pylist(rows, schema=schema)
