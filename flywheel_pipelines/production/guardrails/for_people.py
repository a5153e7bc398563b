"""What goes to a person instead: outputs that are unsure of themselves, and those that propose it.

Here: these two rules. Not here: whether such a confidence is deserved (reopened cases tell), or the file in which the
briefs go to people (`outbox`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel_pipelines.production.guardrails.plain import shortened
from flywheel_pipelines.spec import GuardrailsSpec

UNSURE, ESCALATED = "confidence", "escalation"
"""How the reasons begin; other reasons may stand before them."""


def for_a_person(content: Any, guardrails: GuardrailsSpec) -> list[str]:
    """Why a person is to answer instead; nothing where the output may go out. `content` is None without parts."""
    parts: Mapping[str, Any] = content if isinstance(content, Mapping) else {}
    reasons = []
    if (wanted := guardrails.escalation) is not None and parts.get(wanted.field) == wanted.value:
        reasons.append(
            f"{ESCALATED}: {shortened(str(parts.get(wanted.reason) or 'no reason given'))}; a person answers"
        )
    if (wanted := guardrails.confidence) is not None:
        said = parts.get(wanted.field)
        if not isinstance(said, int | float) or isinstance(said, bool):
            reasons.append(f"{UNSURE}: no number in {wanted.field}, at least {wanted.at_least:g} is wanted")
        elif said < wanted.at_least:
            reasons.append(f"{UNSURE}: {said:g}, at least {wanted.at_least:g} is wanted; a person answers")
    return reasons
