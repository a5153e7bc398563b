"""What each part of the loop is good for: `python -m benchmarks.seasons [--seeds 20] [--plot FILE] [--keep FILE]`.

Whole seasons of 26 cycles before a simulated audience, five ways side by side, for many seeds: with the floor; with
everything fed back (`--floor off` of the demo); without references, so that only the scoring model's choice among
candidates is left; the control's rules in both arms; and before an audience without preferences (`--world flat`), where
a lift would be an error. The steps are those of the demo, without Dagster and HTTP in between; a test holds them equal.

All of it takes two processors an hour or two, so `--keep FILE` writes every season down as soon as it is played, and a
run that was cut off plays only those that are missing there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track

from benchmarks.seasons_plot import seasons_plot

UNATTAINABLE: dict[str, Any] = {"above": 0.9999, "quantile": None}
"""A floor that nothing beats: both flywheels are judged by a rate. Nothing is promoted, so no prompt shows a reference;
what was measured still teaches the scoring model."""


@dataclass(frozen=True)
class Way:
    """How a season is played: before which audience, and what it does otherwise than the YAML says, by section."""

    world: Literal["lively", "flat"] = "lively"
    otherwise: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


WAYS = {
    "floor": Way(),
    "floor off": Way(otherwise={"floor": {"above": "off", "quantile": None}}),
    "no references": Way(otherwise={"floor": UNATTAINABLE}),
    # One candidate, so there is nothing to choose from either: both arms are treadmills.
    "control only": Way(otherwise={"floor": UNATTAINABLE, "producer": {"variants": 1}}),
    "flat world": Way(world="flat"),
}
FLYWHEELS = ("content", "outreach")
MEMORY = Path("/dev/shm")
"""A folder in memory, where there is one: a season writes thousands of small files, each flushed to its disk."""
Wanted = tuple[str, str, int]
"""A season to play: flywheel, way, seed."""
N_CYCLES, EARLY = 26, 15
"""The season, and the cycle by which the interval is to lie above zero."""


@dataclass(frozen=True)
class Played:
    """One season. Lifts are fractions; tokens are per published output, in the first and the last quarter."""

    flywheel: str
    way: str
    seed: int
    lift: float
    lower: float
    upper: float
    early_lower: float
    first_half: float
    last_half: float
    first_tokens: float
    last_tokens: float
    lifts: tuple[float, ...]

    @property
    def wanted(self) -> Wanted:
        """What tells it from the other seasons."""
        return self.flywheel, self.way, self.seed


def play_one(flywheel: str, way: str, seed: int, n_cycles: int = N_CYCLES) -> Played:
    """Play one season in a folder of its own, which is removed afterwards."""
    from flywheel_pipelines.cycles import cycle_start
    from flywheel_pipelines.lake import tables
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.momentum.summary import summarise
    from flywheel_pipelines.paths import DEFS_DIR, DataPaths
    from flywheel_pipelines.simulation.demo import DemoPlan, sample_briefs
    from flywheel_pipelines.simulation.direct_writers import DirectWriters
    from flywheel_pipelines.simulation.season import PlainStage, deliver_briefs, play
    from flywheel_pipelines.spec import load_spec, parse_spec

    settings = load_spec(DEFS_DIR / flywheel / "defs.yaml").model_dump(mode="json")
    for section, changes in WAYS[way].otherwise.items():
        settings[section] |= changes
    spec = parse_spec(settings, f"{flywheel}, {way}")
    season = DemoPlan((spec,), n_cycles=n_cycles, seed=seed, world=WAYS[way].world).season(spec)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        paths = DataPaths(Path(folder))
        store, writers = Lake(paths.lake), DirectWriters()
        deliver_briefs(season.flywheel, sample_briefs(spec), store, cycle_start(spec.start) - timedelta(days=1))
        play(season, PlainStage(season.flywheel, store, writers, paths.outbox), store, paths)
        summary = summarise(store.read(tables.BRIEF_OUTCOMES, spec.name), better=spec.metric.better)
        momentum = store.read(tables.MOMENTUM, spec.name).to_pylist()
        published = store.read(tables.PUBLISHED_OUTPUTS, spec.name, columns=["cycle"])["cycle"].to_pylist()
    cumulative = [row for row in momentum if row["scope"] == "cumulative"]
    early = cumulative[min(EARLY, len(cumulative)) - 1]
    halves = [summary.quarters[0], summary.quarters[1]]
    quarter = max(1, len(season.cycles) // 4)

    def tokens(cycles: Sequence[object]) -> float:
        chosen = set(cycles)
        n_published = sum(cycle in chosen for cycle in published)
        return sum(count for cycle, count in writers.tokens.items() if cycle in chosen) / max(n_published, 1)

    lower, upper = summary.interval or (float("nan"), float("nan"))
    return Played(
        flywheel, way, seed, _number(summary.lift), lower, upper,
        early_lower=_number(early["lower"]),
        first_half=statistics.fmean(_number(part.lift) for part in halves),
        last_half=_number(summary.last_half_lift),
        first_tokens=tokens(season.cycles[:quarter]),
        last_tokens=tokens(season.cycles[-quarter:]),
        lifts=tuple(_number(row["lift"]) for row in cumulative),
    )  # fmt: skip


def play_all(wanted: Sequence[Wanted], jobs: int, n_cycles: int, path: Path | None = None) -> list[Played]:
    """The seasons that are wanted, in that order, on `jobs` processors; those in the file `path` are read from it."""
    # A process per season: numeric libraries must not each want every processor.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    done = {} if path is None else {one.wanted: one for one in kept(path) if len(one.lifts) == n_cycles}
    to_play = [one for one in wanted if one not in done]
    if not to_play:
        return [done[one] for one in wanted]
    # Fresh processes now and then: each keeps what it has read and counted, for as long as it lives.
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=4) as pool:
        played = pool.imap_unordered(partial(_play_one, n_cycles=n_cycles), to_play)
        for one in track(played, "seasons", total=len(to_play), console=Console(stderr=True), transient=True):
            done[one.wanted] = one
            if path is not None:
                keep(one, path)
    return [done[one] for one in wanted]


def kept(path: Path) -> list[Played]:
    """The seasons of a file that `--keep` wrote; none if it is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    seasons = [json.loads(line) for line in lines]
    return [Played(**{**season, "lifts": tuple(season["lifts"])}) for season in seasons]


