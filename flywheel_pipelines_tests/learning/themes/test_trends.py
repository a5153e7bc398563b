"""Movement of shares: volume and weekdays are no movement, and chance is called one as rarely as promised."""

from __future__ import annotations

import numpy as np
import pytest

from flywheel_pipelines.learning.themes.trends import (
    TrendSettings,
    adjusted,
    excess_correlation,
    share_interval,
    trends,
)

SETTINGS = TrendSettings()


def _world(
    shares: np.ndarray, totals: np.ndarray, seed: int, noise: float = 0.0, days: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Counts by theme, cycle and weekday, and totals, for shares by theme and cycle."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((len(shares), len(totals), 7))
    n = np.zeros((len(totals), 7))
    for cycle, total in enumerate(totals):
        weights = shares[:, cycle] * np.exp(noise * rng.standard_normal(len(shares)))
        for day in range(7):
            of_day = weights * (days[:, day] if days is not None else 1)
            counts[:, cycle, day] = rng.multinomial(total[day], of_day / of_day.sum())
            n[cycle, day] = total[day]
    return counts, n


def _even(n_themes: int, n_cycles: int) -> np.ndarray:
    return np.full((n_themes, n_cycles), 1 / n_themes)


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_nothing_moves_in_a_world_where_nothing_does(noise: float) -> None:
    false = 0
    for seed in range(60):
        totals = np.random.default_rng(seed).integers(20, 200, (9, 7))
        found = trends(*_world(_even(12, 9), totals, seed, noise), SETTINGS)
        false += any(one.movement != "steady" for one in found)
    assert false <= 60 * 0.2


def test_many_small_themes_are_not_said_to_move_since_chance_made_some_large_enough_to_be_tested() -> None:
    false = 0
    for seed in range(40):
        counts, totals = _world(_even(40, 9), np.full((9, 7), 14), seed, 0.12)
        found = trends(counts, totals, SETTINGS)
        false += any(one.movement != "steady" for one in found)
        assert all((one.p_value is None) == (one.q_value is None) for one in found)
    assert false <= 40 * 0.2


def test_a_theme_that_came_to_stay_is_no_noise() -> None:
    shares = _even(12, 20)
    for theme in range(6):
        shares[theme, : 3 * theme + 2] *= 0.2
    found = excess_correlation(*_world(shares / shares.sum(axis=0), np.full((20, 7), 100), 6))
    flat = excess_correlation(*_world(_even(12, 20), np.full((20, 7), 100), 6, noise=0.3))
    assert found < 0.002
    assert flat > 0.005


def test_volume_alone_is_no_movement() -> None:
    totals = np.full((9, 7), 20)
    totals[-1] = 400
    assert {one.movement for one in trends(*_world(_even(10, 9), totals, 1), SETTINGS)} == {"steady"}


def test_weekdays_alone_are_no_movement() -> None:
    days = np.ones((10, 7))
    days[0, :5] = 0.05  # a theme of weekends
    totals = np.full((9, 7), 100)
    totals[-1, :5] = 5  # a cycle that is nearly all weekend
    counts, n = _world(_even(10, 9), totals, 2, days=days)
    assert trends(counts, n, SETTINGS)[0].movement == "steady"
    # The control: without weekdays it looks like growth.
    flat = np.zeros_like(counts)
    flat[:, :, 0] = counts.sum(axis=2)
    all_days = np.zeros_like(n)
    all_days[:, 0] = n.sum(axis=1)
    assert trends(flat, all_days, SETTINGS)[0].movement in ("growing", "emerging")


@pytest.mark.parametrize(
    ("factors", "movement"),
    [([1] * 8 + [3], "growing"), ([0.02] * 8 + [1.2], "emerging"), ([1] * 8 + [0.3], "shrinking"),
     ([1] * 7 + [0, 0], "gone")],
)  # fmt: skip
def test_movements_are_called_by_their_names(factors: list[float], movement: str) -> None:
    shares = _even(10, 9)
    shares[0] *= factors
    found = trends(*_world(shares / shares.sum(axis=0), np.full((9, 7), 100), 3), SETTINGS)
    assert found[0].movement == movement
    assert all(one.share_low <= one.share <= one.share_high for one in found)


def test_false_discovery_bound_is_benjamini_and_hochbergs() -> None:
    # Their step-up on four p values, by hand.
    assert adjusted([0.01, None, 0.04, 0.03, 0.5]) == pytest.approx([0.04, None, 0.16 / 3, 0.16 / 3, 0.5])


def test_excess_noise_is_found_and_widens_intervals() -> None:
    totals = np.full((9, 7), 100)
    calm = excess_correlation(*_world(_even(12, 9), totals, 4))
    rough = excess_correlation(*_world(_even(12, 9), totals, 4, noise=0.4))
    assert calm < 0.002 < rough
    narrow, wide = share_interval(50, 700, calm, 0.95), share_interval(50, 700, rough, 0.95)
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_first_cycle_has_shares_and_no_movement() -> None:
    counts, totals = _world(_even(5, 1), np.full((1, 7), 50), 5)
    assert {(one.movement, one.p_value) for one in trends(counts, totals, SETTINGS)} == {("steady", None)}
