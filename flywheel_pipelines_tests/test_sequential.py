"""Anytime-valid inference: sums, strata, intervals, and errors that hold over a whole history."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flywheel_pipelines.lake.tables import PROMPT_GATE
from flywheel_pipelines.learning.gate_state import GateRules, Rival, gate_row
from flywheel_pipelines.sequential import (
    CARRIED,
    Comparison,
    PairSums,
    boundary,
    bounds_of,
    critical_t,
    evidence_against_equal,
    needed_evidence,
    normal_deviate,
    spend,
)

DOCS = Path(__file__).resolve().parent.parent / "docs" / "learning" / "gate.md"


def between(random: np.random.Generator, n: int, m: int, gain: float = 1.0, spread: float = 0.5) -> PairSums:
    """One cycle: n briefs in the first arm, m others in the second."""
    first, second = gain * np.exp(random.normal(0, spread, n)), np.exp(random.normal(0, spread, m))
    return PairSums.of(np.append(first, np.full(m, np.nan)), np.append(np.full(n, np.nan), second))


def played(cycles: int, gain: float = 1.0, seed: int = 1, n: int = 10, m: int = 6) -> Comparison:
    random, comparison = np.random.default_rng(seed), Comparison()
    for _ in range(cycles):
        comparison = comparison.add(between(random, n, m, gain))
    return comparison


def width(comparison: Comparison) -> float:
    _, lower, upper = bounds_of(comparison, 0.025)
    assert lower is not None
    assert upper is not None
    return upper - lower


def test_carried_sums_give_the_same_comparison() -> None:
    comparison = played(5).add(PairSums.of(np.array([1.0, np.nan]), np.array([np.nan, 2.0])))
    assert comparison.waiting.n_first == 1
    assert Comparison.from_carried(comparison.carried()) == comparison


def test_sums_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=f"found 3 carried sums, expected {len(CARRIED)}"):
        Comparison.from_carried([1.0, 2.0, 3.0])


def test_a_cycle_with_a_single_brief_in_an_arm_waits_for_the_next() -> None:
    random = np.random.default_rng(1)
    thin, full = between(random, 5, 1), between(random, 5, 4)
    one = Comparison().add(thin)
    both = one.add(full)
    assert (one.n_strata, both.n_strata, both.n_first, both.n_second) == (0, 1, 10, 5)
    assert both.waiting == PairSums()


def test_a_season_that_lifts_both_arms_does_not_widen_the_interval() -> None:
    random = np.random.default_rng(2)
    flat, seasonal, pooled = Comparison(), Comparison(), PairSums()
    for level in (1.0, 3.0) * 6:
        cycle = between(random, 20, 20)
        raised = PairSums(
            cycle.n_first, cycle.n_second, 0, level * cycle.first, level * cycle.second,
            level**2 * cycle.first_squares, level**2 * cycle.second_squares,
        )  # fmt: skip
        flat, seasonal, pooled = flat.add(cycle), seasonal.add(raised), pooled + raised
    widths = [width(flat), width(seasonal)]
    # As one stratum the level counts as spread.
    assert widths[1] < 1.4 * widths[0] < width(Comparison().add(pooled))


def test_shares_that_change_with_the_season_do_not_bias_the_ratio() -> None:
    """Simpson's paradox: the first arm gets most briefs of the good cycles."""
    low, high = np.array([0.9, 1.0, 1.1]), np.array([2.9, 3.0, 3.1])
    parts = [(np.tile(low, 1), np.tile(low, 5)), (np.tile(high, 5), np.tile(high, 1))]
    comparison, pooled = Comparison(), PairSums()
    for first, second in parts:
        nans = np.full(len(first), np.nan), np.full(len(second), np.nan)
        cycle = PairSums.of(np.concatenate([first, nans[1]]), np.concatenate([nans[0], second]))
        comparison, pooled = comparison.add(cycle), pooled + cycle
    assert comparison.ratio == pytest.approx(1.0)
    assert (pooled.first / pooled.n_first) / (pooled.second / pooled.n_second) == pytest.approx(2.0)


def test_pairing_narrows_the_interval() -> None:
    random, paired, unpaired = np.random.default_rng(3), Comparison(), Comparison()
    for _ in range(6):
        brief = np.exp(random.normal(0, 0.5, 20))
        first, second = (brief * np.exp(random.normal(0, 0.1, 20)) for _ in range(2))
        paired = paired.add(PairSums.of(first, second))
        nans = np.full(20, np.nan)
        unpaired = unpaired.add(PairSums.of(np.concatenate([first, nans]), np.concatenate([nans, second])))
    widths = [width(paired), width(unpaired)]
    assert widths[0] < 0.4 * widths[1]


