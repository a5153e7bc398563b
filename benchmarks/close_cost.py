"""What closing a cycle costs: `python -m benchmarks.close_cost`.

Does it grow with history? The same flywheel, with a short window, is closed after few cycles and after many. Every
look back is bounded by the window, so the ratio should stay near 1.

What does Dagster add? The functions of the same assets, called one after the other, against the job that a replay and
the UI run. Both write the same bytes; that is checked.
"""

from __future__ import annotations

from benchmarks.measurement import Measurement, run_alone, side_by_side
from benchmarks.world import World, temporary_data

NAME = "close a cycle"


def run(short: int = 30, long: int = 120, window: int = 20, briefs: int = 12, repeats: int = 7) -> list[Measurement]:
    """The time of a close after `long` cycles over that after `short`, and Dagster's part in it."""
    with temporary_data() as paths:
        world = World(paths, weeks=long, briefs=briefs, window=window)
        at_short = at_long = (0.0, 0.0)
        for number, cycle in enumerate(world.cycles, start=1):
            world.turn(cycle)
            if number == short:
                at_short = _with_and_without(world, number, repeats)
            if number == long:
                at_long = _with_and_without(world, number, repeats)
    sizes = f"window of {window} cycles, {briefs} briefs of 4 candidates each"
    return [
        Measurement(
            NAME, f"after {long} cycles / after {short}", at_long[0] / at_short[0], limit="about 1", notes=sizes
        ),
        Measurement(NAME, "with Dagster / its functions alone", at_long[0] / at_long[1], notes="same bytes written"),
        Measurement(NAME, f"close job, in process, after {long} cycles", at_long[0], "s", notes="median"),
    ]


def _with_and_without(world: World, number: int, repeats: int) -> tuple[float, float]:
    """Median seconds of closing the cycle again, with Dagster and without."""
    cycle = world.cycles[number - 1]
    before = world.versions(cycle)
    with world.closing_job() as job:
        # The first run of a job also resolves it and creates the instance's tables.
        job.run(cycle)
        times = side_by_side(lambda: job.run(cycle), lambda: world.close(cycle), repeats)
    if world.versions(cycle) != before:
        raise RuntimeError(f"Closing cycle {cycle} again changed what it wrote; the two ways are not the same work.")
    return times


if __name__ == "__main__":
    run_alone(run, __doc__)
