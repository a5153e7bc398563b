"""The guardrail on personal data: none that the brief does not state. Not here: finding it (`personal_data`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flywheel_pipelines.personal_data import personal_data_in
from flywheel_pipelines.production.guardrails.plain import masked

if TYPE_CHECKING:
    from flywheel_pipelines.production.guardrails.brief_facts import BriefFacts


def personal_data_beyond(text: str, brief: BriefFacts) -> list[str]:
    """The reason when a plain text holds personal data that the brief does not."""
    beyond = [one for one in personal_data_in(text, brief.locale) if one.data not in brief.personal]
    shown = list(dict.fromkeys(f"{one.data.kind} {masked(text[one.start : one.end])}" for one in beyond))
    return [f"personal data: {', '.join(shown[:5])}"] if shown else []
