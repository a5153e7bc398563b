"""Where flywheels stand, read from the lake. Here: the rows behind `flywheel status` and `flywheel audit`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.quarantine import count_open
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.versions import stale_cycles
from flywheel_pipelines.momentum.audit import verdict, verdict_words
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.spec import (
    COMPONENT_TYPE,
    INSIGHT_COMPONENT_TYPE,
    FlywheelSpec,
    InsightSpec,
    load_insight,
    load_spec,
)

Rows = list[dict[str, Any]]
RESTATED = tuple(
    table
    for table in tables.ALL_TABLES
    if table.kind == "table" and table.layer in ("feedback", "learning", "momentum")
)
"""What a correction changes. Production is not waiting for it: what was published stays as it was."""


def flywheel_status(paths: DataPaths, defs_dir: Path) -> Rows:
    """One row per flywheel that is declared below `defs_dir`, also those that never ran."""
    lake = Lake(paths.lake)
    rows = [_status(lake, spec) for spec in find_specs(defs_dir)]
    return rows + [_insight_status(lake, spec) for spec in find_insights(defs_dir)]


def find_specs(defs_dir: Path) -> list[FlywheelSpec]:
    """The flywheels declared below a folder of definitions, by folder name."""
    files = sorted(defs_dir.glob("*/defs.yaml"))
    return [load_spec(path) for path in files if f"type: {COMPONENT_TYPE}" in path.read_text(encoding="utf-8")]


def find_insights(defs_dir: Path) -> list[InsightSpec]:
    """The insight flywheels declared below a folder of definitions, by folder name."""
    files = sorted(defs_dir.glob("*/defs.yaml"))
    return [load_insight(path) for path in files if f"type: {INSIGHT_COMPONENT_TYPE}" in path.read_text("utf-8")]


def readable_specs(defs_dir: Path) -> list[FlywheelSpec]:
    """The same without those that are refused: one broken YAML must not silence what concerns the others."""
    return read_specs(defs_dir)[0]


def read_specs(defs_dir: Path) -> tuple[list[FlywheelSpec], dict[str, str]]:
    """Those that can be used, and why the others cannot, by the name of their folder."""
    specs, refused = [], {}
    for path in sorted(defs_dir.glob("*/defs.yaml")):
        try:
            if f"type: {COMPONENT_TYPE}" in path.read_text(encoding="utf-8"):
                specs.append(load_spec(path))
        except (FlywheelError, UnicodeDecodeError, OSError) as error:
            refused[path.parent.name] = str(error)
    return specs, refused


def latest_audit(paths: DataPaths, spec: FlywheelSpec) -> tuple[date, Rows, str, str]:
    """Cycle, rows, verdict and verdict in words of the last closed cycle. Raises FlywheelError when none was closed."""
    lake = Lake(paths.lake)
    closed = lake.cycles(tables.MOMENTUM, spec.name)
    if not closed:
        raise FlywheelError(
            f"{spec.name}: no cycle was closed yet, so there is nothing to audit. Run `flywheel demo`, "
            f"`flywheel replay FILE`, or the jobs {spec.name}__open and {spec.name}__close."
        )
    audited = lake.read(tables.AUDIT, spec.name, closed[-1])
    return closed[-1], audited.drop_columns(["cycle"]).to_pylist(), verdict(audited), verdict_words(audited)


def _status(lake: Lake, spec: FlywheelSpec) -> dict[str, Any]:
    opened = lake.cycles(tables.CYCLE_MANIFEST, spec.name)
    closed = lake.cycles(tables.MOMENTUM, spec.name)
    last: dict[str, Any] = {}
    audited: Rows = []
    is_synthetic = spec.is_synthetic
    if closed:
        rows = lake.read(tables.MOMENTUM, spec.name, closed[-1]).to_pylist()
        last = next(row for row in rows if row["scope"] == "cumulative")
        audited = lake.read(tables.AUDIT, spec.name, closed[-1]).to_pylist()
        manifest = lake.read(tables.CYCLE_MANIFEST, spec.name, closed[-1], columns=["is_synthetic"])
        is_synthetic = any(manifest["is_synthetic"].to_pylist())
    stale = stale_cycles(lake, spec.name, RESTATED)
    # A brief that comes late by a feed waits for the next attempt; an article that was replaced is another matter.
    replaced = stale_cycles(lake, spec.name, [tables.BRIEFS]) if spec.briefs.published_by else {}
    return {
        "flywheel": spec.name,
        "data": ("synthetic" if is_synthetic else "real") if opened else "none yet",
        "n_opened": len(opened),
        "n_closed": len(closed),
        "open_cycle": max(set(opened) - set(closed), default=None),
        "last_closed": closed[-1] if closed else None,
        "lift": last.get("lift"),
        "lower": last.get("anytime_lower"),
        "upper": last.get("anytime_upper"),
        "n_audit_passed": sum(row["passed"] for row in audited),
        "n_quarantined": count_open(lake, spec.name),
        "n_stale": len({cycle for cycles in stale.values() for cycle in cycles}),
        "briefs_changed": {"published_by": spec.briefs.published_by, "cycles": replaced.get(tables.BRIEFS.name, [])},
    }


def _insight_status(lake: Lake, spec: InsightSpec) -> dict[str, Any]:
    """The same of an insight flywheel, which has no lift over an arm and no audit."""
    opened = lake.cycles(tables.TICKET_THEMES, spec.name)
    closed = lake.cycles(tables.THEME_LEARNING, spec.name)
    stale = stale_cycles(lake, spec.name, RESTATED)
    return {
        "flywheel": spec.name,
        "data": ("synthetic" if spec.is_synthetic else "real") if opened else "none yet",
        "n_opened": len(opened),
        "n_closed": len(closed),
        "open_cycle": max(set(opened) - set(closed), default=None),
        "last_closed": closed[-1] if closed else None,
        "lift": None,
        "lower": None,
        "upper": None,
        "n_audit_passed": None,
        "n_quarantined": count_open(lake, spec.name),
        "n_stale": len({cycle for cycles in stale.values() for cycle in cycles}),
    }
