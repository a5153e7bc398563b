"""Who produces outputs, from what, and what an output must not be.

Here: the keys `briefs`, `producer` and `guardrails`. Not here: what they do (`production`, `llm`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from flywheel_pipelines.spec.constraints import ConstraintsSpec
from flywheel_pipelines.spec.section import NAME_PATTERN, Name, Section, Share

RESERVED_PARAMETERS = frozenset(
    {"messages", "model", "n", "response_format", "seed", "stream", "tools", "max_tokens", "max_completion_tokens"}
)
"""Parameters of a request that other keys set, or that would change what comes back."""


_KINDS = (
    "archive: choose among existing outputs. llm: a model writes them. scoring: briefs are leads, and an output is a "
    "lead's place on the list of those to be handled."
)


EachValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


class BriefsSpec(Section):
    """Where briefs come from."""

    feed: str = Field(default="archive", pattern=NAME_PATTERN, description="Feed that delivers the briefs.")
    published_by: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        description="Another flywheel, of the same cadence, whose published outputs of a cycle are its briefs, instead "
        "of a feed.",
    )
    each: dict[Name, Annotated[list[EachValue], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Every brief is wanted once for each combination of these values, e.g. {locale: [en, de]}; "
        "locale and segment are the brief's own, other names become its fields.",
    )

    @field_validator("each")
    @classmethod
    def _values_differ(cls, each: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, values in each.items():
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: {', '.join(values)} names a value twice")
        return each


class HandbackSpec(Section):
    """The files that briefs came in, given back with what was published written into some of their columns."""

    columns: dict[Annotated[str, Field(min_length=1)], str] = Field(
        min_length=1,
        description="Header of the file: field of the output that is written there, or output_id, text or locale. All "
        "other bytes of the file stay as they are.",
    )
    per: str | None = Field(
        default=None, description="A name of briefs.each: one file for each of its values, e.g. locale."
    )


class ArchiveProducer(Section):
    """Chooses among outputs that people wrote before the flywheel existed."""

    kind: Literal["archive"] = Field(description=_KINDS)
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

    kind: Literal["llm"] = Field(description=_KINDS)
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
    html: list[str] = Field(
        default_factory=list,
        description="Fields of the output that hold HTML: all but plain formatting is taken out of them.",
    )
    hidden: list[str] = Field(
        default_factory=list,
        description="Fields of the output that no reader sees, e.g. confidence: the outbox has them, the text has not.",
    )
    text: Literal["prose", "fields"] = Field(
        default="prose",
        description="How an output with several fields reads. prose: their values one below the other. fields: each "
        "behind its name, for outputs that are data.",
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


class ScoringProducer(Section):
    """The scoring model orders leads; the best are handled, and their conversions teach it. Nothing is written."""

    kind: Literal["scoring"] = Field(description=_KINDS)
    handled: Share = Field(
        default=0.25, description="Share of its leads that each arm handles in a cycle: what the team has room for."
    )
    explore: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="Share of the handled leads drawn at random, so that the model hears of those it thinks little of.",
    )
    traits: list[str] = Field(
        default_factory=list, description="Fields of a lead that the scoring model reads; none named: all of them."
    )
    bands: list[Annotated[str, Field(min_length=1, max_length=20)]] = Field(
        default_factory=lambda: ["A", "B", "C"],
        min_length=1,
        max_length=10,
        description="Names of the priority bands, highest first; the handled leads are split evenly among them.",
    )


def _kind_of_producer(value: Any) -> str:
    """The section that a producer is checked by; what is no kind at all is refused by that section's own `kind`."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind in ("archive", "llm", "scoring"):
        return kind
    return "llm" if isinstance(value, dict) and "model" in value else "archive"


# Pydantic's own discriminator does not go with a validator that runs on every field.
Producer = Annotated[
    Annotated[ArchiveProducer, Tag("archive")]
    | Annotated[LlmProducer, Tag("llm")]
    | Annotated[ScoringProducer, Tag("scoring")],
    Discriminator(_kind_of_producer),
]


class ConfidenceSpec(Section):
    """How sure whoever writes must be of an output, by its own word."""

    field: str = Field(default="confidence", min_length=1, description="Field of the output that says it, a number.")
    at_least: float = Field(gt=0, le=1, description="Below this it does not go out: a person answers.")


class EscalationSpec(Section):
    """How an output proposes that somebody else answers."""

    field: str = Field(default="action", min_length=1, description="Field of the output that may propose it.")
    value: str = Field(default="escalate", min_length=1, description="What it says then.")
    reason: str = Field(default="escalation_reason", min_length=1, description="Field that says why.")


class CitationsSpec(Section):
    """How an output cites the passages of its brief, and how far what it says must be found in them."""

    field: str = Field(
        default="statements",
        min_length=1,
        description="Field of the output: a list of objects, each with a `sentence` and `citations`, a list of objects "
        "with a `passage` (its id) and a `quote` (verbatim).",
    )
    least_quote: int = Field(
        default=3, ge=1, le=50, description="Fewest words of a quote, unless it is a whole passage: two prove nothing."
    )
    support: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of a sentence's words that its passages must have, in any form; 0 where it is written in "
        "another language than they are. Figures, dates and names must stand there in any case.",
    )
    directions: Literal["block", "ignore"] = Field(
        default="block",
        description="block: no sentence may say rose where its passages say fell, or drop or add a not. English words "
        "only, and most of the false alarms are of this rule. ignore: that is left to people.",
    )


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
    confidence: ConfidenceSpec | None = Field(
        default=None, description="Below a confidence of its own a brief goes to a person; none: all go out."
    )
    escalation: EscalationSpec | None = Field(
        default=None, description="An output that proposes so goes to a person; none: no output can."
    )
    constraints: ConstraintsSpec | None = Field(
        default=None, description="What the fields of an output must keep to, and had better do; none: nothing more."
    )
    citations: CitationsSpec | None = Field(
        default=None,
        description="Every sentence must cite a passage of the brief, word for word, and say no more than its "
        "passages; a brief without such an output goes to a person. None: nothing is cited.",
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

    @property
    def may_need_people(self) -> bool:
        """Whether outputs may send their briefs to a person."""
        return any(rule is not None for rule in (self.confidence, self.escalation, self.citations))
