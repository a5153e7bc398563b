"""Which outputs of a brief can be expected to do alike: those that read alike.

Here: the outputs of a frame arranged by brief, with the likeness of their texts. Not here: what likeness means for
their true values (`posterior`), how alike two texts are (`corpus.text_similarity`).

In an archive of headline tests, true differences within a brief have a variance in proportion to 1 - similarity, and
nothing else found mattered beside it: not the brief's level, not its number of outputs. A prior that takes every pair
to differ equally is too sure of differences between near-duplicates and not sure enough of those between strangers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.corpus import _cosine, _shingles

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


def _similarities(texts: list, rows: np.ndarray) -> np.ndarray:
    similar = np.tile(np.eye(rows.shape[1]), (len(rows), 1, 1))
    for matrix, row in zip(similar, rows, strict=True):
        sets = [_text_shingles(texts[position]) for position in row]
        for i, first in enumerate(sets):
            for j in range(i):
                if first and sets[j]:
                    matrix[i, j] = matrix[j, i] = _cosine(first, sets[j])
    return similar


@lru_cache(maxsize=65_536)
def _text_shingles(text: object) -> frozenset[str]:
    """Shingles of a text; none for a missing one, which is like no other."""
    return _shingles(text) if isinstance(text, str) else frozenset()
