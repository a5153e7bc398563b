"""Holding a cycle to what it may cost.

Here: the refusal before the first request, and the stop before the budget is passed. Not here: prices (`pricing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.llm.pricing import Estimate
from flywheel_pipelines.spec.producers import PriceSpec


class BudgetError(FlywheelError):
    """A cycle would cost more than it may, or nobody can say what it costs."""


def check_before(
    estimate: Estimate,
    *,
    models: set[str],
    prices: Mapping[str, PriceSpec],
    max_cost: float | None,
    spent: float | None,
) -> None:
    """Refuse a cycle that would pass its budget, before anything is sent.

    Args:
        estimate: what is left to be asked.
        models: the models that will be asked.
        prices: what they charge.
        max_cost: US dollars for the cycle, over all its attempts; None is no limit.
        spent: US dollars spent on it already; None when unknown.

    Raises:
        BudgetError: it would cost more, or a price that is needed is missing.
    """
    if max_cost is None:
        return
    if missing := sorted(models - prices.keys()):
        raise BudgetError(
            f"The budget of ${max_cost:.2f} cannot be kept: {', '.join(missing)} has no price. Write it below "
            "producer.prices, in US dollars per million tokens, or remove producer.max_cost_per_cycle."
        )
    if spent is None:
        raise BudgetError(
            f"The budget of ${max_cost:.2f} cannot be kept: this cycle was asked before at an unknown price, so "
            "what is left of it is unknown. Remove producer.max_cost_per_cycle for this cycle, or open it "
            "without asking anew."
        )
    cost = estimate.cost or 0.0
    if spent + cost > max_cost:
        raise BudgetError(
            f"{estimate.n_requests:,} requests are expected to cost ${cost:.4f} "
            f"({estimate.prompt_tokens:,.0f} tokens in, {estimate.completion_tokens:,.0f} out), ${spent:.4f} has been "
            f"spent on this cycle, and the budget is ${max_cost:.2f}; nothing was sent. Raise "
            "producer.max_cost_per_cycle, or lower producer.variants or producer.max_output_tokens. (Until a flywheel "
            "has asked, answers are expected to be as long as they may be.)"
        )


def check_embeddings(cost: float | None, *, model: str, max_cost: float, spent: float | None) -> None:
    """Refuse embeddings that would take a cycle past its budget, before any text is sent.

    Args:
        cost: US dollars that they are expected to take; None without a price.
        model: the model that is asked.
        max_cost: US dollars for the cycle, over all its attempts.
        spent: US dollars spent on it already; None when unknown.

    Raises:
        BudgetError: it would cost more, or nobody can say.
    """
    if cost is None:
        raise BudgetError(
            f"The budget of ${max_cost:.2f} cannot be kept: the embeddings by {model} have no price. Write "
            "scoring_model.embedding_price, in US dollars per million tokens, or remove producer.max_cost_per_cycle."
        )
    if spent is None:
        raise BudgetError(
            f"The budget of ${max_cost:.2f} cannot be kept: what this cycle has cost so far is unknown. Write every "
            "price, or remove producer.max_cost_per_cycle for this cycle."
        )
    if spent + cost > max_cost:
        raise BudgetError(
            f"The embeddings by {model} are expected to cost ${cost:.4f}, ${spent:.4f} has been spent on this cycle, "
            f"and the budget is ${max_cost:.2f}; no text was sent. Raise producer.max_cost_per_cycle, or write "
            "scoring_model.embeddings: none."
        )


class Purse:
    """What may still be spent while requests are under way.

    Each try reserves the most that it can cost. Where that does not fit it waits until others have come back for less,
    and the run stops when nothing is under way and it still does not fit; so the budget is not passed, as far as tokens
    of prompts are estimated well.
    """

    def __init__(self, max_cost: float | None, spent: float | None) -> None:
        """`spent` is what the cycle cost before."""
        self._max_cost, self.spent = max_cost, spent or 0.0
        self._reserved = 0.0
        self._changed = asyncio.Condition()

    async def reserve(self, amount: float) -> None:
        """Set US dollars aside for one try.

        Raises:
            BudgetError: they are not there.
        """
        if self._max_cost is None:
            return
        async with self._changed:
            while self.spent + self._reserved + amount > self._max_cost:
                if self._reserved <= 0:
                    raise BudgetError(
                        f"The cycle has cost ${self.spent:.4f}; one more request could cost ${amount:.4f} and pass the "
                        f"budget of ${self._max_cost:.2f}. Raise producer.max_cost_per_cycle and run again: what is "
                        "answered is kept."
                    )
                await self._changed.wait()
            self._reserved += amount

    async def settle(self, amount: float, cost: float | None) -> None:
        """Replace what was reserved for a try by what it cost."""
        self.spent += cost or 0.0
        if self._max_cost is None:
            return
        async with self._changed:
            self._reserved = max(0.0, self._reserved - amount)
            if self._reserved < 1e-12:
                self._reserved = 0.0
            self._changed.notify_all()
