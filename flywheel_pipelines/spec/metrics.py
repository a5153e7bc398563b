"""The kinds of metrics: which measures each reads from files, and what they must say.

Here: the sections below `metrics`, told apart by `kind`. Not here: what a value means for an output (`learning`), or
how it is written for people (`metric_words`).

Whatever its kind, a metric adds up to a numerator and an exposure per output, and its value is one over the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from flywheel_pipelines.spec.feeds import REVIEW_MEASURES
from flywheel_pipelines.spec.section import NAME_PATTERN, Section

Better = Literal["higher", "lower"]
TimeUnit = Literal["seconds", "minutes", "hours", "days"]
SECONDS: Mapping[str, float] = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
PER_OUTPUT = "outputs"
"""What a count without `exposure` is counted per: each output with a report is one."""
_KINDS = ("rate", "mean", "count", "duration", "top_k")
_ABOUT_KINDS = (
    "rate: successes out of exposure. mean: an amount per exposure, e.g. revenue per order, or a rating; may be "
    "negative. count: events per exposure, or per output. duration: a time per case. top_k: share of the reports whose "
    "position is among the first k."
)
_MEASURE = NAME_PATTERN


class _Metric(Section, ABC):
    """What all kinds have in common; each names its measures."""

    is_share: ClassVar[bool] = False
    """Whether the value is a share, with a numerator that cannot be above its exposure."""

    @property
    @abstractmethod
    def numerator(self) -> str:
        """Measure that adds up to the numerator."""

    @property
    @abstractmethod
    def denominator(self) -> str | None:
        """Measure that adds up to the exposure; None: it is counted and not read."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures it reads."""
        return tuple(name for name in (self.numerator, self.denominator) if name is not None)

    @property
    def whole(self) -> frozenset[str]:
        """Those of its measures that are counts: whole numbers from 0, never empty."""
        return frozenset(self.measures)

    @property
    def least(self) -> Mapping[str, float]:
        """The smallest number that the others may be; one that is not named may be negative."""
        return {}

    @field_validator("kind", mode="before", check_fields=False)
    @classmethod
    def _is_a_kind(cls, value: object) -> object:
        if value not in _KINDS:
            raise ValueError(f"expected one of {', '.join(map(repr, _KINDS))}")
        return value

    @model_validator(mode="after")
    def _measures_differ(self) -> Self:
        if self.numerator == self.denominator:
            first, second = _key_of(self, self.numerator)
            raise ValueError(
                f"{first} and {second} are both {self.numerator!r}; a {getattr(self, 'kind', '')} needs two measures"
            )
        return self

    @model_validator(mode="after")
    def _reviews_are_counted_out_of_reviews(self) -> Self:
        read = {name: key for key, name in self if isinstance(name, str) and name in REVIEW_MEASURES}
        if not read:
            return self
        total, *decisions = REVIEW_MEASURES
        if not self.is_share or self.denominator != total or self.numerator not in decisions:
            named = " and ".join(f"{key}: {name}" for key, name in self if isinstance(name, str) and key in _READ)
            raise ValueError(
                f"{named} do not make a rate: of what reviews give, "
                f"{', '.join(decisions)} count out of {total}; write exposure: {total} and one of those as successes"
            )
        return self


class RateMetric(_Metric):
    """Successes per trial."""

    is_share: ClassVar[bool] = True

    kind: Literal["rate"] = Field(description=_ABOUT_KINDS)
    successes: str = Field(pattern=_MEASURE, description="Measure that counts the successes, e.g. clicks.")
    exposure: str = Field(pattern=_MEASURE, description="Measure that counts the trials, e.g. impressions.")
    better: Better = Field(default="higher", description="Which direction is good.")

    @property
    def numerator(self) -> str:
        """See `_Metric.numerator`."""
        return self.successes

    @property
    def denominator(self) -> str:
        """See `_Metric.denominator`."""
        return self.exposure


