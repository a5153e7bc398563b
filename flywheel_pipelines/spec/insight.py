"""One insight flywheel's spec: tickets in, themes kept, fixes judged.

Here: the keys of `InsightFlywheelComponent`. Not here: feeds (`feeds`), or the model's settings (`producers`), which it
shares with every other flywheel.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from flywheel_pipelines.spec.common import CommonSpec
from flywheel_pipelines.spec.feeds import FeedSpec
from flywheel_pipelines.spec.producers import LlmProducer
from flywheel_pipelines.spec.schedule import TurnSpec
from flywheel_pipelines.spec.scoring_model import LOCAL_MODEL, Embeddings, ScoringModelSpec
from flywheel_pipelines.spec.section import Name, Section, Share

INSIGHT_COMPONENT_TYPE = "flywheel_pipelines.components.InsightFlywheelComponent"


class ThemesSpec(Section):
    """How tickets become themes."""

    confidence: Share = Field(
        default=0.5, description="Least probability at which a theme of the library takes a ticket."
    )
    min_tickets: int = Field(default=6, ge=2, le=1_000, description="Fewest tickets that found a theme.")
    min_coherence: float = Field(
        default=0.22, ge=0, le=1, description="Least mean cosine of a theme's tickets with the centre of the others."
    )
    lightly_edited: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the machine's words that must be left for an accepted theme to become a reference.",
    )
    pool: int = Field(default=4, ge=1, le=52, description="Cycles whose unknown tickets may still found a theme.")
    background: int = Field(default=4, ge=1, le=52, description="Cycles that say how rare a word is.")
    embeddings: Embeddings = Field(
        default="none",
        description="Sentence embeddings to liken tickets by, instead of words. none: words. "
        f"local: {LOCAL_MODEL} on this machine, from the optional extra `embeddings`. "
        "endpoint: the provider that the environment names, which is sent every ticket.",
    )
    embedding_model: str | None = Field(
        default=None, min_length=1, max_length=200, description="With embeddings: endpoint, the model's name there."
    )
    embedding_dimensions: int | None = Field(
        default=None, ge=2, le=4_096, description="With embeddings: endpoint, the length of a vector."
    )
    embedding_price: float | None = Field(
        default=None, ge=0, description="With embeddings: endpoint, US dollars per million tokens."
    )

    @model_validator(mode="after")
    def _an_endpoint_has_a_model(self) -> Self:
        _ = self.embedding
        return self

    @property
    def embedding(self) -> ScoringModelSpec:
        """The four keys as a scoring model has them, whose rules they keep to."""
        return ScoringModelSpec(
            embeddings=self.embeddings,
            embedding_model=self.embedding_model,
            embedding_dimensions=self.embedding_dimensions,
            embedding_price=self.embedding_price,
        )


class TrendsSpec(Section):
    """What counts as movement."""

    reference: int = Field(default=8, ge=2, le=104, description="Cycles that a cycle is compared with.")
    false_discoveries: Share = Field(default=0.1, description="Share of false ones among themes said to move.")


class InsightSpec(CommonSpec):
    """One insight flywheel."""

    producer: LlmProducer = Field(description="The model that names new themes.")
    review: Literal["required", "optional"] = Field(
        default="required",
        description="required: only themes that a person accepted become references. optional: candidates that keep to "
        "min_tickets and min_coherence do so until a person rejects them.",
    )
    themes: ThemesSpec = Field(default_factory=ThemesSpec, description="How tickets become themes.")
    trends: TrendsSpec = Field(default_factory=TrendsSpec, description="What counts as movement.")
    schedule: TurnSpec = Field(default_factory=TurnSpec, description="When it turns by itself.")
    feeds: dict[Name, FeedSpec] = Field(default_factory=dict, description="tickets, fixes and reviews that come in.")

    @model_validator(mode="after")
    def _feeds_are_of_kinds_it_reads(self) -> Self:
        for name, feed in self.feeds.items():
            if feed.kind not in ("tickets", "fixes", "reviews"):
                raise ValueError(
                    f"feeds.{name}.kind: found {feed.kind}; an insight flywheel reads tickets, fixes, reviews"
                )
        return self
