"""Noticing what people must know: runs that failed, checks that object, cycles that are overdue. Wiring only.

The sensors are on from the start and do nothing until a channel is set in the environment (`alerts.sending`). Each run
is told about once. A run that Dagster is about to retry by itself is no alert yet; the last retry is.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from flywheel_pipelines.alerts.messages import Alert, checks_objected, cycle_overdue, run_failed
from flywheel_pipelines.alerts.sending import SLACK, SMTP, Channels
from flywheel_pipelines.components import automation
from flywheel_pipelines.components.runs import is_about_to_be_retried
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.turns import overdue
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.spec import FlywheelSpec

POLLING_SECONDS = 30
OVERDUE_SECONDS = 900
NO_CHANNEL = f"Neither {SLACK} nor {SMTP} is set, so that nobody is told."
RANGE_START, RANGE_END, PARTITION = (
    "dagster/asset_partition_range_start", "dagster/asset_partition_range_end", "dagster/partition",
)  # fmt: skip
Owners = Mapping[str, Sequence[str]]


def alert_sensors(specs: Iterable[FlywheelSpec]) -> list[dg.SensorDefinition]:
    """The sensors of a deployment, for some flywheels."""
    specs = list(specs)
    owners = {spec.name: spec.owners for spec in specs}
    return [_failures(owners), _objections(owners), _overdue(specs)]


def _failures(owners: Owners) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="alerts__failures",
        minimum_interval_seconds=POLLING_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people about runs that failed.",
    )
    def failures(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run, channels = context.dagster_run, Channels(os.environ)
        if not channels.are_set:
            return dg.SkipReason(NO_CHANNEL)
        newest = context.instance.get_run_by_id(run.run_id) or run
        if is_about_to_be_retried(context.instance, newest):
            return dg.SkipReason(f"Run {run.run_id[:8]} is retried by itself.")
        why = "\n".join(map(_why, context.get_step_failure_events())) or context.failure_event.message or "It failed."
        told(channels, run_failed(run.job_name, _cycles(run), why, _owners(run, owners), _link(channels, run)), context)
        return None

    return failures


def _objections(owners: Owners) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="alerts__objections",
        minimum_interval_seconds=POLLING_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people about checks that object in runs that ended well.",
    )
    def objections(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
        run, channels = context.dagster_run, Channels(os.environ)
        if not channels.are_set:
            return dg.SkipReason(NO_CHANNEL)
        found = _objecting(context.instance, run.run_id)
        if not found:
            return dg.SkipReason(f"No check of run {run.run_id[:8]} objects.")
        alert = checks_objected(run.job_name, _cycles(run), found, _owners(run, owners), _link(channels, run))
        told(channels, alert, context)
        return None

    return objections


def _overdue(specs: Sequence[FlywheelSpec]) -> dg.SensorDefinition:
    @dg.sensor(
        name="alerts__overdue",
        minimum_interval_seconds=OVERDUE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people about cycles that are over and not closed in time; about each of them once.",
    )
    def overdue_cycles(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        channels = Channels(os.environ)
        if not channels.are_set:
            return dg.SensorResult(skip_reason=NO_CHANNEL)
        lake, known = Lake(DataPaths.from_environment().lake), set(json.loads(context.cursor or "[]"))
        late: dict[str, Alert] = {}
        for spec in specs:
            opened = lake.cycles(tables.PUBLISHED_OUTPUTS, spec.name)
            found = overdue(spec, opened, lake.cycles(tables.MOMENTUM, spec.name), automation.utc_now())
            if found is not None:
                link = channels.link(f"asset-groups?q={spec.name}")
                key = f"{spec.name}:{found.cycle}"
                late[key] = cycle_overdue(spec.name, str(found.cycle), found.deadline, spec.owners, link)
        for key in late.keys() - known:
            told(channels, late[key], context)
        words = f"Overdue: {', '.join(sorted(late))}." if late else "No cycle is overdue."
        # What is closed by now is forgotten, so that it would be told again.
        return dg.SensorResult(skip_reason=words, cursor=json.dumps(sorted(late)))

    return overdue_cycles


def told(
    channels: Channels, alert: Alert, context: dg.RunStatusSensorContext | dg.SensorEvaluationContext
) -> list[str]:
    """Send an alert and note by which channels; what cannot be sent fails the tick, in words."""
    sent = channels.send(alert)
    context.log.info(f"Sent by {', '.join(sent)}: {alert.subject}")
    return sent


def _why(event: dg.DagsterEvent) -> str:
    """What a failed step said: the words for people where there are any, else the innermost error."""
    data = event.step_failure_data
    words = data.user_failure_data.description if data.user_failure_data else None
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"Step {event.step_key}: {words or (error.message.strip() if error else event.message) or 'failed'}"


def _objecting(instance: dg.DagsterInstance, run_id: str) -> list[tuple[str, str]]:
    """Name and words of the checks of a run that did not pass."""
    found = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation = entry.dagster_event.event_specific_data if entry.dagster_event else None
        if isinstance(evaluation, dg.AssetCheckEvaluation) and not evaluation.passed:
            name = f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}"
            found.append((name, evaluation.description or "did not pass"))
    return found


def _cycles(run: dg.DagsterRun) -> str:
    first, last = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
    if first and last:
        return f"cycles {first} to {last}"
    return f"cycle {run.tags[PARTITION]}" if PARTITION in run.tags else ""


def _owners(run: dg.DagsterRun, owners: Owners) -> Sequence[str]:
    """The owners of whose flywheel it was; a run of assets without a job names it by their keys."""
    flywheel = run.tags.get("flywheel") or next((key.path[0] for key in run.asset_selection or ()), "")
    return owners.get(flywheel, ())


def _link(channels: Channels, run: dg.DagsterRun) -> str | None:
    return channels.link(f"runs/{run.run_id}")