class MeanMetric(_Metric):
    """An amount per unit of exposure, which may be negative."""

    kind: Literal["mean"] = Field(description=_ABOUT_KINDS)
    amount: str = Field(pattern=_MEASURE, description="Measure that adds the amounts up, e.g. revenue. Any number.")
    exposure: str = Field(pattern=_MEASURE, description="Measure that counts what the amounts are of, e.g. orders.")
    unit: str = Field(default="", max_length=12, description="Unit of the amount, e.g. EUR; shown with every value.")
    better: Better = Field(default="higher", description="Which direction is good.")

    @property
    def numerator(self) -> str:
        """See `_Metric.numerator`."""
        return self.amount

    @property
    def denominator(self) -> str:
        """See `_Metric.denominator`."""
        return self.exposure

    @property
    def whole(self) -> frozenset[str]:
        """See `_Metric.whole`."""
        return frozenset({self.exposure})


class CountMetric(_Metric):
    """Events per exposure, or per output."""

    kind: Literal["count"] = Field(description=_ABOUT_KINDS)
    events: str = Field(pattern=_MEASURE, description="Measure that counts the events, e.g. complaints.")
    exposure: str | None = Field(
        default=None,
        pattern=_MEASURE,
        description="Measure of what the events are counted per, e.g. hours; decimals allowed. None: per output, which "
        "is judged when its measurement window has passed.",
    )
    better: Better = Field(default="higher", description="Which direction is good.")

    @property
    def numerator(self) -> str:
        """See `_Metric.numerator`."""
        return self.events

    @property
    def denominator(self) -> str | None:
        """See `_Metric.denominator`."""
        return self.exposure

    @property
    def whole(self) -> frozenset[str]:
        """See `_Metric.whole`."""
        return frozenset({self.events})

    @property
    def least(self) -> Mapping[str, float]:
        """See `_Metric.least`."""
        return {} if self.exposure is None else {self.exposure: 0.0}


class DurationMetric(_Metric):
    """A time per case."""

    kind: Literal["duration"] = Field(description=_ABOUT_KINDS)
    time: str = Field(pattern=_MEASURE, description="Measure that adds the times up, e.g. resolution_minutes.")
    exposure: str = Field(pattern=_MEASURE, description="Measure that counts the cases, e.g. tickets.")
    unit: TimeUnit = Field(description="Unit of the times in the files: seconds, minutes, hours or days.")
    better: Better = Field(default="lower", description="Which direction is good.")

    @property
    def numerator(self) -> str:
        """See `_Metric.numerator`."""
        return self.time

    @property
    def denominator(self) -> str:
        """See `_Metric.denominator`."""
        return self.exposure

    @property
    def whole(self) -> frozenset[str]:
        """See `_Metric.whole`."""
        return frozenset({self.exposure})

    @property
    def least(self) -> Mapping[str, float]:
        """See `_Metric.least`."""
        return {self.time: 0.0}


class TopKMetric(_Metric):
    """Share of reports in which a position is among the first k."""

    is_share: ClassVar[bool] = True

    kind: Literal["top_k"] = Field(description=_ABOUT_KINDS)
    position: str = Field(
        pattern=_MEASURE,
        description="Measure that says the position, 1 being the first; each output and day with a position is a "
        "report.",
    )
    k: float = Field(ge=1, description="The last position that counts as being among the first; 3 is the top three.")
    better: Better = Field(default="higher", description="Which direction is good.")

    @property
    def numerator(self) -> str:
        """See `_Metric.numerator`."""
        return self.position

    @property
    def denominator(self) -> None:
        """Reports are counted."""
        return

    @property
    def whole(self) -> frozenset[str]:
        """See `_Metric.whole`."""
        return frozenset()

    @property
    def least(self) -> Mapping[str, float]:
        """See `_Metric.least`."""
        return {self.position: 1.0}


def _kind_of(value: Any) -> str:
    """The section that a metric is checked by; what is no kind at all is refused by that section's own `kind`."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in _KINDS else "rate"


# Pydantic's own discriminator does not go with a validator that runs on every field.
Metric = Annotated[
    Annotated[RateMetric, Tag("rate")]
    | Annotated[MeanMetric, Tag("mean")]
    | Annotated[CountMetric, Tag("count")]
    | Annotated[DurationMetric, Tag("duration")]
    | Annotated[TopKMetric, Tag("top_k")],
    Discriminator(_kind_of),
]
"""One of the flywheel's metrics."""
_READ = ("successes", "amount", "events", "time", "position", "exposure")


def _key_of(metric: Section, measure: str) -> tuple[str, ...]:
    return tuple(key for key, value in metric if key in _READ and value == measure)
