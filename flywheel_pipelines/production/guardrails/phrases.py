"""Phrases that must not, or must, appear. Not here: what they mean."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from flywheel_pipelines.production.guardrails.plain import plain, shortened
from flywheel_pipelines.spec import GuardrailsSpec

_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")


class PhraseCheck:
    """Banned and required phrases, as whole words, whatever their case and spacing."""

    def __init__(self, guardrails: GuardrailsSpec) -> None:
        """Prepare the phrases once for all outputs."""
        self._banned = _patterns(guardrails.banned_phrases)
        self._required = _patterns(guardrails.required_phrases)

    def reasons(self, text: str) -> list[str]:
        """Which phrases a plain text has but must not, and lacks but must have."""
        folded = text.casefold()
        return [
            *(f"banned phrase: {shortened(phrase)!r}" for phrase, at in self._banned if at.search(folded)),
            *(
                f"required phrase missing: {shortened(phrase)!r}"
                for phrase, at in self._required
                if not at.search(folded)
            ),
        ]


def _patterns(phrases: Iterable[str]) -> list[tuple[str, re.Pattern[str]]]:
    return [(phrase, _pattern(plain(phrase).casefold())) for phrase in phrases]


def _pattern(phrase: str) -> re.Pattern[str]:
    words = phrase.split()
    if not words:
        # A phrase of nothing but spaces is in every text that has any.
        return re.compile(re.escape(phrase))
    before = r"(?<!\w)" if _has_boundary(words[0][0]) else ""
    after = r"(?!\w)" if _has_boundary(words[-1][-1]) else ""
    return re.compile(before + r"\s+".join(re.escape(word) for word in words) + after)


def _has_boundary(character: str) -> bool:
    """Whether words with this character at their end are set apart by what is not a letter.

    Chinese, Japanese, Thai and their neighbours are written without spaces; signs (as in 100%) end nothing.
    """
    wide = unicodedata.east_asian_width(character) in "WF"
    return character.isalnum() and not wide and not _WITHOUT_SPACES.match(character)
