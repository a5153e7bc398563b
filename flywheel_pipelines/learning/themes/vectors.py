"""Texts of tickets as vectors of unit length, so that a product of two is their cosine.

Here: hashed words and their stems, with weights by how rare they are (TF-IDF), and sentence embeddings that somebody
computed. Not here: computing those (`llm`), or where they are kept (`loop.insight.embedding`).

A stem is a word's first letters, which needs no knowledge of the language (P. McNamee, C. Nicholas, J. Mayfield, SIGIR
2009, compare it with others). Tickets are short, and two about one matter often share "suspend" and
"suspended" alone. Pairs of words, which these took the place of, seldom come twice and made every text less like
every other one.

A vector depends on its own text and on the background alone, never on the other tickets of its cycle: a batch that is
late changes no vector of a ticket that was there before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from flywheel_pipelines.learning.embedding_features import TextVectors, centre_of, text_hash

N_FEATURES = 2**18
"""Columns that words and stems are hashed to. With 100,000 distinct terms one in three shares its column."""
STEM = 5
"""Letters of a word that are its stem; what is no longer is its own."""
_WORD = re.compile(r"\b\w\w+\b")
_PLACEHOLDER = re.compile(r"\[[a-z -]+\]|<[a-z]+>|@\w+|https?://\S+")
Vectorise = Callable[[Sequence[str]], Any]
"""Texts to rows of unit length: a dense array or a sparse matrix."""


@dataclass(frozen=True)
class WordVectors:
    """TF-IDF of words and stems, with the rarity of each as the background has it."""

    rarity: np.ndarray

    @classmethod
    def of_background(cls, texts: Sequence[str]) -> WordVectors:
        """Weights ln((1 + n) / (1 + df)) + 1 over the background texts, as scikit-learn smooths them."""
        counts = _counted(texts)
        frequency = np.bincount(counts.indices, minlength=N_FEATURES)
        return cls(np.log((1 + counts.shape[0]) / (1 + frequency)) + 1)

    def __call__(self, texts: Sequence[str]) -> Any:
        """One row per text, of unit length; a text without words gives a row of zeros."""
        rows = _counted(texts)
        rows.data = (1 + np.log(rows.data)) * self.rarity[rows.indices]
        return unit_length(rows)


class EmbeddedTexts:
    """Sentence embeddings that are there already, less what the background has in common.

    Embeddings of any two texts are alike, since all share a direction; without their mean, unlike texts have a cosine
    near zero (J. Mu, P. Viswanath, ICLR 2018), as they have by words, and the same levels hold.
    """

    def __init__(self, vectors: TextVectors, background: Sequence[str]) -> None:
        """`background` are the texts whose mean is taken away."""
        self._values = vectors.values
        self._places = {name: at for at, name in enumerate(vectors.hashes)}
        self._centre = centre_of(self._found(background)) if background else np.float32(0)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """One row per text, of unit length; a text without an embedding gives a row of zeros."""
        return unit_length(np.nan_to_num(self._found(texts) - self._centre))

    def _found(self, texts: Sequence[str]) -> np.ndarray:
        places = np.array([self._places.get(text_hash(text), -1) for text in texts], int)
        rows = np.full((len(texts), self._values.shape[1]), np.nan, np.float64)
        rows[places >= 0] = self._values[places[places >= 0]]
        return rows


def unit_length(rows: Any) -> Any:
    """Rows scaled to length 1; those of zeros stay."""
    from sklearn.preprocessing import normalize

    return normalize(rows, copy=False)


def similarities(rows: Any, others: Any) -> np.ndarray:
    """Cosines of every row with every other, as a dense array."""
    product = rows @ others.T
    return np.asarray(product.todense()) if sparse.issparse(product) else np.asarray(product)


def sums_by(rows: Any, groups: np.ndarray, n_groups: int) -> Any:
    """Sum of the rows of each group; `groups` holds each row's group, from 0."""
    chooser = sparse.csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(n_groups, len(groups)))
    return chooser @ rows


def _counted(texts: Sequence[str]) -> Any:
    # Here and not above: scikit-learn takes half a second to import.
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, HashingVectorizer

    def terms(text: str) -> list[str]:
        words = [word for word in _WORD.findall(_PLACEHOLDER.sub(" ", text).lower()) if word not in ENGLISH_STOP_WORDS]
        # A mark of its own: the stem "login" is another column than the word.
        return words + ["-" + word[:STEM] for word in words]

    settings: dict[str, Any] = {"analyzer": terms, "alternate_sign": False, "norm": None, "dtype": np.float64}
    counter: Any = HashingVectorizer(n_features=N_FEATURES, **settings)
    return counter.transform(texts).tocsr()