@given(st.integers(2, 30), st.floats(0.5, 2.0), st.integers(0, 10**6), st.sampled_from([0.001, 0.01, 0.025, 0.05]))
def test_evidence_reaches_what_is_needed_exactly_when_the_interval_leaves_out_equality(
    cycles: int, gain: float, seed: int, alpha: float
) -> None:
    comparison = played(cycles, gain, seed)
    _, lower, upper = bounds_of(comparison, alpha)
    evidence = evidence_against_equal(comparison)
    if lower is not None and upper is not None and evidence is not None:
        assert (lower > 1 or upper < 1) == (evidence >= needed_evidence(alpha))


@given(st.floats(0, 8), st.floats(5, 500))
def test_the_normal_deviate_has_the_tail_of_t_and_turns_back(t: float, degrees: float) -> None:
    z = normal_deviate(t, degrees)
    assert z == pytest.approx(stats.norm.isf(stats.t.sf(t, degrees)), abs=0.06)
    assert critical_t(z, degrees) == pytest.approx(t, abs=1e-6)


def test_nothing_is_said_of_few_briefs_and_of_briefs_that_do_not_vary() -> None:
    assert bounds_of(played(1, n=7, m=7), 0.025).lower is None
    constant = Comparison().add(
        PairSums.of(np.r_[np.ones(9), np.full(9, np.nan)], np.r_[np.full(9, np.nan), np.ones(9)])
    )
    assert bounds_of(constant, 0.025) == (1.0, None, None)
    assert evidence_against_equal(constant) is None


def test_the_boundary_is_above_that_of_a_single_look_and_narrow_where_it_is_said_to_be() -> None:
    heights = [boundary(pairs, 0.025) for pairs in (8, 32, 80, 320, 5000)]
    assert min(heights) > 1.96
    assert max(heights[1:4]) < 1.05 * min(heights)
    assert heights[0] > 1.1 * min(heights)


def test_all_shares_of_an_error_budget_together_are_the_budget() -> None:
    assert sum(spend(0.05, number) for number in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize(("n", "m"), [(10, 10), (15, 5), (5, 5)])
def test_a_difference_is_claimed_in_few_histories_without_one_but_by_a_single_look_interval_in_many(
    n: int, m: int
) -> None:
    random, wrong, naive, histories = np.random.default_rng(5), 0, 0, 300
    for _ in range(histories):
        comparison, claimed, looked = Comparison(), False, False
        for _ in range(26):
            comparison = comparison.add(between(random, n, m))
            _, lower, upper = bounds_of(comparison, 0.025)
            claimed |= (lower is not None and lower > 1) or (upper is not None and upper < 1)
            spread = np.sqrt(comparison.first_variance + comparison.second_variance)
            looked |= abs(comparison.first - comparison.second) > 1.96 * spread
        wrong, naive = wrong + claimed, naive + looked
    assert wrong / histories <= 0.05
    assert naive / histories > 0.2


def test_the_sql_of_the_documents_gives_the_evidence_of_the_table() -> None:
    rules = GateRules("rate")
    rivals = [Rival("challenger", "a", 0.03, n_cycles=6, sums=played(6, 1.4))]
    random, paired = np.random.default_rng(6), Comparison()
    for _ in range(5):
        brief = np.exp(random.normal(0, 0.5, 20))
        paired = paired.add(PairSums.of(1.2 * brief * np.exp(random.normal(0, 0.3, 20)), brief))
    rivals.append(Rival("control", "b", 0.01, n_cycles=5, sums=paired))
    rows = pa.Table.from_pylist([gate_row(one, rules, "keep", "", "c") for one in rivals], schema=PROMPT_GATE.schema)
    query = re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        connection.execute("create schema lake; create table lake.prompt_gate as from rows")
        found = connection.execute(query).to_arrow_table().to_pylist()
    for row, expected in zip(sorted(found, key=lambda one: one["frame_version"]), rows.to_pylist(), strict=True):
        assert row["evidence"] == pytest.approx(expected["evidence"], rel=1e-9)
        assert row["needed"] == pytest.approx(expected["needed"])
