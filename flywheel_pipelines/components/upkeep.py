"""Keeping the published DuckDB file up to date: a check that says when it is behind, and a sensor that publishes.

Wiring only; the question is asked in `lake.freshness`.
"""

from typing import Any

import dagster as dg

from flywheel_pipelines.components.runs import under_way
from flywheel_pipelines.components.warehouse import GROUP, PUBLISH_JOB, PUBLISHED_FILE
from flywheel_pipelines.lake.freshness import closed_flywheels, freshness
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DataPaths

CHECK = "is_fresh"
EVERY_MORNING = "0 7 * * *"
POLLING_SECONDS = 60


def freshness_check() -> dg.AssetChecksDefinition:
    """The check of the published file; a warning, since what is in it is right as of when it was made."""

    @dg.asset_check(
        asset=PUBLISHED_FILE, name=CHECK, description="Every cycle that was closed is in the file that analysts open."
    )
    def is_fresh() -> dg.AssetCheckResult:
        found = freshness(DataPaths.from_environment())
        return dg.AssetCheckResult(
            passed=found.is_fresh,
            severity=dg.AssetCheckSeverity.WARN,
            description=found.words,
            metadata={
                "cycles_behind": sum(map(len, found.behind.values())),
                "behind": {name: [cycle.isoformat() for cycle in cycles] for name, cycles in found.behind.items()},
                "published_at": str(found.published_at or "never"),
            },
        )

    return is_fresh


def freshness_schedule(check: dg.AssetChecksDefinition) -> tuple[Any, dg.ScheduleDefinition]:
    """The job that runs the check alone, and its schedule."""
    job = dg.define_asset_job(
        f"{GROUP}__check_freshness",
        selection=dg.AssetSelection.checks(check),
        description="Say whether the DuckDB file knows every cycle that was closed.",
        executor_def=dg.in_process_executor,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{GROUP}__check_freshness_every_morning",
        job=job,
        cron_schedule=EVERY_MORNING,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks whether the published file is behind.",
    )
    return job, schedule


@dg.sensor(
    name=f"{GROUP}__publish_when_behind",
    job_name=PUBLISH_JOB,
    minimum_interval_seconds=POLLING_SECONDS,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Publishes the DuckDB file anew once cycles were closed that it does not know.",
)
def publish_when_behind(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One run for each state of what is closed, once no run that may change it is under way."""
    paths = DataPaths.from_environment()
    for flywheel in closed_flywheels(Lake(paths.lake)):
        run = under_way(context.instance, flywheel)
        if run is not None:
            return dg.SensorResult(skip_reason=f"Run {run.run_id[:8]} ({run.job_name}) is under way.")
    found = freshness(paths)
    if found.is_fresh:
        return dg.SensorResult(skip_reason=found.words)
    # A publish that failed is not tried again before something else was closed: its audit objects to the data.
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"publish:{found.closed}")])
