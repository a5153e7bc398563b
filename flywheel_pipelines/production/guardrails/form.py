"""The form of an output: its schema and its length. Not here: what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel_pipelines.production.guardrails.plain import shortened
from flywheel_pipelines.spec import GuardrailsSpec


class FormCheck:
    """Schema and length of outputs."""

    def __init__(self, guardrails: GuardrailsSpec, schema: Mapping[str, Any] | None) -> None:
        """Prepare the schema once for all outputs; references out of the schema are not followed."""
        self._guardrails = guardrails
        self._validator = None
        if schema is not None:
            # Here and not above: it takes a tenth of a second, and plain texts need none of it.
            import jsonschema
            import referencing

            self._validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())

    def reasons(self, text: str, content: Any) -> list[str]:
        """What is wrong with the form of one output; `content` is None where it has no parts."""
        found = []
        if self._validator is not None:
            problem = min(self._validator.iter_errors(content), key=lambda error: error.json_path, default=None)
            if problem is not None:
                found.append(f"schema: {problem.json_path} {shortened(problem.message)}")
        fewest, most = self._guardrails.min_characters, self._guardrails.max_characters
        length = len(text.strip())
        if length < fewest:
            found.append(f"length: {length} characters, at least {fewest} are wanted")
        if most is not None and length > most:
            found.append(f"length: {length} characters, at most {most} are wanted")
        return found
