"""The scoring model: it finds what is there, finds nothing where nothing is, and stays the same wherever it runs."""

import os
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.learning.text_model import TextModel, fit_text_model

GOOD, BAD = ("surprising", "you", "never"), ("quarterly", "report", "our")
FILLER = ["the", "city", "water", "house", "school", "train", "music", "river", "paper", "garden", "market", "winter"]
AS_OF = date(2026, 6, 1)


def archive(briefs: int = 120, effect: float = 0.4, seed: int = 0) -> pd.DataFrame:
    """Three outputs per brief; words of GOOD and BAD move the true value by `effect` (ln) each."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(briefs):
        level = 0.02 * np.exp(rng.normal(0, 0.4))
        cycle = AS_OF - timedelta(weeks=1 + (briefs - 1 - number) // 6)
        for _ in range(3):
            special = rng.choice([*GOOD, *BAD, "", ""])
            words = [*rng.choice(FILLER, 5, replace=False), special]
            truth = effect * ((special in GOOD) - (special in BAD))
            value = level * np.exp(truth + rng.normal(0, 0.1) + rng.normal(0, 0.1))
            text = " ".join(rng.permutation(words)).strip()
            rows.append((f"b{number}", "all", text, cycle, value, (0.1 * level) ** 2))
    return pd.DataFrame(rows, columns=["brief_id", "segment", "text", "cycle", "value", "variance"])


def fit(training: pd.DataFrame) -> TextModel:
    return fit_text_model(training, as_of=AS_OF)


def test_words_that_won_are_predicted_to_win() -> None:
    model = fit(archive())
    good, bad = model.predict(["the surprising garden", "the quarterly garden"], ["all", "all"])
    assert model.skilled
    assert good - bad > 0.3


def test_hold_out_reports_more_hits_than_chance() -> None:
    model = fit(archive())
    assert model.holdout_hit_rate is not None
    assert model.holdout_chance is not None
    assert model.holdout_hit_rate > model.holdout_chance + 0.15
    assert model.holdout_correlation > 0.4


def test_texts_shuffled_within_briefs_leave_no_skill_to_speak_of() -> None:
    """The control that must fail: same outcomes, texts handed out at random."""
    correlations = []
    for seed in range(8):
        training, rng = archive(seed=seed), np.random.default_rng(seed)
        shuffled = training.groupby("brief_id")["text"].transform(rng.permutation)
        correlations.append(fit(training.assign(text=shuffled)).holdout_correlation)
    assert abs(np.mean(correlations)) < 0.12


def test_without_skill_out_of_time_it_says_so() -> None:
    training = archive(seed=1)
    reversed_lately = training["cycle"] > AS_OF - timedelta(weeks=6)
    flipped = training.assign(value=np.where(reversed_lately, 0.0004 / training["value"], training["value"]))
    model = fit(flipped)
    assert not model.skilled
    assert "no skill" in model.reason


def test_with_little_data_it_predicts_zeros_and_says_how_much_is_needed() -> None:
    model = fit(archive(briefs=5))
    assert not model.skilled
    assert model.reason == "5 briefs offered a choice, 8 are needed"
    assert not model.predict(["the surprising garden"], ["all"]).any()


def test_an_empty_past_is_not_an_error() -> None:
    assert fit(archive().head(0)).n_outputs == 0


def test_outcomes_on_or_after_as_of_change_nothing() -> None:
    training = archive()
    future = archive(seed=9).assign(cycle=AS_OF, value=1.0)
    assert fit(pd.concat([training, future])).version == fit(training).version


def test_outcomes_before_the_window_change_nothing() -> None:
    training = archive()
    old = archive(seed=9).assign(cycle=date(2020, 1, 6))
    n = training["cycle"].nunique()
    narrow = fit_text_model(pd.concat([old, training]), as_of=AS_OF, window_cycles=n)
    assert narrow.version == fit(training).version


def test_row_order_changes_nothing() -> None:
    training = archive()
    assert fit(training.sample(frac=1, random_state=3)).version == fit(training).version


def test_the_unit_of_the_metric_changes_no_prediction() -> None:
    texts = ["the surprising garden", "our winter river"]
    per_mille = archive().assign(value=lambda t: 1000 * t["value"], variance=lambda t: 1e6 * t["variance"])
    np.testing.assert_allclose(fit(per_mille).predict(texts), fit(archive()).predict(texts), atol=1e-5)


def test_metrics_with_negative_values_are_learned_too() -> None:
    signed = archive().assign(value=lambda t: np.log(t["value"] / 0.02), variance=0.01)
    model = fit(signed)
    assert model.scale == "linear"
    assert np.subtract(*model.predict(["the surprising garden", "the quarterly garden"])) > 0.2


def test_a_word_can_mean_the_opposite_in_another_segment() -> None:
    left, right = archive(200, seed=1), archive(200, seed=2, effect=-0.4)
    right = right.assign(segment="other", brief_id="o" + right["brief_id"])
    model = fit(pd.concat([left, right]))
    here, there = model.predict(["surprising garden"] * 2, ["all", "other"])
    assert here > there


def test_outputs_without_a_success_do_not_break_the_fit() -> None:
    training = archive()
    training.loc[::5, "value"] = 0.0
    assert np.isfinite(fit(training).predict(training["text"].tolist())).all()


def test_a_record_survives_parquet_and_predicts_bit_identically(tmp_path) -> None:
    model = fit(archive())
    pq.write_table(pa.Table.from_pylist([model.to_record()]), tmp_path / "model.parquet")
    loaded = TextModel.from_record(pq.read_table(tmp_path / "model.parquet").to_pylist()[0])
    texts = archive(seed=5)["text"].tolist()
    assert (loaded.predict(texts) == model.predict(texts)).all()
    assert loaded.version == model.version


def test_a_model_that_learned_nothing_survives_its_record() -> None:
    model = fit(archive(briefs=5))
    assert TextModel.from_record(model.to_record()).version == model.version


def test_an_altered_record_is_refused() -> None:
    record = fit(archive()).to_record()
    record["words_coefficients"][0] += 0.5
    with pytest.raises(ValueError, match="was changed after it was written"):
        TextModel.from_record(record)


def test_a_text_scores_the_same_alone_and_in_a_batch() -> None:
    model = fit(archive())
    texts = archive(seed=5)["text"].tolist()[:50]
    assert [model.predict([text])[0] for text in texts] == model.predict(texts).tolist()


def test_the_bytes_do_not_depend_on_the_process_or_its_hash_seed() -> None:
    code = "from flywheel_pipelines_tests.learning.test_text_model import archive, fit; print(fit(archive()).version)"
    versions = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert versions == {fit(archive()).version + "\n"}


def test_unknown_words_empty_and_odd_texts_get_a_finite_score() -> None:
    scores = fit(archive()).predict(["", " ", "zzzz qqqq", "\x00", "’“”…", "x" * 100_000, "日本語 ?"])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("column", "value"), [("value", np.nan), ("variance", -1.0), ("value", np.inf)])
def test_impossible_numbers_are_refused_with_the_brief_named(column: str, value: float) -> None:
    training = archive()
    training.loc[4, column] = value
    with pytest.raises(ValueError, match=f"brief 'b1': {column}"):
        fit(training)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="variance"):
        fit(archive().drop(columns="variance"))
