"""Outcomes that depend on what texts mean and on none of their words: only vectors can tell."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.embedding_features import TextVectors, rounded, text_hash

AS_OF = date(2026, 6, 1)
DIMENSIONS = 16
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def meanings(n_briefs: int = 150, seed: int = 0, effect: float = 0.4) -> tuple[pd.DataFrame, TextVectors]:
    """Three outputs a brief, of random letters; the first component of a text's vector moves its value."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(n_briefs * 3, DIMENSIONS))
    vectors = rounded(raw)
    texts = ["".join(rng.choice(list(LETTERS), 12)) for _ in range(len(raw))]
    level = np.repeat(0.02 * np.exp(rng.normal(0, 0.4, n_briefs)), 3)
    value = level * np.exp(effect * np.sqrt(DIMENSIONS) * vectors[:, 0] + rng.normal(0, 0.15, len(raw)))
    number = np.repeat(np.arange(n_briefs), 3)
    training = pd.DataFrame(
        {
            "brief_id": [f"b{one}" for one in number],
            "segment": "all",
            "text": texts,
            "cycle": [AS_OF - timedelta(weeks=1 + int(n_briefs - 1 - one) // 6) for one in number],
            "value": value,
            "variance": (0.1 * level) ** 2,
        }
    )
    return training, TextVectors("m", tuple(map(text_hash, texts)), vectors)


def of_other_texts(vectors: TextVectors, seed: int = 0) -> TextVectors:
    """The control: the same vectors, handed out at random."""
    order = np.random.default_rng(seed).permutation(len(vectors.hashes))
    return TextVectors(vectors.model, vectors.hashes, vectors.values[order])
