"""How much of a draft is left in the text that a person made of it.

Here: splitting texts into tokens, and the share of tokens that stayed. Not here: near-duplicates among outputs, which
are compared by the thousand and so by shingles (`flywheel_pipelines.similarity`).

Why not `difflib.SequenceMatcher.ratio`: it is not symmetric, its matches are greedy and not the most there are, and
from 200 tokens on it takes every token that makes up more than 1% of a text for junk ("the", commas). A test shows the
first and the last on small texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache

_WORD, _ALONE, _JOINER, _BLANK = "word", "alone", "joiner", "blank"
_INSIDE_WORDS = "'’ʼ"
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x31FF),  # radicals, kana, bopomofo
    (0x3400, 0x4DBF),  # ideographs, extension A
    (0x4E00, 0x9FFF),  # ideographs
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0x20000, 0x3FFFF),  # further ideographs
)
"""Scripts that put no blanks between words: taken whole, one changed character would be a sentence changed."""


def edit_similarity(draft: str, final: str) -> float:
    """Share of tokens that stayed: 1 is untouched but for blanks, 0 leaves nothing.

    1 - d / max(n, m), with d the Levenshtein distance (fewest tokens inserted, deleted or replaced; Levenshtein, Soviet
    Physics Doklady 10, 1966) between the n tokens of the draft and the m tokens of the final text. Symmetric. Adding as
    much again as there was gives 0.5, as does deleting half. Two texts without any token are equal: 1. It is one less
    the word error rate, but divided by the longer text, so that it stays within 0 and 1; compare HTER, edits per token
    of the corrected text, for translations that people put right (Snover et al., AMTA 2006).

    Blanks, line breaks and the way accents are encoded do not count; letters' case, punctuation and emoji do.
    """
    before, after = tokens_of(draft), tokens_of(final)
    longest = max(len(before), len(after))
    return 1.0 if not longest else 1.0 - edit_distance(before, after) / longest


def tokens_of(text: str) -> list[str]:
    """Words with their marks and numbers whole; punctuation, symbols and characters of unspaced scripts one by one.

    Characters that a joiner (U+200D) ties together, such as the people in a family emoji, are one token, as is a
    character with the marks that follow it. An apostrophe inside a word belongs to it.
    """
    return list(_tokens(unicodedata.normalize("NFC", text)))


def edit_distance(before: Sequence[Hashable], after: Sequence[Hashable]) -> int:
    """Levenshtein distance of two sequences: the fewest insertions, deletions and replacements.

    Exact, in one step per element of `after`, each over all of `before` at once as the bits of one integer: Myers,
    "A fast bit-vector algorithm for approximate string matching", J. ACM 46(3), 1999, in Hyyrö's form (2003).
    """
    if not before or not after:
        return max(len(before), len(after))
    places: dict[Hashable, int] = {}
    for position, element in enumerate(before):
        places[element] = places.get(element, 0) | 1 << position
    everywhere, last = (1 << len(before)) - 1, 1 << len(before) - 1
    # Bit i: whether the distance rises (or falls) from before[:i] to before[:i + 1] in the present column.
    rises, falls, distance = everywhere, 0, len(before)
    for element in after:
        here = places.get(element, 0)
        equal = (((here & rises) + rises) ^ rises) | here | falls
        up = falls | (everywhere & ~(equal | rises))
        down = rises & equal
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | 1) & everywhere, down << 1 & everywhere
        rises, falls = down | (everywhere & ~(equal | up)), up & equal
    return distance


def _tokens(text: str) -> Iterator[str]:
    token, kind = "", _BLANK
    for position, character in enumerate(text):
        new = _kind_of(character)
        if new == _BLANK:
            if token:
                yield token
            token = ""
        elif token and (
            new == _JOINER
            or token[-1] == "\u200d"
            or (kind == new == _WORD)
            or (kind == _WORD and character in _INSIDE_WORDS and _kind_of(text[position + 1 : position + 2]) == _WORD)
        ):
            token += character
            # An apostrophe or a mark inside a word leaves it a word.
            continue
        else:
            if token:
                yield token
            token = character
        kind = new
    if token:
        yield token


@lru_cache(maxsize=4_096)
def _kind_of(character: str) -> str:
    if not character or character.isspace() or character in "\u200b\ufeff\u2060\u00ad":
        return _BLANK
    code, category = ord(character), unicodedata.category(character)
    if character == "\u200d" or (category in {"Mn", "Mc", "Me", "Sk"} and code > 0x7F):
        return _JOINER
    if any(first <= code <= last for first, last in _UNSPACED):
        return _ALONE
    return _WORD if category[0] in "LN" or character == "_" else _ALONE
