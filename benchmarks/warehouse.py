"""What a long history costs the warehouse: `python -m benchmarks.warehouse [--scale 1] [--lake FOLDER]`.

On ten years of one flywheel (`decade`; at scale 1 10 million outputs and 50 million measurements): a full publish, one
more cycle published on top, the guide's twenty questions on the published file, the most memory that any process of a
publish held, and the bare SQL of the same models. All in one run, one after the other; each time is said on standard
error as it is taken, since scale 1 takes long. With `--lake` the lake is made in that folder and stays, and one that is
there is used.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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


def run(scale: float = SMALL, kept: Path | None = None) -> list[Measurement]:
    """All of it at one scale; below 1 the limits are said but mean little, since starting dbt costs the same."""
    with temporary_data() as paths:
        written = _make_lake(paths.lake, scale, kept)
        decade = Decade.of(Lake(paths.lake), scale)
        full, report = _timed("full publish", lambda: publish(paths))
        decade.write_cycle(decade.n_cycles - 1)
        more, increment = _timed("publish after one more cycle", lambda: publish(paths))
        # What this process held, before the SQL alone runs in it; dbt is one of its children.
        peak = max(_most_held(resource.RUSAGE_SELF), _most_held(resource.RUSAGE_CHILDREN))
        slowest, number = max((seconds, number) for number, seconds in _asked(paths).items())
        statements = bare_statements(dbt_manifest(), paths.lake)
        bare, _ = _timed(
            "the models' SQL alone", lambda: run_bare(statements, increment.mart_rows, memory=f"{MOST_GB}GB")
        )
    if increment.n_cycles != 1:
        raise RuntimeError(f"One cycle was added, but {increment.n_cycles} were made anew: not what is to be measured.")
    size = f"{decade.outputs:,} outputs, {decade.measurements:,} measurements, {decade.n_cycles} cycles"
    work, limit = full.of_processor / bare.of_processor, f"{MOST_BARE} x"
    share = more.of_processor / full.of_processor
    return [
        Measurement(NAME, "full publish / the models' SQL alone", full.seconds / bare.seconds, limit=limit, notes=size),
        Measurement(NAME, "the same, time of the processor", work, limit=limit),
        Measurement(
            NAME,
            "publish after one more cycle / full publish",
            more.seconds / full.seconds,
            "share",
            f"{MOST_INCREMENT:.0%}",
        ),
        Measurement(NAME, "the same, time of the processor", share, "share", f"{MOST_INCREMENT:.0%}"),
        Measurement(NAME, "full publish", full.seconds, "s", notes=f"{report.n_bytes / 1e6:,.0f} MB"),
        Measurement(NAME, "publish after one more cycle", more.seconds, "s"),
        Measurement(NAME, "the models' SQL alone", bare.seconds, "s", notes=f"within {MOST_GB} GB"),
        Measurement(NAME, "most memory of a process", peak, "MB", f"{MOST_GB * 1000:,} MB"),
        Measurement(NAME, "slowest of the guide's questions", slowest, "s", f"{MOST_SECONDS} s", f"question {number}"),
        Measurement(NAME, "making the lake", written, "s"),
    ]


@dataclass(frozen=True)
class Taken:
    """Seconds that something took, and those that processors worked for it: others on the machine add to the first."""

    seconds: float
    of_processor: float


def _make_lake(lake: Path, scale: float, kept: Path | None) -> float:
    """A lake of all cycles but the last; gives the seconds that it took, 0 for one that was there."""
    if kept is None:
        return _timed("making the lake", Decade.of(Lake(lake), scale).write)[0].seconds
    seconds = 0.0
    if not kept.exists():
        making = kept.with_name(f"{kept.name}.making")
        seconds = _timed("making the lake", Decade.of(Lake(making), scale).write)[0].seconds
        making.rename(kept)
    # Files of a lake are replaced and never changed: links do.
    shutil.copytree(kept, lake, copy_function=os.link)
    return seconds


def _most_held(who: int) -> float:
    """Megabytes."""
    return resource.getrusage(who).ru_maxrss / 1024


def _asked(paths: DataPaths) -> dict[int, float]:
    """Seconds of each question of the guide, on a connection of its own."""
    found = {}
    for question in questions(read_guide()):
        with contextlib.closing(duckdb.connect(str(Path(paths.published_file)), read_only=True)) as connection:
            name = f"question {question.number}"
            looks = [_measured(lambda: connection.execute(question.sql).fetchall())[0] for _ in range(LOOKS)]  # noqa: B023
            taken = sorted(looks, key=lambda look: look.seconds)[LOOKS // 2]
            _say(name, taken)
            found[question.number] = taken.seconds
    return found


def _timed(name: str, action: Callable[[], T]) -> tuple[Taken, T]:
    taken, done = _measured(action)
    _say(name, taken)
    return taken, done


def _measured(action: Callable[[], T]) -> tuple[Taken, T]:
    started, before = time.perf_counter(), _worked()
    done = action()
    return Taken(time.perf_counter() - started, _worked() - before), done


def _say(name: str, taken: Taken) -> None:
    sys.stderr.write(f"{name}: {taken.seconds:.1f} s, {taken.of_processor:.1f} s of the processor\n")


def _worked() -> float:
    """Seconds of the processor that this process and those that it has waited for took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--scale", type=float, default=SMALL, help="1: 10 million outputs; default: 1/2000")
    parser.add_argument("--lake", type=Path, help="where the lake stays, or is")
    arguments = parser.parse_args()
    show(run(arguments.scale, arguments.lake), as_json=arguments.json)
