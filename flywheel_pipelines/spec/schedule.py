"""When a flywheel turns by itself. Not here: which turn is due (`loop/turns.py`), or requesting it (`components`)."""

from __future__ import annotations

from pydantic import Field

from flywheel_pipelines.spec.section import Section


class TurnSpec(Section):
    """When a cycle that is over is closed, and how late is too late. All hours are UTC."""

    hour: int = Field(
        default=6,
        ge=0,
        le=23,
        description="Hour (UTC) of a cycle's first day from which the cycle before is closed and this one opened.",
    )
    catch_up: int = Field(
        default=8,
        ge=1,
        le=520,
        description="Most cycles that are caught up, in order, when their turn was missed; with more nothing starts.",
    )
    grace_hours: int = Field(
        default=12,
        ge=1,
        le=23,
        description="Hours after `hour` until which the cycle before must be closed; then it shows as overdue.",
    )


class ScheduleSpec(TurnSpec):
    """When the cycle before is closed and the running one opened, and from when a flywheel is losing."""

    losing_cycles: int = Field(
        default=4,
        ge=2,
        le=52,
        description="Cycles in a row with a lift below zero from which the check of momentum warns.",
    )
