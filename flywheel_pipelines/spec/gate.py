"""The gate: when a frame of a prompt replaces the champion. Not here: the test (`sequential`, `learning/gate.py`)."""

from __future__ import annotations

from pydantic import Field

from flywheel_pipelines.spec.section import Section


class GateSpec(Section):
    """How sure a change of the champion has to be, and how long a trial lasts."""

    max_wrong: float = Field(
        default=0.05,
        gt=0,
        le=0.2,
        description="Probability that any promotion of the whole history is wrong, at most; and again for rollbacks.",
    )
    trial: int = Field(
        default=12, ge=1, le=520, description="Cycles after which a challenger that is not proven better retires."
    )
    probation: int = Field(
        default=4,
        ge=0,
        le=520,
        description="Cycles after a promotion in which the former champion keeps the challenger's share, so that a "
        "wrong promotion shows; 0 for none.",
    )
