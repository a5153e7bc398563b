"""What the past says about spreads, also where outcomes lie far out on the curve."""

from __future__ import annotations

import numpy as np
import pytest

from flywheel_pipelines.learning.components import Components, fit_components
from flywheel_pipelines.learning.likeness import Panel
from flywheel_pipelines.learning.outcomes import Successes

SEEDS = range(10)


class FullSteps(Successes):
    """The control: steps of any length."""

    longest_step = float("inf")


def fitted(kind: type[Successes], seed: int, centre: float) -> Components:
    """A fit to 150 briefs with an output each, of which a brief more or less succeeds always, and one never."""
    rng = np.random.default_rng(seed)
    rates = 1 / (1 + np.exp(-rng.normal(centre, 1.5, 150)))
    n = rng.integers(200, 2_000, 150)
    outcomes = kind(rng.binomial(n, rates).astype(float), n.astype(float))
    rows = np.arange(150)
    panel = Panel(brief=rows, rows=rows[:, None], likeness=np.ones((150, 1, 1)))
    with np.errstate(all="ignore"):
        return fit_components(outcomes, np.zeros(150), [panel], tau=0.3, between=0.5, worth=10)


@pytest.mark.parametrize("centre", [-3.0, 0.8, 3.0])
def test_a_fit_ends_where_rates_are_high_or_low(centre: float) -> None:
    for seed in SEEDS:
        found = fitted(Successes, seed, centre)
        assert found.centre == pytest.approx(centre, abs=0.5)
        assert found.between == pytest.approx(1.5, abs=0.4)


def test_steps_of_any_length_do_not_always_end() -> None:
    ended = [bool(np.isfinite(fitted(FullSteps, seed, 3.0).centre)) for seed in SEEDS]
    assert not all(ended)


def test_where_full_steps_end_short_ones_end_at_the_same_place() -> None:
    for seed in SEEDS:
        full, short = fitted(FullSteps, seed, -0.3), fitted(Successes, seed, -0.3)
        if np.isfinite(full.centre):
            assert short.centre == pytest.approx(full.centre, abs=1e-5)
            assert short.between == pytest.approx(full.between, abs=1e-5)
