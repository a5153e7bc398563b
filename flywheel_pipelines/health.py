"""Whether a deployment is well: what a monitor asks every few minutes, each answer with its numbers.

Asked are Dagster's books and the files; nothing is changed, and no server is needed but that of the books. A red
finding means that something stands still or will; yellow ones are left to the checks in Dagster, which say more.

Here: the findings. Not here: asking Dagster (`dagster_state`), printing and exit codes (`cli/keeping.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.files import check_file, newest_files
from flywheel_pipelines.lake.freshness import freshness
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.turns import overdue
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.restoring import is_half_restored
from flywheel_pipelines.spec import FlywheelSpec

MINIMUM_FREE_BYTES = 2**30
STUCK_AFTER = timedelta(hours=6)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, whether it is well, in words, and the numbers."""

    name: str
    is_well: bool
    words: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkingRun:
    """A run that is queued or at work, and since when it stands so, UTC."""

    run_id: str
    job: str
    status: str
    since: datetime


def books_finding(refused: str | None) -> Finding:
    """Whether Dagster's books can be read; `refused` says why not."""
    return Finding("books", refused is None, refused or "Dagster's books answer.")


def daemon_finding(ages: Mapping[str, float | None], silent_seconds: float) -> Finding:
    """Whether every daemon that is needed was heard lately; `ages` are seconds since its last heartbeat, None never."""
    silent = {kind: age for kind, age in ages.items() if age is None or age > silent_seconds}
    if not ages:
        return Finding("daemon", False, "No daemon is set up: Dagster has no books here yet. Start dagster-daemon.")
    if silent:
        said = ", ".join(f"{kind}: {'never' if age is None else f'{age:.0f} s ago'}" for kind, age in silent.items())
        words = f"Daemons were last heard: {said}. Start dagster-daemon, or read its log."
        return Finding("daemon", False, words, {"seconds_since": dict(ages)})
    return Finding("daemon", True, "Every daemon was heard lately.", {"seconds_since": dict(ages)})


def runs_finding(runs: Collection[WorkingRun], now: datetime, stuck_after: timedelta = STUCK_AFTER) -> Finding:
    """Whether no run has been queued or at work for too long."""
    stuck = [run for run in runs if now - run.since > stuck_after]
    if stuck:
        said = ", ".join(
            f"{one.run_id[:8]} ({one.job}, {one.status} since {one.since:%Y-%m-%d %H:%M})" for one in stuck
        )
        words = f"{len(stuck)} run(s) stand still: {said} UTC. Read their logs; terminate what hangs."
    else:
        words = f"No run is older than {stuck_after}."
    return Finding("runs", not stuck, words, {"at_work": len(runs), "stuck": [run.run_id for run in stuck]})


def turns_finding(
    specs: Iterable[FlywheelSpec], opened: Mapping[str, list[date]], closed: Mapping[str, list[date]], now: datetime
) -> Finding:
    """Whether each flywheel's newest open cycle was closed within its hours of grace."""
    turns, late = {}, []
    for spec in specs:
        found = overdue(spec, opened[spec.name], closed[spec.name], now)
        turns[spec.name] = {
            "newest_opened": max(opened[spec.name], default=None),
            "newest_closed": max(closed[spec.name], default=None),
        }
        if found is not None:
            late.append(f"cycle {found.cycle} of {spec.name} should have been closed by {found.deadline}")
    words = f"{'; '.join(late)}." if late else "Every cycle that is over was closed in time."
    return Finding("turns", not late, words[:1].upper() + words[1:], turns)


def published_finding(paths: DataPaths, now: datetime, grace: timedelta = timedelta(hours=1)) -> Finding:
    """Whether the published file knows what was closed; what was closed within the `grace` may still be on its way."""
    found = freshness(paths)
    waiting_since = min((_closed_at(paths, *behind) for behind in found.behind.items()), default=now.timestamp())
    is_well = now.timestamp() - waiting_since < grace.total_seconds()
    behind = {name: len(cycles) for name, cycles in found.behind.items()}
    return Finding("published_file", is_well, found.words, {"published_at": found.published_at, "behind": behind})


def _closed_at(paths: DataPaths, flywheel: str, cycles: list[date]) -> float:
    lake = Lake(paths.lake)
    return min(lake.partition_dir(tables.MOMENTUM, flywheel=flywheel, cycle=cycle).stat().st_mtime for cycle in cycles)


def yaml_finding(refused: Mapping[str, str]) -> Finding:
    """Whether every YAML of a flywheel can be used; `refused` are those that cannot, by name, with the reason."""
    words = " ".join(refused.values()) or "Every flywheel's YAML is fine."
    return Finding("definitions", not refused, words, {"refused": sorted(refused)})


def disk_finding(paths: DataPaths, minimum: int = MINIMUM_FREE_BYTES) -> Finding:
    """Whether the disks of the data and of Dagster's books have room."""
    free = {}
    for name, folder in (("data", paths.root), ("dagster_home", paths.dagster_home)):
        while not folder.exists():
            folder = folder.parent
        free[name] = shutil.disk_usage(folder).free
    full = [f"{name}: {left:,} bytes" for name, left in free.items() if left < minimum]
    words = f"Left on the disk of {', of '.join(full)}; wanted are {minimum:,}." if full else "There is room."
    return Finding("disk", not full, words, {"free_bytes": free, "wanted_bytes": minimum})


def restore_finding(paths: DataPaths) -> Finding:
    """Whether no restore was cut off half-way."""
    if is_half_restored(paths):
        return Finding("restore", False, f"A restore of {paths.root} was cut off: restore the same backup again.")
    return Finding("restore", True, "No restore was cut off.")


def tables_finding(paths: DataPaths) -> Finding:
    """Whether this version of the project can read the lake: of each table, one file of the last cycle is looked at."""
    found: dict[str, int] = {}
    refused = []
    for table in tables.ALL_TABLES:
        for path in newest_files(table, paths.lake):
            try:
                found[table.name] = max(check_file(table, path) or 0, found.get(table.name, 0))
            except ContractError as error:
                refused.append(str(error))
            except (FileNotFoundError, pa.ArrowException):
                # Replaced in this moment; or no Parquet, which a publish says.
                continue
    numbers = {name: {"newest": found.get(name), "known": tables.TABLES[name].version} for name in found}
    words = " ".join(refused) or "This version of the project reads the tables of the newest cycle."
    return Finding("tables", not refused, words, numbers)


def file_findings(paths: DataPaths, specs: list[FlywheelSpec], now: datetime, minimum_free: int) -> list[Finding]:
    """Everything that the files tell."""
    lake = Lake(paths.lake)
    opened = {spec.name: lake.cycles(tables.PUBLISHED_OUTPUTS, spec.name) for spec in specs}
    closed = {spec.name: lake.cycles(tables.MOMENTUM, spec.name) for spec in specs}
    return [
        turns_finding(specs, opened, closed, now),
        published_finding(paths, now),
        disk_finding(paths, minimum_free),
        restore_finding(paths),
        tables_finding(paths),
    ]
