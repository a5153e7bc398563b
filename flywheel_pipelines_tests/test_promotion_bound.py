"""The oracle of the promotion benchmark knows more the more it is shown, and measures what predictions are worth."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.special import expit

from benchmarks.promotion_bound import MORE, UNSEEN, bound_rows, bound_tables
from flywheel_pipelines.learning.posterior import FittedPrior

K = 300
CYCLE = date(2014, 1, 6)
PLAIN = FittedPrior(centre=-4.0, tau=0.3, between=0.5, n_briefs=100)
TOLD = replace(PLAIN, coefficient=1.0, tau=0.1)


def choices(briefs: int = 250, exposure: int = 3_000) -> pd.DataFrame:
    """Four candidates a brief, simulated, each with its true effect as the prediction."""
    rng = np.random.default_rng(0)
    brief, effect = np.repeat(np.arange(briefs), 4), rng.normal(0, 0.3, 4 * briefs)
    rate = expit(rng.normal(-4, 0.5, briefs)[brief] + effect)
    frame = pd.DataFrame({"brief_id": brief.astype(str), "cycle": CYCLE, "segment": "all", "size": 4})
    return frame.assign(exposure=exposure, numerator=rng.binomial(exposure, rate), predicted=effect)


def asked(frame: pd.DataFrame, content: FittedPrior) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *oracle, worth = bound_rows(frame, K, {CYCLE: content}, {CYCLE: PLAIN}, seeds=2)
    return oracle, worth


@pytest.fixture(scope="module")
def found() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    return asked(choices(), TOLD)


def test_an_oracle_that_is_shown_nothing_is_the_plain_posterior(found: tuple[Any, Any]) -> None:
    first = found[0][0]
    assert (first["more"], first["fit"]) == (0, 0.0)
    # The other is given the largest number that is right as often, so never less.
    assert 0.8 < first["ratio"] <= 1.0


def test_the_more_it_is_shown_the_better_it_fits_and_the_more_it_promotes(found: tuple[Any, Any]) -> None:
    oracle = found[0]
    assert [row["more"] for row in oracle] == list(MORE)
    assert np.diff([row["fit"] for row in oracle]).min() > 0
    assert oracle[-1]["promotions"] > 2 * oracle[0]["promotions"]


def test_predictions_that_know_the_truth_are_worth_much(found: tuple[Any, Any]) -> None:
    assert found[1]["worth"] > 500
    assert found[1]["needed"] < found[1]["worth"]


def test_control_predictions_of_other_candidates_are_worth_nothing() -> None:
    frame = choices()
    shuffled = frame.assign(predicted=np.random.default_rng(1).permutation(frame["predicted"]))
    assert asked(shuffled, replace(TOLD, tau=0.3))[1]["worth"] == 0
    assert asked(shuffled, PLAIN)[1]["worth"] == 0


def test_the_same_draws_give_the_same_rows(found: tuple[Any, Any]) -> None:
    assert asked(choices(), TOLD) == found


def test_candidates_without_exposures_to_spare_have_no_bound() -> None:
    assert bound_rows(choices(8, K + max(MORE) + UNSEEN - 1), K, {CYCLE: TOLD}, {CYCLE: PLAIN}, seeds=1) == []
    assert bound_tables([]) == []


def test_it_can_be_read(found: tuple[Any, Any]) -> None:
    console = Console(record=True, width=160)
    for table in bound_tables([*found[0], found[1]]):
        console.print(table)
    assert "In further exposures" in console.export_text()
