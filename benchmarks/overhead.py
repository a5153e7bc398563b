"""What Dagster adds: `python -m benchmarks.overhead`.

A close through Dagster (the job, in process, with its checks and its book of runs in SQLite) against the same pure
functions called one after the other; and a year restated by one run against as many closes without Dagster. Both ways
do the same work, take turns, and have to leave the same bytes; that is checked.

Left out is what a process costs before its first step: its start and imports, and that of Great Expectations, which a
contract check imports once in a process and which is reported by itself.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measurement import Measurement, run_alone, side_by_side
from benchmarks.world import World, temporary_data

NAME = "overhead"
CANDIDATES = 4


def run(
    outputs: int = 1_000,
    weeks: int = 52,
    restated_outputs: int = 1_000,
    window: int = 4,
    repeats: int = 5,
    restatements: int = 1,
) -> list[Measurement]:
    """Time with Dagster over time without, for the close of one cycle and for a range of `weeks` cycles."""
    close = _close(outputs, window, repeats)
    restatement = _restatement(restated_outputs, weeks, window, restatements)
    return [
        Measurement(
            NAME,
            f"close of {outputs:,} outputs, with Dagster / its functions alone",
            close[0] / close[1],
            limit="at most 3",
            notes=f"{close[0]:.2f} s / {close[1]:.2f} s, median of {repeats}",
        ),
        Measurement(
            NAME,
            f"{weeks} cycles restated in one run / {weeks} closes without Dagster",
            restatement[0] / restatement[1],
            limit="at most 1.5",
            notes=f"{restatement[0]:.1f} s / {restatement[1]:.1f} s, {restated_outputs:,} outputs a cycle",
        ),
        Measurement(NAME, "import of Great Expectations", _import_seconds(), "s", notes="once in a process"),
    ]


def _close(outputs: int, window: int, repeats: int) -> tuple[float, float]:
    """Median seconds of a close with Dagster and without."""
    with _played(outputs, window + 2, window) as world, world.closing_job() as job:
        last = world.cycles[-1]
        before = world.versions(last)
        # The first run also resolves the job and creates the instance's tables.
        job.run(last)
        times = side_by_side(lambda: job.run(last), lambda: world.close(last), repeats)
        _refuse_other_work(world, before, world.versions(last))
    return times


def _restatement(outputs: int, weeks: int, window: int, repeats: int) -> tuple[float, float]:
    """Median seconds of one run over all cycles, and of a close of each without Dagster."""
    with _played(outputs, weeks, window) as world, world.closing_job() as job:
        first, last = world.cycles[0], world.cycles[-1]
        before = [world.versions(cycle) for cycle in world.cycles]
        job.run(first)
        n_runs = job.n_runs

        def close_each() -> None:
            for cycle in world.cycles:
                world.close(cycle)

        times = side_by_side(lambda: job.run(first, last), close_each, repeats)
        if job.n_runs - n_runs != repeats:
            raise RuntimeError(f"{repeats} restatements took {job.n_runs - n_runs} runs, not one each.")
        _refuse_other_work(world, before, [world.versions(cycle) for cycle in world.cycles])
    return times


def _refuse_other_work(world: World, before: object, after: object) -> None:
    if before != after:
        raise RuntimeError(f"Closing again changed what stands in {world.paths.lake}: not the same work.")


@contextmanager
def _played(outputs: int, weeks: int, window: int) -> Iterator[World]:
    """A world in which every cycle is closed."""
    with temporary_data() as paths:
        world = World(paths, weeks=weeks, briefs=max(outputs // CANDIDATES, 1), window=window)
        for cycle in world.cycles:
            world.turn(cycle)
        yield world


def _import_seconds() -> float:
    """Seconds that the import adds to a process that has done nothing."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import great_expectations"], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    run_alone(run, __doc__)
