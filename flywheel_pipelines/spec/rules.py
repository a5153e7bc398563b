"""The rules of the game: arms and the quality floor.

Not here: who produces outputs (`producers`), metrics (`metrics`), the corpus (`corpus`), the scoring model
(`scoring_model`), and what a rule does (`production`, `learning`).
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from flywheel_pipelines.spec.section import Name, Section, Share

MIN_CONTROL_SHARE = 0.05
"""Below this share the control arm is too thin to notice a treadmill; `control: off` must be said out loud."""

Ablation = Literal["no_references", "no_guidelines", "no_selection"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
"""Arms that are like the flywheel's but for one part, in the order in which they take their shares of the briefs."""


class ArmsSpec(Section):
    """How much of production stays on the treadmill, so that the flywheel has something to be measured against."""

    control: float | Literal["off"] = Field(
        default=0.2,
        description="Share of briefs with a control output, 0.05 to 1; `off` gives up the proof that it compounds.",
    )
    control_is: Literal["treadmill", "one_size_fits_all"] = Field(
        default="treadmill",
        description="treadmill: the baseline prompt, nothing learned. one_size_fits_all: learns as the flywheel does, "
        "but without telling segments apart, so that the lift is what telling them apart is worth.",
    )
    challenger: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of briefs that try the prompt on trial; up to 1 within briefs, which sees most.",
    )
    ablations: dict[Ablation, Annotated[float, Field(ge=MIN_CONTROL_SHARE, le=1)]] = Field(
        default_factory=dict,
        description="Shares of briefs answered like the flywheel's but for one part, to see what moved the lift, e.g. "
        "{no_references: 0.1}. no_references: no references in the prompt; no_guidelines: the YAML's template and "
        "guidelines instead of the champion's; no_selection: a candidate drawn at random.",
    )
    comparison: Literal["between_briefs", "within_brief"] = Field(
        default="between_briefs",
        description="between_briefs: each brief belongs to one arm. within_brief: a brief is answered by both arms.",
    )

    @field_validator("control", mode="before")
    @classmethod
    def _yaml_off_is_a_word(cls, value: object) -> object:
        # YAML 1.1 reads a bare `off` as false.
        if value is False:
            return "off"
        if value is True or isinstance(value, str):
            if value == "off":
                return value
            raise ValueError(f"expected a share between {MIN_CONTROL_SHARE} and 1, or off")
        return value

    @model_validator(mode="after")
    def _control_is_large_enough(self) -> Self:
        if self.control == "off":
            return self
        top = 1.0 if self.comparison == "within_brief" else 0.95
        if not MIN_CONTROL_SHARE <= self.control <= top:
            raise ValueError(
                f"control: {self.control} is outside {MIN_CONTROL_SHARE} to {top} for comparison: {self.comparison}. "
                "A smaller control arm cannot show whether the flywheel compounds. "
                "Write control: off to go without that proof."
            )
        return self

    @model_validator(mode="after")
    def _one_size_has_nobody_else_beside_it(self) -> Self:
        if self.control_is == "one_size_fits_all" and (self.challenger or self.control == "off"):
            found = "control: off" if self.control == "off" else f"challenger: {self.challenger:g}"
            raise ValueError(
                f"control_is: one_size_fits_all and {found}: the control arm is what fits all, and a prompt on trial "
                "is judged against a treadmill; take one of them out"
            )
        return self

    @property
    def pools_segments(self) -> bool:
        """Whether the control arm learns without telling segments apart."""
        return self.control_is == "one_size_fits_all"

    @property
    def rival(self) -> str:
        """What the flywheel arm is measured against, as pictures and verdicts call it."""
        return "one size for all" if self.pools_segments else "the treadmill"

    @model_validator(mode="after")
    def _the_flywheel_keeps_briefs(self) -> Self:
        control = 0.0 if self.control == "off" else self.control
        taken = control + self.challenger + sum(self.ablations.values())
        if self.comparison == "between_briefs" and taken > 0.95 + 1e-9:
            shares = {"control": control, "challenger": self.challenger, **self.ablations}
            words = ", ".join(f"{arm}: {share:g}" for arm, share in shares.items() if share)
            raise ValueError(f"{words} leave the flywheel less than 5% of briefs; lower one of them")
        return self


class FloorSpec(Section):
    """The quality floor: what an output must beat before it may become a reference."""

    metric: str = Field(description="One of the flywheel's metrics.")
    above: float | Literal["control", "mean", "quantile", "off"] = Field(
        default="control",
        description="control: the control arm (of the same brief where it was measured); mean: the mean of past "
        "cycles; quantile: the quantile of past cycles; or a number. off: no floor, everything measured is fed back.",
    )
    quantile: Share | None = Field(default=None, description="Which quantile of past outputs, for above: quantile.")
    min_exposure: float = Field(ge=1, description="Trials an output needs before it is judged.")
    confidence: float = Field(
        default=0.9, gt=0.5, lt=1, description="Probability of beating the floor that promotion needs."
    )
    veto: dict[Name, float] | None = Field(
        default=None,
        min_length=1,
        description="Guardrail metrics and their limits, e.g. {unsubscribe_rate: 0.01}: at most that where lower is "
        "better, else at least that. What is likely past a limit is not promoted, whatever the floor says; durations "
        "are in the unit of their metric.",
    )
    effective_from: date | None = Field(
        default=None,
        description="First cycle that this floor judges; those before keep the floor of the cycle before them. None: "
        "from the next cycle that is opened.",
    )

    @field_validator("above", mode="before")
    @classmethod
    def _yaml_off_is_a_word(cls, value: object) -> object:
        # YAML 1.1 reads a bare `off` as false.
        return "off" if value is False else value

    @model_validator(mode="after")
    def _quantile_goes_with_above(self) -> Self:
        if (self.above == "quantile") != (self.quantile is not None):
            raise ValueError("quantile and above: quantile go together: write both or neither")
        return self
