"""Implausible feedback: honest traffic passes as documented, planted attacks do not, and the arithmetic is right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, kstest, norm

from benchmarks.plausibility import ATTACKS, interval, judge, run_world
from benchmarks.plausibility_traffic import CTR, Traffic, worlds
from flywheel_pipelines.feedback.plausibility import ERROR_RATE, MIN_COUNT
from flywheel_pipelines.feedback.plausibility_history import MIN_OUTPUTS
from flywheel_pipelines.feedback.plausibility_tails import binomial_tail, bound_of_tail, holm, student_tail
from flywheel_pipelines.feedback.plausibility_words import ImplausibleRow

CYCLE = date(2026, 3, 2)
EARLIER = CYCLE - timedelta(weeks=1)


def rows(*cells: tuple[str, date, int, int, int]) -> pa.Table:
    """Rows of output, cycle, day of the cycle from 0, impressions, clicks."""
    columns = {
        "output_id": [cell[0] for cell in cells],
        "cycle": [cell[1] for cell in cells],
        "measured_on": [cell[1] + timedelta(days=cell[2]) for cell in cells],
        "impressions": [float(cell[3]) for cell in cells],
        "clicks": [float(cell[4]) for cell in cells],
    }
    types = {"output_id": pa.string(), "cycle": pa.date32(), "measured_on": pa.date32()}
    return pa.table({name: pa.array(values, types.get(name, pa.float64())) for name, values in columns.items()})


def steady(n_outputs: int = 30, days: int = 7, seed: int = 1) -> pa.Table:
    """A past of about 200 impressions and 6 clicks a day and output."""
    rng = np.random.default_rng(seed)
    cells = []
    for number in range(n_outputs):
        for day in range(days):
            n = int(rng.poisson(200))
            cells.append((f"o{number}", EARLIER, day, n, int(rng.binomial(n, rng.beta(12, 388)))))
    return rows(*cells)


def held(facts: pa.Table, known: pa.Table) -> list[tuple[str, ImplausibleRow]]:
    return judge(facts, known, [CTR])


def held_days(facts: pa.Table, known: pa.Table) -> list[tuple[str, int]]:
    return [(output_id, (row.measured_on - EARLIER).days) for output_id, row in held(facts, known)]


# -- one row at a time -----------------------------------------------------------------------------------------------
def test_a_jump_of_an_outputs_rate_is_held_in_words_and_numbers() -> None:
    ((output_id, row),) = held(rows(("o1", EARLIER, 8, 200, 60), ("o2", EARLIER, 8, 200, 6)), steady())
    assert (output_id, row.measured_on, row.measure) == ("o1", EARLIER + timedelta(days=8), "clicks")
    assert row.found == "60 of 200"
    for part in (
        "are 30.00%; expected about",
        "30 outputs",
        "probability of",
        "at most 1%",
        "flywheel quarantine release",
    ):
        assert part in row.reason
    assert row.p_value < 1e-5


def test_control_an_ordinary_day_passes() -> None:
    assert held(rows(("o1", EARLIER, 8, 200, 6), ("o2", EARLIER, 8, 260, 9)), steady()) == []


def test_a_flood_of_one_output_is_held() -> None:
    assert held_days(rows(("o1", EARLIER, 8, 10_000, 300), ("o2", EARLIER, 8, 200, 6)), steady()) == [("o1", 8)]


def test_a_flood_of_all_outputs_is_held_on_its_day_alone() -> None:
    """Too little for any single output of a flywheel whose outputs differ widely, too much for all of them at once."""
    rng = np.random.default_rng(3)
    level = rng.lognormal(5, 1.5, 60)
    past = [
        (f"o{n}", EARLIER, day, int(level[n] * rng.lognormal(0, 0.8)) + 1, 0) for n in range(60) for day in range(15)
    ]
    now = [
        (f"n{n}", EARLIER, 15 + day, int(rng.lognormal(5, 1.5) * (50 if day == 1 else 1)) + 1, 0)
        for n in range(60)
        for day in range(2)
    ]
    assert {day for _, day in held_days(rows(*now), rows(*past))} == {16}


def test_what_is_taken_back_passes() -> None:
    """A bot filter lowers counts that were far too high; what is no higher than what is known needs nobody's leave."""
    known = pa.concat_tables([steady(), rows(("o1", EARLIER, 8, 10_000, 9_000))])
    assert held(rows(("o1", EARLIER, 8, 9_000, 7_000)), known) == []


