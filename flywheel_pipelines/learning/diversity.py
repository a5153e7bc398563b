"""How unlike texts are: similarities by the thousand, choosing for relevance and diversity, distinct-n.

Here: numbers about texts. Not here: which texts may be chosen (`corpus`), what the numbers warn of (`collapse`), or
the similarity of two texts, of which this is the same measure (`flywheel_pipelines.similarity`).

The measure is that of near-duplicates, the cosine of sets of character trigrams, and not a TF-IDF cosine: a penalty for
being alike and a family of near-duplicates are then the same scale, a pair of texts is as alike in every cycle, and
nothing has to be fitted or kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from flywheel_pipelines.similarity import SHINGLE

GROUP = 5
"""Texts that distinct-n looks at in one go."""
_BITS = 21
"""Bits of a code point (at most 0x10FFFF), one more than it needs so that 0 can stand for nothing."""
_WORD = re.compile(r"\w+")


class TextVectors:
    """Texts as unit vectors over their trigrams, so that products are similarities."""

    def __init__(self, texts: Sequence[str]) -> None:
        """About 30 microseconds per text of 500 characters."""
        codes = [_trigrams(text) for text in texts]
        sizes = np.array([len(code) for code in codes], dtype=np.int64)
        columns, _ = pd.factorize(np.concatenate([np.empty(0, np.int64), *codes]))
        starts = np.concatenate([[0], np.cumsum(sizes)])
        shape = (len(texts), int(columns.max(initial=-1)) + 1)
        # Counts of shared trigrams are whole numbers, so that sums do not depend on their order.
        self._shared = sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape=shape)
        self._sizes = np.maximum(sizes, 1).astype(float)

    def similarities(self, row: int) -> np.ndarray:
        """`text_similarity` of every text to one of them, shape (texts,)."""
        shared = self._shared @ np.asarray(self._shared[[row]].todense()).ravel()
        return shared / np.sqrt(self._sizes * self._sizes[row])

    def mean_similarity(self, groups: Sequence[str], fewest: int = 1) -> float | None:
        """Mean `text_similarity` over all pairs of texts of one group; None with less than `fewest` such pairs.

        The sum over all pairs is the squared length of the sum of unit vectors, so this is linear in the texts.
        """
        codes, names = pd.factorize(np.asarray(groups, dtype=object))
        pairs, similar = 0.0, 0.0
        for code in range(len(names)):
            rows = np.flatnonzero(codes == code)
            total = self._shared[rows].T @ (1 / np.sqrt(self._sizes[rows]))
            pairs += len(rows) * (len(rows) - 1)
            similar += float(total @ total) - len(rows)
        return similar / pairs if pairs >= max(1, 2 * fewest) else None


def choose_diverse(
    relevance: Sequence[float],
    vectors: TextVectors,
    *,
    diversity: float,
    size: int,
    near_duplicate: float,
    groups: Sequence[str],
    per_group: int,
    chosen: Sequence[int] = (),
) -> tuple[list[int], dict[int, float], dict[int, int]]:
    """Maximal marginal relevance: each next one is relevant, and unlike those chosen before.

    The next is the one with the largest (1 - diversity) * relevance - diversity * (largest similarity to a chosen one)
    (J. Carbonell and J. Goldstein, The use of MMR, diversity-based reranking, SIGIR 1998; lambda = 1 - diversity).
    Of near-duplicates only one is chosen, the most relevant whose group has room. Each choice compares all candidates
    with one text, so thousands of candidates and dozens of choices take tenths of a second.

    Args:
        relevance: of each candidate, about 0 to 1, best first; earlier ones win ties.
        vectors: their texts.
        diversity: 0 goes by relevance alone.
        size: how many to choose at most, those in `chosen` included.
        near_duplicate: similarity from which two candidates are one family.
        groups: the group of each candidate.
        per_group: most of one group.
        chosen: candidates that are in already, whatever their relevance, similarity and group; they count for the rest.

    Returns:
        The chosen, in order; the similarity of each to the nearest chosen before it; and of the others that are
        near-duplicates of a chosen one, the first such.
    """
    n = len(relevance)
    value, order = np.asarray(relevance, dtype=float), np.arange(n)
    group, names = pd.factorize(np.asarray(groups, dtype=object))
    room = np.full(len(names), per_group)
    nearest, taken, in_family = np.zeros(n), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    family_of: dict[int, int] = {}
    picked: list[int] = []
    likeness: dict[int, float] = {}

    def take(one: int) -> None:
        likeness[one] = float(nearest[one])
        picked.append(one)
        taken[one] = True
        room[group[one]] -= 1
        similar = vectors.similarities(one)
        # A text shares everything with its equal, whatever rounding says.
        alike = similar >= near_duplicate - 1e-12
        for other in order[alike & ~taken & ~in_family]:
            family_of[int(other)] = one
        in_family[alike] = True
        np.maximum(nearest, similar, out=nearest)

    for one in chosen:
        take(one)
        family_of.pop(one, None)
    while len(picked) < size:
        open_ones = ~taken & ~in_family & (room[group] > 0)
        if not open_ones.any():
            break
        score = np.where(open_ones, (1 - diversity) * value - diversity * nearest, -np.inf)
        best = int(np.argmax(score))
        # What is unlike the rest may win by it over its own better twin; the best of a family stays.
        twins = order[open_ones & (vectors.similarities(best) >= near_duplicate - 1e-12)]
        take(int(twins[0]))
    return picked, likeness, family_of


def distinct_n(texts: Sequence[str], n: int, group: int = GROUP) -> float | None:
    """Distinct n-grams of words over n-grams (J. Li et al., A diversity-promoting objective function, NAACL 2016).

    The plain ratio falls with the number of texts, so that more of them look less diverse. It is taken here over groups
    of as many texts in a row, and averaged over the groups; what is left over at the end is not looked at.

    Returns:
        0 to 1, or None with less than one group of texts, or without any n-gram.
    """
    counted = [_ngrams(text, n) for text in texts]
    groups = [counted[start : start + group] for start in range(0, len(counted) - group + 1, group)]
    ratios = [len(set().union(*part)) / total for part in groups if (total := sum(map(len, part)))]
    return sum(ratios) / len(ratios) if ratios else None


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def _trigrams(text: str) -> np.ndarray:
    """`similarity.shingles_of` as numbers: distinct trigrams of code points, each in 63 bits."""
    plain = f" {' '.join(unicodedata.normalize('NFKC', text).casefold().split())} "
    points = np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64) + 1
    points = np.pad(points, (0, max(0, SHINGLE - len(points))))
    first, second, third = points[:-2], points[1:-1], points[2:]
    return np.unique((first << (2 * _BITS)) | (second << _BITS) | third)
