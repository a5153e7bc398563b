"""The scoring model with sentence embeddings: it learns what words do not tell, says how much of it, and needs none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from flywheel_pipelines.learning.embedding_features import TextVectors
from flywheel_pipelines.learning.model_tables import model_from_tables, model_to_tables, skill_rows
from flywheel_pipelines.learning.text_model import TextModel, fit_text_model
from flywheel_pipelines_tests.learning.embedded_world import AS_OF, meanings, of_other_texts

TRAINING, VECTORS = meanings()


def fit(training: pd.DataFrame = TRAINING, vectors: TextVectors | None = VECTORS) -> TextModel:
    return fit_text_model(training, as_of=AS_OF, vectors=vectors)


@pytest.fixture(scope="module")
def model() -> TextModel:
    return fit()


def skill(model: TextModel, block: str) -> float:
    return next(found.correlation for found in model.skills if found.block == block)


def only(vectors: TextVectors, keep: np.ndarray) -> TextVectors:
    """Those of some texts."""
    hashes = tuple(name for name, kept in zip(vectors.hashes, keep, strict=True) if kept)
    return TextVectors(vectors.model, hashes, vectors.values[keep])


def test_what_the_words_do_not_tell_the_vectors_do(model: TextModel) -> None:
    assert model.skilled
    assert model.holdout_correlation > 0.6
    assert not fit(vectors=None).skilled


def test_control_vectors_of_other_texts_tell_nothing() -> None:
    correlations = [skill(fit(vectors=of_other_texts(VECTORS, seed)), "embedding") for seed in range(6)]
    assert abs(np.mean(correlations)) < 0.1


def test_it_says_how_each_family_of_features_did_and_how_it_would_do_without_vectors(model: TextModel) -> None:
    blocks = [found.block for found in model.skills]
    # Random letters repeat no word, so there is no family of words.
    assert blocks == ["together", "chars", "style", "embedding", "without_embedding"]
    assert skill(model, "together") == model.holdout_correlation
    assert skill(model, "embedding") > skill(model, "without_embedding") + 0.3


def test_without_vectors_the_skill_is_that_of_a_model_without_them(model: TextModel) -> None:
    assert skill(model, "without_embedding") == fit(vectors=None).holdout_correlation


def test_a_text_is_predicted_by_its_vector(model: TextModel) -> None:
    texts = TRAINING["text"].tolist()
    predicted = model.predict(texts, vectors=VECTORS)
    logs = TRAINING.assign(log=TRAINING["value"].map(np.log))
    truth = logs["log"] - logs.groupby("brief_id")["log"].transform("mean")
    assert np.corrcoef(predicted, truth)[0, 1] > 0.6


def test_a_text_without_a_vector_counts_as_the_mean_text(model: TextModel) -> None:
    text = TRAINING["text"].iloc[0]
    words_alone = model.predict([text])
    assert model.predict([text], vectors=only(VECTORS, np.arange(len(VECTORS.hashes)) > 0)) == words_alone
    assert model.predict([text], vectors=VECTORS) != words_alone


def test_vectors_by_another_model_are_not_used(model: TextModel) -> None:
    other = replace(VECTORS, model="other")
    assert model.predict(["a"], vectors=other) == model.predict(["a"])
    shorter = replace(VECTORS, values=VECTORS.values[:, :3])
    assert model.predict(["a"], vectors=shorter) == model.predict(["a"])


def test_it_learns_from_those_texts_that_have_a_vector_and_counts_the_others() -> None:
    keep = np.random.default_rng(0).random(len(VECTORS.hashes)) < 0.7
    model = fit(vectors=only(VECTORS, keep))
    assert model.skilled
    assert model.n_without_vector == int((~keep).sum())
    assert f"{(~keep).sum()} of 450 texts had no vector and count as the mean text" in model.reason


@pytest.mark.parametrize("vectors", [None, only(VECTORS, np.zeros(450, bool)), TextVectors("m", (), np.zeros((0, 0)))])
def test_where_no_text_has_a_vector_it_is_the_model_without(vectors: TextVectors | None) -> None:
    model = fit(vectors=vectors)
    assert model.embedding_model == ""
    assert model.version == fit(vectors=None).version


def test_a_text_scores_the_same_alone_and_in_a_batch(model: TextModel) -> None:
    texts = TRAINING["text"].tolist()[:40]
    assert [model.predict([text], vectors=VECTORS)[0] for text in texts] == model.predict(
        texts, vectors=VECTORS
    ).tolist()


def test_row_order_changes_nothing(model: TextModel) -> None:
    order = np.random.default_rng(1).permutation(len(VECTORS.hashes))
    turned = TextVectors(VECTORS.model, tuple(VECTORS.hashes[i] for i in order), VECTORS.values[order])
    assert fit(TRAINING.sample(frac=1, random_state=3), turned).version == model.version


def test_a_model_read_back_from_its_rows_predicts_bit_identically(model: TextModel) -> None:
    row, terms = model_to_tables(model, datetime(2026, 6, 1, tzinfo=UTC))
    found = model_from_tables(row.to_pylist()[0], terms)
    texts = TRAINING["text"].tolist()
    assert found.version == model.version
    assert (found.predict(texts, vectors=VECTORS) == model.predict(texts, vectors=VECTORS)).all()


def test_its_terms_hold_a_coefficient_and_a_centre_for_each_dimension(model: TextModel) -> None:
    terms = model_to_tables(model, None)[1].to_pandas()
    embedding = terms[terms["kind"] == "embedding"].sort_values("term")
    assert embedding["term"].tolist() == [f"{number:05d}" for number in range(16)]
    np.testing.assert_array_equal(embedding["coefficient"].to_numpy(), model.embedding_coefficients)
    np.testing.assert_array_equal(embedding["centre"].to_numpy(), model.embedding_centre)
    assert embedding["coefficient"].abs().idxmax() == embedding.index[0]


def test_a_prediction_is_reproduced_from_terms_and_vector(model: TextModel) -> None:
    """What the docs do in SQL."""
    terms = model_to_tables(model, None)[1].to_pandas()
    embedding = terms[terms["kind"] == "embedding"].sort_values("term")
    text = TRAINING["text"].iloc[7]
    vector = VECTORS.of([text])[0].astype(float)
    part = ((vector - embedding["centre"].astype(float)) * embedding["coefficient"].astype(float)).sum()
    assert part == pytest.approx(float((model.predict([text], vectors=VECTORS) - model.predict([text]))[0]))


def test_an_altered_coefficient_is_refused(model: TextModel) -> None:
    row, terms = model_to_tables(model, None)
    frame = terms.to_pandas()
    frame.loc[frame["kind"] == "embedding", "coefficient"] *= 2
    altered = terms.from_pandas(frame, schema=terms.schema, preserve_index=False)
    with pytest.raises(ValueError, match="was changed after it was written"):
        model_from_tables(row.to_pylist()[0], altered)


def test_the_rows_of_its_skill_name_the_model_and_the_held_out_briefs(model: TextModel) -> None:
    rows = skill_rows(model).to_pylist()
    assert {row["model_version"] for row in rows} == {model.version}
    assert {row["holdout_briefs"] for row in rows} == {model.holdout_briefs}
    assert rows[0]["hit_rate"] > rows[0]["chance"] + 0.2


def test_the_bytes_do_not_depend_on_the_process_or_its_hash_seed(model: TextModel) -> None:
    code = "from flywheel_pipelines_tests.learning.test_embedding_model import fit; print(fit().version)"
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout == model.version + "\n"
