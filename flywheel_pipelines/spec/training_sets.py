"""What a flywheel's proven outputs are handed on as, to train a model on.

Not here: choosing examples (`learning/training_sets.py`) and files (`loop/training.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flywheel_pipelines.spec.section import Section


class TrainingSetsSpec(Section):
    """Training sets at every close; without this section they are made by `flywheel training export` alone."""

    lookback: int = Field(default=52, ge=1, le=1040, description="Cycles whose outputs may be examples.")
    validation: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share of briefs whose examples are for validation, never for training."
    )
    prompt: Literal["baseline", "as_asked"] = Field(
        default="baseline",
        description="What an example asks. baseline: the control arm's prompt, without references, so that a tuned "
        "model needs none. as_asked: what was really asked, references included.",
    )
    edits: Literal["promoted", "any"] = Field(
        default="promoted",
        description="Which edits become pairs of draft and edit. promoted: of mature promoted outputs. any: all; that "
        "a person changed a text is evidence of its own.",
    )
    pair_confidence: float = Field(
        default=0.9, gt=0.5, lt=1, description="Probability of being better that a pair needs, unless one was rejected."
    )
    pairs_per_brief: int = Field(default=4, ge=1, le=100, description="Most winner/loser pairs of one brief.")
    near_duplicate: float = Field(
        default=0.85, ge=0.5, le=1, description="Text similarity from which two answers count as one."
    )
    personal_data: Literal["leave_out", "mask"] = Field(
        default="leave_out",
        description="What is done with an example that holds an e-mail address, phone, card or account number. mask: "
        "its kind in brackets takes its place, e.g. [phone number].",
    )
    license: str = Field(default="not stated", max_length=2_000, description="Under what terms; goes into the card.")
    consent: str = Field(
        default="not stated", max_length=2_000, description="On what grounds texts are used; goes into the card."
    )
