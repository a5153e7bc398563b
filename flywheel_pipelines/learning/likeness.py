"""Which outputs of a brief can be expected to do alike: those that read alike.

Here: the outputs of a frame arranged by brief, with the likeness of their texts. Not here: what likeness means for
their true values (`posterior`), how alike two texts are (`similarity.text_similarity`).

In an archive of headline tests, true differences within a brief have a variance in proportion to 1 - similarity, and
nothing else found mattered beside it: not the brief's level, not its number of outputs. A prior that takes every pair
to differ equally is too sure of differences between near-duplicates and not sure enough of those between strangers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from flywheel_pipelines.similarity import shingle_similarity, shingles_of

PUBLICATION_SHARE = 0.02
"""Variance that belongs to one publication of a text, not to its words: equal texts are not known to do equally well.
Small, because more was not found, and positive, so that outcomes can overrule the likeness of texts."""


@dataclass(frozen=True, eq=False)
class Panel:
    """All briefs with the same number of outputs, ready for stacked algebra.

    Attributes:
        brief: integer code of each brief, shape (briefs,).
        rows: position of each brief's outputs in the frame, shape (briefs, size).
        likeness: correlation of what is particular to each output, shape (briefs, size, size).
    """

    brief: np.ndarray
    rows: np.ndarray
    likeness: np.ndarray


def arrange(frame: pd.DataFrame) -> list[Panel]:
    """Panels of a frame with column brief_id, by size; without a column `text` no output is like another.

    A brief of s outputs costs s^2 comparisons and, later, s^3 operations.
    """
    brief = pd.factorize(frame["brief_id"])[0]
    order, size = np.argsort(brief, kind="stable"), np.bincount(brief)
    start = np.cumsum(size) - size
    texts = frame["text"].tolist() if "text" in frame else None
    panels = []
    for number in np.unique(size):
        codes = np.flatnonzero(size == number)
        rows = order[start[codes][:, None] + np.arange(number)]
        likeness = np.tile(np.eye(number), (len(codes), 1, 1))
        if texts is not None and number > 1:
            likeness = PUBLICATION_SHARE * likeness + (1 - PUBLICATION_SHARE) * _similarities(texts, rows)
        panels.append(Panel(codes, rows, likeness))
    return panels


def evenly(briefs: int, limit: int) -> np.ndarray:
    """Codes of at most `limit` of the briefs, evenly over all of them, shape (at most limit,)."""
    return np.unique(np.linspace(0, briefs - 1, min(briefs, limit)).astype(int))


def _similarities(texts: list, rows: np.ndarray) -> np.ndarray:
    similar = np.tile(np.eye(rows.shape[1]), (len(rows), 1, 1))
    for matrix, row in zip(similar, rows, strict=True):
        for i, first in enumerate(row):
            for j, second in enumerate(row[:i]):
                matrix[i, j] = matrix[j, i] = _similarity(texts[first], texts[second])
    return similar


# A close asks for the same pairs several times, and the next close again.
@lru_cache(maxsize=131_072)
def _similarity(first: object, second: object) -> float:
    """`similarity.text_similarity`, from parts that are kept; a missing text is like no other."""
    if not isinstance(first, str) or not isinstance(second, str):
        return 0.0
    return shingle_similarity(_text_shingles(first), _text_shingles(second))


@lru_cache(maxsize=65_536)
def _text_shingles(text: str) -> frozenset[str]:
    return shingles_of(text)
