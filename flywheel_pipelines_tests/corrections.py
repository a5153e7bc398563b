"""Files of corrections for the written flywheel of the tests, and ticks of its inbox sensor."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.seen import SeenFiles
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.written_world import NAME, WrittenWorld

A_WHILE = 3_600.0


def measured(world: WrittenWorld, cycle: date) -> dict[str, tuple[date, dict[str, float]]]:
    """Per output of a cycle, the first day it was measured on, and what was counted on it."""
    found: dict[str, tuple[date, dict[str, float]]] = {}
    for row in sorted(world.rows(tables.METRIC_LEDGER, cycle), key=lambda row: row["measured_on"]):
        day, counts = found.setdefault(row["output_id"], (row["measured_on"], {}))
        if day == row["measured_on"]:
            counts[row["measure"]] = row["value"]
    return found


def write_correction(
    world: WrittenWorld, cycle: date, path: Path, *, n_outputs: int = 1, replies: int = 400, sends: int = 1_000
) -> list[str]:
    """A file that says other numbers of some outputs of a cycle; returns their ids. It was written an hour ago."""
    known = measured(world, cycle)
    chosen = sorted(known)[:n_outputs]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["output_id", "day", "replies", "sends"])
        writer.writerows([output, known[output][0], replies, sends] for output in chosen)
    settle(path)
    return chosen


def settle(path: Path, seconds: float = A_WHILE) -> None:
    """Let a file have been left alone for a while."""
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def inbox_of(world: WrittenWorld, feed: str = "mailer") -> Path:
    """Where the files of a feed lie."""
    return world.paths.inbox / feed


class Ticks:
    """Ticks of the inbox sensor of a world, with its cursor and its instance."""

    def __init__(self, world: WrittenWorld, instance: dg.DagsterInstance) -> None:
        self.world, self.instance = world, instance
        self.cursor: str | None = None
        self.definitions = world.definitions()

    def tick(self) -> dg.SensorResult:
        """One evaluation; the cursor is kept as the daemon keeps it."""
        sensor = self.definitions.resolve_sensor_def(f"{NAME}__inbox")
        resources = {"lake": LakeResource(duckdb=DuckDBResource(database=":memory:"))}
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=resources) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return result

    def requested(self) -> dg.RunRequest:
        """The one run that a tick requests."""
        requests = self.tick().run_requests or []
        assert len(requests) == 1
        return requests[0]

    def skipped(self) -> str:
        """Why a tick requests no run."""
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)

    def execute(self, request: dg.RunRequest, **tags: str) -> dg.ExecuteInProcessResult:
        """Run what was requested, as the daemon would."""
        return self.definitions.resolve_job_def(f"{NAME}__close").execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags={**request.tags, "dagster/run_key": str(request.run_key), **tags},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )


@contextmanager
def ticking(world: WrittenWorld) -> Iterator[Ticks]:
    """The sensor of a world, in force, with an instance of its own."""
    with world.in_force(), new_instance() as instance:
        yield Ticks(world, instance)


def range_of(request: dg.RunRequest) -> tuple[str, str]:
    """First and last cycle of a requested run."""
    if request.partition_key:
        return request.partition_key, request.partition_key
    return request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"]


def marks(world: WrittenWorld, cursor: str | None) -> frozenset[str]:
    """What a cursor of the sensor stands for."""
    return SeenFiles(world.paths.inbox_seen / NAME).recall(cursor).marks


def by_output(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {row["output_id"]: row for row in rows}
