"""One flywheel's spec as a whole: the sections, and what they must agree on.

Not here: the sections themselves (`producers`, `rules`, `corpus`), or reading files (`reading`).
"""

from __future__ import annotations

import hashlib
from typing import Self

from pydantic import Field, model_validator

from flywheel_pipelines.cycles import cycle_of, shift_cycle
from flywheel_pipelines.spec.common import CommonSpec
from flywheel_pipelines.spec.corpus import CollapseSpec, CorpusSpec
from flywheel_pipelines.spec.feeds import FeedSpec
from flywheel_pipelines.spec.gate import GateSpec
from flywheel_pipelines.spec.metrics import Better, Metric, RateMetric
from flywheel_pipelines.spec.producers import (
    ArchiveProducer,
    BriefsSpec,
    GuardrailsSpec,
    HandbackSpec,
    LlmProducer,
    Producer,
    ScoringProducer,
)
from flywheel_pipelines.spec.prompts import PromptSpec
from flywheel_pipelines.spec.rules import ArmsSpec, FloorSpec
from flywheel_pipelines.spec.schedule import ScheduleSpec
from flywheel_pipelines.spec.scoring_model import ScoringModelSpec
from flywheel_pipelines.spec.section import Name
from flywheel_pipelines.spec.training_sets import TrainingSetsSpec

COMPONENT_TYPE = "flywheel_pipelines.components.FlywheelComponent"


