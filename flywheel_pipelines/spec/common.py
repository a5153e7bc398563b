"""What the specs of all kinds of flywheels begin with: name, cadence, start, owners.

Not here: what a kind adds (`flywheel`, `insight`). Their feeds and schedules stand in each of them, so that the hash of
a flywheel's settings, which is over keys in order, is what it was.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from flywheel_pipelines.cycles import Cadence, cycle_of, shift_cycle
from flywheel_pipelines.spec.explaining import detail_of
from flywheel_pipelines.spec.section import NAME_PATTERN, Section

OWNER_PATTERN = r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$"


class CommonSpec(Section):
    """One flywheel of any kind."""

    name: str = Field(pattern=NAME_PATTERN, description="Name, also the group and asset key prefix in Dagster.")
    description: str = Field(default="", description="What this flywheel is for, shown in the Dagster UI.")
    cadence: Cadence = Field(default=Cadence.WEEKLY, description="daily, weekly or monthly.")
    start: date = Field(
        ge=date(1970, 1, 1), lt=date(2200, 1, 1), description="First day of the first cycle, a Monday for weekly."
    )
    owners: list[Annotated[str, Field(pattern=OWNER_PATTERN)]] = Field(
        default_factory=list, description="team:<name> or an e-mail address."
    )
    is_synthetic: bool = Field(
        default=False, description="Declared true when what it runs on is synthetic or simulated."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _say_what_is_allowed(cls, data: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        """Unknown keys are refused with the keys there are, also where Dagster and not `load_spec` shows the error."""
        try:
            return check(data)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                cls.__name__, [detail_of(found, cls) for found in error.errors()]
            ) from None

    @model_validator(mode="after")
    def _start_begins_a_cycle(self) -> Self:
        first = cycle_of(self.start, self.cadence)
        if first != self.start:
            later = shift_cycle(first, self.cadence, 1)
            raise ValueError(
                f"start: {self.start} ({self.start:%A}) does not begin a {self.cadence} cycle; "
                f"allowed here: {first} or {later}"
            )
        return self
