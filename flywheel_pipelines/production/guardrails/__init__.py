"""Guardrails: what keeps a written output from going out, and the reason in words.

Here: all rules over all outputs of an attempt. Beside it: each kind of rule. Not here: what becomes of a blocked output
(`arms` does not publish it; its row keeps the reason).

Every rule reads the text as a reader sees it: compatibility forms unified (NFKC) and invisible characters taken out, so
that neither hides anything. None of them asks a model or a network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from flywheel_pipelines.production.guardrails.brief_facts import BriefFacts
from flywheel_pipelines.production.guardrails.citations import MISCITED, UNSUPPORTED, uncited
from flywheel_pipelines.production.guardrails.constraints import (
    CONSTRAINT,
    ConstraintCheck,
    SoftScore,
    soft_scores,
)
from flywheel_pipelines.production.guardrails.copies import Copied, near_copies
from flywheel_pipelines.production.guardrails.figures import invented_figures
from flywheel_pipelines.production.guardrails.for_people import ESCALATED, UNSURE, for_a_person
from flywheel_pipelines.production.guardrails.form import FormCheck
from flywheel_pipelines.production.guardrails.language import wrong_language
from flywheel_pipelines.production.guardrails.links import foreign_links
from flywheel_pipelines.production.guardrails.personal import personal_data_beyond
from flywheel_pipelines.production.guardrails.phrases import PhraseCheck
from flywheel_pipelines.production.guardrails.plain import plain, shortened
from flywheel_pipelines.prompt_text import Reference
from flywheel_pipelines.spec import GuardrailsSpec

__all__ = [
    "CONSTRAINT",
    "COPIED",
    "ESCALATED",
    "MISCITED",
    "UNSUPPORTED",
    "UNSURE",
    "SoftScore",
    "blocked_reasons",
    "soft_scores",
]
COPIED = "near copy"
"""How the reason of a copy begins; other reasons may stand before it."""


def blocked_reasons(
    outputs: pa.Table,
    briefs: pa.Table,
    references: Sequence[Reference],
    guardrails: GuardrailsSpec,
    schema: Mapping[str, Any] | None,
) -> list[str | None]:
    """Why each output must not go out: all reasons, joined by "; ", or None where there is none.

    Args:
        outputs: rows of `generated_outputs`; all are judged, so leave out what was superseded.
        briefs: the rows of `briefs` that they answer.
        references: what any prompt of the cycle may have shown.
        guardrails: the rules.
        schema: JSON Schema of an output; None for plain text.

    Returns:
        One entry per row. A reason names its rule and what was found, shortened; personal data by their first
        characters only.

    Raises:
        KeyError: an output answers a brief that is not among `briefs`.
    """
    form, phrases = FormCheck(guardrails, schema), PhraseCheck(guardrails)
    constraints = ConstraintCheck(guardrails.constraints)
    by_id = {row["brief_id"]: row for row in briefs.to_pylist()}
    facts = {brief_id: BriefFacts.of(row) for brief_id, row in by_id.items()}
    rows = outputs.to_pylist()
    reasons: list[list[str]] = []
    for row in rows:
        brief, text = facts[row["brief_id"]], plain(row["text"])
        content = json.loads(row["content"]) if row["content"] is not None else None
        reasons.append(
            [
                *form.reasons(row["text"], content),
                *constraints.reasons(content, by_id[row["brief_id"]]),
                *for_a_person(content, guardrails),
                *wrong_language(text, guardrails.language, brief.locale),
                *phrases.reasons(text),
                *(uncited(row["text"], content, brief, guardrails.citations) if guardrails.citations else []),
                *(foreign_links(text, brief) if guardrails.links == "from_brief" else []),
                *(invented_figures(text, brief) if guardrails.claims == "from_brief" else []),
                *(personal_data_beyond(text, brief) if guardrails.personal_data == "block" else []),
            ]
        )
    if guardrails.near_copy is not None:
        may_stay = [not found for found in reasons]
        copies = near_copies(rows, references, guardrails.near_copy, may_stay=may_stay)
        for found, copied in zip(reasons, copies, strict=True):
            found.extend([_copy_reason(copied)] if copied else [])
    return ["; ".join(found) or None for found in reasons]


def _copy_reason(copied: Copied) -> str:
    return f"{COPIED}: {copied.similarity:.2f} like {copied.of} {shortened(copied.id)}"
