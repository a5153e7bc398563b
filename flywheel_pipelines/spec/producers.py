"""Who produces outputs, from what, and what an output must not be.

Here: the keys `briefs`, `producer` and `guardrails`. Not here: what they do (`production`, `llm`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from flywheel_pipelines.spec.section import NAME_PATTERN, Section

RESERVED_PARAMETERS = frozenset(
    {"messages", "model", "n", "response_format", "seed", "stream", "tools", "max_tokens", "max_completion_tokens"}
)
"""Parameters of a request that other keys set, or that would change what comes back."""


class BriefsSpec(Section):
    """Where briefs come from."""

    feed: str = Field(default="archive", pattern=NAME_PATTERN, description="Feed that delivers the briefs.")


class ArchiveProducer(Section):
    """Chooses among outputs that people wrote before the flywheel existed."""

    kind: Literal["archive"] = Field(description="archive: choose among existing outputs. llm: a model writes them.")
    publish: Literal["all", "choice"] = Field(
        default="choice",
        description="all: every candidate goes out, as in an A/B test, and the control is the expected value of a "
        "random choice. choice: only the chosen one and, for the control share of briefs, one drawn at random.",
    )


class PriceSpec(Section):
    """What a model charges, in US dollars per million tokens."""

    input: float = Field(ge=0, description="US dollars per million tokens of the prompt.")
    output: float = Field(ge=0, description="US dollars per million tokens of the answer.")
    cached_input: float | None = Field(
        default=None, ge=0, description="US dollars per million prompt tokens served from the provider's cache."
    )
    batch_discount: float = Field(default=0.5, ge=0, lt=1, description="What the provider's Batch API takes off.")


class LlmProducer(Section):
    """A language model writes outputs, through any OpenAI-compatible endpoint."""

    kind: Literal["llm"] = Field(description="archive: choose among existing outputs. llm: a model writes them.")
    model: str = Field(min_length=1, max_length=200, description="Name of the model, as its endpoint knows it.")
    variants: int = Field(default=3, ge=1, le=20, description="Candidates per brief; the best predicted is published.")
    explore: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="Share of briefs that publish a candidate drawn at random, so that the model keeps learning.",
    )
    output: str | None = Field(
        default=None, description="JSON Schema file of an output, relative to the YAML; none = one text."
    )
    requests: Literal["live", "batch"] = Field(
        default="live", description="live: answers at once. batch: the provider's Batch API, cheaper, within 24 hours."
    )
    structured_output: Literal["auto", "json_schema", "json_object", "prompt"] = Field(
        default="auto",
        description="How the endpoint is made to answer by the schema; auto tries in this order and remembers.",
    )
    parameters: dict[str, float | int | str] = Field(
        default_factory=dict, description="Further parameters of the request, e.g. {temperature: 0.9}."
    )
    max_output_tokens: int = Field(default=1_500, ge=16, le=200_000, description="Most tokens of one answer.")
    max_prompt_tokens: int = Field(
        default=8_000,
        ge=200,
        le=2_000_000,
        description="Most tokens of one prompt; the weakest references are dropped.",
    )
    max_prompt_tokens_per_brief: int | None = Field(
        default=None,
        ge=200,
        description="Most prompt tokens for all candidates of a brief together; as references make prompts longer, "
        "fewer candidates are written, so that the effort per output stays flat. None: always `variants`.",
    )
    concurrency: int = Field(default=8, ge=1, le=500, description="Requests under way at the same time.")
    timeout: float = Field(default=60, gt=0, le=3_600, description="Seconds that one answer may take.")
    max_failed: float = Field(
        default=0.05, ge=0, le=1, description="Share of requests that may fail for good without stopping the cycle."
    )
    max_cost_per_cycle: float | None = Field(
        default=None, gt=0, description="US dollars; a cycle that would cost more is refused before the first request."
    )
    prices: dict[str, PriceSpec] = Field(
        default_factory=dict, description="Prices by model; the cost of a model without a price is unknown, not zero."
    )

    @field_validator("parameters")
    @classmethod
    def _parameters_are_free(cls, parameters: dict[str, float | int | str]) -> dict[str, float | int | str]:
        taken = sorted(RESERVED_PARAMETERS & parameters.keys())
        if taken:
            raise ValueError(
                f"{', '.join(taken)} cannot be set here: the model, the length and the form of answers have keys of "
                "their own"
            )
        return parameters

    @model_validator(mode="after")
    def _a_budget_needs_a_price(self) -> Self:
        if self.max_cost_per_cycle is not None and self.model not in self.prices:
            raise ValueError(
                f"max_cost_per_cycle: {self.max_cost_per_cycle} cannot be kept without a price for {self.model}; write "
                f"prices: {{{self.model}: {{input: ..., output: ...}}}} in US dollars per million tokens"
            )
        return self


def _kind_of_producer(value: Any) -> str:
    """The section that a producer is checked by; what is no kind at all is refused by that section's own `kind`."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind in ("archive", "llm"):
        return kind
    return "llm" if isinstance(value, dict) and "model" in value else "archive"


# Pydantic's own discriminator does not go with a validator that runs on every field.
Producer = Annotated[
    Annotated[ArchiveProducer, Tag("archive")] | Annotated[LlmProducer, Tag("llm")], Discriminator(_kind_of_producer)
]


class GuardrailsSpec(Section):
    """What keeps a written output from going out. A blocked output is kept, with its reason."""

    min_characters: int = Field(default=1, ge=1, description="Fewest characters of an output's text.")
    max_characters: int | None = Field(default=None, ge=1, description="Most characters of an output's text.")
    language: str | None = Field(
        default=None,
        pattern=r"^([a-z]{2}|brief)$",
        description="ISO 639-1 code the text must be in, or `brief` for the brief's locale.",
    )
    banned_phrases: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Phrases that must not appear; case does not matter."
    )
    required_phrases: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Phrases that must appear; case does not matter."
    )
    near_copy: float | None = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Text similarity to a reference or another output from which an output counts as a copy.",
    )
    links: Literal["from_brief", "any"] = Field(
        default="from_brief", description="from_brief: links must stand in the brief."
    )
    claims: Literal["from_brief", "any"] = Field(
        default="from_brief",
        description="from_brief: figures (numbers, shares, prices, years) must stand in the brief.",
    )
    personal_data: Literal["block", "allow"] = Field(
        default="block", description="block: no e-mail address, phone, card or account number that the brief lacks."
    )