class FlywheelSpec(CommonSpec):
    """One flywheel: one kind of output, its metrics, its threshold, its prompt."""

    briefs: BriefsSpec = Field(
        default_factory=lambda: BriefsSpec(feed="archive"), description="Where briefs come from."
    )
    producer: Producer = Field(description="Who produces outputs.")
    arms: ArmsSpec = Field(default_factory=ArmsSpec, description="Shares of the arms.")
    metrics: dict[Name, Metric] = Field(min_length=1, description="Metrics by name.")
    measurement_window: int = Field(default=1, ge=1, le=52, description="Cycles until feedback counts as mature.")
    floor: FloorSpec = Field(description="The quality floor.")
    corpus: CorpusSpec = Field(default_factory=CorpusSpec, description="The reference corpus.")
    collapse: CollapseSpec = Field(
        default_factory=CollapseSpec, description="The guard against a loop that feeds on itself."
    )
    prompt: PromptSpec = Field(default_factory=PromptSpec, description="The prompt.")
    gate: GateSpec = Field(default_factory=GateSpec, description="When a frame on trial replaces the champion.")
    guardrails: GuardrailsSpec = Field(
        default_factory=GuardrailsSpec, description="What keeps an output from going out."
    )
    scoring_model: ScoringModelSpec = Field(default_factory=ScoringModelSpec, description="The scoring model.")
    training_sets: TrainingSetsSpec | None = Field(
        default=None, description="Training sets at every close; none: only by `flywheel training export`."
    )
    handback: HandbackSpec | None = Field(
        default=None, description="The files of the briefs, given back with what was published; none: the outbox alone."
    )
    schedule: ScheduleSpec = Field(default_factory=ScheduleSpec, description="When it turns by itself.")
    feeds: dict[Name, FeedSpec] = Field(default_factory=dict, description="Files that come in, by name.")

    @model_validator(mode="after")
    def _floor_names_a_metric(self) -> Self:
        if self.floor.metric not in self.metrics:
            raise ValueError(
                f"floor.metric: {self.floor.metric!r} is not one of the metrics: {', '.join(self.metrics)}"
            )
        return self

    @model_validator(mode="after")
    def _vetoes_name_other_metrics(self) -> Self:
        for name, limit in (self.floor.veto or {}).items():
            if name not in self.metrics:
                raise ValueError(
                    f"floor.veto: {name!r} is not one of the metrics: {', '.join(self.metrics)}; "
                    "a guardrail is a metric of the flywheel like any other"
                )
            if name == self.floor.metric:
                raise ValueError(
                    f"floor.veto: {name!r} is the floor's own metric; write floor.above for it, and other metrics here"
                )
            metric = self.metrics[name]
            if metric.is_share and not 0 < limit < 1:
                raise ValueError(
                    f"floor.veto.{name}: found {limit:g}; a {metric.kind} is a share, so its limit lies between 0 and "
                    "1: write 0.01 for 1%"
                )
        return self

    @model_validator(mode="after")
    def _floor_begins_with_a_cycle(self) -> Self:
        wanted = self.floor.effective_from
        if wanted is not None and cycle_of(wanted, self.cadence) != wanted:
            first = cycle_of(wanted, self.cadence)
            raise ValueError(
                f"floor.effective_from: {wanted} does not begin a {self.cadence} cycle; allowed here: {first} or "
                f"{shift_cycle(first, self.cadence, 1)}"
            )
        return self

    @model_validator(mode="after")
    def _archive_counts_successes(self) -> Self:
        if isinstance(self.producer, ArchiveProducer) and not isinstance(self.metric, RateMetric):
            raise ValueError(
                f"floor.metric: {self.floor.metric!r} is a {self.metric.kind}, but an archive of A/B tests counts "
                "successes and exposures; name a metric of kind rate"
            )
        return self

    @model_validator(mode="after")
    def _archive_publishes_what_arms_compare(self) -> Self:
        whole_control = self.arms.comparison == "within_brief" and self.arms.control == 1.0
        if isinstance(self.producer, ArchiveProducer) and self.producer.publish == "all" and not whole_control:
            raise ValueError(
                "producer.publish: all sends every candidate of every brief out, so each brief is its own control; "
                "write arms: {control: 1.0, comparison: within_brief}, or producer.publish: choice"
            )
        return self

    @model_validator(mode="after")
    def _what_is_proposed_has_a_share(self) -> Self:
        learns = self.prompt.refresh != "references"
        strategy = f"prompt.refresh: {self.prompt.refresh}"
        if not isinstance(self.producer, LlmProducer) and (self.arms.challenger or learns):
            key = "arms.challenger" if self.arms.challenger else strategy
            raise ValueError(f"{key}: {self._producer} writes nothing, so no prompt can be on trial")
        if not self.arms.challenger and (self.prompt.challenger is not None or learns):
            key = (
                "prompt.challenger" if self.prompt.challenger is not None else f"prompt.refresh: {self.prompt.refresh}"
            )
            raise ValueError(
                f"{key}: what is proposed has to go on trial, and no brief is set aside for that; "
                "write arms: {challenger: 0.2}, the share of briefs on trial"
            )
        return self

    @model_validator(mode="after")
    def _ablations_have_something_to_switch_off(self) -> Self:
        if not isinstance(self.producer, LlmProducer) and self.arms.ablations:
            raise ValueError(
                f"arms.ablations: {', '.join(self.arms.ablations)}: {self._producer} writes nothing, so there is no "
                "prompt to take something out of, and its control draws at random already; leave ablations out"
            )
        return self

    @model_validator(mode="after")
    def _one_size_is_written(self) -> Self:
        if self.arms.pools_segments and not isinstance(self.producer, LlmProducer):
            raise ValueError(f"arms.control_is: one_size_fits_all needs somebody who writes; {self._producer} does not")
        return self

    @model_validator(mode="after")
    def _a_lead_is_handled_once(self) -> Self:
        if isinstance(self.producer, ScoringProducer) and self.arms.comparison == "within_brief":
            raise ValueError(
                "arms.comparison: within_brief would have a lead handled by two arms; a scoring producer takes "
                "between_briefs"
            )
        return self

    @model_validator(mode="after")
    def _written_briefs_come_from_a_feed(self) -> Self:
        source = self.briefs.published_by
        if source is not None:
            if isinstance(self.producer, ArchiveProducer) or source == self.name:
                raise ValueError(
                    f"briefs.published_by: {source!r} cannot be the briefs of {self._producer} of {self.name}; it "
                    "names another flywheel, and something new is made of what that published"
                )
            return self
        if isinstance(self.producer, ArchiveProducer):
            return self
        feeds = [name for name, feed in self.feeds.items() if feed.kind == "briefs"]
        if self.briefs.feed not in feeds:
            raise ValueError(
                f"briefs.feed: {self.briefs.feed!r} is not one of the feeds of kind briefs "
                f"({', '.join(feeds) or 'there is none'}); "
                + ("leads come in through one" if isinstance(self.producer, ScoringProducer) else "")
                + ("a model needs to be told what to write" if isinstance(self.producer, LlmProducer) else "")
            )
        return self

    @model_validator(mode="after")
    def _floor_can_be_computed(self) -> Self:
        if self.floor.above == "control" and self.arms.control == "off":
            raise ValueError(
                "floor.above: control needs a control arm, but arms.control is off; "
                "write floor.above: mean, or a number"
            )
        return self

    @model_validator(mode="after")
    def _constraints_are_about_fields(self) -> Self:
        wanted = self.guardrails.constraints
        if wanted is not None and (not isinstance(self.producer, LlmProducer) or self.producer.output is None):
            raise ValueError(
                "guardrails.constraints: they are about the fields of an output, and this one has none; name its JSON "
                "Schema in producer.output"
            )
        return self

    @model_validator(mode="after")
    def _what_is_handed_back_came_in(self) -> Self:
        if self.handback is None:
            return self
        feed = self.feeds.get(self.briefs.feed)
        if feed is None or feed.path is None:
            raise ValueError(f"handback: {self.briefs.feed} brings no files that could be given back; give it a path")
        if feed.documents is not None:
            raise ValueError(f"handback: {self.briefs.feed} brings documents, which have no columns to write into")
        if self.arms.comparison == "within_brief":
            raise ValueError("handback: a row takes one text, and within_brief publishes several; use between_briefs")
        if self.handback.per is None and self.briefs.each:
            raise ValueError(
                f"handback.per: missing, but a row has several texts; name one of {', '.join(self.briefs.each)}"
            )
        if self.handback.per is not None and [self.handback.per] != [*self.briefs.each]:
            raise ValueError(
                f"handback.per: {self.handback.per!r} must be the one name of briefs.each "
                f"({', '.join(self.briefs.each) or 'there is none'}), or a row would have several texts"
            )
        return self

    @model_validator(mode="after")
    def _what_is_cited_is_there(self) -> Self:
        feed = self.feeds.get(self.briefs.feed)
        if self.guardrails.citations is None or (feed is not None and feed.documents is not None):
            return self
        raise ValueError(
            f"guardrails.citations: the briefs come by {self.briefs.feed}, which brings no passages to cite; it needs "
            "a feed of kind briefs with documents: {}"
        )

    @model_validator(mode="after")
    def _documents_fit_into_prompts(self) -> Self:
        feed = self.feeds.get(self.briefs.feed)
        if feed is None or feed.documents is None or not isinstance(self.producer, LlmProducer):
            return self
        most = self.producer.max_prompt_tokens * 3 // 4
        if feed.documents.max_tokens > most:
            raise ValueError(
                f"feeds.{self.briefs.feed}.documents.max_tokens: {feed.documents.max_tokens} leaves no room for "
                f"instructions and references in a prompt of {self.producer.max_prompt_tokens} tokens; at most {most}, "
                "or raise producer.max_prompt_tokens"
            )
        return self

    @property
    def _producer(self) -> str:
        return f"{'an' if self.producer.kind[0] in 'aeiou' else 'a'} {self.producer.kind} producer"

    @property
    def metric(self) -> Metric:
        """The metric that the floor and the lift are about."""
        return self.metrics[self.floor.metric]

    @property
    def house_rules(self) -> tuple[str, ...]:
        """What every arm's prompt states: the owner's guidelines, and the constraints that outputs are held to."""
        constraints = self.guardrails.constraints
        return (*self.prompt.guidelines, *(constraints.statements if constraints else ()))

    @property
    def directions(self) -> dict[str, Better]:
        """Which direction is good, of every metric."""
        return {name: metric.better for name, metric in self.metrics.items()}

    @property
    def measures(self) -> frozenset[str]:
        """Everything that the metrics read."""
        return frozenset(measure for metric in self.metrics.values() for measure in metric.measures)

    @property
    def config_hash(self) -> str:
        """Hash of every setting, defaults included (16 hex digits)."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
