"""Money: unknown is not zero, too much is refused before it is spent, and a running cycle stops in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines.chat import Usage
from flywheel_pipelines.llm.budget import BudgetError
from flywheel_pipelines.llm.pricing import Experience, cost_of, estimate, prompt_tokens
from flywheel_pipelines.spec.producers import PriceSpec
from flywheel_pipelines_tests.llm.asking_samples import PRICE, arrivals, ask, requests, rows, server

ONE = (100 * 1.0 + 10 * 10.0) / 1e6
"""US dollars that one answer of the test's server costs at PRICE."""


def test_the_cost_is_tokens_times_prices() -> None:
    assert cost_of(Usage(1_000_000, 100_000), PRICE) == pytest.approx(2.0)


def test_cached_tokens_have_their_own_price() -> None:
    price = PriceSpec(input=1.0, output=0.0, cached_input=0.1)
    assert cost_of(Usage(1_000_000, 0, cached=500_000), price) == pytest.approx(0.55)


def test_a_batch_has_its_discount() -> None:
    assert cost_of(Usage(1_000_000, 0), PRICE, batch=True) == pytest.approx(0.5)


def test_without_a_price_the_cost_is_unknown() -> None:
    assert cost_of(Usage(1, 1), None) is None
    assert estimate(requests(1), {}).cost is None


def test_without_counted_tokens_the_cost_is_unknown() -> None:
    assert cost_of(None, PRICE) is None


def test_before_there_is_experience_answers_are_taken_to_be_as_long_as_they_may() -> None:
    found = estimate(requests(3), {"m": PRICE})
    assert found.completion_tokens == 300
    assert found.prompt_tokens == 3 * prompt_tokens(requests(1)[0])


def test_experience_corrects_the_estimate() -> None:
    found = estimate(requests(1), {"m": PRICE}, Experience(2.0, 10.0))
    assert (found.prompt_tokens, found.completion_tokens) == (2 * prompt_tokens(requests(1)[0]), 10)


def test_a_run_reports_what_it_cost(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        report = ask(tmp_path, url, requests(10), prices={"m": PRICE})
    assert report.cost == pytest.approx(10 * ONE)
    assert sum(row["cost"] for row in rows(tmp_path)) == pytest.approx(10 * ONE)


def test_a_run_without_prices_has_an_unknown_cost(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        report = ask(tmp_path, url, requests(2))
    assert report.cost is None
    assert "unknown price" in report.words


def test_the_next_cycle_estimates_from_what_was_seen(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        first = ask(tmp_path, url, requests(10), prices={"m": PRICE})
        second = ask(tmp_path, url, requests(10, attempt=2), prices={"m": PRICE})
    assert first.estimate.cost != pytest.approx(10 * ONE, rel=0.1)
    assert second.estimate.cost == pytest.approx(10 * ONE, rel=0.1)


def test_what_would_cost_too_much_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with server(tmp_path) as url, pytest.raises(BudgetError, match=r"nothing was sent.*max_cost_per_cycle"):
        ask(tmp_path, url, requests(100), prices={"m": PRICE}, max_cost=0.01)
    assert arrivals(tmp_path) == []


def test_what_earlier_attempts_spent_counts(tmp_path: Path) -> None:
    most = 1.5 * (estimate(requests(10), {"m": PRICE}).cost or 0.0)
    with server(tmp_path) as url:
        for attempt in range(1, 20):
            try:
                report = ask(tmp_path, url, requests(10, attempt=attempt), prices={"m": PRICE}, max_cost=most)
            except BudgetError:
                break
    assert attempt > 1
    assert report.cycle_cost is not None
    assert most - 12 * ONE < report.cycle_cost <= most


def test_a_budget_without_a_price_is_refused(tmp_path: Path) -> None:
    with server(tmp_path) as url, pytest.raises(BudgetError, match="m has no price"):
        ask(tmp_path, url, requests(1), max_cost=1.0)


def test_a_run_whose_answers_cost_more_than_expected_stops_before_the_budget(tmp_path: Path) -> None:
    """The server counts three times the tokens that prompts of this length were expected to have."""
    with server(tmp_path) as url:
        most = 100 * ONE
        with pytest.raises(BudgetError, match="what is answered is kept"):
            ask(tmp_path, url, requests(150, max_output_tokens=10), prices={"m": PRICE}, max_cost=most, concurrency=4)
    paid = sum(row["cost"] for row in rows(tmp_path))
    assert 80 * ONE < paid <= most + 4 * ONE
