"""The joint posterior agrees with brute force, and knows that outputs which read alike do alike."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from flywheel_pipelines.learning.joint import laplace
from flywheel_pipelines.learning.likeness import PUBLICATION_SHARE, arrange
from flywheel_pipelines.learning.outcomes import Successes
from flywheel_pipelines.learning.posterior import EmpiricalBayes, FittedPrior
from flywheel_pipelines_tests.learning.test_posterior import world

WORDS = [f"{first}{second}" for first in ("alpha", "bravo", "cedar", "delta", "ember") for second in ("x", "y", "z")]


def worded_world(seed: int, briefs: int = 600, exposure: int = 1500) -> pd.DataFrame:
    """Two of four texts of a brief are nearly the same, and so are their true rates."""
    rng = np.random.default_rng(seed)
    texts, effects = [], []
    for _ in range(briefs):
        first, *others = (" ".join(rng.choice(WORDS, 8)) for _ in range(3))
        texts += [first, first + "!", *others]
        effect = rng.normal(0, 0.35, 3)
        effects += [effect[0], effect[0] + rng.normal(0, 0.05), *effect[1:]]
    frame = world(briefs=briefs, exposure=exposure, seed=seed)
    truth = expit(np.repeat(rng.normal(-4, 0.5, briefs), 4) + effects)
    return frame.assign(text=texts, predicted=0.0, truth=truth, numerator=rng.binomial(frame["exposure"], truth))


def claims(prior: FittedPrior, fresh: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probability, and truth, of the first text of each brief beating its near-duplicate, for the two alone."""
    pair = fresh[fresh.index % 4 < 2]
    p = prior.posterior(pair).above_mean(np.full(len(pair), 0.5))[0]
    return p, (pair["truth"] > pair.groupby("brief_id")["truth"].transform("mean")).to_numpy()


def test_near_duplicates_are_not_told_apart_by_noise() -> None:
    prior, fresh = EmpiricalBayes().fit(worded_world(0)), worded_world(1)
    p, _ = claims(prior, fresh)
    assert (p > 0.9).mean() < 0.03


def test_without_the_texts_they_are() -> None:
    """The control that must fail: promotions between near-duplicates, and wrong ones."""
    history, fresh = worded_world(0).drop(columns="text"), worded_world(1).drop(columns="text")
    p, above = claims(EmpiricalBayes().fit(history), fresh)
    assert (p > 0.9).sum() > 50
    assert above[p > 0.9].mean() < 0.8


def test_a_near_duplicate_lends_its_evidence() -> None:
    two = pd.DataFrame(
        {"brief_id": "a", "segment": "all", "predicted": 0.0, "numerator": [0, 60], "exposure": [0, 1000]}
    )
    prior = FittedPrior(centre=-4.0, n_briefs=50, between=0.1)
    alike, apart = (
        prior.posterior(two.assign(text=texts)).moments()[0][0]
        for texts in (["one two three four", "one two three four!"], ["one two three four", "quite different"])
    )
    assert alike > 1.3 * apart


def test_texts_of_equal_wording_are_nearly_one() -> None:
    panel = arrange(pd.DataFrame({"brief_id": ["a", "a", "b"], "text": ["Same words", "same  words", None]}))[1]
    np.testing.assert_allclose(panel.likeness[0], [[1, 1 - PUBLICATION_SHARE], [1 - PUBLICATION_SHARE, 1]])


def test_without_texts_no_output_is_like_another() -> None:
    panels = arrange(pd.DataFrame({"brief_id": ["b", "a", "b"]}))
    assert [panel.rows.tolist() for panel in panels] == [[[1]], [[0, 2]]]
    np.testing.assert_array_equal(panels[1].likeness, np.eye(2)[None])


def test_texts_whose_vectors_point_the_same_way_are_alike_whatever_their_letters() -> None:
    vectors = [np.array(vector, np.float32) for vector in ([3, 4], [6, 8], [4, -3])]
    frame = pd.DataFrame({"brief_id": "a", "text": ["one", "quite different", "one"], "vector": vectors})
    cosine = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    expected = PUBLICATION_SHARE * np.eye(3) + (1 - PUBLICATION_SHARE) * cosine
    np.testing.assert_allclose(arrange(frame)[0].likeness[0], expected, atol=1e-7)


@pytest.mark.parametrize("missing", [[np.nan, np.nan], [0.0, 0.0]])
def test_a_brief_with_a_text_that_has_no_vector_goes_by_letters(missing: list[float]) -> None:
    vectors = [np.array(vector, np.float32) for vector in ([1, 0], missing, [1, 0], [0, 1])]
    texts = ["one two", "one three", "fourth", "fourths"]
    frame = pd.DataFrame({"brief_id": ["a", "a", "b", "b"], "text": texts, "vector": vectors})
    letters = arrange(frame.drop(columns="vector"))[0].likeness
    np.testing.assert_array_equal(arrange(frame)[0].likeness[0], letters[0])
    # The other brief has all of its vectors.
    assert arrange(frame)[0].likeness[1][0, 1] == 0 != letters[1][0, 1]


