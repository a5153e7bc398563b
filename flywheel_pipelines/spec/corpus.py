"""The reference corpus and the guard against a loop that feeds on itself.

Not here: choosing references (`learning.corpus`), or the signs of collapse (`learning.collapse`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from flywheel_pipelines.spec.section import Section


class CorpusSpec(Section):
    """Which proven winners the next prompt shows."""

    size: int = Field(default=24, ge=1, le=1000, description="References in all.")
    per_segment: int = Field(default=6, ge=1, description="References per segment.")
    near_duplicate: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Text similarity from which two outputs count as one family; the best stays.",
    )
    diversity: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="Weight of being unlike the references chosen before, against quality; 0 goes by quality alone.",
    )
    half_life: float | None = Field(
        default=None,
        gt=0,
        description="Cycles after which a reference's quality counts half; none: quality does not age.",
    )
    lookback: int = Field(default=52, ge=1, le=1040, description="Cycles whose promoted outputs may be references.")


class CollapseSpec(Section):
    """How far a loop may go in feeding on itself before the prompt refresh is stopped."""

    max_distinct_fall: float | Literal["off"] = Field(
        default=0.4,
        description="Fall of distinct-2 since the first cycles, as a share, that stops the refresh; off: none does.",
    )
    max_similarity_rise: float | Literal["off"] = Field(
        default=0.25,
        description="Rise of the mean similarity of two texts since the first cycles that stops the refresh, or off.",
    )
    max_depth: float | Literal["off"] = Field(
        default="off",
        description="Mean generations of the references since human text that stop the refresh; off: none do.",
    )
    warn_depth: float | Literal["off"] = Field(
        default=8.0,
        description="Mean generations of the references since human text from which the check warns; off: never.",
    )
    min_human_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of references that a person wrote, edited, pinned or accepted, below which the refresh "
        "is stopped; 0: none is needed.",
    )
    first_cycles: int = Field(
        default=4, ge=1, le=52, description="Cycles that set what is normal; later ones are compared with their mean."
    )
    patience: int = Field(
        default=2, ge=1, le=52, description="Cycles in a row past a limit that stop the refresh; fewer only warn."
    )

    @field_validator("max_distinct_fall", "max_similarity_rise", "max_depth", "warn_depth", mode="before")
    @classmethod
    def _yaml_off_is_a_word(cls, value: object) -> object:
        # YAML 1.1 reads a bare `off` as false.
        return "off" if value is False else value

    @field_validator("max_distinct_fall", "max_similarity_rise", "max_depth", "warn_depth")
    @classmethod
    def _limits_are_positive(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and value <= 0:
            raise ValueError(f"found {value}; expected a number above 0, or off")
        return value

    @field_validator("max_distinct_fall", "max_similarity_rise")
    @classmethod
    def _shares_end_at_one(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and value > 1:
            raise ValueError(f"found {value}; expected a share up to 1, or off")
        return value
