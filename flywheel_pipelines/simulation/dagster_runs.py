"""Running the project's own Dagster jobs in this process, for replays and demos.

Here: one job of one cycle or a range of cycles, and what went wrong in words. Not here: which jobs run when (`replay`,
`season`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import dagster as dg

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.writing import OFFLINE_MODEL

QUIET: Mapping[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def load_definitions(recipe: Path | None = None) -> dg.Definitions:
    """Everything below `defs/`, and a recipe's folder; imported when a run needs it, since it reads every YAML."""
    from flywheel_pipelines.definitions import defs
    from flywheel_pipelines.loading import with_folder

    return defs() if recipe is None else with_folder(defs(), recipe)


def execute_job(
    job: dg.JobDefinition, instance: dg.DagsterInstance, cycles: Sequence[date], config: Mapping[str, Any], tag: str
) -> None:
    """Run a job for one cycle, for a range of cycles as one run, or (without cycles) for no partition.

    Args:
        job: a resolved job.
        instance: where the run is kept.
        cycles: in order and without holes.
        config: run config by asset name, for assets of the job's flywheel.
        tag: what the run belongs to, e.g. replay; shown in the UI.

    Raises:
        FlywheelError: a step failed; with the job, the cycle, the step and its words.
    """
    flywheel = job.name.split("__", 1)[0]
    ops = {f"{flywheel}__{asset}": {"config": dict(values)} for asset, values in config.items()}
    tags = {tag: "true"}
    if len(cycles) > 1:
        tags |= {
            "dagster/asset_partition_range_start": cycles[0].isoformat(),
            "dagster/asset_partition_range_end": cycles[-1].isoformat(),
        }
    result = job.execute_in_process(
        partition_key=cycles[0].isoformat() if len(cycles) == 1 else None,
        instance=instance,
        run_config={"ops": ops, **QUIET},
        tags=tags,
        raise_on_error=False,
    )
    if result.success:
        return
    failed = next(event for event in result.all_events if event.is_failure)
    where = f"{job.name}, cycle {cycles[-1]}" if cycles else job.name
    raise FlywheelError(f"{where}, step {failed.step_key}: {_objections(result) or _cause(failed)}")


def replace_earlier(
    lake: Lake,
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    flywheel: str,
    *,
    own: tuple[str, ...],
    what: str,
) -> None:
    """Drop what an earlier replay or demo left of a flywheel.

    Raises:
        FlywheelError: the flywheel holds a batch whose source looks like none of the patterns `own`, or answers that
            were paid; nothing is dropped.
    """
    from flywheel_pipelines.lake import tables

    sources = lake.read(tables.BATCHES, flywheel, columns=["batch_id", "source"]).to_pylist()
    others = sorted({row["source"] for row in sources if not any(fnmatchcase(row["source"], one) for one in own)})
    models = set(lake.read(tables.LLM_REQUESTS, flywheel, columns=["model"])["model"].to_pylist())
    others += [f"answers of {model}" for model in sorted(models - {OFFLINE_MODEL})]
    if others:
        raise FlywheelError(
            f"Flywheel {flywheel} holds data that no {what} brought ({', '.join(others[:3])}); a {what} would replace "
            f"it. Run it in a folder of its own: FLYWHEEL_DATA_DIR=/some/folder flywheel {what} ..."
        )
    lake.drop(flywheel)
    keys = [key for key in definitions.resolve_asset_graph().get_all_asset_keys() if key.path[0] == flywheel]
    instance.wipe_assets(keys)


def _objections(result: dg.ExecuteInProcessResult) -> str:
    """What the blocking checks that failed said; empty when none did."""
    checks = result.get_asset_check_evaluations()
    failed = [check for check in checks if not check.passed and check.blocking]
    return "\n".join(
        check.description or check.check_name for check in failed if check.severity == dg.AssetCheckSeverity.ERROR
    )


def _cause(failed: dg.DagsterEvent) -> str:
    """What went wrong in a failed step: the words meant for people where there are any, else the innermost error."""
    data = failed.event_specific_data
    for_people = getattr(getattr(data, "user_failure_data", None), "description", None)
    error = getattr(data, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    return for_people or (error.message.strip() if error else failed.message or "failed")