def directed_world(seed: int, briefs: int = 600) -> pd.DataFrame:
    """Texts of random letters; two of the four of a brief mean nearly the same, and do so."""
    frame, rng = worded_world(seed, briefs), np.random.default_rng([seed, 1])
    directions = rng.normal(size=(briefs, 4, 16))
    directions[:, 1] = directions[:, 0] + 0.1 * rng.normal(size=(briefs, 16))
    letters = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 12)) for _ in range(4 * briefs)]
    return frame.assign(text=letters, vector=pd.Series(list(directions.reshape(-1, 16).astype(np.float32))))


def test_paraphrases_are_not_told_apart_by_noise() -> None:
    prior, fresh = EmpiricalBayes().fit(directed_world(0)), directed_world(1)
    p, _ = claims(prior, fresh)
    assert (p > 0.9).mean() < 0.03


def test_without_their_vectors_paraphrases_are() -> None:
    """The control that must fail: letters say nothing here."""
    history, fresh = directed_world(0).drop(columns="vector"), directed_world(1).drop(columns="vector")
    p, above = claims(EmpiricalBayes().fit(history), fresh)
    assert (p > 0.9).sum() > 50
    assert above[p > 0.9].mean() < 0.8


@pytest.mark.parametrize("successes", [[0, 3, 1], [9, 2, 4], [40, 55, 30]])
def test_laplace_agrees_with_importance_sampling(successes: list[int]) -> None:
    k, n = np.array([successes], float), np.full((1, 3), 10.0 * max(successes))
    prior = 0.3**2 * np.array([[[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]]]) + 0.5**2
    found = laplace(Successes(k, n), np.full((1, 3), -2.5), prior)
    draws = np.random.default_rng(0).multivariate_normal(np.full(3, -2.5), prior[0], 400_000)
    rate = expit(draws)
    weight = np.exp((k * np.log(rate) + (n - k) * np.log1p(-rate)).sum(axis=1))
    mean = (weight[:, None] * draws).sum(axis=0) / weight.sum()
    spread = (weight[:, None] * (draws - mean) ** 2).sum(axis=0) / weight.sum()
    np.testing.assert_allclose(found.mean[0], mean, atol=0.03)
    np.testing.assert_allclose(np.diagonal(found.covariance[0]), spread, rtol=0.1)
    assert found.evidence[0] == pytest.approx(np.log(weight.mean()), abs=0.05)


def test_the_probability_to_beat_the_brief_agrees_with_drawing_from_the_posterior() -> None:
    fresh = worded_world(1, briefs=40, exposure=400)
    posterior = FittedPrior(centre=-4.0, n_briefs=50, uneven=0.4).posterior(fresh)
    p = posterior.above_mean(np.full(len(fresh), 0.25))[0]
    rng = np.random.default_rng(0)
    for block in posterior.blocks:
        for brief in range(0, len(block.rows), 7):
            counts = rng.multinomial(40_000, block.weight[brief])
            draws = np.concatenate(
                [
                    rng.multivariate_normal(block.mean[brief, node], block.covariance[brief, node], count)
                    for node, count in enumerate(counts)
                ]
            )
            rate = expit(draws)
            above = (rate > rate.mean(axis=1, keepdims=True)).mean(axis=0)
            np.testing.assert_allclose(p[block.rows[brief]], above, atol=0.015)


def test_a_fresh_measurement_is_less_certain_than_the_truth() -> None:
    fresh = worded_world(1, briefs=200)
    posterior, share = FittedPrior(centre=-4.0, n_briefs=50).posterior(fresh), np.full(800, 0.25)
    again = posterior.measured_again(np.full(800, 500.0))
    np.testing.assert_allclose(again.moments()[0], posterior.moments()[0], rtol=0.02)
    sure, less = np.abs(posterior.above_mean(share)[0] - 0.5), np.abs(again.above_mean(share)[0] - 0.5)
    assert less.mean() < 0.8 * sure.mean()


def test_another_process_gets_the_same_bytes() -> None:
    code = (
        "import hashlib, sys; from flywheel_pipelines_tests.learning.test_joint import *;"
        "prior = EmpiricalBayes().fit(worded_world(0, briefs=60)); fresh = worded_world(1, briefs=20);"
        "p = prior.posterior(fresh).above_mean(np.full(len(fresh), 0.25))[0];"
        "print(prior.temper.hex(), hashlib.sha256(p.tobytes()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
