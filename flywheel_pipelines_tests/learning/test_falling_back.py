"""A prediction that did not beat no prediction out of time has no part in what is expected of an output.

Each prediction here was made by a model that had seen earlier cycles only, and was recorded before its outcome. What
the prior makes of them is fitted on those pairs. The control hands the texts of a brief out at random.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest

from flywheel_pipelines.learning.posterior import FAMILIES, Prior
from flywheel_pipelines.learning.text_model import fit_text_model

GOOD, BAD = "surprising", "quarterly"
FILLER = ["city", "water", "house", "school", "train", "music", "river", "paper", "garden", "market"]
FIRST = date(2026, 1, 5)
N_CYCLES = 16
SEEDS = range(6)


@cache
def history(seed: int, *, shuffled: bool) -> pd.DataFrame:
    """Outputs of N_CYCLES cycles with what was predicted of them before they were measured."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(N_CYCLES * 8):
        level = 0.03 * np.exp(rng.normal(0, 0.3))
        for variant in range(3):
            special = str(rng.choice([GOOD, BAD, ""]))
            words = [*rng.choice(FILLER, 4, replace=False), special]
            rate = level * np.exp(0.35 * ((special == GOOD) - (special == BAD)) + rng.normal(0, 0.15))
            rows.append(
                {
                    "output_id": f"o{number}-{variant}",
                    "brief_id": f"b{number}",
                    "segment": "all",
                    "cycle": FIRST + timedelta(weeks=number // 8),
                    "text": " ".join(words).strip(),
                    "exposure": 3_000,
                    "numerator": rng.binomial(3_000, min(rate, 1.0)),
                    "control_weight": 1.0,
                    "predicted": 0.0,
                }
            )
    frame = pd.DataFrame(rows)
    if shuffled:
        frame["text"] = frame.groupby("brief_id")["text"].transform(rng.permutation)
    rate = frame["numerator"] / frame["exposure"]
    training = frame.assign(value=rate, variance=0.03 * 0.97 / frame["exposure"])
    for cycle, here in frame.groupby("cycle"):
        model = fit_text_model(training, as_of=pd.Timestamp(str(cycle)).date())
        frame.loc[here.index, "predicted"] = model.predict(here["text"].tolist())
    return frame.drop(columns="text")


def prior_of(past: pd.DataFrame) -> Prior:
    return FAMILIES["rate"].fit(past)


def gain(seed: int, *, shuffled: bool) -> float:
    """How much nearer to the truth the prior mean of the last quarter is with predictions than without: 0 for none.

    The truth is the outcome itself, which the prior mean has not seen; 1 would be certainty.
    """
    frame = history(seed, shuffled=shuffled)
    cut = FIRST + timedelta(weeks=N_CYCLES * 3 // 4)
    errors = {}
    for name, shown in (("with", frame), ("without", frame.assign(predicted=0.0))):
        past, present = shown[shown["cycle"] < cut], shown[shown["cycle"] >= cut]
        expected = prior_of(past).posterior(present).prior_mean
        observed = present["numerator"] / present["exposure"]
        errors[name] = float(((expected - observed) ** 2).mean())
    return 1 - errors["with"] / errors["without"]


def test_predictions_that_were_right_bring_the_prior_nearer_to_the_truth() -> None:
    gains = [gain(seed, shuffled=False) for seed in SEEDS]
    assert np.mean(gains) > 0.1
    assert min(gains) > 0


@pytest.mark.slow
def test_control_predictions_from_shuffled_texts_cost_next_to_nothing() -> None:
    gains = [gain(seed, shuffled=True) for seed in SEEDS]
    assert abs(np.mean(gains)) < 0.02


def test_what_did_not_beat_no_prediction_leaves_the_prior_mean_where_it_was() -> None:
    """Where the fitted worth is nil the prior mean is the plain one, but for the doubt about that worth."""
    worthless = [frame for seed in SEEDS if not _worth(frame := history(seed, shuffled=True))]
    assert len(worthless) >= len(SEEDS) // 2
    frame = worthless[0]
    expected, plain = (prior_of(frame).posterior(shown) for shown in (frame, frame.assign(predicted=0.0)))
    spread = np.abs(expected.prior_mean - plain.prior_mean) / plain.prior_mean
    assert spread.max() < 0.02


def test_what_beat_it_keeps_nearly_all_of_its_worth() -> None:
    assert all(_worth(history(seed, shuffled=False)) > 0.5 for seed in SEEDS)


def _worth(frame: pd.DataFrame) -> float:
    prior = prior_of(frame)
    worth = getattr(prior, "coefficient", None)
    if worth is None:
        pytest.fail("the prior of a rate has no coefficient of predictions any more: say here where it went")
    return float(worth)
