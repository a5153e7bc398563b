"""Confidence is as believable as the past says, on simulated outcomes whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from flywheel_pipelines.learning.calibration import fit_temper
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.posterior import EmpiricalBayes, FittedPrior
from flywheel_pipelines.learning.scoring import score_outputs
from flywheel_pipelines_tests.learning.test_posterior import world

CONTROL = FloorRule(metric="ctr", above="control", min_exposure=30, confidence=0.8)


def boastful_world(seed: int, briefs: int = 1500, exposure: int = 3000) -> pd.DataFrame:
    """In half of the briefs predictions point the wrong way, and most so where they are most extreme."""
    rng = np.random.default_rng(seed)
    brief = np.repeat(np.arange(briefs), 4)
    predicted = rng.normal(0, 0.3, len(brief))
    worth = np.where(rng.random(briefs) < 0.5, -0.5, 1.0)[brief]
    truth = expit(rng.normal(-4, 0.5, briefs)[brief] + worth * predicted + rng.normal(0, 0.1, len(brief)))
    frame = world(briefs=briefs, exposure=exposure, seed=seed)
    return frame.assign(predicted=predicted, truth=truth, numerator=rng.binomial(frame["exposure"], truth))


def share_right(prior: FittedPrior, fresh: pd.DataFrame) -> tuple[float, float]:
    """Share of promotions whose true rate beats the brief's mean, and the mean of what was claimed."""
    scored = score_outputs(fresh, fresh, prior, CONTROL)
    promoted = (scored["decision"] == "promote").to_numpy()
    above = fresh["truth"] > fresh.groupby("brief_id")["truth"].transform("mean")
    assert promoted.sum() > 300
    return float(above[promoted].mean()), float(scored["p_above"][promoted].mean())


@pytest.fixture(scope="module")
def boastful() -> tuple[FittedPrior, pd.DataFrame]:
    return EmpiricalBayes().fit(boastful_world(0)), boastful_world(1, exposure=600)


def test_decisions_are_right_as_often_as_they_say_though_predictions_boast(
    boastful: tuple[FittedPrior, pd.DataFrame],
) -> None:
    prior, fresh = boastful
    right, claimed = share_right(prior, fresh)
    assert right == pytest.approx(claimed, abs=0.03)


def test_without_the_temper_they_are_too_sure(boastful: tuple[FittedPrior, pd.DataFrame]) -> None:
    """The control that must fail."""
    prior, fresh = boastful
    right, claimed = share_right(replace(prior, temper=1.0), fresh)
    assert right < claimed - 0.03


def test_a_model_that_is_right_is_believed() -> None:
    assert np.mean([EmpiricalBayes().fit(world(briefs=1000, seed=seed)).temper for seed in range(4)]) > 0.93


def test_never_more_than_claimed() -> None:
    timid = replace(EmpiricalBayes().fit(world()), tau=0.02, coefficient=0.0, temper=1.0)
    assert fit_temper(timid, world()) == 1.0


def test_a_short_past_changes_little() -> None:
    history = boastful_world(0)
    short = history[history["brief_id"].isin([f"b{i}" for i in range(10)])]
    assert fit_temper(EmpiricalBayes().fit(history), short) > 0.85


def test_without_a_past_or_a_choice_probabilities_stand() -> None:
    assert fit_temper(FittedPrior(), world().head(0)) == 1.0
    assert fit_temper(FittedPrior(n_briefs=5), world(arms=1)) == 1.0
    assert fit_temper(FittedPrior(n_briefs=5), world(exposure=4)) == 1.0


def test_the_same_past_in_any_order_gives_the_same_temper() -> None:
    history = boastful_world(0, briefs=300)
    prior = EmpiricalBayes().fit(history)
    shuffled = history.sample(frac=1, random_state=0)
    assert fit_temper(prior, history) == fit_temper(prior, history)
    assert fit_temper(prior, shuffled) == pytest.approx(fit_temper(prior, history), rel=1e-9)
