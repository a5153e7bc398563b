"""What an output must keep to, and what it had better do: named expressions over its fields and its brief.

Here: the key `guardrails.constraints`. Not here: reading expressions (`expressions`), holding outputs to them
(`production.guardrails`).
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from flywheel_pipelines.expressions import ExpressionError, expression
from flywheel_pipelines.spec.section import Name, Section


def _checked(text: str) -> str:
    try:
        return expression(text).text
    except ExpressionError as error:
        raise ValueError(f"{text!r} {error}") from None


class GoalSpec(Section):
    """A soft constraint: how well an output does what is wanted, from 0 to 1."""

    score: str = Field(
        min_length=1,
        description="Expression; below 0 counts as 0, above 1 as 1, true as 1 and false as 0, e.g. 1 - steps / 8.",
    )
    weight: float = Field(default=1.0, gt=0, description="Weight among the goals in the output's soft score.")

    @field_validator("score")
    @classmethod
    def _is_an_expression(cls, value: str) -> str:
        return _checked(value)


class OfBriefSpec(Section):
    """The fields in which a brief brings constraints of its own.

    Each is an object: in JSON lines as it is, in CSV as JSON in one cell, or one column per entry
    (`constraints.light`).
    """

    hard: str = Field(default="constraints", min_length=1, description="Field with name: expression.")
    soft: str = Field(default="goals", min_length=1, description="Field with name: expression of a score.")
    json_schema: str = Field(
        default="schema", min_length=1, description="Field with a JSON Schema that outputs keep to, too."
    )


class ConstraintsSpec(Section):
    """Constraints by name. In an expression stand the output's fields, and `brief` with the brief's own."""

    hard: dict[Name, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Name: expression that must be true, e.g. page_kb <= brief.max_kb. An output that breaks one, or "
        "of which it cannot be said, does not go out; prompts state it.",
    )
    soft: dict[Name, GoalSpec] = Field(
        default_factory=dict,
        description="Name: expression of a score from 0 to 1, or {score: expression, weight: number}. The weighted "
        "mean is the output's soft_score.",
    )
    of_brief: OfBriefSpec | None = Field(
        default=None, description="Fields of a brief that bring more of both; none: briefs bring none."
    )
    goal_weight: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="What a soft score of 1 instead of 0 adds to the prediction when candidates are ranked, in log of "
        "the floor's metric; 0: goals are stored and rank nothing.",
    )

    @field_validator("soft", mode="before")
    @classmethod
    def _a_text_is_a_score(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"score": goal} if isinstance(goal, str) else goal for name, goal in value.items()}

    @field_validator("hard")
    @classmethod
    def _are_expressions(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: _checked(text) for name, text in value.items()}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if twice := sorted(self.hard.keys() & self.soft.keys()):
            raise ValueError(f"hard, soft: {', '.join(twice)} stands in both; every constraint has a name of its own")
        return self

    @property
    def statements(self) -> tuple[str, ...]:
        """What prompts say of them, one line each."""
        hard = [f"Must hold ({name}): {text}" for name, text in self.hard.items()]
        return (*hard, *(f"The higher the better ({name}): {goal.score}" for name, goal in self.soft.items()))
