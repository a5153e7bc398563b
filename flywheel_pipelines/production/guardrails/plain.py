"""Text as a reader sees it, for rules to read. Not here: the rules."""

from __future__ import annotations

import textwrap
import unicodedata


def plain(text: str) -> str:
    """The text with compatibility forms unified (NFKC: full-width letters, ligatures, odd spaces), nothing invisible.

    Invisible are the characters of Unicode category Cf: zero-width spaces and joiners, soft hyphens, direction marks.
    """
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")


def shortened(text: str) -> str:
    """At most 60 characters on one line."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 60 else textwrap.shorten(one_line, 60, placeholder="…") or one_line[:59] + "…"


def masked(text: str) -> str:
    """The first three characters: enough to find the place, too little to spread what should not be spread."""
    return f"{text[:3]}…"
