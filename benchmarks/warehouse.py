"""What a long history costs the warehouse: `python -m benchmarks.warehouse [--scale 1]`.

On ten years of one flywheel (`decade`; at scale 1 10 million outputs and 50 million measurements): a full publish
beside the bare SQL of the same models, one more cycle published on top, the most memory that any process of a publish
held, and the guide's twenty questions on the published file. All in one run, one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb

from benchmarks.decade import Decade
from benchmarks.measurement import Measurement, show
from benchmarks.publish import bare_statements, run_bare
from benchmarks.world import temporary_data
from flywheel_pipelines.guide import questions, read_guide
from flywheel_pipelines.lake.dbt import dbt_manifest
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DataPaths

NAME = "warehouse"
T = TypeVar("T")
SMALL = 1 / 2000
MOST_BARE, MOST_INCREMENT, MOST_GB, MOST_SECONDS = 3, 0.10, 8, 2
LOOKS = 3
"""How often a question is asked; the median counts."""


def run(scale: float = SMALL) -> list[Measurement]:
    """All of it at one scale; below 1 the limits are said but mean little, since starting dbt costs the same."""
    with temporary_data() as paths:
        decade = Decade.of(Lake(paths.lake), scale)
        written, _ = _timed(decade.write)
        full, report = _timed(lambda: publish(paths))
        # What this process held, before the SQL alone runs in it; dbt is one of its children.
        here = _most_held(resource.RUSAGE_SELF)
        bare, _ = _timed(lambda: run_bare(bare_statements(dbt_manifest(), paths.lake), report.mart_rows))
        decade.write_cycle(decade.n_cycles - 1)
        more, increment = _timed(lambda: publish(paths))
        peak = max(here, _most_held(resource.RUSAGE_CHILDREN))
        slowest, number = max((seconds, number) for number, seconds in _asked(paths).items())
    if increment.n_cycles != 1:
        raise RuntimeError(f"One cycle was added, but {increment.n_cycles} were made anew: not what is to be measured.")
    size = f"{decade.outputs:,} outputs, {decade.measurements:,} measurements, {decade.n_cycles} cycles"
    return [
        Measurement(NAME, "full publish / the models' SQL alone", full / bare, limit=f"{MOST_BARE} x", notes=size),
        Measurement(NAME, "publish after one more cycle / full publish", more / full, "share", f"{MOST_INCREMENT:.0%}"),
        Measurement(NAME, "full publish", full, "s", notes=f"{report.n_bytes / 1e6:,.0f} MB"),
        Measurement(NAME, "the models' SQL alone", bare, "s"),
        Measurement(NAME, "publish after one more cycle", more, "s"),
        Measurement(NAME, "most memory of a process", peak, "MB", f"{MOST_GB * 1000:,} MB"),
        Measurement(NAME, "slowest of the guide's questions", slowest, "s", f"{MOST_SECONDS} s", f"question {number}"),
        Measurement(NAME, "making the lake", written, "s"),
    ]


def _most_held(who: int) -> float:
    """Megabytes."""
    return resource.getrusage(who).ru_maxrss / 1024


def _asked(paths: DataPaths) -> dict[int, float]:
    """Seconds of each question of the guide, on a connection of its own."""
    found = {}
    for question in questions(read_guide()):
        with contextlib.closing(duckdb.connect(str(Path(paths.published_file)), read_only=True)) as connection:
            times = sorted(_timed(lambda: connection.execute(question.sql).fetchall())[0] for _ in range(LOOKS))  # noqa: B023
            found[question.number] = times[LOOKS // 2]
    return found


def _timed(action: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    done = action()
    return time.perf_counter() - started, done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--scale", type=float, default=SMALL, help="1: 10 million outputs; default: 1/2000")
    arguments = parser.parse_args()
    show(run(arguments.scale), as_json=arguments.json)
