"""How alike two texts are.

Here: one measure, used for near-duplicates in the corpus and for what texts of a brief are expected to share. Not here:
what is done with it (`corpus`, `likeness`).
"""

from __future__ import annotations

import math
import unicodedata

SHINGLE = 3


def text_similarity(first: str, second: str) -> float:
    """How alike two texts are, 0 to 1: the cosine of their sets of character trigrams.

    |A and B| / sqrt(|A| |B|), the Ochiai coefficient (A. Ochiai, Bull. Jap. Soc. Sci. Fish. 22, 1957), blind to case,
    width and spacing.
    """
    return shingle_similarity(shingles_of(first), shingles_of(second))


def shingles_of(text: str) -> frozenset[str]:
    """The character trigrams of a text, ends included; never empty."""
    plain = f" {' '.join(unicodedata.normalize('NFKC', text).casefold().split())} "
    return frozenset(plain[start : start + SHINGLE] for start in range(max(1, len(plain) - SHINGLE + 1)))


def shingle_similarity(first: frozenset[str], second: frozenset[str]) -> float:
    """`text_similarity` of two texts given as their trigrams."""
    return len(first & second) / math.sqrt(len(first) * len(second))
