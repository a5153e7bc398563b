"""Whether the theme engine finds, keeps and follows known themes: `python -m benchmarks.themes`.

Seasons of the simulated ticket world (`simulation.tickets`): forty themes with drift, two merges, five newcomers, a
seasonal theme, two fixes that work and one that does not, with simulated reviewers. Beside each season runs a control
that starts every cycle without a library. Tokens are counted at four bytes each, question and answer, as the offline
writer counts them. `--scale` closes one cycle of 200,000 tickets instead.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import time
from dataclasses import asdict, dataclass

FULL_CYCLES = 24
ARI_CYCLE, EARLY, LATE = 12, 2, 12


@dataclass(frozen=True)
class Season:
    """One seed. Lists are by cycle, from 1."""

    seed: int
    ari: list[float]
    by_library: list[float]
    acceptance: list[float]
    tokens: list[float]
    control_tokens: list[float]
    working_found: int
    idle_found: int
    false_fixes: int
    """Verdicts other than "no evidence" on untouched themes, had a fix of each been claimed."""
    n_false_fixes: int
    n_moves: int
    n_false_moves: int
    n_untouched: int
    seconds: float


def play_one(seed: int, n_cycles: int = FULL_CYCLES) -> Season:
    """One season, in this process."""
    from flywheel_pipelines.simulation.theme_season import play_themes

    started = time.process_time()
    season = play_themes(seed, n_cycles)
    return Season(seed=seed, **season.measured(), seconds=time.process_time() - started)


def play_at_scale(n_tickets: int) -> dict[str, float]:
    """Seconds and gigabytes for one cycle of very many tickets, after a first small one."""
    from flywheel_pipelines.simulation.theme_season import close_large_cycle

    started = time.perf_counter()
    numbers = close_large_cycle(n_tickets)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**numbers, "seconds_in_all": time.perf_counter() - started, "peak_gigabytes": peak}


def summary(seasons: list[Season]) -> str:
    """What was asked of the engine and what was found, as Markdown."""
    n = len(seasons)

    def mean(name: str, cycle: int) -> float:
        return statistics.fmean(getattr(one, name)[cycle - 1] for one in seasons)

    least = min(one.ari[ARI_CYCLE - 1] for one in seasons)
    ratio = mean("tokens", LATE) / mean("tokens", EARLY)
    control = mean("control_tokens", LATE) / mean("control_tokens", EARLY)
    wrong, asked = sum(one.false_fixes for one in seasons), sum(one.n_false_fixes for one in seasons)
    moves, untouched = sum(one.n_false_moves for one in seasons), sum(one.n_untouched for one in seasons)
    reached = sum(one.ari[ARI_CYCLE - 1] >= 0.8 for one in seasons)
    lines = [
        "| what | needed | found |",
        "|---|---|---|",
        f"| adjusted Rand index, cycle {ARI_CYCLE} | 0.8 | mean {mean('ari', ARI_CYCLE):.3f}, least {least:.3f}; "
        f"{reached} of {n} seeds reach it |",
        f"| tokens per ticket, cycle {LATE} over cycle {EARLY} | 0.5 at most | {ratio:.2f} "
        f"({mean('tokens', EARLY):.2f} to {mean('tokens', LATE):.2f}) |",
        f"| the same without a library | flat | {control:.2f} "
        f"({mean('control_tokens', EARLY):.2f} to {mean('control_tokens', LATE):.2f}) |",
        f"| placed without a model, cycle {LATE} | | {mean('by_library', LATE):.1%} |",
        f"| working fixes found | {2 * n} | {sum(one.working_found for one in seasons)} |",
        f"| idle fixes taken for working or worse | 0 | {sum(one.idle_found for one in seasons)} of {n} |",
        f"| verdicts on claimed fixes of untouched themes | 5% at most | {wrong} of {asked} ({wrong / asked:.1%}) |",
        f"| untouched themes said to move, per theme and cycle | | {moves} of {untouched} ({moves / untouched:.2%}) |",
        f"| CPU of a season | 10 s | {statistics.fmean(one.seconds for one in seasons):.1f} s |",
    ]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.themes", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="seeds 1 to this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="print every season as JSON")
    parser.add_argument("--scale", type=int, nargs="?", const=200_000, help="close one cycle of so many tickets")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.scale:
        print(json.dumps(play_at_scale(arguments.scale), indent=1))
        return
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=8) as pool:
        seasons = pool.map(play_one, range(1, arguments.seeds + 1), chunksize=1)
    print(json.dumps([asdict(one) for one in seasons], indent=1) if arguments.json else summary(seasons))


if __name__ == "__main__":
    main()
