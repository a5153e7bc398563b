"""What closing a cycle costs: `python -m benchmarks.close_cost`.

Does it grow with history? The same flywheel, with a short window, is closed after few cycles and after many. Every
look back is bounded by the window, so the ratio should stay near 1.

What does Dagster add? The steps that the assets take, one after the other, against the job that a replay and
the UI run. Both write the same bytes; that is checked.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

from benchmarks.measurement import Measurement, run_alone, side_by_side
from benchmarks.world import World, temporary_data

NAME = "close a cycle"


def run(short: int = 30, long: int = 120, window: int = 20, briefs: int = 8, repeats: int = 7) -> list[Measurement]:
    """The time of a close after `long` cycles over that after `short`, and Dagster's part in it."""
    with temporary_data() as paths, tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        old = World(paths, weeks=long, briefs=briefs, window=window)
        for cycle in old.cycles[:short]:
            old.turn(cycle)
        young = old.copy(Path(folder) / "young")
        for cycle in old.cycles[short:]:
            old.turn(cycle)
        growth, dagster = _times(old, young, old.cycles[long - 1], old.cycles[short - 1], repeats)
    sizes = f"window of {window} cycles, {briefs} briefs of 4 candidates each"
    ages = f"after {long} cycles / after {short}"
    return [
        Measurement(NAME, ages, growth[0] / growth[1], limit="about 1", notes=sizes),
        Measurement(NAME, "with Dagster / its steps alone", dagster[0] / dagster[1], notes="same bytes written"),
        Measurement(NAME, f"the job, in process, after {long} cycles", growth[0], "s", notes="median"),
    ]


Pair = tuple[float, float]


def _times(old: World, young: World, last: date, earlier: date, repeats: int) -> tuple[Pair, Pair]:
    """Median seconds of a close: in the old and in the young world; in the old one with and without Dagster."""
    before = old.versions(last), young.versions(earlier)
    with old.closing_job() as close_old, young.closing_job() as close_young:
        # The first run of a job also resolves it and creates the instance's tables.
        close_old.run(last)
        close_young.run(earlier)
        growth = side_by_side(lambda: close_old.run(last), lambda: close_young.run(earlier), repeats)
        dagster = side_by_side(lambda: close_old.run(last), lambda: old.close(last), repeats)
    if (old.versions(last), young.versions(earlier)) != before:
        raise RuntimeError(f"Closing cycle {last} or {earlier} again changed what it wrote: not the same work.")
    return growth, dagster


if __name__ == "__main__":
    run_alone(run, __doc__)
