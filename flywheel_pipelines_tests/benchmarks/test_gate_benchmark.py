"""The benchmark of the gate, smaller: errors of the real gate in null worlds, and what it sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gate import CONTENT, OUTREACH, UNEVEN, Design, designs, null_history, null_table, power_of


@pytest.mark.slow
@pytest.mark.parametrize("traffic", [OUTREACH, *UNEVEN], ids=lambda traffic: traffic.name)
def test_equal_arms_are_rarely_told_apart_in_26_looks_and_often_by_naive_rules(traffic) -> None:
    claims = [null_history(traffic, seed) for seed in range(120)]
    for claim in ("spinning", "promoted", "rolled_back"):
        assert sum(getattr(one, claim) for one in claims) / len(claims) <= 0.05, claim
    assert all(one.higher for one in claims)
    assert sum(one.one_look_spinning for one in claims) / len(claims) > 0.08
    assert sum(one.one_look_promoted for one in claims) / len(claims) > 0.08
    assert "| 120 |" in null_table({traffic.name: claims})


@pytest.mark.slow
def test_ten_percent_is_seen_with_enough_briefs_and_not_with_the_demos_traffic() -> None:
    lively = replace(CONTENT, spread=0.3)
    enough = Design(lively, 150, 1.0, 0.1, True, CONTENT.exposure)
    assert power_of(enough, histories=100).promoted >= 0.8
    own = next(iter(designs(CONTENT)))
    found = power_of(own, histories=100)
    assert found.promoted < 0.2
    assert found.best < 0.8


def test_simulated_briefs_have_the_mean_and_the_spread_of_the_demo() -> None:
    """Measured within cycles of seasons: `python -m benchmarks.gate --spreads 2`."""
    random = np.random.default_rng(1)
    for traffic, spread in ((OUTREACH, (0.43, 0.57)), (CONTENT, (0.4, 0.55))):
        values = traffic.values(random, traffic.briefs_of(random, 20_000), 0, 1.0, traffic.spread)
        assert values.mean() == pytest.approx(traffic.rate, rel=0.05)
        assert spread[0] < values.std() / values.mean() < spread[1]
