"""What a correction costs: `python -m benchmarks.restatement`.

One corrected row is dropped into the inbox of a flywheel with a short past and of one with a long past; measured is the
time from the tick of the sensor that finds the file to the end of the run that it requests. It should follow the number
of cycles that are closed again, and not history.

Every cycle has 10,000 outputs, real tables with real contracts; the last few were really opened and closed, those
before are copies with all their rows under other ids. Cycles look back on `window` cycles, which is what a close costs.
The waiting of a file for the next tick, and the start of a process for the run, are left out: they are the same for
both.
"""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from dagster_duckdb import DuckDBResource

from benchmarks.long_history import with_past
from benchmarks.measurement import Measurement, run_alone
from benchmarks.world import FLYWHEEL, QUIET, World, temporary_data
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.corrections import correction_due

NAME = "restatement"
Result = TypeVar("Result")
FEED = "counts"
FEEDS: dict[str, Any] = {
    # What is corrected here is out of all proportion, and must not be held.
    FEED: {"kind": "metrics", "path": f"{FEED}/*.csv", "columns": {"date": "day"}, "hold_implausible": False}
}
CANDIDATES = 4
PLAYED = 4
"""Cycles that are really played; the corrections are about all of them but the first."""


def run(
    short: int = 52, long: int = 520, outputs: int = 10_000, window: int = 2, repeats: int = 3
) -> list[Measurement]:
    """Time of a correction in a flywheel of `long` cycles over that in one of `short`, and by the cycles it touches."""
    with temporary_data() as paths, tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        world = World(paths, weeks=PLAYED, briefs=outputs // CANDIDATES, window=window, feeds=FEEDS)
        for cycle in world.cycles:
            world.turn(cycle)
        young, old = (with_past(world, Path(folder) / str(length), length) for length in (short, long))
        with correcting(young) as in_young, correcting(old) as in_old:
            ticks = [(in_young.quiet_tick(), in_old.quiet_tick()) for _ in range(4)]
            # The newest cycle alone; the first run of each also resolves its job.
            for one in (in_young, in_old):
                one.restate(world.cycles[-1])
            few = _medians(in_young, in_old, world.cycles[-1], repeats)
            many = _medians(in_young, in_old, world.cycles[1], 1)
    touched = len(world.cycles) - 1
    rows = f"{outputs:,} outputs a cycle, window of {window}"
    ages = f"{long} cycles / {short}, one row"
    return [
        Measurement(NAME, f"{ages}, 1 cycle closed again", few[1] / few[0], limit="about 1", notes=rows),
        Measurement(NAME, f"{ages}, {touched} cycles closed again", many[1] / many[0], limit="about 1"),
        Measurement(NAME, f"{touched} cycles closed again / 1, at {long}", many[1] / few[1], limit=f"about {touched}"),
        Measurement(NAME, f"file to closed range, {short} cycles, 1 closed", few[0], "s", notes="median"),
        Measurement(NAME, f"file to closed range, {long} cycles, 1 closed", few[1], "s", notes="median"),
        Measurement(NAME, f"file to closed range, {long} cycles, {touched} closed", many[1], "s"),
        Measurement(NAME, f"first tick of a process, {short} cycles", ticks[0][0], "s"),
        Measurement(
            NAME, f"first tick of a process, {long} cycles", ticks[0][1], "s", notes="reads every version once"
        ),
        Measurement(NAME, f"later tick, {short} cycles", _median(ticks, 0), "s", notes="median"),
        Measurement(NAME, f"later tick, {long} cycles", _median(ticks, 1), "s", notes="median"),
    ]


def _medians(young: Correcting, old: Correcting, cycle: date, repeats: int) -> tuple[float, float]:
    """Median seconds in both, which take turns, so that a busy machine slows both alike."""
    times = [(young.restate(cycle), old.restate(cycle)) for _ in range(repeats)]
    return statistics.median(one for one, _ in times), statistics.median(one for _, one in times)


def _median(ticks: list[tuple[float, float]], which: int) -> float:
    return statistics.median(pair[which] for pair in ticks[1:])


class Correcting:
    """Drops corrections into the inbox of a world and does what the daemon does."""

    def __init__(self, world: World, instance: dg.DagsterInstance) -> None:
        """A world with feeds, and where its runs are kept."""
        self._world, self._instance = world, instance
        self._definitions = world.definitions()
        self._cursor: str | None = None
        self._number = 0

    def quiet_tick(self) -> float:
        """Seconds of a tick that finds nothing to do."""
        seconds, result = _timed(self._tick)
        if result.run_requests:
            raise RuntimeError(f"A tick without a file requested {result.run_requests}.")
        return seconds

    def restate(self, cycle: date) -> float:
        """Seconds from dropping one corrected row of a cycle to the end of the run over the cycles it touches."""
        self._drop(cycle)
        seconds, n_closed = _timed(self._correct)
        expected = len([one for one in self._world.cycles if one >= cycle])
        if n_closed != expected or correction_due(self._world.lake, self._world.plan.spec) is not None:
            raise RuntimeError(f"{n_closed} cycles were closed again, not {expected}, or some are still stale.")
        return seconds

    def _correct(self) -> int:
        self._world.in_force()
        (request,) = self._tick().run_requests or []
        job = self._definitions.resolve_job_def(f"{FLYWHEEL}__close")
        result = job.execute_in_process(
            instance=self._instance,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            run_config={"ops": {f"{FLYWHEEL}__{tables.MOMENTUM.name}": {"config": {"plot": False}}}, **QUIET},
        )
        (event, *_) = result.asset_materializations_for_node(f"{FLYWHEEL}__{tables.MOMENTUM.name}")
        cycles = event.metadata.get("cycles")
        return int(cycles.value) if cycles else 1  # type: ignore[arg-type]

    def _tick(self) -> dg.SensorResult:
        self._world.in_force()
        sensor = self._definitions.resolve_sensor_def(f"{FLYWHEEL}__inbox")
        resources = {"lake": LakeResource(duckdb=DuckDBResource(database=":memory:"))}
        with dg.build_sensor_context(instance=self._instance, cursor=self._cursor, resources=resources) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self._cursor = result.cursor
        return result

    def _drop(self, cycle: date) -> None:
        """A file with one row that says something new of the first output of a cycle, left alone for a while."""
        self._number += 1
        known = self._world.lake.read(
            tables.METRIC_LEDGER, FLYWHEEL, cycle, columns=["output_id", "measured_on"]
        ).slice(0, 1)
        row = known.to_pylist()[0]
        path = self._world.paths.inbox / FEED / f"correction-{self._number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["output_id", "day", "clicks", "impressions"])
            writer.writerow([row["output_id"], row["measured_on"], 10 + self._number, 5_000])
        then = time.time() - 3_600
        os.utime(path, (then, then))


@contextmanager
def correcting(world: World) -> Iterator[Correcting]:
    """Corrections in a world, with the Dagster instance of its own data directory."""
    world.in_force()
    with open_instance(world.paths) as instance:
        yield Correcting(world, instance)


def _timed(action: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    run_alone(run, __doc__)
