"""What the demo is there to show, held to: seasons with the floor, without it, and before readers without preferences.

The benchmark plays 20 audiences and prints the table of the docs. Here it is the audience of the demo alone.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks.seasons import FLYWHEELS, N_CYCLES, WAYS, Played, keep, kept, play_all, play_one, summary_table
from benchmarks.seasons_plot import seasons_plot
from flywheel_pipelines.paths import PROJECT_ROOT

DEMO_SEED = 1
IN_THE_DOCS = ("floor", "floor off", "flat world")
season = cache(play_one)
both = pytest.mark.parametrize("flywheel", FLYWHEELS)
# Half a minute each; the first of a busy machine's may take ten times that.
pytestmark = pytest.mark.timeout(900)


@pytest.mark.slow
@both
def test_with_the_floor_the_gap_is_real_by_cycle_15_and_grows_at_no_more_effort(flywheel: str) -> None:
    played = season(flywheel, "floor", DEMO_SEED)
    assert played.lower > played.early_lower > 0
    assert played.lifts[-1] > played.lifts[4]
    assert played.last_tokens <= played.first_tokens


@pytest.mark.slow
def test_the_last_half_lies_higher_over_the_treadmill_than_the_first() -> None:
    """Over both flywheels: one season of one of them has too few briefs in a half to tell."""
    played = [season(flywheel, "floor", DEMO_SEED) for flywheel in FLYWHEELS]
    assert fmean(one.last_half for one in played) > fmean(one.first_half for one in played)


@pytest.mark.slow
@both
def test_with_everything_fed_back_it_is_visibly_worse(flywheel: str) -> None:
    assert season(flywheel, "floor off", DEMO_SEED).lift < 0.5 * season(flywheel, "floor", DEMO_SEED).lift


@pytest.mark.slow
@both
def test_before_readers_without_preferences_there_is_no_lift(flywheel: str) -> None:
    played = season(flywheel, "flat world", DEMO_SEED)
    assert played.lower < 0 < played.upper


@pytest.mark.slow
@both
def test_where_both_arms_are_treadmills_there_is_no_lift(flywheel: str) -> None:
    played = season(flywheel, "control only", DEMO_SEED)
    assert played.lower < 0 < played.upper


@pytest.mark.slow
@both
def test_choosing_without_references_gains_less_than_the_whole_loop(flywheel: str) -> None:
    assert season(flywheel, "no references", DEMO_SEED).lift < season(flywheel, "floor", DEMO_SEED).lift


def test_the_picture_has_a_panel_for_each_flywheel_and_is_the_same_every_time() -> None:
    played = [replace(PLAYED, flywheel=flywheel, way=way) for flywheel in FLYWHEELS for way in WAYS]
    one, both = seasons_plot(played[: len(WAYS)]), seasons_plot(played)
    assert both == seasons_plot(played)
    assert width_of(both) == 2 * width_of(one)


def width_of(png: bytes) -> int:
    return int.from_bytes(png[16:20], "big")


PLAYED = Played("content", "floor", 1, 0.2, 0.1, 0.3, 0.05, 0.1, 0.3, 1_000.0, 900.0, (0.1, 0.2))


def test_the_table_counts_audiences_by_where_their_intervals_lie() -> None:
    others = [
        replace(PLAYED, seed=2, lift=0.4, early_lower=-0.1),
        replace(PLAYED, seed=3, lift=-0.3, lower=-0.5, upper=-0.1, early_lower=-0.2),
        replace(PLAYED, way="flat world", lower=-0.1),
    ]
    *_, floor, flat = summary_table([PLAYED, *others]).splitlines()
    assert floor == (
        "| content | floor | +10.0% (sd 36.1%) | +10.0% | +30.0% | 1 of 3 | 2 of 3 | 1 of 3 | 1,000 to 900 |"
    )
    assert flat.split(" | ")[5:8] == ["1 of 1", "0 of 1", "0 of 1"]


def test_the_table_of_the_docs_is_one_that_the_command_prints() -> None:
    """Its head and the first cells of each row; 20 seeds of each take an hour."""
    played = [replace(PLAYED, flywheel=flywheel, way=way) for flywheel in FLYWHEELS for way in IN_THE_DOCS]
    docs = (PROJECT_ROOT / "docs" / "writing-with-a-model.md").read_text(encoding="utf-8")
    head, line, *rows = summary_table(played).splitlines()
    _, found = docs.split(f"{head}\n{line}\n")
    shown = found.split("\n\n")[0].splitlines()
    assert [row.split(" | ")[:2] for row in shown] == [row.split(" | ")[:2] for row in rows]
    assert all(cell.endswith(" of 20") for row in shown for cell in row.split(" | ")[5:8])


def test_seasons_that_were_kept_are_not_played_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / "seasons.jsonl"
    seasons = [replace(PLAYED, seed=seed, lifts=(0.1,) * N_CYCLES) for seed in (1, 2)]
    for one in seasons:
        keep(one, path)
    assert kept(path) == seasons
    assert play_all([one.wanted for one in reversed(seasons)], 1, N_CYCLES, path) == seasons[::-1]
