"""What the instance knows about the runs of a flywheel: those under way, and those that were requested before.

Not here: requesting runs (`automation`, `inbox_sensor`).
"""

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES

UNDER_WAY = (
    dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING,
)  # fmt: skip
WILL_RETRY_TAG, RETRIED_BY_TAG = "dagster/will_retry", "dagster/auto_retry_run_id"
BACKFILL_TAG = "dagster/backfill"


def under_way(instance: dg.DagsterInstance, flywheel: str) -> dg.DagsterRun | None:
    """A run of a flywheel that is queued or under way; None when there is none."""
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=list(UNDER_WAY))):
        if run.tags.get("flywheel") == flywheel or any(key.path[0] == flywheel for key in run.asset_selection or ()):
            return run
    return None


def newest_tagged(instance: dg.DagsterInstance, tag: str, value: str) -> dg.DagsterRun | None:
    """The newest run with a tag, retries and re-executions included, since they inherit it."""
    found = instance.get_runs(filters=dg.RunsFilter(tags={tag: value}), limit=1)
    return found[0] if found else None


def is_about_to_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether Dagster will run it again by itself and has not begun to.

    The tag alone does not tell: any run that died gets it, also one of which Dagster's daemon then finds that it
    cannot run it again. Whoever waited for that would wait for ever.
    """
    will_retry = run.tags.get(WILL_RETRY_TAG, "").lower() == "true"
    return (
        run.status == dg.DagsterRunStatus.FAILURE
        and will_retry
        and RETRIED_BY_TAG not in run.tags
        and _can_be_retried(instance, run)
    )


def _can_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the daemon could: not runs of a process of their own (`flywheel restate`), nor of an ended backfill."""
    if run.remote_job_origin is None:
        return False
    backfill_id = run.tags.get(BACKFILL_TAG)
    if backfill_id is None:
        return True
    backfill = instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status not in BULK_ACTION_TERMINAL_STATUSES
