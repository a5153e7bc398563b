"""Asking an OpenAI-compatible endpoint for the embeddings of texts.

Here: texts into requests, tries and waits, what a reply means, what it cost. Not here: vectors from a model on this
machine (`embedding_local`), when texts are embedded and where the vectors are kept (`loop.embedding`).

Unlike an answer, a vector can be asked for again and will be the same or nearly so. Nothing is written down before a
request goes out: a kill costs what was under way.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.llm.asking import run_to_end
from flywheel_pipelines.llm.pricing import PER
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.replies import Reply, Verdict, backoff, complaint_of, judge_common, usage_in
from flywheel_pipelines.llm.sending import Sender

PATH = "/embeddings"
TEXTS_PER_REQUEST, BYTES_PER_REQUEST = 256, 200_000
"""OpenAI takes 2,048 texts and 300,000 tokens; smaller servers hold all of a request in memory at once."""
LONGEST_TEXT = 16_000
"""Bytes of a text that are sent; OpenAI's models refuse more than 8,192 tokens."""


class EmbeddingError(FlywheelError):
    """Texts could not be embedded."""


@dataclass(frozen=True)
class EmbeddingSettings:
    """What is asked for, and how. Times are seconds, `price` is US dollars per million tokens (None: unknown)."""

    model: str
    dimensions: int | None = None
    price: float | None = None
    concurrency: int = 4
    timeout: float = 120
    max_tries: int = 8
    first_wait: float = 0.5
    max_wait: float = 60


@dataclass(frozen=True)
class EmbeddingCall:
    """One answered request. Tokens and cost are None when unknown; `latency` is in seconds, waits included."""

    key: str
    n_texts: int
    n_tries: int
    prompt_tokens: int | None
    cost: float | None
    latency: float


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors in the order of the texts, shape (n texts, dimensions), and the requests that it took."""

    vectors: np.ndarray
    calls: tuple[EmbeddingCall, ...] = ()


def ask_for_embeddings(texts: Sequence[str], provider: Provider, settings: EmbeddingSettings) -> Embedded:
    """The vectors of texts that are not blank, as the endpoint gives them.

    Raises:
        EmbeddingError: the endpoint refuses, was asked so often in vain, or answers with vectors of unequal lengths.
    """
    if not texts:
        return Embedded(np.zeros((0, settings.dimensions or 0), np.float32))
    answers = run_to_end(_ask(list(_requests(texts)), provider, settings))
    lengths = {vectors.shape[1] for vectors, _ in answers}
    if len(lengths) > 1:
        raise EmbeddingError(
            f"{provider.name} answered for {settings.model} with vectors of {' and '.join(map(str, sorted(lengths)))} "
            "numbers; expected one length. Name a model of one kind in scoring_model.embedding_model."
        )
    return Embedded(np.concatenate([vectors for vectors, _ in answers]), tuple(call for _, call in answers))


def _requests(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, cut to what one request may hold."""
    part: list[str] = []
    size = 0
    for text in texts:
        sent = text.encode("utf-8", "replace")[:LONGEST_TEXT].decode(errors="ignore")
        length = len(sent.encode())
        if part and (len(part) == TEXTS_PER_REQUEST or size + length > BYTES_PER_REQUEST):
            yield part
            part, size = [], 0
        part.append(sent)
        size += length
    yield part


async def _ask(
    requests: Sequence[list[str]], provider: Provider, settings: EmbeddingSettings
) -> list[tuple[np.ndarray, EmbeddingCall]]:
    try:
        async with (
            Sender(provider, settings.concurrency, settings.timeout, path=PATH) as sender,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(_ask_one(texts, sender, provider, settings)) for texts in requests]
    except ExceptionGroup as errors:
        # The first is what the others were cancelled for.
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _ask_one(
    texts: list[str], sender: Sender, provider: Provider, settings: EmbeddingSettings
) -> tuple[np.ndarray, EmbeddingCall]:
    """Try until the texts are answered. Raises EmbeddingError when that is hopeless."""
    body: dict[str, Any] = {"model": settings.model, "input": texts}
    if settings.dimensions is not None:
        body["dimensions"] = settings.dimensions
    key = hashlib.sha256(json.dumps(body, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
    started = time.perf_counter()
    for number in range(1, settings.max_tries + 1):
        reply = await sender.send(body, key)
        verdict, vectors = _judge(reply, body)
        if vectors is not None:
            tokens = verdict.usage.prompt if verdict.usage else None
            cost = None if tokens is None or settings.price is None else tokens * settings.price / PER
            latency = round(time.perf_counter() - started, 6)
            return vectors, EmbeddingCall(key, len(texts), number, tokens, cost, latency)
        if verdict.kind not in ("wait", "unusable"):
            raise EmbeddingError(f"{provider.name} was asked for embeddings and refused: {verdict.words}")
        wait = verdict.retry_after or 0.0
        if wait > settings.max_wait:
            raise EmbeddingError(
                f"{provider.name} asks to wait {wait:,.0f} s before it embeds more ({verdict.words}); at most "
                f"{settings.max_wait:,.0f} s are waited for. Run this step again later."
            )
        if number < settings.max_tries:
            await asyncio.sleep(wait + backoff(key, number, settings.first_wait, settings.max_wait))
    raise EmbeddingError(
        f"{provider.name} was asked for embeddings {settings.max_tries} times in vain; at last {verdict.words}. Check "
        "OPENAI_BASE_URL and that the server is running, then run this step again."
    )


def _judge(reply: Reply, sent: dict[str, Any]) -> tuple[Verdict, np.ndarray | None]:
    """What a reply means, and the vectors of one that answers."""
    if (common := judge_common(reply)) is not None:
        return common, None
    if reply.status is not None and reply.status < 300:
        vectors = _vectors_in(reply.body, len(sent["input"]))
        if vectors is None:
            words = "the reply does not hold a vector of numbers for each text"
            return Verdict("unusable", "not_embeddings", words), None
        return Verdict("answered", "answered", usage=usage_in(reply.body.get("usage"))), vectors
    complaint = complaint_of(reply)
    if "dimensions" in sent and "dimension" in f"{complaint.parameter} {complaint.message}":
        todo = "Leave scoring_model.embedding_dimensions out: the model cannot shorten its vectors."
    else:
        todo = {
            401: "Check that OPENAI_API_KEY holds a valid key of this provider.",
            403: "The key may not use this model; ask the account's owner, or name another.",
            404: "Check scoring_model.embedding_model and OPENAI_BASE_URL: no such model or address was found there.",
        }.get(reply.status or 0, "Check scoring_model.embedding_model: this may not be a model that embeds.")
    return Verdict("stop", "refused", f"{complaint.said} {todo}"), None


def _vectors_in(body: Any, n_texts: int) -> np.ndarray | None:
    """The vectors of an answer in the order of the texts, float64; None when it is not that."""
    try:
        found = {entry["index"]: entry["embedding"] for entry in body["data"]}
        vectors = np.array([found[index] for index in range(n_texts)], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    fits = vectors.ndim == 2 and vectors.shape[1] > 0 and len(found) == n_texts and np.isfinite(vectors).all()
    return vectors if fits else None
