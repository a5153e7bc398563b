"""Asking an endpoint for embeddings: each text gets its own vector, faults are waited out, refusals say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from flywheel_pipelines.llm.embedding import (
    BYTES_PER_REQUEST,
    LONGEST_TEXT,
    TEXTS_PER_REQUEST,
    Embedded,
    EmbeddingError,
    EmbeddingSettings,
    ask_for_embeddings,
)
from flywheel_pipelines.llm.offline.answering import MODEL
from flywheel_pipelines.llm.offline.server import OfflineServer
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines_tests.llm.embedding_server import KEY, Answer, Endpoint, error, serving, vectors


def ask(endpoint: Endpoint, texts: Sequence[str] = ("a", "bb"), **settings: Any) -> Embedded:
    patient = {"first_wait": 0.001, "max_wait": 0.01, "max_tries": 4, "price": 2.0, **settings}
    return ask_for_embeddings(list(texts), endpoint.provider, EmbeddingSettings("m", **patient))


def texts_of_lengths(n: int) -> list[str]:
    return ["x" * (1 + number % 97) for number in range(n)]


def test_every_text_gets_its_own_vector_over_many_requests() -> None:
    texts = texts_of_lengths(2 * TEXTS_PER_REQUEST + 5)
    with serving() as endpoint:
        found = ask(endpoint, texts)
    assert found.vectors[:, 0].tolist() == [len(text) for text in texts]
    assert sorted(len(body["input"]) for body in endpoint.arrived) == [5, TEXTS_PER_REQUEST, TEXTS_PER_REQUEST]


def test_long_texts_make_requests_smaller_and_are_cut() -> None:
    texts = ["y" * (LONGEST_TEXT + 9)] * (BYTES_PER_REQUEST // LONGEST_TEXT + 1)
    with serving() as endpoint:
        found = ask(endpoint, texts)
    assert len(endpoint.arrived) == 2
    assert set(found.vectors[:, 0]) == {LONGEST_TEXT}


def test_tokens_and_dollars_are_counted() -> None:
    with serving() as endpoint:
        [call] = ask(endpoint).calls
    assert (call.n_texts, call.n_tries, call.prompt_tokens) == (2, 1, 10)
    assert call.cost == pytest.approx(10 * 2.0 / 1_000_000)


def test_without_a_price_the_cost_is_unknown_and_not_zero() -> None:
    with serving() as endpoint:
        assert ask(endpoint, price=None).calls[0].cost is None


def test_dimensions_are_asked_for_only_where_they_are_set() -> None:
    with serving() as endpoint:
        ask(endpoint)
        ask(endpoint, dimensions=64)
    assert [body.get("dimensions") for body in endpoint.arrived] == [None, 64]


@pytest.mark.parametrize(
    "fault",
    [
        error(429, "Too fast.", retry_after="0"),
        error(500, "Broken."),
        error(503, "Busy."),
        (200, {"data": []}, {}),
        (200, {"data": [{"index": 0, "embedding": ["a"]}, {"index": 1, "embedding": [1]}]}, {}),
        (200, {"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1]}]}, {}),
        (200, "nonsense", {}),
    ],
    ids=["busy", "broken", "unavailable", "empty", "words", "ragged", "nonsense"],
)
def test_a_fault_that_passes_is_tried_again(fault: Answer) -> None:
    with serving(lambda body, number: fault if number < 3 else vectors(body)) as endpoint:
        found = ask(endpoint)
    assert found.vectors[:, 0].tolist() == [1.0, 2.0]
    assert found.calls[0].n_tries == 3


def test_a_fault_that_stays_is_given_up_with_what_was_said_last() -> None:
    with serving(lambda *_: error(500, "Broken.")) as endpoint, pytest.raises(EmbeddingError, match="4 times in vain"):
        ask(endpoint)
    assert len(endpoint.arrived) == 4


def test_nobody_there_is_given_up_too() -> None:
    nobody = Provider("http://127.0.0.1:9/v1", KEY, "nobody")
    with pytest.raises(EmbeddingError, match="in vain; at last the connection failed"):
        ask_for_embeddings(["a"], nobody, EmbeddingSettings("m", first_wait=0.001, max_wait=0.01, max_tries=2))


@pytest.mark.parametrize(
    ("refusal", "settings", "words"),
    [
        (error(401, "No."), {}, "OPENAI_API_KEY"),
        (error(404, "No such model."), {}, "scoring_model.embedding_model"),
        (error(429, "Over.", "insufficient_quota"), {}, "quota is used up"),
        (
            error(400, "This model does not support dimensions."),
            {"dimensions": 9},
            "scoring_model.embedding_dimensions",
        ),
        (error(429, "Later.", retry_after="3600"), {}, "asks to wait 3,600 s"),
    ],
    ids=["key", "model", "quota", "dimensions", "later"],
)
def test_a_refusal_says_what_to_do_and_is_not_repeated(refusal: Answer, settings: Any, words: str) -> None:
    with serving(lambda *_: refusal) as endpoint, pytest.raises(EmbeddingError, match=words) as found:
        ask(endpoint, **settings)
    assert len(endpoint.arrived) == 1
    assert KEY not in str(found.value)


def test_vectors_of_unequal_lengths_are_refused() -> None:
    texts = texts_of_lengths(TEXTS_PER_REQUEST + 1)
    growing = serving(lambda body, number: vectors(body, size=2 + number))
    with growing as endpoint, pytest.raises(EmbeddingError, match="expected one length"):
        ask(endpoint, texts, concurrency=1)


def test_nothing_to_embed_asks_nobody() -> None:
    with serving() as endpoint:
        assert ask(endpoint, []).vectors.shape == (0, 0)
    assert endpoint.arrived == []


def test_the_offline_writer_embeds_equal_texts_alike() -> None:
    with OfflineServer() as server:
        provider = Provider(server.base_url, "none", "offline", is_offline=True)
        found = ask_for_embeddings(["a word", "other", "a word"], provider, EmbeddingSettings(MODEL, dimensions=32))
    assert found.vectors.shape == (3, 32)
    np.testing.assert_array_equal(found.vectors[0], found.vectors[2])
    assert (found.vectors[0] != found.vectors[1]).any()