def keep(played: Played, path: Path) -> None:
    """Add a season to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(played)) + "\n")


def _play_one(wanted: Wanted, n_cycles: int) -> Played:
    return play_one(*wanted, n_cycles)


def summary_table(played: Sequence[Played]) -> str:
    """The table as Markdown: mean over seeds, and in how many of them."""
    lines = [
        "| flywheel | way | lift over all | first half | last half | interval above zero by cycle 15 | at the end "
        "| below zero at the end | tokens per output, first to last quarter |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for flywheel in dict.fromkeys(one.flywheel for one in played):
        for way in dict.fromkeys(one.way for one in played):
            group = [one for one in played if (one.flywheel, one.way) == (flywheel, way)]
            n = len(group)
            spread = statistics.stdev(one.lift for one in group) if n > 1 else float("nan")
            cells = [
                flywheel,
                way,
                f"{statistics.fmean(one.lift for one in group):+.1%} (sd {spread:.1%})",
                f"{statistics.fmean(one.first_half for one in group):+.1%}",
                f"{statistics.fmean(one.last_half for one in group):+.1%}",
                f"{sum(one.early_lower > 0 for one in group)} of {n}",
                f"{sum(one.lower > 0 for one in group)} of {n}",
                f"{sum(one.upper < 0 for one in group)} of {n}",
                f"{statistics.fmean(one.first_tokens for one in group):,.0f} to "
                f"{statistics.fmean(one.last_tokens for one in group):,.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seasons", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="seeds 1 to this")
    parser.add_argument("--cycles", type=int, default=N_CYCLES, help="cycles of a season, at most 26")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--flywheel", nargs="+", default=list(FLYWHEELS), choices=FLYWHEELS)
    parser.add_argument("--way", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--json", action="store_true", help="print every season as JSON")
    parser.add_argument("--plot", type=Path, help="PNG to draw the lifts of every way into")
    parser.add_argument("--keep", type=Path, help="JSONL that keeps every season; those in it are not played again")
    arguments = parser.parse_args()
    seeds = range(1, arguments.seeds + 1)
    wanted = [(flywheel, way, seed) for seed in seeds for flywheel in arguments.flywheel for way in arguments.way]
    played = play_all(wanted, arguments.jobs, arguments.cycles, arguments.keep)
    if arguments.plot is not None:
        arguments.plot.write_bytes(seasons_plot(played))
    print(json.dumps([asdict(one) for one in played], indent=1) if arguments.json else summary_table(played))


if __name__ == "__main__":
    main()
