"""The benchmark of the prompt optimiser, on fewer runs than it makes itself."""

from __future__ import annotations

import pytest

pytest.importorskip("gepa", reason="the optional package gepa is not installed")

from benchmarks.prompt_optimiser import GAIN, adopted

RUNS = 20


@pytest.mark.slow
def test_among_equal_prompts_the_gate_adopts_hardly_any_and_stock_acceptance_most() -> None:
    assert sum(adopted(seed, 0.0, gated=True) for seed in range(RUNS)) <= 2
    assert sum(adopted(seed, 0.0, gated=False) for seed in range(RUNS)) >= RUNS // 2


@pytest.mark.slow
def test_a_prompt_that_is_a_quarter_better_passes_the_gate() -> None:
    assert sum(adopted(seed, GAIN, gated=True) for seed in range(RUNS)) >= 0.75 * RUNS
