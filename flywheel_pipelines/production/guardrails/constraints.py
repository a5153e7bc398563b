"""Constraints of outputs: hard ones keep an output from going out, soft ones give it a score.

Here: holding the outputs of a cycle to them. Not here: what a constraint is (`flywheel_pipelines.constraints`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from flywheel_pipelines.constraints import BriefConstraintError, BriefConstraints, constraints_of, names_of
from flywheel_pipelines.production.guardrails.plain import shortened
from flywheel_pipelines.spec import ConstraintsSpec

CONSTRAINT = "constraint"
"""How the reason of a broken one begins; other reasons may stand before it."""


@dataclass(frozen=True)
class SoftScore:
    """How well an output reaches the goals, 0 to 1: the weighted mean, and each.

    A goal that cannot be told is None, and counts as 0.
    """

    mean: float
    by_goal: Mapping[str, float | None]


@dataclass
class ConstraintCheck:
    """The constraints of a flywheel and its briefs, read once per brief."""

    spec: ConstraintsSpec | None
    _of_brief: dict[str, BriefConstraints | str] = field(default_factory=dict)

    def reasons(self, content: Any, brief: Mapping[str, Any]) -> list[str]:
        """Every hard constraint that an output breaks, with the values found; `brief` is a row of `briefs`."""
        if self.spec is None:
            return []
        held_to = self._constraints(brief)
        if isinstance(held_to, str):
            return [held_to]
        names = names_of(content, brief)
        broken = [(one.name, one.broken(names)) for one in held_to.hard]
        reasons = [f"{CONSTRAINT} {name}: {why}" for name, why in broken if why is not None]
        return [*_against_schema(held_to.schema, content), *reasons]

    def score(self, content: Any, brief: Mapping[str, Any]) -> SoftScore | None:
        """How well an output reaches the goals; None where there are none."""
        held_to = self._constraints(brief) if self.spec is not None else ""
        if isinstance(held_to, str) or not held_to.soft:
            return None
        names = names_of(content, brief)
        by_goal = {one.name: one.score(names) for one in held_to.soft}
        weights = {one.name: one.weight or 0.0 for one in held_to.soft}
        total = sum(weights[name] * (score or 0.0) for name, score in by_goal.items())
        return SoftScore(total / sum(weights.values()), by_goal)

    def _constraints(self, brief: Mapping[str, Any]) -> BriefConstraints | str:
        """What the outputs for a brief are held to, or why that cannot be told."""
        assert self.spec is not None
        found = self._of_brief.get(brief["brief_id"])
        if found is None:
            try:
                found = constraints_of(self.spec, json.loads(brief["fields"]) if brief.get("fields") else {})
            except BriefConstraintError as error:
                # The feed refuses such briefs; one may be older than the key that makes it a constraint.
                found = f"{CONSTRAINT} {error.field} of the brief: {error}"
            self._of_brief[brief["brief_id"]] = found
        return found


def soft_scores(outputs: pa.Table, briefs: pa.Table, spec: ConstraintsSpec | None) -> list[SoftScore | None]:
    """The soft score of each output (rows of `generated_outputs`), None where no goal is set.

    Raises:
        KeyError: an output answers a brief that is not among `briefs`.
    """
    if spec is None:
        return [None] * outputs.num_rows
    check = ConstraintCheck(spec)
    by_id = {row["brief_id"]: row for row in briefs.to_pylist()}
    columns = outputs.select(["brief_id", "content"]).to_pylist()
    return [
        check.score(json.loads(row["content"]) if row["content"] is not None else None, by_id[row["brief_id"]])
        for row in columns
    ]


def _against_schema(schema: Mapping[str, Any] | None, content: Any) -> list[str]:
    if schema is None:
        return []
    import jsonschema
    import referencing
    import referencing.exceptions

    validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
    try:
        problem = min(validator.iter_errors(content), key=lambda error: error.json_path, default=None)
    except referencing.exceptions.Unresolvable as error:
        return [f"{CONSTRAINT} schema of the brief: {error.ref} leads out of it and is not followed"]
    return [f"{CONSTRAINT} schema of the brief: {problem.json_path} {shortened(problem.message)}"] if problem else []
