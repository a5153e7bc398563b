"""Everything that starts runs of a flywheel by itself, each by its name. Wiring only.

| name | starts | when |
|---|---|---|
| `<name>__turn` | `<name>__close`, `<name>__open` | a cycle is over: it is closed, and its success opens the next |
| `<name>__inbox` | `<name>__close` | a file corrects what closed cycles were computed from |
| `<name>__batches` | `<name>__collect` | the provider has answered a batch |
| `<name>__pull_every_morning` | `<name>__pull` | every morning at 5 UTC |

The turns are a sensor, and neither a schedule nor automation conditions. A schedule that missed ticks launches them
together, so that nothing holds their order. `on_cron` looks at the newest partition alone, so that cycles that were
missed stay missed (a test shows it); and that closing W precedes opening W+1 is no arrow of the graph, since the loop
is cut there. The sensor asks the lake what is open and closed, requests the one turn that follows, and waits for it: it
has no cursor that a kill could lose, and what somebody ran by hand counts as well. Where briefs are what another
flywheel publishes, an opening waits for that, and for the end of the run that does it; a close waits for nobody.

It is off until somebody switches it on, since it opens cycles, which may cost money. A turn whose run failed is not
requested again: re-execute it once its cause is put right. A run that died is retried by Dagster (`dagster.yaml`).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg

from flywheel_pipelines.components.batch_assets import batch_sensor
from flywheel_pipelines.components.inbox_sensor import inbox_sensor
from flywheel_pipelines.components.kit import AssetKit, LoopKit
from flywheel_pipelines.components.pull_job import pull_schedule
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.components.runs import is_about_to_be_retried, newest_tagged, under_way
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.corrections import correction_due
from flywheel_pipelines.loop.insight.correcting import insight_correction_due
from flywheel_pipelines.loop.turns import Turn, holes, holes_in_words, next_insight_turn, next_turn
from flywheel_pipelines.spec import InsightSpec

POLLING_SECONDS = 30
TURN_TAG = "turn"
DueNow = Callable[[Lake, datetime], tuple[Turn | str, str]]


def automation(kit: AssetKit, jobs: Mapping[str, Any]) -> tuple[list[dg.SensorDefinition], list[dg.ScheduleDefinition]]:
    """The sensors and schedules of a flywheel that has some jobs, by their verbs."""
    sensors = [turn_sensor(kit, jobs["open"], jobs["close"], partial(due_in, kit), kit.spec.briefs.published_by)]
    if "collect" in jobs:
        sensors.append(batch_sensor(kit, jobs["collect"]))
    if kit.spec.feeds:
        sensors.append(inbox_sensor(kit, [jobs["close"]], lambda store: correction_due(store, kit.spec)))
    return sensors, [pull_schedule(kit, jobs["pull"])] if "pull" in jobs else []


def insight_automation(kit: LoopKit[InsightSpec], jobs: Mapping[str, Any]) -> list[dg.SensorDefinition]:
    """The sensors of an insight flywheel: turns, and files that come in."""
    sensors = [turn_sensor(kit, jobs["open"], jobs["close"], partial(insight_due_in, kit))]
    if kit.spec.feeds:
        wanted = [jobs["close"], jobs["catch_up"]]
        sensors.append(inbox_sensor(kit, wanted, lambda store: insight_correction_due(store, kit.spec)))
    return sensors


def utc_now() -> datetime:
    """The present; tests put another clock in its place."""
    return datetime.now(UTC)


def turn_sensor(
    kit: LoopKit[Any], open_job: Any, close_job: Any, due_now: DueNow, source: str | None = None
) -> dg.SensorDefinition:
    """Requests the turn of a flywheel that is due, one at a time: close what is over, then open what has begun.

    Args:
        kit: the flywheel.
        open_job: the job that opens a cycle.
        close_job: the job that closes one.
        due_now: says which turn is due.
        source: the flywheel whose outputs are its briefs, if there is one; no cycle opens while a run of it works.
    """
    spec = kit.spec
    names = {"open": f"{spec.name}__open", "close": f"{spec.name}__close"}

    @dg.sensor(
        name=f"{spec.name}__turn",
        jobs=[open_job, close_job],
        minimum_interval_seconds=POLLING_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Turns {spec.name}, one {spec.cadence.value} cycle after the other, from {spec.schedule.hour}:00 "
        "UTC of a cycle's first day: what is over is closed. Turns that were missed are caught up in order.",
    )
    def turn(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
        # Runs first: a run that ends between the two questions has written what the second finds.
        obstacle = _run_in_the_way(context.instance, spec.name)
        due, hole = due_now(lake.open(), utc_now())
        if isinstance(due, str):
            return dg.SensorResult(skip_reason=" ".join(filter(None, (due, hole))))
        key = f"{spec.name}:{due.verb}:{due.cycle}"
        obstacle = obstacle or _was_requested(context.instance, key)
        if obstacle is None and due.verb == "open" and source is not None:
            # It may be about to publish the cycle anew.
            obstacle = _run_in_the_way(context.instance, source)
        if obstacle is not None:
            return dg.SensorResult(skip_reason=" ".join(filter(None, (due.words, obstacle, hole))))
        context.log.info(due.words)
        request = dg.RunRequest(
            run_key=key, job_name=names[due.verb], partition_key=due.cycle.isoformat(), tags={TURN_TAG: key}
        )
        return dg.SensorResult(run_requests=[request])

    return turn


def due_in(kit: AssetKit, store: Lake, now: datetime) -> tuple[Turn | str, str]:
    """The turn that is due, or why none is; and the holes of history, in words."""
    opened = store.cycles(tables.PUBLISHED_OUTPUTS, kit.spec.name)
    closed = store.cycles(tables.MOMENTUM, kit.spec.name)
    source = kit.spec.briefs.published_by
    published = store.cycles(tables.PUBLISHED_OUTPUTS, source) if source else ()
    due = next_turn(kit.spec, opened, closed, now, published)
    return due, holes_in_words(kit.spec, holes(kit.spec, opened, closed), opened)


def insight_due_in(kit: LoopKit[InsightSpec], store: Lake, now: datetime) -> tuple[Turn | str, str]:
    """The same of an insight flywheel, which is open when its tickets are sorted."""
    opened = store.cycles(tables.TICKET_THEMES, kit.spec.name)
    closed = store.cycles(tables.THEME_LEARNING, kit.spec.name)
    due = next_insight_turn(kit.spec, opened, closed, now)
    return due, holes_in_words(kit.spec, holes(kit.spec, opened, closed), opened)


def _run_in_the_way(instance: dg.DagsterInstance, flywheel: str) -> str | None:
    run = under_way(instance, flywheel)
    if run is not None:
        return f"Run {run.run_id[:8]} ({run.job_name}) is under way; this waits for its end."
    newest = newest_tagged(instance, "flywheel", flywheel)
    if newest is not None and is_about_to_be_retried(instance, newest):
        return f"Run {newest.run_id[:8]} ({newest.job_name}) died and is about to be retried; this waits for it."
    return None


def _was_requested(instance: dg.DagsterInstance, key: str) -> str | None:
    earlier = newest_tagged(instance, TURN_TAG, key)
    if earlier is None:
        return None
    ended = f"Run {earlier.run_id[:8]} was requested for this and ended as {earlier.status.value}"
    if earlier.status == dg.DagsterRunStatus.SUCCESS:
        return f"{ended}, but the cycle is not done: it waits for a batch, or its files were removed since."
    return f"{ended}: re-execute it once its cause is put right."
