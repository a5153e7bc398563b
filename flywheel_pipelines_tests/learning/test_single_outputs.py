"""Learning where each brief publishes one output: all there is to compare with are the other briefs."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flywheel_pipelines.lake.tables import PERFORMANCE_METRICS, PUBLISHED_OUTPUTS, SCORING_MODEL
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.judgement import judge_cycle
from flywheel_pipelines.learning.model_tables import fit_scoring_model, model_from_tables, model_to_tables
from flywheel_pipelines.learning.posterior import EmpiricalBayes
from flywheel_pipelines.learning.text_model import MIN_BRIEFS, TextModel, fit_text_model
from flywheel_pipelines.spec import Metric, RateMetric
from flywheel_pipelines_tests.lake_samples import rows

START, WEEKS, BRIEFS = date(2026, 1, 5), 16, 20
SENDS, BASE_RATE, LEARNABLE, OWN = 200, 0.04, 0.45, 0.25
METRICS: dict[str, Metric] = {"reply_rate": RateMetric(kind="rate", successes="replies", exposure="sends")}
FLOOR = FloorRule("reply_rate", "mean", min_exposure=30, confidence=0.9)
CHOICES = {
    "opening": ["Many teams ask how to begin.", "Nobody enjoys chores.", "Last spring a reader wrote.", "Hello again."],
    "benefit": ["It saves hours.", "It costs less.", "It avoids mistakes.", "It calms meetings."],
    "tone": ["Plainly put, it works.", "Frankly, we love it!", "Studies support this.", "Simple as that."],
    "ending": ["Shall we talk?", "Reply with a date.", "Read the guide.", "Try it tomorrow."],
}
FILLER = ["river", "paper", "garden", "market", "winter", "house", "school", "music", "train", "city", "lamp", "window"]


def effects(learnable: float, seed: int) -> list[dict[str, float]]:
    """Effect of each sentence on the log rate, so that random choices have the standard deviation `learnable`."""
    rng = np.random.default_rng(seed)
    drawn = []
    for options in CHOICES.values():
        raw = rng.normal(size=len(options))
        raw = (raw - raw.mean()) / raw.std() * learnable / len(CHOICES) ** 0.5
        drawn.append(dict(zip(options, raw.tolist(), strict=True)))
    return drawn


def season(learnable: float = LEARNABLE, seed: int = 0, weeks: int = WEEKS) -> pd.DataFrame:
    """Briefs with one output each: texts by random choices, true rates, and what 200 sends showed of them."""
    rng, worth = np.random.default_rng(seed), effects(learnable, seed)
    records = []
    for week in range(weeks):
        for number in range(BRIEFS):
            picked = [str(rng.choice(list(options))) for options in worth]
            liked = sum(options[choice] for options, choice in zip(worth, picked, strict=True))
            rate = BASE_RATE * np.exp(liked + rng.normal(0, OWN))
            text = f"{picked[0]} {' '.join(rng.choice(FILLER, 6))}.\n\n{picked[1]} {picked[2]}\n\n{picked[3]}"
            records.append(
                {"output_id": f"{week:02d}-{number:02d}", "brief_id": f"b{week:02d}-{number:02d}", "text": text}
                | {"segment": ("saas", "retail")[number % 2], "cycle": START + timedelta(weeks=week), "week": week}
                | {"numerator": float(rng.binomial(SENDS, min(rate, 1))), "exposure": float(SENDS)}
                | {"liked": liked, "truth": rate, "predicted": 0.0}
            )
    return pd.DataFrame(records)


def training(outputs: pd.DataFrame) -> pd.DataFrame:
    """The frame that the model learns from."""
    value = outputs["numerator"] / outputs["exposure"]
    pooled = value.clip(lower=0.5 / SENDS)
    return outputs.assign(value=value, variance=pooled * (1 - pooled) / outputs["exposure"])


def fit(outputs: pd.DataFrame) -> TextModel:
    return fit_text_model(training(outputs), as_of=START + timedelta(weeks=WEEKS))


def judged(outputs: pd.DataFrame, week: int) -> pd.DataFrame:
    """Judgements of one week by the steps that a close takes, with the truth beside them."""
    seen = outputs[outputs["week"] <= week]
    cycles = pa.array(seen["cycle"].tolist(), pa.date32())
    fixed = {"arm": "flywheel", "weight": 1.0, "probability": 1.0, "choice": "best"}
    measured = {"metric": "reply_rate", "is_mature": True}
    records = [{str(name): value for name, value in row.items()} for row in seen.to_dict("records")]
    published = rows(PUBLISHED_OUTPUTS, [row | fixed for row in records]).append_column("cycle", cycles)
    metrics = rows(PERFORMANCE_METRICS, [row | measured for row in records]).append_column("cycle", cycles)
    cycle = START + timedelta(weeks=week)
    scored = judge_cycle(cycle, published, metrics, FLOOR, metrics=METRICS, threshold_version="floor").scored
    past = outputs[outputs["week"] < week]
    return scored.to_pandas().merge(seen[["output_id", "truth"]]).assign(bar=past["truth"].mean())


@cache
def judgements() -> pd.DataFrame:
    """Weeks 8 to 15 of four seasons."""
    return pd.concat([judged(season(seed=seed), week) for seed in range(4) for week in range(8, WEEKS)])


def test_promotions_against_the_mean_are_right_about_nine_times_in_ten() -> None:
    promoted = judgements().query("decision == 'promote'")
    assert (promoted["truth"] > promoted["bar"]).mean() > 0.88


def test_promotions_against_the_mean_are_not_rare() -> None:
    assert 0.1 < (judgements()["decision"] == "promote").mean() < 0.4


def test_the_mean_to_beat_is_that_of_past_outputs() -> None:
    frame = judgements()
    assert (frame["floor_level"] / frame["bar"]).mean() == pytest.approx(1.0, abs=0.02)


def test_the_mean_counts_control_briefs_like_any_other() -> None:
    outputs = season()
    arms = np.where(outputs["week"] % 2 == 0, 1.0, 0.0)
    better = outputs.assign(control_weight=arms, numerator=outputs["numerator"] * np.where(arms > 0, 1, 2))
    prior = EmpiricalBayes().fit(better.assign(numerator=better["numerator"].clip(upper=SENDS)))
    both, control = prior.level()[0], prior.level(control=True)[0]
    # The other arm does twice as well, so the mean of both is 1.5 times the control's.
    assert both / control == pytest.approx(1.5, abs=0.12)


def test_promoting_whatever_was_observed_above_the_mean_is_wrong_more_often() -> None:
    """The control that must fail: without weighing the evidence a fifth and more of the winners won by luck."""
    frame = judgements()
    naive = frame[frame["observed"] > frame["bar"]]
    assert (naive["truth"] > naive["bar"]).mean() < 0.85


def test_p_above_the_mean_is_calibrated() -> None:
    frame = judgements()
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        part = frame[(frame["p_above"] >= low) & (frame["p_above"] < high)]
        assert (part["truth"] > part["bar"]).mean() == pytest.approx(part["p_above"].mean(), abs=0.09)


def test_the_model_finds_which_texts_do_better() -> None:
    past, fresh = season(), season(seed=1)
    worth = effects(LEARNABLE, 0)
    truth = [sum(worth[i][c] for i, o in enumerate(CHOICES.values()) for c in o if c in text) for text in fresh["text"]]
    model = fit(past)
    assert model.skilled
    assert np.corrcoef(model.predict(fresh["text"].tolist(), fresh["segment"].tolist()), truth)[0, 1] > 0.6


def test_texts_handed_out_at_random_leave_no_skill() -> None:
    """The control that must fail: same outcomes, other texts."""
    found = []
    for seed in range(6):
        outputs = season(seed=seed)
        shuffled = np.random.default_rng(seed).permutation(outputs["text"])
        found.append(fit(outputs.assign(text=shuffled)).holdout_correlation)
    assert abs(np.mean(found)) < 0.1


def test_nobody_offered_a_choice_so_there_is_no_hit_rate() -> None:
    model = fit(season())
    assert (model.holdout_hit_rate, model.holdout_chance) == (None, None)
    assert model.reason.startswith("between-brief correlation")


def test_with_few_briefs_it_predicts_zeros_and_says_how_many_are_needed() -> None:
    model = fit(season().head(MIN_BRIEFS - 1))
    assert model.reason == "39 briefs with one output each, 40 are needed"
    assert not model.predict(["It saves hours."], ["saas"]).any()


def test_one_brief_more_is_enough() -> None:
    assert fit(season().head(MIN_BRIEFS)).predict(["It saves hours."], ["saas"]).any()


@pytest.mark.parametrize("confounder", ["segment", "cycle"])
def test_no_word_is_credited_with_an_easy_segment_or_a_good_season(confounder: str) -> None:
    flat = season(learnable=0.0, seed=3)
    easy = flat["segment"] == "saas" if confounder == "segment" else flat["week"] % 4 < 2
    rng = np.random.default_rng(3)
    doubled = np.where(easy, rng.binomial(SENDS, (2 * flat["truth"]).clip(upper=1)), flat["numerator"])
    model = fit(flat.assign(numerator=doubled, text=np.where(easy, "umbrella " + flat["text"], flat["text"])))
    other = "Hello again. It costs less. Simple as that. Read the guide."
    marked, plain = model.predict([f"umbrella {other}", other], ["retail", "retail"])
    # The two are ln 2 = 0.69 apart in the outcomes.
    assert abs(marked - plain) < 0.17


def test_the_order_of_rows_does_not_matter() -> None:
    outputs = season()
    assert fit(outputs).version == fit(outputs.sample(frac=1, random_state=1)).version


def test_the_model_survives_its_tables() -> None:
    outputs = season()
    scored = pa.Table.from_pandas(
        outputs.assign(observed=outputs["numerator"] / outputs["exposure"], sampling_variance=np.nan)[
            ["output_id", "brief_id", "segment", "cycle", "exposure", "observed", "sampling_variance"]
        ],
        preserve_index=False,
    )
    published = pa.Table.from_pandas(outputs[["output_id", "text"]], preserve_index=False)
    model = fit_scoring_model(scored, published, as_of=START + timedelta(weeks=WEEKS), window=104)
    row, terms = model_to_tables(model, None)
    again = model_from_tables(SCORING_MODEL.conform(row).to_pylist()[0], terms)
    assert again.version == model.version


def test_predictions_that_were_right_inform_what_is_expected() -> None:
    outputs = season()
    prior = EmpiricalBayes().fit(outputs.assign(predicted=outputs["liked"], control_weight=0.0))
    assert prior.coefficient == pytest.approx(1.0, abs=0.3)
    good, bad = (
        outputs.head(2)
        .assign(predicted=[0.5, -0.5], exposure=0.0, numerator=0.0, segment="saas")
        .pipe(lambda fresh: prior.posterior(fresh).moments()[0])
    )
    assert good > 1.5 * bad


def test_predictions_that_meant_nothing_do_not() -> None:
    outputs = season()
    shuffled = np.random.default_rng(0).permutation(outputs["liked"])
    prior = EmpiricalBayes().fit(outputs.assign(predicted=shuffled, control_weight=0.0))
    assert prior.coefficient < 0.25


# -- one trial each --------------------------------------------------------------------------------------------------
def bought(worth: float, seed: int, leads: int = 1_200) -> TextModel:
    """Leads that buy or do not, one in five; one trait in four doubles the chance (`worth` 2) or does nothing (1)."""
    rng = np.random.default_rng(seed)
    source = rng.choice(["fair", "search", "partner", "letter"], leads)
    chance = 0.16 * np.where(source == "partner", worth, 1.0)
    window = pd.DataFrame(
        {
            "output_id": [f"lead {number}" for number in range(leads)],
            "brief_id": [f"lead {number}" for number in range(leads)],
            "segment": "all",
            "cycle": [START + timedelta(weeks=number // 100) for number in range(leads)],
            "exposure": 1.0,
            "observed": rng.binomial(1, chance).astype(float),
            "sampling_variance": np.nan,
            "text": [
                f"size: {size}\nsource: {one}" for size, one in zip(rng.integers(1, 9, leads), source, strict=True)
            ],
        }
    )
    scored = pa.Table.from_pandas(window.drop(columns="text"), preserve_index=False)
    published = pa.Table.from_pandas(window[["output_id", "text"]], preserve_index=False)
    return fit_scoring_model(scored, published, as_of=START + timedelta(weeks=60), window=100)


def test_a_trait_that_makes_buy_is_found_where_each_lead_buys_once_or_not() -> None:
    model = bought(2.5, seed=1)
    sources = ("fair", "search", "letter", "partner")
    predicted = dict(zip(sources, model.predict([f"size: 3\nsource: {one}" for one in sources]), strict=True))
    assert max(predicted, key=lambda one: predicted[one]) == "partner"
    assert model.skilled
    assert model.scale == "linear", "the logarithm of bought or not says nothing"


def test_control_a_trait_that_means_nothing_leaves_no_skill() -> None:
    assert sum(bought(1.0, seed).skilled for seed in range(8)) <= 2
