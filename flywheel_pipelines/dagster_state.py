"""What Dagster's own books say about the deployment: runs at work, daemons alive, where the books are kept.

Only asked; nothing here changes anything.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flywheel_pipelines.backups import BackupError
from flywheel_pipelines.health import WorkingRun

if TYPE_CHECKING:
    import dagster as dg

HEARTBEAT_SECONDS = 300
"""A daemon that was silent for longer is not there; Dagster's own measure."""
FRESH_SECONDS = HEARTBEAT_SECONDS / 5
"""One that was silent for as long works no more on what is about to be replaced."""


def books_are_elsewhere(instance: dg.DagsterInstance) -> bool:
    """Whether runs and events are kept outside the Dagster home, by a database server."""
    from dagster._core.storage.runs import SqliteRunStorage

    return not isinstance(instance.run_storage, SqliteRunStorage)


def refuse_while_runs_work(instance: dg.DagsterInstance) -> None:
    """Raises BackupError while a run is at work, since it may be between two files that belong together."""
    import dagster as dg

    at_work = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=at_work))
    if runs:
        named = ", ".join(f"{run.run_id[:8]} ({run.job_name})" for run in runs[:3])
        raise BackupError(
            f"{len(runs)} run(s) are at work: {named}. Back up when they are done, or cancel them first. A run whose "
            "process was killed counts until the daemon has noticed (30 s). Nothing was written."
        )


def refuse_beside_a_daemon(instance: dg.DagsterInstance, where: object, now: datetime) -> None:
    """Raises BackupError while a daemon works on the books that are about to be replaced."""
    ages = [age for age in daemon_ages(instance, now).values() if age is not None]
    if ages and min(ages) < FRESH_SECONDS:
        raise BackupError(
            f"{where}: a daemon worked here {min(ages):.0f} s ago. Stop the daemon and the webserver, wait a minute, "
            "and restore again."
        )


def is_unused(instance: dg.DagsterInstance) -> bool:
    """Whether no run and no event was ever noted in these books."""
    return instance.get_runs_count() == 0 and not instance.get_asset_keys(limit=1)


def daemon_ages(instance: dg.DagsterInstance, now: datetime) -> dict[str, float | None]:
    """Seconds since the last heartbeat of each daemon that this instance needs; None for never."""
    beats = instance.get_daemon_heartbeats()
    return {
        kind: now.timestamp() - beats[kind].timestamp if kind in beats else None
        for kind in sorted(instance.get_required_daemon_types())
    }


def working_runs(instance: dg.DagsterInstance) -> list[WorkingRun]:
    """Runs that are queued or at work."""
    import dagster as dg

    status = dg.DagsterRunStatus
    waiting = [status.NOT_STARTED, status.QUEUED, status.STARTING, status.STARTED, status.CANCELING]
    records = instance.get_run_records(filters=dg.RunsFilter(statuses=waiting))
    return [
        WorkingRun(
            record.dagster_run.run_id,
            record.dagster_run.job_name,
            record.dagster_run.status.value,
            # A run that waits in the queue has not begun.
            datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp,
        )
        for record in records
    ]
