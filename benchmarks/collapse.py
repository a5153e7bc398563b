"""Whether the guard tells a loop that feeds on itself from one that learns: `python -m benchmarks.collapse`.

Seasons of the demo's flywheels before a simulated audience, written by the offline writer (healthy) and by a writer
that hands back the best reference it is shown, with the guardrails that block copies (blocked) and without (copying),
for some seeds each. For every season: the most extreme signs, and the first cycle whose prompt refresh would be
stopped.
The seasons run without Dagster, where nothing is stopped, so that they can be seen to their end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.seasons import FLYWHEELS, MEMORY

WAYS = ("healthy", "copying", "blocked")
WITHOUT_GUARDRAILS = {"near_copy": None, "language": None, "claims": "any", "links": "any"}
"""With them most copies are blocked before they go out: they repeat a reference, its figures, or its language. What is
blocked as a copy is looked at all the same."""


@dataclass(frozen=True)
class Played:
    """One season: the most extreme of each sign over its cycles, and when it was warned of and stopped, from 1."""

    flywheel: str
    way: str
    seed: int
    cycles: int
    distinct_fall: float
    similarity_rise: float
    mean_depth: float
    warned_at: int | None
    stopped_at: int | None
    stopped_by: tuple[str, ...]


def play_one(flywheel: str, way: str, seed: int, n_cycles: int) -> Played:
    """Play one season in a folder of its own, which is removed afterwards."""
    from flywheel_pipelines.cycles import cycle_start
    from flywheel_pipelines.lake import tables
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.choosing import check_collapse
    from flywheel_pipelines.paths import DEFS_DIR, DataPaths
    from flywheel_pipelines.simulation.copying_writers import CopyingWriters
    from flywheel_pipelines.simulation.demo import DemoPlan, sample_briefs
    from flywheel_pipelines.simulation.direct_writers import DirectWriters
    from flywheel_pipelines.simulation.season import PlainStage, deliver_briefs, play
    from flywheel_pipelines.spec import load_spec

    spec = load_spec(DEFS_DIR / flywheel / "defs.yaml")
    if way == "copying":
        spec = spec.model_copy(update={"guardrails": spec.guardrails.model_copy(update=WITHOUT_GUARDRAILS)})
    season = DemoPlan((spec,), n_cycles=n_cycles, seed=seed).season(spec)
    writers = DirectWriters() if way == "healthy" else CopyingWriters()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        paths = DataPaths(Path(folder))
        store = Lake(paths.lake)
        deliver_briefs(season.flywheel, sample_briefs(spec), store, cycle_start(spec.start) - timedelta(days=1))
        play(season, PlainStage(season.flywheel, store, writers, paths.outbox), store, paths)
        signs = store.read(tables.COLLAPSE_SIGNS, spec.name).to_pylist()
        verdicts = [check_collapse(season.flywheel, store, [cycle])[1] for cycle in season.cycles]
    stopped = [number for number, verdict in enumerate(verdicts, start=1) if verdict.stops]
    warned = [number for number, verdict in enumerate(verdicts, start=1) if verdict.stops or verdict.warns]

    def most(name: str) -> float:
        return max((row[name] for row in signs if row[name] is not None), default=float("nan"))

    return Played(
        flywheel, way, seed, n_cycles, most("distinct_fall"), most("similarity_rise"), most("mean_depth"),
        warned_at=warned[0] if warned else None,
        stopped_at=stopped[0] if stopped else None,
        stopped_by=verdicts[stopped[0] - 1].stops if stopped else (),
    )  # fmt: skip


def _play_one(wanted: tuple[str, str, int], n_cycles: int) -> Played:
    return play_one(*wanted, n_cycles)


def table(played: list[Played]) -> str:
    """The seasons as Markdown."""
    lines = [
        "| flywheel | writer | seed | largest fall of distinct-2 | largest rise of similarity | largest mean depth "
        "| first warning, cycle | first stop, cycle | by |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for one in played:
        cells: list[Any] = [
            one.flywheel, one.way, one.seed, f"{one.distinct_fall:.2f}", f"{one.similarity_rise:.2f}",
            f"{one.mean_depth:.1f}", one.warned_at or "none", one.stopped_at or "none", ", ".join(one.stopped_by),
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collapse", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to this")
    parser.add_argument("--cycles", type=int, default=26, help="cycles of a season, at most 26")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--flywheel", nargs="+", default=list(FLYWHEELS), choices=FLYWHEELS)
    parser.add_argument("--way", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--json", action="store_true", help="print every season as JSON")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wanted = [
        (f, way, seed) for f in arguments.flywheel for way in arguments.way for seed in range(1, arguments.seeds + 1)
    ]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=4) as pool:
        played = pool.map(partial(_play_one, n_cycles=arguments.cycles), wanted, chunksize=1)
    print(json.dumps([asdict(one) for one in played], indent=1) if arguments.json else table(played))


if __name__ == "__main__":
    main()
