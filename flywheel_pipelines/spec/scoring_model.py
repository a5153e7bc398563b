"""The key `scoring_model`: what the model that predicts winners learns from.

Not here: the model itself (`learning.text_model`), and who computes embeddings (`llm`).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from flywheel_pipelines.spec.section import Section

LOCAL_MODEL = "all-MiniLM-L6-v2"
"""The model that the optional extra `embeddings` carries."""
Embeddings = Literal["none", "local", "endpoint"]


class ScoringModelSpec(Section):
    """The model that predicts from text which output wins."""

    window: int = Field(
        default=104, ge=1, le=1040, description="Cycles it learns from, so that a close never costs more."
    )
    embeddings: Embeddings = Field(
        default="none",
        description="Sentence embeddings to learn from besides words and style, and to tell how alike texts are by. "
        "none: words and style alone. "
        f"local: {LOCAL_MODEL} on this machine, from the optional extra `embeddings`. "
        "endpoint: the provider that the environment names, which is sent every text.",
    )
    embedding_model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="With embeddings: endpoint, the model's name as its endpoint knows it, e.g. "
        "text-embedding-3-small.",
    )
    embedding_dimensions: int | None = Field(
        default=None,
        ge=2,
        le=4_096,
        description="With embeddings: endpoint, the length of a vector, for models that can shorten theirs; "
        "none = as long as the model makes them.",
    )
    embedding_price: float | None = Field(
        default=None,
        ge=0,
        description="With embeddings: endpoint, US dollars per million tokens; the cost is unknown, not zero, without.",
    )

    @model_validator(mode="after")
    def _an_endpoint_has_a_model(self) -> Self:
        if self.embeddings == "endpoint":
            if self.embedding_model is None:
                raise ValueError(
                    "embeddings: endpoint needs embedding_model, the name of the model, e.g. text-embedding-3-small"
                )
            return self
        names = ("embedding_model", "embedding_dimensions", "embedding_price")
        idle = [name for name in names if getattr(self, name) is not None]
        if idle:
            raise ValueError(
                f"{', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no use with embeddings: {self.embeddings}; "
                "write embeddings: endpoint, or leave them out"
            )
        return self

    @property
    def embedder(self) -> str | None:
        """What vectors are told apart by: where they come from, the model, and how long they were asked to be."""
        if self.embeddings == "none":
            return None
        if self.embeddings == "local":
            return f"local/{LOCAL_MODEL}"
        size = f"/{self.embedding_dimensions}" if self.embedding_dimensions else ""
        return f"endpoint/{self.embedding_model}{size}"
