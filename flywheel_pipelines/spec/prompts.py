"""How the prompt is made, and who may propose another one.

Here: the key `prompt`. Not here: what it does (`learning`, `loop/prompts.py`, `loop/proposing.py`), or when a proposal
becomes the champion.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flywheel_pipelines.spec.section import Section

Refresh = Literal["references", "reflect", "gepa"]


class OptimiserSpec(Section):
    """What the optimiser `gepa` may use up. One text is one request to the model."""

    max_texts: int = Field(
        default=1_200,
        ge=20,
        le=100_000,
        description="Most texts written in one optimisation, tests of proposals included.",
    )
    minibatch: int = Field(default=4, ge=1, le=50, description="Briefs that each proposal is made from.")
    validation: int = Field(default=20, ge=2, le=1_000, description="Briefs that proposals are ranked by.")
    evidence: int = Field(
        default=200, ge=20, le=10_000, description="Most pairs of texts that one proposal is tested on."
    )
    error: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="Probability that a search accepts any proposal that is no better.",
    )


class PromptSpec(Section):
    """How the prompt is made."""

    template: str | None = Field(
        default=None, description="Template file, relative to the YAML; none = the built-in one."
    )
    challenger: str | None = Field(
        default=None, description="A person's template that goes on trial, relative to the YAML."
    )
    guidelines: list[Annotated[str, Field(min_length=1, max_length=2_000)]] = Field(
        default_factory=list, description="House rules that every arm's prompt states."
    )
    refresh: Refresh = Field(
        default="references",
        description="references: winners are shown as examples. reflect: and a model writes guidelines from winners "
        "and losers. gepa: and an optimiser searches for them. What these two propose goes on trial first.",
    )
    reflect_every: int = Field(
        default=4, ge=1, le=52, description="Fewest cycles from one proposal of `reflect` or `gepa` to the next."
    )
    reflect_support: int = Field(
        default=3, ge=1, le=50, description="Fewest winners that a guideline must name as its support."
    )
    reflect_tokens: int = Field(
        default=16_000, ge=1_000, le=1_000_000, description="Most tokens of winners and losers shown to the model."
    )
    learned_guidelines: int = Field(
        default=8, ge=1, le=50, description="Most guidelines that a prompt may learn besides the house rules."
    )
    reflection_model: str | None = Field(
        default=None, min_length=1, max_length=200, description="Model that writes guidelines; none = the producer's."
    )
    max_cost: float | None = Field(
        default=None,
        gt=0,
        description="US dollars for a cycle's proposals, part of producer.max_cost_per_cycle; none = half of it.",
    )
    optimiser: OptimiserSpec = Field(default_factory=OptimiserSpec, description="What the optimiser `gepa` may use up.")
