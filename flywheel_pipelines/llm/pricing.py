"""What requests cost, and what they will: tokens and US dollars.

Here: arithmetic. Not here: holding a cycle to its budget (`budget`), and where prices are written (`spec.producers`).

A model without a price has an unknown cost, None, which is never treated as zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from flywheel_pipelines.chat import ChatRequest, Usage
from flywheel_pipelines.spec.producers import PriceSpec

PER = 1_000_000
BYTES_PER_TOKEN = 4
"""OpenAI's rule of thumb for English; other scripts take more bytes and about as many more tokens."""
TOKENS_PER_MESSAGE = 4
"""What chat formats wrap around each message, about."""


@dataclass(frozen=True)
class Experience:
    """How a flywheel's earlier requests compared with their estimates.

    `prompt_ratio` multiplies the estimated tokens of a prompt; `completion_tokens` is the mean of an answer. None
    before there are any.
    """

    prompt_ratio: float | None = None
    completion_tokens: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What requests are expected to take. `cost` is None when a price is missing."""

    n_requests: int
    prompt_tokens: float
    completion_tokens: float
    cost: float | None


def cost_of(usage: Usage | None, price: PriceSpec | None, *, batch: bool = False) -> float | None:
    """US dollars for one answer; None when the price or the tokens are unknown."""
    if usage is None or price is None:
        return None
    cached = min(usage.cached, usage.prompt)
    cached_price = price.input if price.cached_input is None else price.cached_input
    cost = ((usage.prompt - cached) * price.input + cached * cached_price + usage.completion * price.output) / PER
    return cost * (1 - price.batch_discount) if batch else cost


def embedding_cost(texts: Iterable[str], price: float | None, longest: int) -> float | None:
    """US dollars that texts of at most `longest` bytes each are expected to take; None without a price.

    Tokens are estimated from UTF-8 lengths; `price` is US dollars per million.
    """
    if price is None:
        return None
    return sum(math.ceil(min(len(text.encode()), longest) / BYTES_PER_TOKEN) for text in texts) * price / PER


def prompt_tokens(request: ChatRequest) -> int:
    """Tokens of a prompt, estimated from its UTF-8 length: no tokenizer fits every endpoint."""
    texts = sum(len(message.content.encode()) for message in request.messages)
    return math.ceil(texts / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(request.messages)


def estimate(
    requests: Iterable[ChatRequest],
    prices: dict[str, PriceSpec],
    experience: Experience = Experience(),
    *,
    batch: bool = False,
) -> Estimate:
    """What the requests will take, each sent once.

    Before there is experience every answer is taken to be as long as it may be, so the first estimate is high.
    """
    n, prompts, answers, cost = 0, 0.0, 0.0, 0.0
    priced = True
    for request in requests:
        prompt = prompt_tokens(request) * (experience.prompt_ratio or 1.0)
        answer = float(request.max_output_tokens)
        if experience.completion_tokens is not None:
            answer = min(answer, experience.completion_tokens)
        n, prompts, answers = n + 1, prompts + prompt, answers + answer
        price = prices.get(request.model)
        if price is None:
            priced = False
            continue
        one = (prompt * price.input + answer * price.output) / PER
        cost += one * (1 - price.batch_discount) if batch else one
    return Estimate(n, prompts, answers, cost if priced else None)


def worst_cost(request: ChatRequest, price: PriceSpec, experience: Experience) -> float:
    """US dollars for one try whose answer is as long as it may be."""
    prompt = prompt_tokens(request) * max(experience.prompt_ratio or 1.0, 1.0)
    return (prompt * price.input + request.max_output_tokens * price.output) / PER
