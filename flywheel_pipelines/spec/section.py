"""What every section of the YAML has in common. Not here: the sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

NAME_PATTERN = r"^[a-z][a-z0-9_]{1,47}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of the YAML: unknown keys are refused, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        # YAML 1.1 reads yes, no, on and off as booleans, and pydantic would take those for 1 and 0.
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("yes, no, on, off, true and false are no value for this key")
        return value
