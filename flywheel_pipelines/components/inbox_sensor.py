"""The sensor that watches the inbox of a flywheel: drop an export, and the right cycles update. Wiring only.

A tick lands what is new, asks the lake which closed cycles were computed from something that has changed, and requests
one run of `<flywheel>__close` over them (of an insight flywheel whose tickets have changed, `__catch_up`, which sorts
them again). It asks the lake and not itself, so that a kill between landing and the run
loses nothing, and what `flywheel ingest` or anything else landed counts as well.

It is on from the start: a file that somebody drops should need no switch. It closes again what was closed before;
closing a cycle for the first time is a schedule's business. While another run of the flywheel is queued or under way
it waits: that run may close the very same cycles, or open one that pins what they teach. One correction is one run,
which is not requested again when it has failed; re-execute it once its cause is put right.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from flywheel_pipelines.components.kit import LoopKit
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.corrections import Correction
from flywheel_pipelines.loop.inbox import Found, InboxFile, Landed, counted, find_files, is_new, land, marks_of
from flywheel_pipelines.loop.landing_desk import Progress, desk_of
from flywheel_pipelines.loop.seen import SeenFiles
from flywheel_pipelines.paths import DataPaths

POLLING_SECONDS = 30
TICK_SECONDS = 20.0
"""How long a tick lands files; Dagster gives it 60 s, and asking about stale cycles takes its part."""
RUN_KEY_TAG = "dagster/run_key"
UNDER_WAY = (
    dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)  # fmt: skip
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
TOUCHED_TAG = "touched_cycles"


def inbox_sensor(
    kit: LoopKit[Any], jobs: Sequence[Any], due: Callable[[Lake], Correction | None]
) -> dg.SensorDefinition:
    """Lands new files of every feed of a flywheel, and requests a run over the closed cycles they touch.

    Args:
        kit: the flywheel.
        jobs: those that a correction may ask for.
        due: the correction that waits.
    """
    name = kit.spec.name

    @dg.sensor(
        name=f"{name}__inbox",
        jobs=jobs,
        minimum_interval_seconds=POLLING_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Lands files from the inbox for {name} and closes the cycles again that they touch.",
    )
    def inbox(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
        store, paths = lake.open(), DataPaths.from_environment()
        seen = SeenFiles(paths.inbox_seen / name)
        recalled = seen.recall(context.cursor)
        found = find_files(kit.spec, paths.inbox, time.time())
        new = [file for file in found.ready if is_new(file, kit.spec, recalled.marks)]

        def work(file: InboxFile, landed: Landed) -> str | None:
            return land(store, kit.spec, file, datetime.now(UTC), landed)

        progress = desk_of(str(store.root), name).land(new, work, TICK_SECONDS)
        there = marks_of([*found.ready, *found.waiting], kit.spec)
        cursor = seen.keep((recalled.marks | progress.marks) & there)
        words = _words(found, progress, was_lost=recalled.is_lost)
        correction = due(store)
        obstacle = _obstacle(context.instance, name, correction) if correction else "No closed cycle is touched."
        if correction and obstacle is None:
            context.log.info(f"{words} {correction.words}".strip())
            return dg.SensorResult(run_requests=[run_request(correction, words, name)], cursor=cursor)
        reason = " ".join(part for part in (words, correction.words if correction else "", obstacle or "") if part)
        return dg.SensorResult(skip_reason=reason, cursor=cursor)

    return inbox


def run_request(correction: Correction, words: str, flywheel: str) -> dg.RunRequest:
    """One run over the range of a correction."""
    job = f"{flywheel}__{correction.verb}"
    first, last = correction.first.isoformat(), correction.last.isoformat()
    tags = {TOUCHED_TAG: ", ".join(cycle.isoformat() for cycle in correction.touched)}
    if words:
        tags["landed"] = words
    if first == last:
        return dg.RunRequest(run_key=correction.key, job_name=job, partition_key=first, tags=tags)
    return dg.RunRequest(run_key=correction.key, job_name=job, tags={**tags, RANGE_START: first, RANGE_END: last})


def _obstacle(instance: dg.DagsterInstance, flywheel: str, correction: Correction) -> str | None:
    """Why the run is not requested now, in words; None when nothing is in the way."""
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=list(UNDER_WAY))):
        if run.tags.get("flywheel") == flywheel or any(key.path[0] == flywheel for key in run.asset_selection or ()):
            return f"Run {run.run_id[:8]} ({run.job_name}) is under way; this waits for its end."
    earlier = instance.get_runs(
        filters=dg.RunsFilter(tags={RUN_KEY_TAG: correction.key}, statuses=list(ENDED)), limit=1
    )
    if earlier:
        return (
            f"Run {earlier[0].run_id[:8]} was requested for this and ended as {earlier[0].status.value}: "
            "re-execute it once its cause is put right."
        )
    return None


def _words(found: Found, progress: Progress, *, was_lost: bool) -> str:
    """What a tick did with the inbox."""
    said = ["Which files were read is no longer known, so every file is read once more."] if was_lost else []
    said.append(progress.landed.words)
    if progress.reading is not None:
        size = f"{progress.reading.size / 1e6:,.0f} MB"
        said.append(f"{progress.reading.name} ({size}) is still being read; the next tick goes on.")
    if progress.n_left:
        said.append(f"{counted(progress.n_left, 'file')} left for the next tick.")
    if found.waiting:
        said.append(f"{counted(len(found.waiting), 'file')} changed a moment ago; the next tick looks again.")
    said.extend(f"Refused: {words}" for words in found.refused)
    return " ".join(words for words in said if words)
