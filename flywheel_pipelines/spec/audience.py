"""A simulated audience, as a flywheel's `audience.yaml` declares it.

Here: the keys and what they must agree on. Not here: what it does and likes (`simulation`), or which texts it can read
(`grammar`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flywheel_pipelines.spec.section import Name, Section, Share

DayWeight = Annotated[float, Field(ge=0)]
Days = Literal["every_day", "working_days"] | Annotated[list[DayWeight], Field(min_length=7, max_length=7)]


class AmountSpec(Section):
    """Something that is measured of every trial and added up: minutes, stars, money."""

    measure: Name = Field(description="Measure that adds it up, e.g. resolution_minutes.")
    typical: float = Field(gt=0, description="Median per trial, of an output liked as the average one.")
    appeal: float = Field(
        default=1.0, description="Change of its log per unit of liking; below 0: what is liked takes less of it."
    )
    spread: float = Field(default=0.5, ge=0, description="Standard deviation of its log between trials.")
    between: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="Lowest and highest whole number it can be, as of ratings; none: any amount."
    )

    @model_validator(mode="after")
    def _between_goes_up(self) -> Self:
        if self.between is not None and not 0 <= self.between[0] < self.between[1]:
            raise ValueError(f"between: {self.between} are not a lowest and a highest number from 0")
        return self


class ResponseSpec(Section):
    """Something that people do with an output, counted as a measure."""

    measure: Name = Field(description="Measure that counts it, e.g. replies.")
    base_rate: Share = Field(description="Share of the trials in which an output liked as the average one gets it.")
    appeal: float = Field(
        default=1.0,
        description="Change of the log rate per unit of liking: 1 follows it, below 0 is done out of dislike.",
    )
    concentration: float = Field(
        default=800.0,
        gt=1,
        description="Of the beta distribution of an output's own rate; lower: counts vary more than a coin would.",
    )
    late: list[Share] = Field(
        default_factory=list, description="Shares that are reported one, two, ... cycles after their day."
    )
    bots: float = Field(default=0.0, ge=0, le=1, description="Probability that a bot does it.")
    amounts: list[AmountSpec] = Field(
        default_factory=list, description="What is measured each time, e.g. characters kept of what was accepted."
    )

    @model_validator(mode="after")
    def _amounts_come_in_time(self) -> Self:
        if self.amounts and self.late:
            raise ValueError("amounts, late: what is measured comes with what it is of; leave late out")
        return self

    @model_validator(mode="after")
    def _something_comes_in_time(self) -> Self:
        if sum(self.late) >= 1:
            raise ValueError(f"late: {self.late} add up to {sum(self.late):g}; they are shares of a whole, below 1")
        return self


class TrafficSpec(Section):
    """Trials of an output, and what people do in them."""

    measure: Name = Field(description="Measure that counts the trials, e.g. sends.")
    typical: float = Field(gt=0, description="Median per output and cycle.")
    spread: float = Field(default=0.3, ge=0, description="Standard deviation of its log between outputs.")
    shape: float = Field(
        default=20.0, gt=0, description="Of the negative binomial around what is expected; lower: more over-dispersed."
    )
    days: Days = Field(default="every_day", description="every_day, working_days, or seven weights from Monday on.")
    has_bots: bool = Field(default=False, description="Whether bots visit.")
    responses: list[ResponseSpec] = Field(default_factory=list, description="What people do in a trial.")
    amounts: list[AmountSpec] = Field(default_factory=list, description="What is measured of every trial.")

    @model_validator(mode="after")
    def _some_day_has_traffic(self) -> Self:
        if not isinstance(self.days, str) and not sum(self.days):
            raise ValueError("days: no day has any traffic; give one of them a weight above 0")
        return self


class EffectsSpec(Section):
    """Sizes of what moves reactions, as standard deviations of the log rate; those left out are the market's."""

    learnable: float | None = Field(default=None, ge=0, description="What the choices of a text explain.")
    segment_own: float | None = Field(default=None, ge=0, le=1, description="Share of it that is each segment's own.")
    taste: float | None = Field(default=None, ge=0, description="What belongs to a single output and to no choice.")
    brief_effect: float | None = Field(default=None, ge=0, description="What belongs to the brief.")
    segment_effect: float | None = Field(default=None, ge=0, description="What belongs to the segment.")


class AudienceSpec(Section):
    """Simulated people before whom a flywheel can be tried: what is counted, and how much of it there is."""

    traffic: list[TrafficSpec] = Field(min_length=1, description="Exposures, and what people do in them.")
    effects: EffectsSpec = Field(default_factory=EffectsSpec, description="Sizes of effects.")

    @model_validator(mode="after")
    def _somebody_does_something(self) -> Self:
        if not self.traffic[0].responses:
            raise ValueError(
                f"traffic: in {self.traffic[0].measure}, the first, nobody does anything; give it responses"
            )
        return self

    @model_validator(mode="after")
    def _measures_differ(self) -> Self:
        names = self.measures
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"traffic: {', '.join(twice)} is counted twice; every measure has a name of its own")
        return self

    @property
    def measures(self) -> list[str]:
        """Every measure it reports."""
        return [
            name
            for traffic in self.traffic
            for name in (
                traffic.measure,
                *(one.measure for one in (*traffic.responses, *traffic.amounts)),
                *(one.measure for response in traffic.responses for one in response.amounts),
            )
        ]
