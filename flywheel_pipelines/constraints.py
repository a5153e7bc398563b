"""Constraints at work: those of a flywheel and those that a brief brings, over one output.

Here: what the feed of briefs (which refuses what cannot be read) and the guardrails (which hold outputs to it) must
agree on. Not here: expressions (`expressions`), the keys (`spec.constraints`), what becomes of an output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flywheel_pipelines.expressions import Expression, ExpressionError, expression
from flywheel_pipelines.spec.constraints import ConstraintsSpec

BRIEF = "brief"
"""What a brief is called in an expression."""
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


class BriefConstraintError(ValueError):
    """A constraint that a brief brings cannot be used: `field` of the brief, what was `found`, and why."""

    def __init__(self, field: str, found: str, reason: str) -> None:
        """Say what is wrong; `field` is the brief's field, with the entry after a dot."""
        super().__init__(reason)
        self.field, self.found = field, found


@dataclass(frozen=True)
class Constraint:
    """One constraint; `weight` is None where it is hard."""

    name: str
    expression: Expression
    weight: float | None = None

    def broken(self, names: Mapping[str, Any]) -> str | None:
        """Why an output breaks it, with the values found; None where it holds."""
        try:
            holds = self.expression.value(names)
        except ExpressionError as error:
            return f"{self.expression.text} cannot be told ({error})"
        if holds is True:
            return None
        found = self.expression.found(names)
        if holds is not False:
            return f"{self.expression.text} is {holds!r}, neither true nor false ({found})"
        return f"{self.expression.text} does not hold ({found})"

    def score(self, names: Mapping[str, Any]) -> float | None:
        """How well an output does it, 0 to 1; None where that cannot be told."""
        try:
            value = self.expression.value(names)
        except ExpressionError:
            return None
        if not isinstance(value, int | float) or value != value:
            return None
        return min(1.0, max(0.0, float(value)))


@dataclass(frozen=True)
class BriefConstraints:
    """Everything that the outputs for one brief are held to; `schema` is what the brief adds to the flywheel's."""

    hard: tuple[Constraint, ...] = ()
    soft: tuple[Constraint, ...] = ()
    schema: Mapping[str, Any] | None = None


def constraints_of(spec: ConstraintsSpec, fields: Mapping[str, Any]) -> BriefConstraints:
    """The flywheel's constraints and those that a brief brings in its fields; of one name, the brief's counts.

    Raises:
        BriefConstraintError: a brief's own cannot be used.
    """
    hard = {name: Constraint(name, expression(text)) for name, text in spec.hard.items()}
    soft = {name: Constraint(name, expression(goal.score), goal.weight) for name, goal in spec.soft.items()}
    own = spec.of_brief
    if own is None:
        return BriefConstraints(tuple(hard.values()), tuple(soft.values()))
    brought = nested(fields)
    for name, text in _texts(own.hard, brought.get(own.hard)).items():
        soft.pop(name, None)
        hard[name] = Constraint(name, _read(own.hard, name, text))
    for name, text in _texts(own.soft, brought.get(own.soft)).items():
        if name not in hard:
            soft[name] = Constraint(name, _read(own.soft, name, text), 1.0)
    return BriefConstraints(
        tuple(hard.values()), tuple(soft.values()), _schema(own.json_schema, brought.get(own.json_schema))
    )


def names_of(content: Any, brief: Mapping[str, Any]) -> dict[str, Any]:
    """What expressions see of an output and its brief (a row of `briefs`)."""
    fields = nested(json.loads(brief["fields"]) if brief.get("fields") else {})
    own = {name: brief.get(name) for name in ("title", "segment", "locale")}
    parts = content if isinstance(content, Mapping) else {}
    return {**parts, BRIEF: {**own, **{name: _typed(value) for name, value in fields.items()}}}


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A brief's fields as they were before a row was made of them: `size.width` is the width of size.

    Cells that hold an object of JSON are read.
    """
    made: dict[str, Any] = {}
    for name, value in fields.items():
        *before, last = name.split(".")
        place = made
        for step in before:
            inner = place.get(step)
            if not isinstance(inner, dict):
                inner = place[step] = {}
            place = inner
        place[last] = _object(value)
    return made


def _object(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _typed(value: Any) -> Any:
    """Numbers and truths that stand as text in a file, also inside of what was one object."""
    if isinstance(value, Mapping):
        return {name: _typed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_typed(part) for part in value]
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return {"true": True, "false": False}.get(text, value)


def _texts(field: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise BriefConstraintError(
            field, str(value), 'expected an object of name: expression, e.g. {"light": "page_kb <= 180"}'
        )
    return dict(value)


def _read(field: str, name: str, text: str) -> Expression:
    try:
        return expression(text)
    except ExpressionError as error:
        raise BriefConstraintError(f"{field}.{name}", text, f"{error}. Correct the expression") from None


def _schema(field: str, value: Any) -> Mapping[str, Any] | None:
    if value is None:
        return None
    import jsonschema

    schema = _typed(value)
    try:
        if not isinstance(schema, Mapping):
            raise jsonschema.SchemaError("not an object")
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise BriefConstraintError(
            field, str(value), f"is no JSON Schema ({error.message}); write one of draft 2020-12, or leave it out"
        ) from None
    return schema
