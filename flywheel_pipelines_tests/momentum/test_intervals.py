"""The interval of the lift holds what it promises, and the impression-level one does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.momentum.intervals import MINIMUM_BRIEFS, BriefSums, Lift, lift_of, spin_verdict, verdict_words
from flywheel_pipelines_tests.momentum.worlds import click_counts

WORLDS = 1500
EXPOSURE = 3000
# Four standard errors of a coverage of 95% estimated on 1,500 worlds.
TOLERANCE = 4 * math.sqrt(0.95 * 0.05 / WORLDS)


def coverage(interval, shape: tuple[int, int, int], lift: float) -> float:
    """Share of simulated worlds whose interval holds the true lift."""
    random = np.random.default_rng(7)
    found = [interval(*click_counts(random, *shape, lift, EXPOSURE)) for _ in range(WORLDS)]
    return float(np.mean([lower <= lift <= upper for lower, upper in found]))


def brief_interval(flywheel: np.ndarray, control: np.ndarray) -> tuple[float, float]:
    found = lift_of(BriefSums.of(flywheel / EXPOSURE, control / EXPOSURE), "higher")
    assert found.lower is not None
    assert found.upper is not None
    return found.lower, found.upper


def impression_interval(flywheel: np.ndarray, control: np.ndarray) -> tuple[float, float]:
    """What a naive dashboard draws: every impression an independent trial (log ratio of two proportions)."""
    clicks = [np.nansum(arm) for arm in (flywheel, control)]
    trials = [EXPOSURE * np.count_nonzero(~np.isnan(arm)) for arm in (flywheel, control)]
    spread = math.sqrt(sum(1 / click - 1 / trial for click, trial in zip(clicks, trials, strict=True)))
    ratio = math.log(clicks[0] / trials[0]) - math.log(clicks[1] / trials[1])
    return math.expm1(ratio - 1.96 * spread), math.expm1(ratio + 1.96 * spread)


SHAPES = {
    "paired": (60, 60, 60),
    "unpaired": (80, 20, 0),
    "mixed": (60, 50, 30),
    "few paired": (10, 10, 10),
}


@pytest.mark.parametrize("lift", [0.0, 0.1], ids=["null", "plus ten"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_interval_by_brief_covers_the_truth(shape: tuple[int, int, int], lift: float):
    assert abs(coverage(brief_interval, shape, lift) - 0.95) < TOLERANCE


@pytest.mark.parametrize("shape", [SHAPES["paired"], SHAPES["unpaired"]], ids=["paired", "unpaired"])
def test_interval_by_impression_does_not_cover_the_truth(shape: tuple[int, int, int]):
    assert coverage(impression_interval, shape, 0.0) < 0.85


def test_pairing_narrows_the_interval():
    random = np.random.default_rng(1)
    flywheel, control = click_counts(random, 200, 200, 200, 0.1)
    paired = brief_interval(flywheel, control)
    nothing = np.full(200, np.nan)
    apart = brief_interval(np.append(flywheel, nothing), np.append(nothing, control))
    assert paired[1] - paired[0] < 0.85 * (apart[1] - apart[0])


rates = st.lists(
    st.tuples(*[st.one_of(st.just(math.nan), st.floats(0.001, 0.5))] * 2), min_size=2 * MINIMUM_BRIEFS, max_size=60
)


@given(rates, st.integers(0, 60))
def test_sums_of_two_parts_are_the_sums_of_the_whole(values: list[tuple[float, float]], cut: int):
    flywheel, control = np.array(values).T
    parts = BriefSums.of(flywheel[:cut], control[:cut]) + BriefSums.of(flywheel[cut:], control[cut:])
    whole = BriefSums.of(flywheel, control)
    assert parts.carried() == pytest.approx(whole.carried(), rel=1e-12)
    assert parts.n_briefs == whole.n_briefs


@given(rates)
def test_the_lift_lies_within_its_interval(values: list[tuple[float, float]]):
    found = lift_of(BriefSums.of(*np.array(values).T), "higher")
    if found.value is not None and found.lower is not None and found.upper is not None:
        assert found.lower <= found.value <= found.upper


@given(rates, st.floats(0.01, 100))
def test_the_unit_of_the_metric_does_not_matter(values: list[tuple[float, float]], unit: float):
    plain, scaled = (lift_of(BriefSums.of(*(np.array(values).T * factor)), "higher") for factor in (1.0, unit))
    assert [value is None for value in plain] == [value is None for value in scaled]
    assert all(a == pytest.approx(b, rel=1e-6, abs=1e-9) for a, b in zip(plain, scaled, strict=True) if a is not None)


def test_where_lower_is_better_a_reduction_is_a_positive_lift():
    random = np.random.default_rng(2)
    flywheel, control = click_counts(random, 50, 50, 50, -0.25)
    sums = BriefSums.of(flywheel, control)
    up, down = lift_of(sums, "higher"), lift_of(sums, "lower")
    assert down == (-up.value, -up.upper, -up.lower)  # pyright: ignore[reportOptionalOperand]
    assert spin_verdict(down) == "spinning"
    assert spin_verdict(up) == "losing"


def test_too_few_briefs_give_a_lift_without_an_interval():
    random = np.random.default_rng(3)
    few = lift_of(BriefSums.of(*click_counts(random, MINIMUM_BRIEFS - 1, 40, 0, 0.1)), "higher")
    enough = lift_of(BriefSums.of(*click_counts(random, MINIMUM_BRIEFS, 40, 0, 0.1)), "higher")
    assert few.value is not None
    assert few.lower is None
    assert enough.lower is not None


@pytest.mark.parametrize(
    ("flywheel", "control"),
    [([], []), ([0.1] * 20, []), ([0.1] * 20, [0.0] * 20), ([1.0] * 20, [-1.0] * 20)],
    ids=["no briefs", "no control", "control at zero", "control below zero"],
)
def test_without_a_positive_control_there_is_no_lift(flywheel: list[float], control: list[float]):
    n = len(flywheel) + len(control)
    first = np.array(flywheel + [math.nan] * len(control))
    second = np.array([math.nan] * len(flywheel) + control)
    assert lift_of(BriefSums.of(first.reshape(n), second.reshape(n)), "higher") == Lift(None)


@pytest.mark.parametrize("value", [0.1, 0.3, 1e-7])
def test_briefs_without_any_variation_give_no_false_certainty(value: float):
    same = np.full(20, value)
    assert lift_of(BriefSums.of(same, same), "higher") == Lift(0.0, None, None)


def test_an_uncertain_denominator_gives_no_interval():
    control = np.zeros(20)
    control[0] = 1.0
    found = lift_of(BriefSums.of(np.full(20, 0.5), control), "higher")
    assert found.value is not None
    assert found.lower is None


@pytest.mark.parametrize(
    ("lift", "verdict", "words"),
    [
        (Lift(0.067, 0.05, 0.084), "spinning", "Spinning: +6.7% (95% interval +5.0% to +8.4%) over the treadmill."),
        (Lift(0.02, -0.01, 0.05), "unproven", "the interval includes zero"),
        (Lift(-0.1, -0.2, -0.05), "losing", "Losing: -10.0%"),
        (Lift(0.5), "unproven", "too few briefs"),
        (Lift(None), "unmeasured", "Not measured yet"),
    ],
)
def test_verdict_follows_the_interval_and_says_so(lift: Lift, verdict: str, words: str):
    assert spin_verdict(lift) == verdict
    assert words in verdict_words(lift)
