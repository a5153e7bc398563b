"""Decisions: right as often as they say, on simulated outcomes whose truth is known."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flywheel_pipelines.learning.floor import Above, FloorRule
from flywheel_pipelines.learning.posterior import EmpiricalBayes, FittedPrior
from flywheel_pipelines.learning.scales import pearson3_above_zero
from flywheel_pipelines.learning.scoring import SCORE_COLUMNS, score_outputs
from flywheel_pipelines_tests.learning.test_posterior import world

CONTROL = FloorRule(metric="ctr", above="control", min_exposure=30)


def score(fresh: pd.DataFrame, floor: FloorRule, history: pd.DataFrame | None = None) -> pd.DataFrame:
    return score_outputs(fresh, fresh, world() if history is None else history, floor)


def above_control(frame: pd.DataFrame) -> pd.Series:
    return frame["truth"] > frame.groupby("brief_id")["truth"].transform("mean")


@pytest.mark.parametrize("exposure", [100, 1000])
def test_p_above_control_is_calibrated(exposure: int) -> None:
    fresh = world(briefs=4000, exposure=exposure, seed=1)
    p = score(fresh, CONTROL)["p_above"]
    for low, high in [(0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.9), (0.9, 1.0)]:
        within = (p >= low) & (p < high)
        if within.sum() > 100:
            error = 4 * np.sqrt(0.25 / within.sum()) if within.sum() < 1500 else 0.03
            assert above_control(fresh)[within].mean() == pytest.approx(p[within].mean(), abs=max(error, 0.03))


def test_observed_above_average_is_not_calibrated() -> None:
    """The control that must fail: the naive rule is sure each time and wrong a third of the time."""
    fresh = world(briefs=2000, exposure=300, seed=1)
    rate = fresh["numerator"] / fresh["exposure"]
    naive = rate > rate.groupby(fresh["brief_id"]).transform("mean")
    assert above_control(fresh)[naive].mean() < 0.75


@pytest.mark.parametrize("above", [0.02, "mean", "quantile"])
def test_p_above_a_level_is_calibrated(above: Above) -> None:
    history, fresh = world(briefs=3000), world(briefs=3000, exposure=300, seed=2)
    scored = score(fresh, FloorRule(metric="ctr", above=above), history)
    promoted = scored["p_above"] > 0.8
    right = fresh["truth"][promoted] > scored["floor_level"][promoted]
    assert right.mean() == pytest.approx(scored["p_above"][promoted].mean(), abs=0.04)


def test_intervals_hold_nine_truths_in_ten() -> None:
    fresh = world(briefs=2000, exposure=400, seed=1)
    scored = score(fresh, CONTROL)
    assert ((fresh["truth"] > scored["lower"]) & (fresh["truth"] < scored["upper"])).mean() == pytest.approx(
        0.9, abs=0.02
    )


def test_predictions_promote_more_at_the_same_precision() -> None:
    history, fresh = world(), world(briefs=3000, exposure=300, seed=1)
    blind = score(fresh.assign(predicted=0.0), CONTROL, history.assign(predicted=0.0))["decision"] == "promote"
    content = score(fresh, CONTROL, history)["decision"] == "promote"
    assert content.sum() > 1.3 * blind.sum()
    assert above_control(fresh)[content].mean() > 0.92


def test_promotion_of_truly_equal_twins_is_rare() -> None:
    history, fresh = world(), world(briefs=2000, arms=2, exposure=1000, tau=0.0005, coefficient=0, seed=1)
    twins = fresh.assign(predicted=0.0)
    assert (score(twins, CONTROL, history)["decision"] == "promote").mean() < 0.1


def test_below_minimum_exposure_the_decision_is_hold_whatever_was_seen() -> None:
    fresh = world(exposure=10).assign(numerator=lambda t: t["exposure"].where(t.index % 4 == 0, 0))
    scored = score(fresh, CONTROL)
    assert (scored["decision"] == "hold").all()
    assert scored["reason"].str.contains("30 needed").all()
    assert (score(fresh, FloorRule(metric="ctr", above="control", min_exposure=1))["decision"] != "hold").any()


def test_outputs_that_were_never_measured_are_held() -> None:
    fresh = world(seed=1)
    scored = score_outputs(fresh, fresh.iloc[1:], world(), CONTROL)
    assert scored["decision"][0] == "hold"
    assert scored["reason"][0] == "no exposures yet, 30 needed"
    assert np.isnan(scored["observed"][0])


def test_lower_is_better_turns_the_probability_round() -> None:
    fresh = world(seed=1)
    higher, lower = (score(fresh, FloorRule(metric="ctr", better=better))["p_above"] for better in ("higher", "lower"))
    np.testing.assert_allclose(higher + lower, 1)


def test_the_control_arm_of_the_same_brief_is_the_floor() -> None:
    fresh = world(seed=1).drop(columns="control_weight")
    fresh["arm"] = np.where(fresh.index % 4 == 0, "control", "flywheel")
    scored = score(fresh, CONTROL)
    means = scored.groupby("brief_id")["posterior_mean"].first()
    floors = scored[scored.index % 4 == 1].set_index("brief_id")["floor_level"]
    np.testing.assert_allclose(floors, means.loc[floors.index], rtol=1e-9)


def test_without_a_control_in_the_brief_the_floor_is_the_controls_past() -> None:
    history = world()
    fresh = world(seed=1).assign(control_weight=0.0)
    scored = score(fresh, CONTROL, history)
    assert scored["floor_level"].nunique() == 1
    assert scored["floor_level"][0] == pytest.approx(EmpiricalBayes().fit(history).level(control=True)[0])


def test_without_any_past_a_relative_floor_decides_nothing() -> None:
    fresh = world(seed=1)
    scored = score(fresh, FloorRule(metric="ctr", above="mean"), world().head(0))
    assert (scored["decision"] == "hold").all()
    assert scored["reason"].str.contains("no past to set the floor by").all()


def test_without_any_past_the_control_of_the_brief_still_works() -> None:
    fresh = world(briefs=1000, exposure=4000, seed=1)
    promoted = score(fresh, CONTROL, world().head(0))["decision"] == "promote"
    assert promoted.sum() > 100
    assert above_control(fresh)[promoted].mean() > 0.9


def test_a_score_does_not_depend_on_what_is_scored_with_it() -> None:
    history, fresh = EmpiricalBayes().fit(world()), world(seed=1)
    one = fresh[fresh["brief_id"] == "b7"]
    together = score_outputs(fresh, fresh, history, CONTROL).set_index("output_id").loc[one["output_id"]]
    alone = score_outputs(one, one, history, CONTROL).set_index("output_id")
    np.testing.assert_allclose(alone["p_above"], together["p_above"], rtol=1e-9)


def test_the_reason_says_the_numbers() -> None:
    one = world(briefs=1, seed=1).assign(numerator=[16, 30, 20, 22], exposure=412)
    assert score(one, CONTROL)["reason"][0].startswith("412 exposures, ctr 3.9%, floor ")


def test_columns_and_order_are_those_promised() -> None:
    fresh = world(seed=1).sample(frac=1, random_state=0)
    scored = score(fresh, CONTROL)
    assert tuple(scored.columns) == SCORE_COLUMNS
    assert scored["output_id"].tolist() == fresh["output_id"].tolist()
    assert tuple(score(fresh.head(0), CONTROL).columns) == SCORE_COLUMNS


def test_ten_thousand_outputs_take_well_under_a_second() -> None:
    fresh, prior = world(briefs=2500), FittedPrior(n_briefs=100, centre=-4.0, uneven=0.6, coefficient=1.0)
    started = time.process_time()
    score_outputs(fresh, fresh, prior, CONTROL)
    assert time.process_time() - started < 1.0


def test_two_rows_for_one_output_are_refused() -> None:
    fresh = world(briefs=2)
    with pytest.raises(ValueError, match="'o0' appears twice"):
        score_outputs(fresh, pd.concat([fresh, fresh.head(1)]), world(), CONTROL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"above": "average"}, "expected a number, control, mean, quantile or off"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"confidence": 0.4}, "more than 0.5"),
        ({"quantile": 0.0}, "quantile is 0.0"),
        ({"min_exposure": -1}, "0 or more"),
        ({"better": "bigger"}, "expected higher or lower"),
    ],
)
def test_a_floor_that_cannot_mean_anything_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FloorRule(**{"metric": "ctr", **change})


@pytest.mark.parametrize("shape", [3.0, 30.0, 1e6])
@pytest.mark.parametrize("sign", [1, -1])
def test_pearson3_is_exact_for_shifted_gammas(shape: float, sign: int) -> None:
    shift = np.linspace(-2, 2, 9) * np.sqrt(shape)
    ours = pearson3_above_zero(shift, np.full(9, shape), np.full(9, sign * 2 * shape))
    exact = stats.gamma.sf(shape - sign * shift, shape) if sign > 0 else stats.gamma.cdf(shape + shift, shape)
    np.testing.assert_allclose(ours, exact, atol=2e-3)
