"""The form in which the writer keeps its wording.

Here: what a locale must bring, and how a template becomes a sentence. Not here: the wording itself (`phrases_en`,
`phrases_de`, `phrases_es`) and which sentence is used when (`grammar`).

A template is text with slots in braces and alternatives in parentheses: "Picture a (calm|quiet) day with {s}." Slots:
{s} the subject, {S} the same with a capital, {p} the product, {a} the audience, {f} a fact of the brief.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

Templates = tuple[str, ...]
_PIECE = re.compile(r"\{(\w)\}|\(([^()]*)\)")


@dataclass(frozen=True)
class Phrases:
    """The wording of one locale.

    The four dictionaries are keyed by the options of the choice they are named after. Each of their templates begins
    with literal words that no other option's template, and no template of the rest, begins with: by these a text is
    read back (`choices.read_choices`).
    """

    opening: Mapping[str, Templates]
    benefit: Mapping[str, Templates]
    tone: Mapping[str, Templates]
    call_to_action: Mapping[str, Templates]
    titles: Mapping[str, Templates]
    """By benefit."""
    question_titles: Templates
    questions: Templates
    figures: Templates
    """Sentences that state {f}, a fact with a figure in it."""
    facts: Templates
    """Sentences that state {f}, a fact without a figure."""
    fillers: Templates
    summaries: Templates
    outline: Templates
    greetings: Templates
    product: str
    """Stands for the product where the brief names none."""
    audience: str
    """Stands for the audience where the brief names none."""
    subject: str
    """Stands for the subject where the brief names none."""
    cues: Mapping[str, Mapping[str, str]]
    """Choice -> option -> regular expression that hints at it in a text that this project did not write."""


def stem(template: str) -> str:
    """The literal words that a template begins with, in lower case."""
    found = _PIECE.search(template)
    return template[: found.start() if found else len(template)].casefold().strip()


def fill(template: str, slots: Mapping[str, str], rng: random.Random) -> str:
    """The template as a sentence, its alternatives drawn with `rng`."""
    pieces = []
    for piece in _pieces(template):
        if isinstance(piece, tuple):
            pieces.append(piece[int(rng.random() * len(piece))])
        elif len(piece) == 1 and piece in slots:
            pieces.append(slots[piece])
        else:
            pieces.append(piece)
    return "".join(pieces)


@lru_cache(maxsize=2_000)
def _pieces(template: str) -> tuple[str | tuple[str, ...], ...]:
    """Literals as text, slots as their one letter, alternatives as tuples."""
    pieces: list[str | tuple[str, ...]] = []
    end = 0
    for found in _PIECE.finditer(template):
        if found.start() > end:
            pieces.append(template[end : found.start()])
        pieces.append(found[1] or tuple(found[2].split("|")))
        end = found.end()
    if end < len(template):
        pieces.append(template[end:])
    return tuple(pieces)
