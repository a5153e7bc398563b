"""Near-copies among outputs, and of references.

Here: comparing thousands of texts at once, by the measure of `similarity`. Not here: what happens to a copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

from flywheel_pipelines.prompt_text import Reference
from flywheel_pipelines.similarity import shingles_of

_CHUNK = 256
_COMMON = 0.1
"""Share of texts from which a trigram counts as common."""
_PAIRS_AT_ONCE = 10_000
_MANY = 0.05
"""Share of pairs from which comparing all of them is cheaper than comparing candidates one by one."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Copied:
    """What an output is a near-copy of, and how alike they are (0 to 1)."""

    of: Literal["reference", "output"]
    id: str
    similarity: float


def near_copies(
    outputs: Sequence[Mapping[str, Any]],
    references: Sequence[Reference],
    threshold: float,
    *,
    may_stay: Sequence[bool] | None = None,
) -> list[Copied | None]:
    """For each output the reference or the earlier output that it is too much like; None where it stands for itself.

    Two texts are alike when their `text_similarity` is at least `threshold`. Of outputs that are alike the first in the
    order of their ids stays, and only one that stays makes copies of others, so that a family of copies always keeps
    one member. Outputs of the same brief for different arms are answers to the same question and never copies of each
    other: blocking one of them would leave the comparison of the arms with a hole.

    Args:
        outputs: rows with output_id, brief_id, arm and text.
        references: what they may have been copied from.
        threshold: between 0 and 1.
        may_stay: False where another rule blocks an output already; it makes no copies of others then.
    """
    count = len(outputs)
    order = sorted(range(count), key=lambda position: str(outputs[position]["output_id"]))
    texts = [str(outputs[position]["text"]) for position in order]
    rows = _rows_of([*texts, *(reference.text for reference in references)])
    own, of_references = rows.take(slice(0, count)), rows.take(slice(count, None))
    found: list[Copied | None] = [None] * count
    kept: list[int] = []
    for start in range(0, count, _CHUNK):
        chunk = own.take(slice(start, start + _CHUNK))
        by_reference = _likest(chunk, of_references, threshold)
        like_kept = _alike(chunk, own.take(kept), threshold)
        like_chunk = _alike(chunk, chunk, threshold)
        before = list(kept)
        for offset in range(chunk.count):
            here = order[start + offset]
            if offset in by_reference:
                reference, similarity = by_reference[offset]
                found[here] = Copied("reference", references[reference].reference_id, similarity)
                continue
            earlier = [(before[column], value) for column, value in like_kept.get(offset, [])]
            earlier += [
                (start + column, value)
                for column, value in like_chunk.get(offset, [])
                if column < offset and start + column in kept[len(before) :]
            ]
            found[here] = _first_rival(outputs, order, here, earlier)
            if found[here] is None and (may_stay is None or may_stay[here]):
                kept.append(start + offset)
    return found


def _first_rival(
    outputs: Sequence[Mapping[str, Any]], order: Sequence[int], here: int, earlier: Sequence[tuple[int, float]]
) -> Copied | None:
    mine = outputs[here]
    for position, value in sorted(earlier):
        rival = outputs[order[position]]
        if rival["brief_id"] == mine["brief_id"] and rival["arm"] != mine["arm"]:
            continue
        return Copied("output", str(rival["output_id"]), value)
    return None


@dataclass(frozen=True)
class _Rows:
    """Texts as sparse rows over their trigrams.

    `units` has rows of length 1, so that the product of two is their `text_similarity`. That product spends nearly all
    its time on trigrams that are everywhere, so `rare` leaves those out; `sizes` and `n_common` (how many trigrams a
    text has, and how many of them are common) bound what those could add: at most the smaller n_common of the two. Only
    pairs that the bound lets through are compared in full; the result is exact.
    """

    units: Any
    rare: Any
    sizes: np.ndarray
    n_common: np.ndarray

    def take(self, which: Any) -> _Rows:
        return _Rows(self.units[which], self.rare[which], self.sizes[which], self.n_common[which])

    @property
    def count(self) -> int:
        return len(self.sizes)


def _rows_of(texts: Sequence[str]) -> _Rows:
    shingles = [shingles_of(text) for text in texts]
    frequency = Counter(shingle for row in shingles for shingle in row)
    column_of = {shingle: column for column, shingle in enumerate(sorted(frequency))}
    is_common = {shingle for shingle, count in frequency.items() if count > _COMMON * len(texts)}
    rare_columns = [sorted(column_of[shingle] for shingle in row - is_common) for row in shingles]
    sizes = np.array([len(row) for row in shingles], dtype=np.int64)
    return _Rows(
        _matrix([sorted(map(column_of.__getitem__, row)) for row in shingles], sizes, len(column_of)),
        _matrix(rare_columns, sizes, len(column_of)),
        sizes,
        sizes - np.array([len(row) for row in rare_columns], dtype=np.int64),
    )


def _matrix(columns: Sequence[Sequence[int]], sizes: np.ndarray, width: int) -> Any:
    counts = np.array([len(row) for row in columns], dtype=np.int64)
    indices = np.fromiter((column for row in columns for column in row), dtype=np.int32, count=int(counts.sum()))
    values = np.repeat(1 / np.sqrt(sizes), counts)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((values, indices, pointers), shape=(len(columns), max(1, width)))


def _alike(rows: _Rows, others: _Rows, threshold: float) -> dict[int, list[tuple[int, float]]]:
    """Per row the others that it is alike, with how much."""
    alike: dict[int, list[tuple[int, float]]] = {}
    if not rows.count or not others.count:
        return alike
    could_add = np.minimum.outer(rows.n_common, others.n_common) / np.sqrt(np.outer(rows.sizes, others.sizes))
    bound = (rows.rare @ others.rare.T).toarray() + could_add
    here, there = np.nonzero(bound >= threshold - _ROUNDING)
    if len(here) > _MANY * bound.size:
        values = (rows.units @ others.units.T).toarray()[here, there]
    else:
        pieces = [slice(start, start + _PAIRS_AT_ONCE) for start in range(0, len(here), _PAIRS_AT_ONCE)]
        dots = [rows.units[here[at]].multiply(others.units[there[at]]).sum(axis=1).A1 for at in pieces]
        values = np.concatenate(dots) if dots else np.empty(0)
    for index in np.flatnonzero(values >= threshold - _ROUNDING):
        alike.setdefault(int(here[index]), []).append((int(there[index]), float(values[index])))
    return alike


def _likest(rows: _Rows, others: _Rows, threshold: float) -> dict[int, tuple[int, float]]:
    """Per row the one it is most alike, if any is alike enough; of equals the first."""
    found = _alike(rows, others, threshold)
    return {row: max(alike, key=lambda pair: (round(pair[1], 9), -pair[0])) for row, alike in found.items()}
