"""Which outputs of a brief can be expected to do alike: those that read alike, or mean the same.

Here: the outputs of a frame arranged by brief, with the likeness of their texts. Not here: what likeness means for
their true values (`posterior`), how alike two texts are in their letters (`similarity.text_similarity`), where vectors
come from (`embedding_features`).

In an archive of headline tests, true differences within a brief have a variance in proportion to 1 - similarity, and
nothing else found mattered beside it: not the brief's level, not its number of outputs. A prior that takes every pair
to differ equally is too sure of differences between near-duplicates and not sure enough of those between strangers.
The cosine of sentence embeddings told there what differs better than letters did, and the mean of both no better.
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

    Where the frame has a column `vector` (arrays of one length, NaN where a text has none), the texts of a brief that
    all have one are as alike as their vectors point the same way.
    A brief of s outputs costs s^2 comparisons and, later, s^3 operations.
    """
    brief = pd.factorize(frame["brief_id"])[0]
    order, size = np.argsort(brief, kind="stable"), np.bincount(brief)
    start = np.cumsum(size) - size
    texts = frame["text"].tolist() if "text" in frame else None
    vectors = np.stack(frame["vector"].tolist()) if "vector" in frame and len(frame) else None
    panels = []
    for number in np.unique(size):
        codes = np.flatnonzero(size == number)
        rows = order[start[codes][:, None] + np.arange(number)]
        likeness = np.tile(np.eye(number), (len(codes), 1, 1))
        if texts is not None and number > 1:
            likeness = PUBLICATION_SHARE * likeness + (1 - PUBLICATION_SHARE) * _similarities(texts, vectors, rows)
        panels.append(Panel(codes, rows, likeness))
    return panels


def evenly(briefs: int, limit: int) -> np.ndarray:
    """Codes of at most `limit` of the briefs, evenly over all of them, shape (at most limit,)."""
    return np.unique(np.linspace(0, briefs - 1, min(briefs, limit)).astype(int))


def _similarities(texts: list, vectors: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Of the outputs of each brief, shape (briefs, size, size): by vectors where all have one, else by letters."""
    similar = np.tile(np.eye(rows.shape[1]), (len(rows), 1, 1))
    told = np.zeros(len(rows), bool)
    if vectors is not None:
        found = vectors[rows].astype(np.float64)
        length = np.sqrt((found**2).sum(axis=2))
        told = (length > 0).all(axis=1)
        directions = found[told] / length[told][:, :, None]
        # Not `@`: BLAS may add in another order on another number of threads.
        similar[told] = np.einsum("bid,bjd->bij", directions, directions)
    for number in np.flatnonzero(~told):
        row = rows[number]
        for i, first in enumerate(row):
            for j, second in enumerate(row[:i]):
                similar[number, i, j] = similar[number, j, i] = _similarity(texts[first], texts[second])
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
