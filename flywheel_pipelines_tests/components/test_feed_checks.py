"""The check of a feed in Dagster: what a broken contract stops, what a warning does not, and what the check shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.simulation.dagster_runs import execute_job
from flywheel_pipelines_tests.feedback.contract_lakes import measurement
from flywheel_pipelines_tests.small_world import QUIET, changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld, counted_server

CHECKED = "performance_metrics"
BEHIND = ("scored_outputs", "scoring_model", "reference_corpus", "refreshed_prompt", "momentum")
AT = cycle_start(WEEKS[4])


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> Iterator[WrittenWorld]:
    """Three weeks were opened and closed."""
    made = played.copy_to(tmp_path / "world")
    with made.in_force():
        yield made


def close(world: WrittenWorld, first: date, last: date | None = None) -> dg.ExecuteInProcessResult:
    job = world.definitions().resolve_job_def(f"{NAME}__close")
    where: dict[str, Any] = {"partition_key": first.isoformat()}
    if last is not None:
        names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        where = {"tags": dict(zip(names, (first.isoformat(), last.isoformat()), strict=True))}
    config = {"ops": {f"{NAME}__momentum": {"config": {"plot": False}}}, **QUIET}
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(run_config=config, instance=instance, raise_on_error=False, **where)


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation


def succeeded(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.step_key.split("__")[-1] for event in result.all_events if event.is_step_success and event.step_key}


def an_output(world: WrittenWorld, week: date = WEEKS[0]) -> str:
    return sorted(row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, week))[0]


def land(world: WrittenWorld, *lines: str, name: str = "late.csv", hour: int = 0) -> None:
    path = world.root / name
    path.write_text("\n".join(["output_id,day,sends,replies", *lines]) + "\n", encoding="utf-8")
    batch, is_new = land_file(world.lake, world.spec, "mailer", path, recorded_at=AT + timedelta(hours=hour))
    assert is_new
    assert batch.n_rows + batch.n_quarantined == len(lines)


def mark_feed(world: WrittenWorld) -> None:
    """Rows of the season belong to the feed by which the file came; earlier lakes did not say so."""


def fewer_sends_than_replies(world: WrittenWorld, week: date = WEEKS[0]) -> None:
    """A correction that no single row shows to be wrong."""
    known = [row for row in world.rows(tables.METRIC_LEDGER, week) if row["measure"] == "replies" and row["value"] > 0]
    row = known[0]
    fact = measurement(row["output_id"], "sends", 0.0, row["measured_on"])
    others = {
        (one["output_id"], one["measured_on"])
        for one in world.rows(tables.METRIC_LEDGER, week)
        if one["output_id"] == row["output_id"]
    }
    import pyarrow as pa

    facts = [
        fact
        | {
            "measured_on": day,
            "cycle": week,
            "batch_id": "less",
            "recorded_at": AT,
            "source_row": number,
            "feed": "mailer",
        }
        for number, (_, day) in enumerate(sorted(others), start=1)
    ]
    schema = tables.METRIC_LEDGER.schema.insert(0, pa.field("cycle", pa.date32()))
    header = {
        "batch_id": "less", "source": "less.csv", "recorded_at": AT, "n_rows": len(facts), "n_quarantined": 0,
        "first_cycle": week, "last_cycle": week, "feed": "mailer",
    }  # fmt: skip
    world.lake.append_batch(NAME, header, {tables.METRIC_LEDGER: pa.Table.from_pylist(facts, schema=schema)})
