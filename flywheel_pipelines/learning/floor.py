"""The quality floor: what an output has to beat, by how much evidence, before it may become a reference.

Here: the rule itself, and how a rule becomes a level when it is not the control of the same brief. Not here: the
probability that an output beats it (`scoring`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Above = float | Literal["control", "mean", "quantile", "off"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Limit:
    """How far a guardrail metric may go: at most `value` where lower is better, at least `value` where higher is."""

    value: float
    better: Better

    def __post_init__(self) -> None:
        """Refuse a direction that cannot mean anything; raises ValueError."""
        if self.better not in ("higher", "lower"):
            raise ValueError(f"limit {self.value}: better is {self.better!r}; expected higher or lower")


@dataclass(frozen=True)
class FloorRule:
    """A threshold that was fixed before the outcomes came in.

    Attributes:
        metric: name of the metric it is about.
        above: a number (absolute level, in units of the metric); "control" (the control outputs of the same brief, and
            where a brief has none, the control's level in past cycles); "mean" (the mean of what a brief of past
            cycles was worth, whichever arm answered it: control briefs count like any other, so as the flywheel
            improves the bar rises behind it); "quantile" (the level that a share `quantile` of past outputs truly lies
            below); "off" (no floor: whatever had any exposure is promoted, which is the way to see what feeding
            everything back does).
        min_exposure: below this many exposures the decision is hold, whatever was observed; not for above="off".
        confidence: promote at p_above >= confidence, reject at p_above <= 1 - confidence, hold in between.
        quantile: only for above="quantile".
        better: "lower" turns every comparison round; `p_above` then is the probability of lying below the floor.
        veto: guardrail metrics by name, and their limits (`guardrails`).
    """

    metric: str
    above: Above = "control"
    min_exposure: float = 30
    confidence: float = 0.9
    quantile: float = 0.75
    better: Better = "higher"
    veto: Mapping[str, Limit] = field(default_factory=dict)

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> FloorRule:
        """The rule as `thresholds` holds it."""
        limits = {name: Limit(**limit) for name, limit in rule.get("veto", {}).items()}
        return cls(**{**rule, "veto": limits})

    def __post_init__(self) -> None:
        """Refuse values that cannot mean anything; raises ValueError."""
        if isinstance(self.above, str) and self.above not in ("control", "mean", "quantile", "off"):
            raise ValueError(
                f"floor of {self.metric}: above is {self.above!r}; expected a number, control, mean, quantile or off"
            )
        for name in ("confidence", "quantile"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"floor of {self.metric}: {name} is {value!r}; expected a number between 0 and 1")
        if self.confidence <= 0.5:
            raise ValueError(f"floor of {self.metric}: confidence is {self.confidence!r}; expected more than 0.5")
        if self.min_exposure < 0:
            raise ValueError(f"floor of {self.metric}: min_exposure is {self.min_exposure!r}; expected 0 or more")
        if self.better not in ("higher", "lower"):
            raise ValueError(f"floor of {self.metric}: better is {self.better!r}; expected higher or lower")
