"""The simulated market is worth learning: a writer with a floor gains, one without gains nothing, a flat world is flat.

The loop here is the simplest one that could work (counts, a beta posterior, the writer's own habit of leaning toward
references), so that it is the market that is tested and not the learning of this project.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import mean
from typing import Literal

import pytest
from scipy import stats

from flywheel_pipelines.llm.offline.grammar import WriterBrief, compose
from flywheel_pipelines.llm.offline.writing import lean
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.market import KINDS, RECIPIENTS, AudienceKind, World

MONDAY = date(2026, 1, 5)
SEGMENTS = ("north", "south", "east", "west")
N_CYCLES, N_SETTLED, PER_CYCLE = 20, 10, 20
"""Cycles in all, cycles at the end that are compared, and briefs per cycle."""
N_SEEDS = 8
CONTROL, SHOWN = 0.25, 6
BRIEF = WriterBrief(keyword="shift planning", product="the shift board", facts=("Saves 3 hours a week",))


@dataclass(frozen=True)
class Tried:
    """A text that went out, and what it got."""

    cycle: int
    arm: str
    segment: str
    text: str
    successes: int
    trials: int


def lift(kind: AudienceKind, seed: int, floor: Literal["mean", "off"], world: World) -> float:
    """Rate of the flywheel arm over the one of the control arm in the last cycles, less 1."""
    people, tried = Audience(kind, seed=seed, world=world), list[Tried]()
    for cycle in range(N_CYCLES):
        tried += one_cycle(people, cycle, winners(tried, floor), seed)
    rates = {}
    for arm in ("flywheel", "control"):
        late = [one for one in tried if one.arm == arm and one.cycle >= N_CYCLES - N_SETTLED]
        rates[arm] = sum(one.successes for one in late) / sum(one.trials for one in late)
    return rates["flywheel"] / rates["control"] - 1


def one_cycle(people: Audience, cycle: int, references: dict[str, list[str]], seed: int) -> list[Tried]:
    """Write, publish and measure the briefs of one cycle."""
    traffic = people.kind.traffic[0]
    monday, written = MONDAY + timedelta(weeks=cycle), []
    for number in range(PER_CYCLE):
        rng = random.Random(f"{seed}/{cycle}/{number}")
        arm, segment = "control" if rng.random() < CONTROL else "flywheel", SEGMENTS[number % len(SEGMENTS)]
        choices = lean(references.get(segment, []) if arm == "flywheel" else [], rng)
        written.append((f"{cycle}-{number}", arm, segment, compose(choices, BRIEF, rng).messages()))
    people.publish_seen(
        monday,
        [{"output_id": one, "brief_id": one, "segment": segment, "text": text} for one, _, segment, text in written],
    )
    tried = []
    for one, arm, segment, text in written:
        settled = people.settled(one)
        counts = settled[traffic.responses[0].measure], settled[traffic.measure]
        tried.append(Tried(cycle, arm, segment, text, *counts))
    return tried


def winners(tried: list[Tried], floor: Literal["mean", "off"]) -> dict[str, list[str]]:
    """What is shown next: the best above the mean with 90% probability, or without a floor whatever came last."""
    if not tried:
        return {}
    level = sum(one.successes for one in tried) / sum(one.trials for one in tried)
    # A prior worth the trials that show about two successes: the data outweigh it within one output.
    strength = 2 / level
    ranked = []
    for one in tried:
        good, bad = level * strength + one.successes, (1 - level) * strength + one.trials - one.successes
        if floor == "off":
            ranked.append((one.cycle, one))
        elif stats.beta.sf(level, good, bad) > 0.9:
            ranked.append((good / (good + bad), one))
    shown = defaultdict(list)
    for _, one in sorted(ranked, key=lambda entry: -entry[0]):
        if len(shown[one.segment]) < SHOWN:
            shown[one.segment].append(one.text)
    return shown


READING = [kind for kind in KINDS if kind.choices is None]
"""Kinds of audience that read what the writer writes; the others have choices of their own, and tests of their own."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", READING, ids=lambda kind: kind.name)
def test_with_a_floor_a_lively_world_pays_and_a_flat_one_does_not(kind: AudienceKind) -> None:
    lively = [lift(kind, seed, "mean", "lively") for seed in range(N_SEEDS)]
    flat = [lift(kind, seed, "mean", "flat") for seed in range(N_SEEDS)]
    assert 0.3 < mean(lively) < 1.2
    assert min(lively) > 0
    assert abs(mean(flat)) < 0.08


@pytest.mark.slow
def test_without_a_floor_a_lively_world_does_not_pay() -> None:
    unfiltered = mean(lift(RECIPIENTS, seed, "off", "lively") for seed in range(N_SEEDS))
    assert unfiltered < 0.5 * mean(lift(RECIPIENTS, seed, "mean", "lively") for seed in range(N_SEEDS))