def test_control_a_correction_upwards_does_not() -> None:
    known = pa.concat_tables([steady(), rows(("o1", EARLIER, 8, 200, 6))])
    assert held_days(rows(("o1", EARLIER, 8, 200, 90)), known) == [("o1", 8)]


def test_a_rate_that_rises_because_its_exposure_is_taken_back_is_held() -> None:
    known = pa.concat_tables([steady(), rows(("o1", EARLIER, 8, 2_000, 60))])
    assert held_days(rows(("o1", EARLIER, 8, 70, 60)), known) == [("o1", 8)]


@pytest.mark.parametrize("n_outputs", [0, 1, MIN_OUTPUTS - 1])
def test_the_first_weeks_pass_whatever_they_say(n_outputs: int) -> None:
    assert held(rows(("o1", EARLIER, 8, 1_000_000, 900_000)), steady(n_outputs)) == []


def test_control_with_enough_of_a_past_they_do_not() -> None:
    assert held(rows(("o1", EARLIER, 8, 1_000_000, 900_000)), steady(MIN_OUTPUTS)) != []


def test_small_numbers_are_never_held() -> None:
    tiny = rows(*((f"o{number}", EARLIER, day, 1, 0) for number in range(30) for day in range(7)))
    assert held(rows(("o1", EARLIER, 8, MIN_COUNT - 1, 4)), tiny) == []


def test_many_small_jumps_of_one_output_are_one_large_one() -> None:
    """No day stands out among so many; the output does."""
    past = rows(*((f"o{n}", EARLIER, d, 100, 1 + (n + d) % 3) for n in range(200) for d in range(14)))
    others = [(f"o{n}", EARLIER, d, 100, 1 + (n + d) % 3) for n in range(1, 200) for d in range(14, 28)]
    jump = [("o0", EARLIER, d, 100, 9) for d in range(14, 28)]
    assert {output for output, _ in held_days(rows(*others, *jump), past)} == {"o0"}
    assert held_days(rows(*others, jump[0]), past) == []


def test_a_measure_without_its_exposure_is_a_count() -> None:
    past, now = steady().drop_columns(["impressions"]), rows(("o1", EARLIER, 8, 0, 900)).drop_columns(["impressions"])
    ((_, row),) = held(now, past)
    assert (row.measure, row.found) == ("clicks", "900")


def test_what_is_held_does_not_depend_on_the_order_of_rows() -> None:
    facts = rows(*((f"o{n}", EARLIER, 8, 200, 60 if n % 3 == 0 else 6) for n in range(9)))
    shuffled = facts.take([8, 3, 1, 0, 2, 7, 5, 4, 6])
    known = steady()
    first, second = held(facts, known), held(shuffled, known.take(list(reversed(range(known.num_rows)))))
    assert [(one, row.reason) for one, row in first] == [(one, row.reason) for one, row in second] != []


# -- honest traffic --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("world", ["beta-binomial", "simulated audience: recipients"])
def test_honest_files_are_held_as_rarely_as_documented(world: str) -> None:
    season, rates = worlds()[world]
    tally = run_world(world, season, rates, range(1), attack=False)
    assert tally.files == 25
    assert interval(tally.alarms, tally.files)[0] <= ERROR_RATE


def test_control_three_binomial_sigmas_cry_wolf() -> None:
    season, rates = worlds()["beta-binomial"]
    tally = run_world("naive", season, rates, range(1), attack=False)
    assert interval(tally.naive_alarms, tally.files)[0] > 10 * ERROR_RATE


def test_planted_attacks_are_caught() -> None:
    tally = run_world("attacked", Traffic(weekdays=True).season, [CTR], range(1), attack=True)
    for what in ("rate x10", "rows x50", "rows x50, all"):
        assert tally.caught[what] >= 0.75 * tally.tried[what] > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_honest_files_of_every_world_are_held_as_rarely_as_documented() -> None:
    tallies = [run_world(name, *world, range(4), attack=False) for name, world in worlds().items()]
    for tally in tallies:
        assert interval(tally.alarms, tally.files)[0] <= ERROR_RATE, tally.world
    alarms, files = sum(tally.alarms for tally in tallies), sum(tally.files for tally in tallies)
    assert interval(alarms, files)[1] <= ERROR_RATE
    assert sum(tally.naive_alarms for tally in tallies) > 0.5 * files


