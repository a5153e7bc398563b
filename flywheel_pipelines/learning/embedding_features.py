"""Sentence embeddings as features of the scoring model: which vector belongs to which text.

Here: the hash that texts and vectors meet by, the rounding that makes vectors facts, `TextVectors` (vectors as they
were stored), and centring. Not here: computing vectors (`llm`), when that is done and where they are kept
(`loop.embedding`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DECIMALS = 4
"""Of each component of a vector of unit length. Processors differ from the seventh on."""


def text_hash(text: str) -> str:
    """sha256 of the text's UTF-8 bytes, in hexadecimal. Half a surrogate pair, which is no text, is hashed as it is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def rounded(vectors: np.ndarray) -> np.ndarray:
    """Vectors as they are stored: of unit length, float32, rounded to DECIMALS; shape (n, dimensions) as given.

    Endpoints differ in whether they return unit vectors; a row of zeros stays one.
    """
    wide = vectors.astype(np.float64)
    length = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    # Adding zero makes 0.0 of -0.0: equal numbers should be equal bytes.
    return (np.round(wide / np.where(length > 0, length, 1.0), DECIMALS) + 0.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class TextVectors:
    """The stored vectors of one embedding model: `values` has shape (n, dimensions), float32, a row per hash."""

    model: str
    hashes: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def from_rows(cls, rows: pa.Table, model: str) -> TextVectors:
        """Those of one model among rows of `text_embeddings` with `cycle`.

        The earliest counts where a text has several. So do the dimensions of the earliest: vectors of other lengths
        cannot be compared with them and are left out.
        """
        rows = rows.filter(pc.field("embedding_model") == model)
        rows = rows.sort_by([(name, "ascending") for name in ("cycle", "recorded_at", "text_hash")])
        if rows.num_rows:
            lengths = np.diff(rows["vector"].combine_chunks().offsets.to_numpy())
            rows = rows.filter(pa.array(lengths == lengths[0]))
        position: dict[str, int] = {}
        for row, name in enumerate(rows["text_hash"].to_pylist()):
            position.setdefault(name, row)
        flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        values = flat.reshape(rows.num_rows, -1) if rows.num_rows else np.zeros((0, 0), np.float32)
        return cls(model, tuple(position), values[list(position.values())])

    @property
    def dimensions(self) -> int:
        """Length of a vector; 0 where there are none."""
        return int(self.values.shape[1])

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """The vector of each text, shape (n texts, dimensions), float32; a row of NaN where there is none."""
        index = {name: row for row, name in enumerate(self.hashes)}
        found = np.array([index.get(text_hash(text), -1) for text in texts], dtype=np.int64)
        vectors = np.full((len(texts), self.dimensions), np.nan, np.float32)
        vectors[found >= 0] = self.values[found[found >= 0]]
        return vectors


def centre_of(vectors: np.ndarray) -> np.ndarray:
    """Mean of the rows that are there, float32, shape (dimensions,); zeros where none is."""
    known = vectors[np.isfinite(vectors).all(axis=1)].astype(np.float64)
    return (known.sum(axis=0) / max(len(known), 1)).astype(np.float32)


def centred(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Deviations from the centre, float64; zeros, which is the mean, for a text without a vector."""
    return np.nan_to_num(vectors.astype(np.float64) - centre.astype(np.float64), nan=0.0)
