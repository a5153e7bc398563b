"""What the readers of documents make: parts, each a heading and the texts below it.

Not here: the formats (`markdown`, `html`, `pdf`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

_JOINERS = "\u200c\u200d"
"""Invisible, and part of how Persian and emoji are written; every other invisible character goes."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Part:
    """A heading (empty before the first) with its level, 1 for the largest, and the texts below it, up to the next.

    `page` is its number where the document has pages, else 0.
    """

    heading: str = ""
    level: int = 0
    page: int = 0
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """A document's title (empty without one) and its parts in order; `has_pages` where they are pages."""

    title: str
    parts: tuple[Part, ...]
    has_pages: bool = False

    @property
    def n_characters(self) -> int:
        """Of all texts."""
        return sum(len(text) for part in self.parts for text in part.texts)


@dataclass
class PartsInProgress:
    """Parts while a document is read from its beginning."""

    title: str = ""
    parts: list[Part] = field(default_factory=lambda: [Part()])

    def heading(self, text: str, level: int) -> None:
        """A heading; an empty one is passed over."""
        if bare := one_line(text):
            self.parts.append(Part(bare, level))

    def text(self, text: str) -> None:
        """A paragraph, list item or row of a table."""
        if bare := one_line(text):
            self.parts[-1].texts.append(bare)

    def finished(self) -> Document:
        """The document; without a title of its own, a first and only heading of the highest level is its title."""
        levels = [part.level for part in self.parts if part.level]
        first = next((part for part in self.parts if part.level), None)
        is_title = first is not None and first.level == min(levels) and levels.count(first.level) == 1
        title = one_line(self.title) or (first.heading if first is not None and is_title else "")
        return Document(title, tuple(part for part in self.parts if part.texts or part.heading))


def one_line(text: str) -> str:
    """The text on one line, without control characters and what nobody sees: such letters can hide a sentence."""
    shown = (" " if unicodedata.category(char) == "Cc" else char for char in text if not _is_invisible(char))
    return " ".join(_LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", "".join(shown)).split())


def _is_invisible(char: str) -> bool:
    return char not in _JOINERS and unicodedata.category(char) == "Cf"
