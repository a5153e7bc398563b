"""What a brief states, as rules compare with it: its text, links, figures and personal data. Not here: the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flywheel_pipelines.passages import Passage, passages_in
from flywheel_pipelines.personal_data import PersonalData, personal_data_in
from flywheel_pipelines.production.content import leaves
from flywheel_pipelines.production.guardrails.figures import Figure, figures_in
from flywheel_pipelines.production.guardrails.links import links_in
from flywheel_pipelines.production.guardrails.plain import plain

_PERCENT_KEY = re.compile(r"percent|pct|prozent", re.IGNORECASE)


@dataclass(frozen=True)
class BriefFacts:
    """A brief's statements: (name of the field, plain text), the locale of what is to be written, and its passages."""

    statements: tuple[tuple[str, str], ...]
    locale: str | None
    passages: tuple[Passage, ...] = ()

    @classmethod
    def of(cls, brief: Mapping[str, Any]) -> BriefFacts:
        """From a row of `briefs`: its title and its own fields, however deep."""
        own = json.loads(brief["fields"]) if brief.get("fields") else {}
        told = [("title", brief["title"])]
        told += [("/".join(map(str, path)), value) for path, value in leaves(own) if value is not None]
        statements = tuple((name, plain(str(value))) for name, value in told)
        return cls(statements, brief.get("locale"), passages_in(own))

    @cached_property
    def text(self) -> str:
        """Everything the brief says, one statement per line."""
        return "\n".join(text for _, text in self.statements)

    @cached_property
    def links(self) -> frozenset[str]:
        """Its links, normalized."""
        return frozenset(link.normalized for link in links_in(self.text))

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Its figures, in every reading. A field whose name says percent states percentages."""
        return tuple(
            figure.as_percentage() if _PERCENT_KEY.search(name) else figure
            for name, text in self.statements
            for figure in figures_in(text, None)
        )

    @cached_property
    def personal(self) -> frozenset[PersonalData]:
        """Its e-mail addresses, phone, card and account numbers."""
        return frozenset(found.data for found in personal_data_in(self.text, self.locale))
