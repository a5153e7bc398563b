"""Empirical Bayes for rates: what went into a simulation comes out of the fit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from flywheel_pipelines.learning.posterior import EmpiricalBayes, FittedPrior


def world(
    briefs: int = 400,
    arms: int = 4,
    exposure: int = 1500,
    tau: float = 0.3,
    coefficient: float = 1.0,
    seed: int = 0,
    level: float = -4.0,
    uneven: float = 0.0,
) -> pd.DataFrame:
    """Outputs with known truth, drawn exactly as the docstring of `posterior` says."""
    rng = np.random.default_rng(seed)
    brief = np.repeat(np.arange(briefs), arms)
    predicted = rng.normal(0, 0.15, len(brief))
    relative = predicted - (np.bincount(brief, predicted) / arms)[brief]
    mean = expit(rng.normal(level, 0.5, briefs)[brief] + coefficient * relative)
    spread = tau * np.exp(uneven * rng.normal(size=briefs) - uneven**2)[brief]
    strength = 1 / (mean * (1 - mean) * spread**2) - 1
    truth = rng.beta(mean * strength, (1 - mean) * strength)
    n = rng.integers(exposure // 2, exposure * 2, len(brief))
    return pd.DataFrame(
        {
            "output_id": [f"o{i}" for i in range(len(brief))],
            "brief_id": [f"b{i}" for i in brief],
            "segment": "all",
            "metric": "ctr",
            "numerator": rng.binomial(n, truth),
            "exposure": n,
            "predicted": predicted,
            "control_weight": 1.0,
            "truth": truth,
        }
    )


@pytest.mark.parametrize("tau", [0.15, 0.3, 0.5])
def test_over_dispersion_is_recovered(tau: float) -> None:
    assert EmpiricalBayes().fit(world(tau=tau)).tau == pytest.approx(tau, abs=0.05)


def test_over_dispersion_is_recovered_from_small_exposures() -> None:
    assert EmpiricalBayes().fit(world(briefs=1500, exposure=150, level=-2.5)).tau == pytest.approx(0.3, abs=0.08)


def test_without_over_dispersion_almost_none_is_found() -> None:
    assert EmpiricalBayes().fit(world(tau=0.001)).tau < 0.15


@pytest.mark.parametrize("coefficient", [0.5, 1.0])
def test_the_worth_of_predictions_is_recovered(coefficient: float) -> None:
    assert EmpiricalBayes().fit(world(coefficient=coefficient)).coefficient == pytest.approx(coefficient, abs=0.15)


def test_useless_predictions_get_no_weight() -> None:
    found = [EmpiricalBayes().fit(world(coefficient=0.0, seed=seed)).coefficient for seed in range(8)]
    assert np.mean(found) < 0.05
    assert np.median(found) == 0


def test_predictions_that_point_the_wrong_way_get_no_weight() -> None:
    assert EmpiricalBayes().fit(world(coefficient=-1.0)).coefficient == 0


def test_over_confident_predictions_are_scaled_back() -> None:
    history = world()
    boastful = history.assign(predicted=4 * history["predicted"])
    assert EmpiricalBayes().fit(boastful).coefficient == pytest.approx(0.25, abs=0.05)


def test_level_of_a_segment_is_pulled_to_its_own_past() -> None:
    low, high = world(level=-4.5), world(level=-3.0, seed=1).assign(segment="high")
    prior = EmpiricalBayes().fit(pd.concat([low, high.assign(brief_id="h" + high["brief_id"])]))
    assert prior.segments["high"] == pytest.approx(-3.0, abs=0.2)
    assert prior.segments["all"] == pytest.approx(-4.5, abs=0.2)


def test_uneven_briefs_are_noticed() -> None:
    assert EmpiricalBayes().fit(world(uneven=0.9, exposure=6000)).uneven >= 0.6
    assert EmpiricalBayes().fit(world(uneven=0.0, exposure=6000)).uneven <= 0.3


def test_posterior_means_are_closer_to_the_truth_than_what_was_observed() -> None:
    prior, fresh = EmpiricalBayes().fit(world()), world(seed=1, exposure=300)
    mean, _ = prior.posterior(fresh).moments()
    observed = fresh["numerator"] / fresh["exposure"]
    assert ((mean - fresh["truth"]) ** 2).mean() < 0.65 * ((observed - fresh["truth"]) ** 2).mean()


def test_predictions_bring_the_posterior_closer_to_the_truth() -> None:
    prior, fresh = EmpiricalBayes().fit(world()), world(seed=1, exposure=300)
    with_content, _ = prior.posterior(fresh).moments()
    without, _ = replace(prior, coefficient=0.0).posterior(fresh).moments()
    assert ((with_content - fresh["truth"]) ** 2).mean() < 0.95 * ((without - fresh["truth"]) ** 2).mean()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(-3, 3)), min_size=1, max_size=8))
def test_any_counts_give_a_proper_posterior(rows: list[tuple[int, int, float]]) -> None:
    frame = pd.DataFrame(
        {
            "brief_id": ["a" if i % 3 else "b" for i in range(len(rows))],
            "segment": "all",
            "numerator": [min(k, n) for k, n, _ in rows],
            "exposure": [max(k, n) for k, n, _ in rows],
            "predicted": [x for _, _, x in rows],
        }
    )
    posterior = FittedPrior(n_briefs=5, coefficient=1.0, tau=0.4, uneven=0.6).posterior(frame)
    mean, variance = posterior.moments()
    assert ((mean > 0) & (mean < 1) & (variance > 0) & (variance < 0.26)).all()
    for block in posterior.blocks:
        np.testing.assert_allclose(block.weight.sum(axis=1), 1)


def test_more_evidence_moves_the_posterior_to_what_was_observed() -> None:
    one = pd.DataFrame({"brief_id": ["a"], "segment": ["all"], "predicted": [0.0]})
    prior = FittedPrior(n_briefs=5, centre=-4.0)
    means = [
        prior.posterior(one.assign(numerator=n // 10, exposure=n)).moments()[0][0] for n in (0, 100, 1000, 100_000)
    ]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(0.1, rel=0.01)


def test_a_short_past_cannot_claim_that_all_outputs_are_equal() -> None:
    equal = world(briefs=2, tau=0.001)
    assert EmpiricalBayes().fit(equal).tau > 0.15


def test_no_past_at_all_gives_the_defaults() -> None:
    assert EmpiricalBayes().fit(world().head(0)) == FittedPrior()


def test_the_quantile_is_one_of_true_rates_not_of_observed_ones() -> None:
    history = world(exposure=200)
    level, _ = EmpiricalBayes().fit(history).level(0.9)
    assert level == pytest.approx(history["truth"].quantile(0.9), rel=0.15)
    assert level < (history["numerator"] / history["exposure"]).quantile(0.9)


def test_the_mean_level_is_the_mean_of_true_rates() -> None:
    history = world(briefs=2000)
    level, error = EmpiricalBayes().fit(history).level()
    assert abs(level - history["truth"].mean()) < 4 * error + 0.001


def test_the_level_of_the_control_is_its_own() -> None:
    history = world(coefficient=0.0)
    weak = history.index % 2 == 0
    numerator = np.where(weak, history["numerator"] // 2, history["numerator"])
    prior = EmpiricalBayes().fit(history.assign(numerator=numerator, control_weight=weak.astype(float)))
    assert prior.level(control=True)[0] < 0.8 * prior.level()[0]


def test_more_successes_than_exposures_are_refused_with_the_brief_named() -> None:
    with pytest.raises(ValueError, match=r"brief 'b0'.*expected 0 <= successes <= exposures"):
        EmpiricalBayes().fit(world().assign(numerator=10**6))


def test_logit_scale_holds_for_high_rates() -> None:
    prior = EmpiricalBayes().fit(world(level=float(logit(0.6)), exposure=300))
    assert prior.tau == pytest.approx(0.3, abs=0.06)
