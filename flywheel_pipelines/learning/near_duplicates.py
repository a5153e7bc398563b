"""Finding the near-duplicates of a text among many, without comparing it with each of them.

Here: the index. Not here: the measure (`similarity`), and what is done with what is found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from flywheel_pipelines.similarity import shingle_similarity, shingles_of


class NearDuplicateIndex:
    """Texts added so far, each under a key; finds the keys of those that are nearly a given text.

    Exact for a threshold t > 0: |A and B| / sqrt(|A| |B|) >= t implies an overlap of at least t^2 |A|, so two such
    texts share one of the first |A| - ceil(t^2 |A|) + 1 trigrams of either in any order of trigrams that all texts have
    in common (prefix filtering; Chaudhuri, Ganti and Kaushik, ICDE 2006). The rarest come first, so that few share
    one. Finding costs what the few candidates cost, where comparing with all of ten thousand texts would take a second.
    """

    def __init__(self, threshold: float, texts: Iterable[str]) -> None:
        """`threshold`: 0 to 1, above 0. `texts`: what will be looked up or added; they say which trigrams are rare."""
        self._threshold = threshold
        self._frequency = Counter(shingle for text in texts for shingle in shingles_of(text))
        self._holders: dict[str, list[int]] = {}
        self._known: list[tuple[str, frozenset[str]]] = []

    def add(self, key: str, text: str) -> None:
        """Remember a text; one key may have several."""
        shingles = shingles_of(text)
        for shingle in self._prefix(shingles):
            self._holders.setdefault(shingle, []).append(len(self._known))
        self._known.append((key, shingles))

    def find(self, text: str) -> set[str]:
        """The keys of all texts added so far whose `text_similarity` to this one is at least the threshold."""
        shingles = shingles_of(text)
        candidates = {holder for shingle in self._prefix(shingles) for holder in self._holders.get(shingle, ())}
        return {
            key
            for key, other in (self._known[candidate] for candidate in sorted(candidates))
            if shingle_similarity(shingles, other) >= self._threshold
        }

    def _prefix(self, shingles: frozenset[str]) -> list[str]:
        # A hair below t^2, so that rounding never makes the overlap that is needed one too many.
        needed = max(1, math.ceil(self._threshold**2 * len(shingles) * (1 - 1e-9)))
        rarest = sorted(shingles, key=lambda shingle: (self._frequency[shingle], shingle))
        return rarest[: len(shingles) - needed + 1]
