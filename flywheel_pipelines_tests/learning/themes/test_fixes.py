"""Effects of fixes: those that work are found, those that do not are not, also when volume and noise move."""

from __future__ import annotations

import numpy as np
import pytest

from flywheel_pipelines.learning.themes.fixes import FixEffect, FixSettings, fix_effect

SETTINGS = FixSettings()
SHIPPED = 10


def _counts(seed: int, factor: float = 1.0, *, slope: float = 0.0, noise: float = 0.15, n: int = 20) -> np.ndarray:
    """Twenty-five themes; the first is multiplied by `factor` after the fix, and moves by `slope` per cycle always."""
    rng = np.random.default_rng(seed)
    volume = np.exp(0.3 * rng.standard_normal(n))
    means = 20 * volume * np.exp(noise * rng.standard_normal((25, n)))
    means[0, SHIPPED:] *= factor
    means[0] *= np.exp(slope * np.arange(n))
    return rng.poisson(means)


def _effect(counts: np.ndarray) -> FixEffect:
    return fix_effect(counts, 0, SHIPPED, SETTINGS)


def test_a_fix_that_works_is_found_and_measured() -> None:
    found = [_effect(_counts(seed, 0.4)) for seed in range(20)]
    assert sum(one.verdict == "worked" for one in found) >= 17
    assert np.mean([one.ratio or 0 for one in found]) == pytest.approx(0.4, abs=0.05)
    assert sum(one.low <= 0.4 <= one.high for one in found if one.low and one.high) >= 19


def test_a_fix_that_makes_it_worse_is_told() -> None:
    assert _effect(_counts(1, 2.5)).verdict == "worse"


def test_a_fix_that_does_nothing_is_rarely_anything_else() -> None:
    wrong = sum(_effect(_counts(seed)).verdict != "no evidence" for seed in range(300))
    assert wrong <= 300 * 0.08


def test_a_theme_that_was_falling_anyway_is_no_evidence() -> None:
    found = [_effect(_counts(seed, slope=-0.15, noise=0.05)) for seed in range(20)]
    assert sum(one.verdict == "no evidence" for one in found) >= 15
    assert any("before the fix" in one.reason for one in found)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (_counts(1)[:, : SHIPPED + 2], "full cycles since it shipped"),
        (np.vstack([np.zeros((1, 20), int), _counts(1)[1:]]), "tickets before it shipped"),
        (_counts(1)[:4], "comparable themes"),
    ],
)
def test_too_little_is_said_in_words(counts: np.ndarray, said: str) -> None:
    found = _effect(counts)
    assert found.verdict == "no evidence"
    assert found.ratio is None
    assert said in found.reason


def test_other_fixed_themes_are_no_controls() -> None:
    counts = _counts(1, 0.4)
    assert fix_effect(counts, 0, SHIPPED, SETTINGS, not_controls=frozenset({1, 2})).n_controls == 22