def test_every_attack_is_tried() -> None:
    assert set(ATTACKS) >= {"rate x10", "rows x50", "rows x50, all"}


# -- arithmetic ------------------------------------------------------------------------------------------------------
def a_tail(successes: int, trials: int, centre: float, spread: float, freedom: float = 1e6) -> float:
    found = binomial_tail(
        np.array([float(successes)]), np.array([float(trials)]), np.array([centre]), np.array([spread]), freedom
    )
    return float(found[0])


def test_the_tail_is_what_drawing_gives() -> None:
    rng = np.random.default_rng(5)
    rates = 1 / (1 + np.exp(-rng.normal(-3.0, 0.5, 2_000_000)))
    drawn = rng.binomial(200, rates)
    for successes in (5, 15, 30, 45):
        assert a_tail(successes, 200, -3.0, 0.5) == pytest.approx((drawn >= successes).mean(), rel=0.05)


def test_far_out_the_tail_is_heavier_than_that_of_the_beta_binomial_with_the_same_logits() -> None:
    from scipy.special import digamma, polygamma

    a, b = 3.0, 97.0
    centre, spread = float(digamma(a) - digamma(b)), float(np.sqrt(polygamma(1, a) + polygamma(1, b)))
    for successes in (60, 80, 100):
        assert a_tail(successes, 400, centre, spread) > betabinom.sf(successes - 1, 400, a, b)


def test_without_spread_the_tail_is_binomial_at_any_size() -> None:
    from scipy.stats import binom

    assert a_tail(30, 300, float(np.log(0.05 / 0.95)), 0.02) == pytest.approx(binom.sf(29, 300, 0.05), rel=0.1)
    assert 0.4 < a_tail(50_000, 1_000_000, float(np.log(0.05 / 0.95)), 0.1) < 0.6
    assert a_tail(7, 7, 2.0, 0.5) <= 1.0


@given(
    successes=st.integers(1, 10_000),
    failures=st.integers(0, 100_000),
    centre=st.floats(-8, 3),
    spread=st.floats(0.05, 3),
    freedom=st.floats(19, 200),
)
def test_the_bound_lies_below_the_tail(
    successes: int, failures: int, centre: float, spread: float, freedom: float
) -> None:
    distance = (np.log(successes / max(failures, 0.5)) - centre) / spread
    bound = float(bound_of_tail(np.array([distance]), freedom)[0])
    assert bound <= a_tail(successes, successes + failures, centre, spread, freedom) * 1.02


def test_p_values_of_the_model_itself_are_uniform() -> None:
    rng = np.random.default_rng(6)
    drawn = rng.binomial(5_000, 1 / (1 + np.exp(-rng.normal(-2.0, 0.6, 3_000)))).astype(float)
    p_values = binomial_tail(
        np.maximum(drawn, 1), np.full(3_000, 5_000.0), np.full(3_000, -2.0), np.full(3_000, 0.6), 1e6
    )
    assert kstest(p_values, "uniform").pvalue > 0.001


def test_students_t_has_the_spread_that_it_is_given() -> None:
    assert float(student_tail(np.array([2.0]), 1e6)[0]) == pytest.approx(norm.sf(2.0), rel=1e-3)
    assert float(student_tail(np.array([6.0]), 5.0)[0]) > 1e3 * norm.sf(6.0)


def plain_holm(p_values: Sequence[float], level: float) -> list[bool]:
    rejected = [False] * len(p_values)
    for step, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        if p_values[at] > level / (len(p_values) - step):
            break
        rejected[at] = True
    return rejected


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=12))
def test_holm_with_equal_weights_is_holms_procedure(p_values: list[float]) -> None:
    n = len(p_values)
    found = holm(np.array(p_values), np.ones(n), 0.05, float(n))
    assert found.tolist() == plain_holm(p_values, 0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_holm_on_smaller_p_values_rejects_no_less(p_values: list[float], shrink: list[float]) -> None:
    p, n = np.array(p_values), len(p_values)
    smaller = p * np.array(shrink[:n])
    weights = np.linspace(1, 2, n)
    more, less = (holm(values, weights, 0.05, float(weights.sum())) for values in (smaller, p))
    assert not (less & ~more).any()


def test_under_the_null_holm_is_wrong_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(7)
    wrong = sum(bool(holm(rng.uniform(size=50), np.ones(50), 0.05, 50.0).any()) for _ in range(2_000))
    assert interval(wrong, 2_000)[0] <= 0.05
