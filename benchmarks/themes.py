"""Whether the theme engine finds, keeps and follows known themes: `python -m benchmarks.themes`.

Seasons of the simulated ticket world (`simulation.tickets`): forty themes with drift, two merges, five newcomers, a
seasonal theme, two fixes that work and one that does not, with simulated reviewers. Beside each season runs a control
that starts every cycle without a library. Fixes are also claimed of the seasonal theme and of every theme that nothing
happens to, in the cycle in which the true ones ship: every verdict on those is a false one. Tokens are counted at four
bytes each, question and answer, as the offline writer counts them.

`--keep FILE` writes every season down as soon as it is played, and a run that was cut off plays only those that are
missing there. `--tickets` opens and closes one cycle of very many tickets in a lake instead (`benchmarks.theme_scale`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FULL_CYCLES = 24
ARI_CYCLE, EARLY, LATE = 12, 2, 12
ARI_NEEDED = 0.8
NO_EVIDENCE = "no evidence"


@dataclass(frozen=True)
class Season:
    """One seed. Lists of numbers are by cycle, from 1; lists of words are verdicts by fix or claim."""

    seed: int
    ari: list[float]
    by_library: list[float]
    acceptance: list[float]
    tokens: list[float]
    control_tokens: list[float]
    working: list[str]
    """Verdicts at the end on the fixes that work."""
    working_called_worse: int
    idle: list[str]
    """On the fix that does nothing; of these three, the first verdict other than "no evidence" in any cycle."""
    seasonal: list[str]
    untouched: list[str]
    n_moves: int
    n_false_moves: int
    n_untouched: int
    merged: int
    """Of the two pairs of themes that become one, those that the library merged."""
    n_suggested: int
    n_suggested_wrongly: int
    """Suggestions to merge themes that are two, and were not merged."""
    seconds: float


def play_one(seed: int, n_cycles: int = FULL_CYCLES) -> Season:
    """One season, in this process."""
    from flywheel_pipelines.simulation.theme_season import play_themes

    started = time.process_time()
    season = play_themes(seed, n_cycles)
    return Season(seed=seed, **season.measured(), seconds=time.process_time() - started)


def play_all(seeds: Sequence[int], jobs: int, path: Path | None = None) -> list[Season]:
    """The seasons of some seeds, in that order; those in the file `path` are read from it."""
    # A process per season: numeric libraries must not each want every processor.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    done = {} if path is None else {one.seed: one for one in kept(path)}
    to_play = [seed for seed in seeds if seed not in done]
    if to_play:
        with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=8) as pool:
            for one in pool.imap_unordered(play_one, to_play):
                done[one.seed] = one
                if path is not None:
                    keep(one, path)
    return [done[seed] for seed in seeds]


def kept(path: Path) -> list[Season]:
    """The seasons of a file that `--keep` wrote; none if it is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Season(**json.loads(line)) for line in lines]


def keep(season: Season, path: Path) -> None:
    """Add a season to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(season)) + "\n")


def summary(seasons: Sequence[Season]) -> str:
    """What was asked of the engine and what was found, as Markdown."""
    n = len(seasons)

    def mean(name: str, cycle: int) -> float:
        return statistics.fmean(getattr(one, name)[cycle - 1] for one in seasons)

    def fallen(name: str) -> str:
        early, late = mean(name, EARLY), mean(name, LATE)
        return f"{late / early:.2f} ({early:.2f} to {late:.2f})"

    ari = [one.ari[ARI_CYCLE - 1] for one in seasons]
    halved = sum(one.tokens[LATE - 1] <= one.tokens[EARLY - 1] / 2 for one in seasons)
    both = sum(all(verdict == "worked" for verdict in one.working) for one in seasons)
    moves, untouched = sum(one.n_false_moves for one in seasons), sum(one.n_untouched for one in seasons)
    lines = [
        "| what | needed | found |",
        "|---|---|---|",
        f"| adjusted Rand index, cycle {ARI_CYCLE} | {ARI_NEEDED} | mean {statistics.fmean(ari):.3f}, least "
        f"{min(ari):.3f}; {sum(one >= ARI_NEEDED for one in ari)} of {n} seeds reach it |",
        f"| tokens per ticket, cycle {LATE} over cycle {EARLY} | 0.5 at most | {fallen('tokens')}; {halved} of {n} "
        "seeds reach it |",
        f"| the same without a library | flat | {fallen('control_tokens')} |",
        f"| placed without a model, cycle {LATE} | | {mean('by_library', LATE):.1%} |",
        f"| working fixes found | all | {_share([one for season in seasons for one in season.working], 'worked')}; "
        f"both in {both} of {n} seeds |",
        f"| working fixes called worse at any time | none | {sum(one.working_called_worse for one in seasons)} |",
        f"| idle fix given a verdict at any time | 5% at most | {_false([v for one in seasons for v in one.idle])} |",
        "| seasonal theme, a fix claimed as its season ends | none | "
        f"{_false([v for one in seasons for v in one.seasonal])} |",
        f"| untouched themes, a fix claimed of each | 5% at most | "
        f"{_false([v for one in seasons for v in one.untouched])} |",
        f"| untouched themes said to move, per theme and cycle | | {moves} of {untouched} ({moves / untouched:.2%}) |",
        f"| pairs that became one theme, merged | all | {sum(one.merged for one in seasons)} of {2 * n} |",
        f"| suggested merges that people refuse, per season | | "
        f"{statistics.fmean(one.n_suggested_wrongly for one in seasons):.1f} of "
        f"{statistics.fmean(one.n_suggested for one in seasons):.1f} |",
        f"| CPU of a season | | {statistics.fmean(one.seconds for one in seasons):.1f} s |",
    ]
    return "\n".join(lines)


def _share(verdicts: Sequence[str], wanted: str) -> str:
    n = sum(one == wanted for one in verdicts)
    return f"{n} of {len(verdicts)} ({n / max(len(verdicts), 1):.1%})"


def _false(verdicts: Sequence[str]) -> str:
    """How many are no "no evidence", and which way they err."""
    wrong = [one for one in verdicts if one != NO_EVIDENCE]
    ways = ", ".join(f"{wrong.count(way)} {way}" for way in ("worked", "worse"))
    return f"{len(wrong)} of {len(verdicts)} ({len(wrong) / max(len(verdicts), 1):.1%}): {ways}"


def seeds_in(text: str) -> list[int]:
    """Seeds as the command line has them: `50` for 1 to 50, `100-149`, `3,5`."""
    if text.isdigit():
        return list(range(1, int(text) + 1))
    ends = [part.split("-") for part in text.split(",")]
    return [seed for part in ends for seed in range(int(part[0]), int(part[-1]) + 1)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.themes", description=__doc__)
    parser.add_argument("--seeds", type=seeds_in, default=seeds_in("100-149"), help="50 for 1 to 50; 100-149; 3,5")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="print every season as JSON")
    parser.add_argument("--keep", type=Path, help="JSONL that keeps every season; those in it are not played again")
    parser.add_argument("--tickets", type=int, help="open and close one cycle of so many tickets instead")
    arguments = parser.parse_args()
    if arguments.tickets:
        from benchmarks.theme_scale import play_at_scale

        print(json.dumps(play_at_scale(arguments.tickets), indent=1))
        return
    seasons = play_all(arguments.seeds, arguments.jobs, arguments.keep)
    print(json.dumps([asdict(one) for one in seasons], indent=1) if arguments.json else summary(seasons))


if __name__ == "__main__":
    main()
