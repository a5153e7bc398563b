"""Empirical Bayes for every kind: what went into a simulation comes out, and what is claimed is right as often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.kinds import KINDS as EVERY_KIND
from flywheel_pipelines.learning.kinds import CountKind, DurationKind, MeanKind
from flywheel_pipelines.learning.posterior import EmpiricalBayes, FittedPrior
from flywheel_pipelines.learning.scoring import score_outputs
from flywheel_pipelines_tests.learning.kind_worlds import DISPERSION, KINDS, LOG_SD_OF_ONE, SD_OF_ONE, world

OTHERS = ("count", "mean", "duration")


@pytest.fixture(scope="module")
def priors() -> dict[str, FittedPrior]:
    return {kind: fitted(kind, world(kind, seed=1)) for kind in KINDS}


def fitted(kind: str, history: pd.DataFrame) -> FittedPrior:
    return EmpiricalBayes(EVERY_KIND[kind]).fit(history)


def score(kind: str, fresh: pd.DataFrame, prior: FittedPrior | pd.DataFrame, floor: FloorRule) -> pd.DataFrame:
    return score_outputs(fresh, fresh, prior, floor, kind=kind)


def control(kind: str) -> FloorRule:
    return FloorRule(metric=kind, above="control", min_exposure=1)


def above_brief(frame: pd.DataFrame) -> np.ndarray:
    return (frame["truth"] > frame.groupby("brief_id")["truth"].transform("mean")).to_numpy()


# -- what is fitted --------------------------------------------------------------------------------------------------
def test_the_dispersion_of_counts_is_recovered(priors: dict[str, FittedPrior]) -> None:
    kind = priors["count"].kind
    assert isinstance(kind, CountKind)
    assert kind.dispersion == pytest.approx(DISPERSION, rel=0.08)


def test_poisson_counts_are_not_taken_for_over_dispersed() -> None:
    history = world("count", seed=3)
    poisson = np.random.default_rng(0).poisson(np.tile(history["truth"].to_numpy()[:, None] * 25, 5)).astype(float)
    plain = history.assign(numerator=poisson.sum(axis=1), exposure=125.0, squares=(poisson**2 / 25).sum(axis=1))
    kind = fitted("count", plain).kind
    assert isinstance(kind, CountKind)
    assert kind.dispersion < 1.1


def test_the_scatter_of_amounts_is_recovered(priors: dict[str, FittedPrior]) -> None:
    kind = priors["mean"].kind
    assert isinstance(kind, MeanKind)
    assert kind.variance**0.5 == pytest.approx(SD_OF_ONE, rel=0.06)


def test_the_scatter_of_times_is_recovered(priors: dict[str, FittedPrior]) -> None:
    kind = priors["duration"].kind
    assert isinstance(kind, DurationKind)
    assert kind.squared_cv == pytest.approx(np.expm1(LOG_SD_OF_ONE**2), rel=0.12)


@pytest.mark.parametrize("kind", OTHERS)
def test_how_much_outputs_differ_is_recovered(kind: str, priors: dict[str, FittedPrior]) -> None:
    found = priors[kind]
    unit = found.kind.unit / 5.0 if isinstance(found.kind, MeanKind) else 1.0
    assert found.tau * unit == pytest.approx(0.3, abs=0.06)
    assert found.between * unit == pytest.approx(0.4, abs=0.08)


@pytest.mark.parametrize("kind", OTHERS)
def test_with_one_report_each_amounts_and_times_are_still_judged(kind: str) -> None:
    history, fresh = (world(kind, seed=seed).drop(columns=["n_reports", "squares"]) for seed in (1, 2))
    scored = score(kind, fresh, history, control(kind))
    assert np.isfinite(scored["p_above"]).all()
    assert ((fresh["truth"] > scored["lower"]) & (fresh["truth"] < scored["upper"])).mean() > 0.75


# -- calibration -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_report", [4, 25])
def test_intervals_hold_nine_truths_in_ten(kind: str, per_report: int, priors: dict[str, FittedPrior]) -> None:
    fresh = world(kind, briefs=800, per_report=per_report, seed=2)
    scored = score(kind, fresh, priors[kind], control(kind))
    held = (fresh["truth"] > scored["lower"]) & (fresh["truth"] < scored["upper"])
    assert held.mean() == pytest.approx(0.9, abs=0.025)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", ["control", "mean"])
def test_p_above_is_right_as_often_as_it_says(kind: str, above: str, priors: dict[str, FittedPrior]) -> None:
    fresh = world(kind, briefs=1500, per_report=12, seed=2)
    scored = score(kind, fresh, priors[kind], FloorRule(metric=kind, above=above, min_exposure=1))  # type: ignore[arg-type]
    right = above_brief(fresh) if above == "control" else (fresh["truth"] > scored["floor_level"]).to_numpy()
    p, judged = scored["p_above"].to_numpy(), 0
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.7), (0.7, 0.9), (0.9, 1.0)):
        within = (p >= low) & (p < high)
        if within.sum() < 50:
            continue
        judged += int(within.sum())
        error = max(0.05, 3.5 * (0.25 / within.sum()) ** 0.5 if within.sum() < 600 else 0.0)
        assert right[within].mean() == pytest.approx(p[within].mean(), abs=error)
    assert judged > 0.9 * len(p)


@pytest.mark.parametrize("kind", OTHERS)
def test_observed_above_its_brief_is_not_calibrated(kind: str) -> None:
    """The control that must fail: the naive rule is sure each time, and wrong every sixth time or more often."""
    fresh = world(kind, briefs=800, per_report=4, seed=2)
    value = fresh["numerator"] / fresh["exposure"]
    naive = (value > value.groupby(fresh["brief_id"]).transform("mean")).to_numpy()
    assert above_brief(fresh)[naive].mean() < 5 / 6


def test_without_their_dispersion_counts_are_judged_too_surely(priors: dict[str, FittedPrior]) -> None:
    """The control that must fail: Poisson intervals do not hold nine truths in ten of over-dispersed counts."""
    boastful = replace(priors["count"], kind=CountKind(0.5))
    fresh = world("count", briefs=800, per_report=25, seed=2)
    scored = score("count", fresh, boastful, control("count"))
    assert ((fresh["truth"] > scored["lower"]) & (fresh["truth"] < scored["upper"])).mean() < 0.8


@pytest.mark.parametrize("kind", OTHERS)
def test_posterior_means_are_closer_to_the_truth_than_what_was_observed(
    kind: str, priors: dict[str, FittedPrior]
) -> None:
    fresh = world(kind, per_report=4, seed=2)
    mean = priors[kind].posterior(fresh).moments()[0]
    observed = fresh["numerator"] / fresh["exposure"]
    assert ((mean - fresh["truth"]) ** 2).mean() < 0.7 * ((observed - fresh["truth"]) ** 2).mean()


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_mean_level_is_the_mean_of_true_values(kind: str, outputs: int) -> None:
    history = world(kind, briefs=1200, outputs=outputs, seed=4)
    level, error = fitted(kind, history).level()
    assert abs(level - history["truth"].mean()) < 4 * error


# -- properties ------------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    value=st.floats(0.05, 0.95),
    exposure=st.integers(1, 10**5),
    times=st.integers(2, 50),
)
def test_more_evidence_of_the_same_never_widens(kind: str, value: float, exposure: int, times: int) -> None:
    prior = FittedPrior(n_briefs=5, centre=0.0 if kind == "mean" else -1.0, kind=EVERY_KIND[kind])
    spreads = []
    for n in (exposure, exposure * times):
        one = pd.DataFrame({"brief_id": ["a"], "segment": ["all"], "predicted": [0.0]})
        (block,) = prior.posterior(one.assign(numerator=round(value * n, 6), exposure=n)).blocks
        spreads.append(float(block.variance[0, 0, 0]))
    assert spreads[1] <= spreads[0] * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lot_of_evidence_says_what_was_observed(kind: str, priors: dict[str, FittedPrior]) -> None:
    value = world(kind, briefs=3, seed=5)["truth"].max()
    one = pd.DataFrame({"brief_id": ["a"], "segment": ["all"], "predicted": [0.0]})
    found = priors[kind].posterior(one.assign(numerator=value * 1e8, exposure=1e8)).moments()[0][0]
    assert found == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_nobody_saw_stands_where_the_past_stands(kind: str, priors: dict[str, FittedPrior]) -> None:
    one = pd.DataFrame({"brief_id": ["a"], "segment": ["all"], "predicted": [0.0], "numerator": 0.0, "exposure": 0.0})
    posterior = priors[kind].posterior(one)
    assert posterior.moments()[0][0] == pytest.approx(posterior.prior_mean[0], rel=1e-6)
    assert posterior.prior_mean[0] == pytest.approx(priors[kind].level()[0], rel=0.1)


@pytest.mark.parametrize("kind", OTHERS)
def test_lower_is_better_turns_the_probability_round(kind: str, priors: dict[str, FittedPrior]) -> None:
    fresh = world(kind, briefs=50, seed=2)
    higher, lower = (
        score(kind, fresh, priors[kind], replace(control(kind), better=better))["p_above"]
        for better in ("higher", "lower")
    )
    np.testing.assert_allclose(higher + lower, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_rows_changes_nothing(kind: str, priors: dict[str, FittedPrior]) -> None:
    fresh = world(kind, briefs=40, seed=2)
    mixed = fresh.sample(frac=1, random_state=0)
    one = score(kind, fresh, priors[kind], control(kind)).set_index("output_id")
    other = score(kind, mixed, priors[kind], control(kind)).set_index("output_id").loc[one.index]
    np.testing.assert_allclose(one["p_above"], other["p_above"], rtol=1e-9)


@pytest.mark.parametrize("kind", OTHERS)
def test_without_any_past_the_control_of_the_brief_still_works(kind: str) -> None:
    fresh = world(kind, briefs=600, per_report=100, seed=6)
    promoted = score(kind, fresh, fresh.head(0), control(kind))["decision"] == "promote"
    assert promoted.sum() > 60
    assert above_brief(fresh)[promoted].mean() > 0.88


@pytest.mark.parametrize("kind", OTHERS)
def test_numbers_that_cannot_be_are_refused_with_the_brief_named(kind: str) -> None:
    with pytest.raises(ValueError, match=r"brief 'all-b0'.*exposure of 0 or more|brief 'all-b0'.*0 or more of both"):
        fitted(kind, world(kind, briefs=2)).posterior(world(kind, briefs=2).assign(exposure=-1.0))


# -- segments --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_with_much_past_has_its_own_level_and_one_with_little_stays_near_the_flywheel(kind: str) -> None:
    base = {"rate": -3.0, "top_k": -0.5, "count": -1.5, "mean": 20.0, "duration": 4.5}[kind]
    step = 5.0 if kind == "mean" else 1.0
    parts = [
        world(kind, briefs=150, seed=1, segment="usual", level=base),
        world(kind, briefs=150, seed=2, segment="low", level=base - 0.5 * step),
        world(kind, briefs=150, seed=3, segment="high", level=base + step),
        # Three briefs of the same high level as the 150 above.
        world(kind, briefs=1, outputs=1, per_report=2, seed=4, segment="rare", level=base + step),
    ]
    prior = fitted(kind, pd.concat(parts, ignore_index=True))
    away = {name: level - prior.centre for name, level in prior.segments.items()}
    assert away["high"] > 0.25
    assert away["low"] < -0.25
    assert abs(away["rare"]) < 0.75 * away["high"]
    assert prior.centre == pytest.approx(
        np.average([prior.segments[name] for name in ("usual", "low", "high")]), abs=0.3
    )
