"""The choices that a writer has, and how they are read back from a text.

Here: the names of the choices and `read_choices`. Not here: the wording (`phrases_*`) and the writing (`grammar`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from types import MappingProxyType

from flywheel_pipelines.llm.offline.phrases import Phrases, stem
from flywheel_pipelines.llm.offline.phrases_de import GERMAN
from flywheel_pipelines.llm.offline.phrases_en import ENGLISH
from flywheel_pipelines.llm.offline.phrases_es import SPANISH

YES, NO = "yes", "no"

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "opening": ("problem", "scene", "promise", "insight"),
        "length": ("short", "medium", "long"),
        "is_question": (YES, NO),
        "has_number": (YES, NO),
        "benefit": ("time", "cost", "quality", "risk"),
        "tone": ("warm", "plain", "bold", "formal"),
        "call_to_action": ("reply", "call", "guide", "trial"),
    }
)
"""Every choice and its options. The language is no choice: the brief sets it."""

WORDED = ("opening", "benefit", "tone", "call_to_action")
"""The choices that are made by wording; the others show in the form of the text."""

PHRASES: Mapping[str, Phrases] = MappingProxyType({"en": ENGLISH, "de": GERMAN, "es": SPANISH})
LOCALES = tuple(PHRASES)

SHORT_WORDS, MEDIUM_WORDS = 150, 235
"""Most words of a short and of a medium output, over all its fields."""

_LINK = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”»)]*\s+|\n+")
_DECORATION = " \t#*->\"'“„«»_(["
_LABEL = re.compile(r"[\w \"]{1,30}:\s+")
_STEM_KEY = 6


def read_choices(text: str) -> dict[str, str]:
    """Which options a text carries out, read from the text alone: choice -> option, in the order of CHOICES.

    Sentences of the offline writer are told by how they begin, in every language it knows. In other texts the wording
    is guessed from hints; a choice without hints, or with as many hints for two options, is left out. Length counts
    the words, a question is a question mark, a number is a digit outside of links. An empty text gives nothing.
    """
    return dict(_read(text))


@lru_cache(maxsize=8_192)
def _read(text: str) -> tuple[tuple[str, str], ...]:
    # References are shown again and again, so what was read of them is kept.
    n_words = len(text.split())
    if n_words == 0:
        return ()
    plain = _LINK.sub(" ", text)
    found = {
        "length": "short" if n_words <= SHORT_WORDS else "medium" if n_words <= MEDIUM_WORDS else "long",
        "is_question": YES if "?" in plain else NO,
        "has_number": YES if any(character.isdigit() for character in plain) else NO,
    }
    found.update(_read_wording(plain))
    return tuple((choice, found[choice]) for choice in CHOICES if choice in found)


def _read_wording(text: str) -> dict[str, str]:
    seen: dict[str, Counter[str]] = {choice: Counter() for choice in WORDED}
    stems = _stems()
    for sentence in _sentence_starts(text.casefold()):
        for beginning, choice, option in stems.get(sentence[:_STEM_KEY], ()):
            if sentence.startswith(beginning):
                seen[choice][option] += 1
    found = {}
    for choice, counts in seen.items():
        if not counts:
            counts = Counter(
                {option: len(hint.findall(text)) for option, hint in _hints()[choice].items() if hint.search(text)}
            )
            best = counts.most_common(2)
            if len(best) == 2 and best[0][1] == best[1][1]:
                continue
        if counts:
            # Counters keep the order of arrival, so that a tie goes to what the text says first.
            found[choice] = counts.most_common(1)[0][0]
    return found


def _sentence_starts(text: str) -> Iterator[str]:
    """Each sentence, without bullets and quotes; after a label such as `body:` also what follows the label."""
    for sentence in _SENTENCE.split(text):
        bare = sentence.lstrip(_DECORATION)
        yield bare
        labelled = _LABEL.match(bare)
        if labelled:
            yield bare[labelled.end() :].lstrip(_DECORATION)


@cache
def _stems() -> dict[str, list[tuple[str, str, str]]]:
    """(beginning of a sentence, choice, option) by the first letters of the beginning."""
    stems: dict[str, list[tuple[str, str, str]]] = {}
    for phrases in PHRASES.values():
        for choice in WORDED:
            for option, templates in getattr(phrases, choice).items():
                for template in templates:
                    beginning = stem(template)
                    stems.setdefault(beginning[:_STEM_KEY], []).append((beginning, choice, option))
    return stems


@cache
def _hints() -> dict[str, dict[str, re.Pattern[str]]]:
    return {
        choice: {
            option: re.compile("|".join(phrases.cues[choice][option] for phrases in PHRASES.values()), re.IGNORECASE)
            for option in CHOICES[choice]
        }
        for choice in WORDED
    }
