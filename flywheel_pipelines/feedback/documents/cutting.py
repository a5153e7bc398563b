"""Cutting a document into pieces (a brief each) and passages. Not here: reading it, or what a brief is otherwise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flywheel_pipelines.feedback.documents.parts import Document, Part
from flywheel_pipelines.passages import Passage, name_for_ids, passage_id

BEFORE = "beginning"
"""The place of what stands before the first heading."""
_SENTENCE_END = re.compile(r"(?<=[.!?。])[\"'”’»)\]]*\s+")
_LONGEST_PLACE = 60


@dataclass(frozen=True)
class Limits:
    """Where a document is cut: whether each section is a piece, and characters of a passage, as many as possible."""

    by_section: bool
    passage: int


@dataclass(frozen=True)
class Piece:
    """What one brief is about: its place in the document (empty for all of it), its heading, and its passages."""

    place: str
    heading: str
    passages: tuple[Passage, ...]


def pieces_of(document: Document, name: str, limits: Limits) -> list[Piece]:
    """The pieces of a document, in order; those without text are left out.

    A section begins with each heading of the highest level that the document has more than once, so that its title
    begins none; a page is a section.

    Args:
        document: the document.
        name: what its passages' ids begin with.
        limits: where to cut.
    """
    located = list(zip(document.parts, _places(document.parts), strict=True))
    level = _section_level(document.parts) if limits.by_section else 0
    groups: list[list[tuple[Part, str]]] = []
    for part, place in located:
        # A title alone before the first section is no section.
        if not groups or (0 < part.level <= level and any(one.texts for one, _ in groups[-1])):
            groups.append([])
        groups[-1].append((part, place))
    pieces = []
    for group in groups:
        if passages := tuple(_passages(group, name, limits.passage)):
            named, place = _named(group, level)
            pieces.append(Piece(place, named.heading, passages) if limits.by_section else Piece("", "", passages))
    return pieces


def _named(group: Sequence[tuple[Part, str]], level: int) -> tuple[Part, str]:
    """The part that a section is named after: the last of its level that stands above its first text, if there is."""
    first = next(index for index, (part, _) in enumerate(group) if part.texts)
    above = [one for one in group[: first + 1] if one[0].level == level]
    return above[-1] if above else group[first]


def _section_level(parts: Sequence[Part]) -> int:
    levels = [part.level for part in parts if part.level]
    return min((level for level in levels if levels.count(level) > 1), default=0)


def _places(parts: Sequence[Part]) -> list[str]:
    """A name for each part within its document: `page-3`, or its heading, with a number where it comes again."""
    found: dict[str, None] = {}
    counts: Counter[str] = Counter()
    for part in parts:
        heading = name_for_ids(part.heading.casefold()) if part.heading else BEFORE
        base = place = f"page-{part.page}" if part.page else heading[:_LONGEST_PLACE].strip("-.")
        counts[base] += 1
        while place in found or (counts[base] > 1 and place == base):
            place = f"{base}-{counts[base]}"
            counts[base] += place in found
        found[place] = None
    return list(found)


def _passages(group: Sequence[tuple[Part, str]], name: str, size: int) -> Iterator[Passage]:
    above: list[Part] = []
    for part, place in group:
        above = [*(one for one in above if one.level < part.level), part] if part.level else [part]
        heading = " > ".join(one.heading for one in above if one.heading)
        texts = [piece for text in part.texts for piece in _cut(text, size)]
        for number, text in enumerate(texts, start=1):
            yield Passage(passage_id(name, place, number), heading, text)


def _cut(text: str, size: int) -> Iterator[str]:
    """The text in runs of whole sentences of at most `size` characters; a longer sentence between words."""
    if len(text) <= size:
        yield text
        return
    run = ""
    for sentence in _sentences(text, size):
        if run and len(run) + 1 + len(sentence) > size:
            yield run
            run = ""
        run = f"{run} {sentence}".strip()
    if run:
        yield run


def _sentences(text: str, size: int) -> Iterator[str]:
    start = 0
    for end in [*(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]:
        sentence = text[start:end].strip()
        start = end
        while len(sentence) > size:
            cut = sentence.rfind(" ", 1, size + 1)
            cut = cut if cut > 0 else size
            yield sentence[:cut].strip()
            sentence = sentence[cut:].strip()
        if sentence:
            yield sentence
