"""The algebra of the scoring model: relative outcomes, variance components, and the solution of the mixed model.

Here: `prepare` (a frame of outcomes as arrays, with the two variances by moments), `design` (features of the texts) and
`text_weights` (the best linear unbiased prediction of what the features do). Not here: which outcomes to learn from,
whether the result has any skill, how it is stored; that is `text_model`.

All sums run over sparse matrices and `bincount`, in a fixed order whatever the number of threads: the same outcomes
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from flywheel_pipelines.learning.embedding_features import centre_of, centred
from flywheel_pipelines.learning.text_features import STYLE_FEATURES, Doc, TermBlock, style_matrix

TEXT_SHARE = 0.7
"""Prior variance of the text's effect, as a share of the true variance within a brief, for each whole of
VARIANCE_SHARES. Picking it by hold-out in every cycle was tried and dropped: the optimum is flat, the pick is noise."""
VARIANCE_SHARES = {"words": 1 / 3, "chars": 1 / 3, "segment_words": 1 / 3, "style": 1 / 6, "embedding": 1 / 3}
"""How the families of features share it. An embedding is one more view of the whole text, so it gets what words get."""
SAME_TEXT_SHARE, REST_SHARE = 0.4, 0.3
"""Variance of what a text does beyond its features, and of what one publication of it does, in the same unit."""
WITHIN_SHARE = 0.75
"""Of the true variance of outputs that are alone in their briefs, net of segment and cycle: how much is taken to lie
between outputs and not between briefs. The two cannot be told apart there but through texts that are alike, which takes
many more briefs than a year has. On simulated flywheels (20 briefs a week, three candidates each) choices by the model
gained the same anywhere from a half to all of it, within the noise of the comparison."""


@dataclass(frozen=True, eq=False)
class Level:
    """What outputs of a segment, or of a cycle, have in common: a code per output, and the variance between codes."""

    codes: np.ndarray
    variance: float


@dataclass(frozen=True, eq=False)
class Window:
    """The training window, ready for algebra: one row per output, one document per distinct (segment, text).

    `levels` are segments and cycles where briefs offered no choice; a comparison within briefs needs none.
    """

    y: np.ndarray
    variance: np.ndarray
    brief: np.ndarray
    cycle: np.ndarray
    document: np.ndarray
    docs: list[Doc]
    within: float
    between: float
    scale: Literal["log", "linear"]
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True, eq=False)
class Design:
    """Features of the distinct documents, scaled so that every column has the same prior variance."""

    matrix: sparse.csr_matrix
    blocks: tuple[TermBlock, ...]
    centre: np.ndarray
    spread: np.ndarray
    embedding_centre: np.ndarray

    @property
    def columns(self) -> dict[str, slice]:
        """Where each family of features stands in the matrix."""
        sizes = {block.kind: len(block.terms) for block in self.blocks}
        sizes |= {"style": len(STYLE_FEATURES), "embedding": len(self.embedding_centre)}
        found, start = {}, 0
        for kind, size in sizes.items():
            if size:
                found[kind] = slice(start, start + size)
            start += size
        return found

    @property
    def prior(self) -> float:
        """Prior variance of a text's effect, as a multiple of the share that its families have a part in."""
        return sum(VARIANCE_SHARES[kind] for kind in self.columns if kind != "segment_words")

    def without_embedding(self) -> Design:
        """The same features but for the embedding."""
        size, nothing = self.columns["style"].stop, self.embedding_centre[:0]
        return Design(self.matrix[:, :size], self.blocks, self.centre, self.spread, nothing)


def prepare(window: pd.DataFrame, *, by_choice: bool = True) -> Window:
    """Relative outcomes with their sampling variances, integer codes, and the variances by moments.

    Without choices (`by_choice` false) the variance within briefs is WITHIN_SHARE of what segments and cycles leave.
    """
    value = window["value"].to_numpy(float)
    noise = window["variance"].to_numpy(float)
    known = noise > 0
    noise = np.where(known, noise, np.median(noise[known]) if known.any() else max(value.var(), 1e-12))
    brief = pd.factorize(window["brief_id"])[0]
    weight, prior = 1 / noise, 1 / np.median(noise)
    overall = np.average(value, weights=weight)
    # Where chance moves an outcome by more than its mean, as a lead that buys or does not, a logarithm says nothing.
    if (value >= 0).all() and value.any() and prior * overall**2 >= 1:
        # One pseudo-output at the overall mean keeps the mean of a brief without any success above zero.
        mean = (np.bincount(brief, weight * value) + prior * overall) / (np.bincount(brief, weight) + prior)
        variance = noise / mean[brief] ** 2
        # E ln X is about ln m - var/(2 m^2); adding var/(2m) first removes the bias and keeps zeros finite.
        y = np.log(value + noise / (2 * mean[brief]))
        scale: Literal["log", "linear"] = "log"
    else:
        spread = value.std() or 1.0
        y, variance, scale = value / spread, noise / spread**2, "linear"
    y = y - np.average(y, weights=1 / (variance + np.median(variance)))
    levels: tuple[Level, ...] = ()
    if by_choice:
        within, between = _variances(y, variance, brief)
    else:
        within, between, levels = _variances_between(y, variance, (window["segment"], window["cycle"]))
    keys = list(zip(window["segment"].astype(str), window["text"].astype(str), strict=True))
    document, docs = pd.factorize(pd.Series(keys, dtype=object))
    cycle = window["cycle"].to_numpy()
    return Window(y, variance, brief, cycle, document, list(docs), within, between, scale, levels)


def _variances(y: np.ndarray, variance: np.ndarray, brief: np.ndarray) -> tuple[float, float]:
    """True variance within briefs and between brief means, by moments (as DerSimonian and Laird 1986), both > 0.

    Briefs are weighted by the inverse square of their noise, so a handful of outputs that hardly anybody saw does not
    decide the estimate. Floors of 2% and 10% of the typical noise keep the equations solvable.
    """
    size = np.bincount(brief)
    mean, noise = np.bincount(brief, y) / size, np.bincount(brief, variance) / size
    typical = float(np.median(variance))
    weight = 1 / (noise + typical) ** 2
    squares = np.bincount(brief, (y - mean[brief]) ** 2)
    within = float((weight * (squares - (size - 1) * noise)).sum() / max((weight * (size - 1)).sum(), 1e-300))
    within = max(within, 0.02 * typical)
    centre = np.average(mean, weights=weight)
    between = float(np.average((mean - centre) ** 2 - (within + noise) / size, weights=weight))
    return within, max(between, 0.1 * typical)


def _variances_between(
    y: np.ndarray, variance: np.ndarray, groupings: Sequence[pd.Series]
) -> tuple[float, float, tuple[Level, ...]]:
    """True variance within and between briefs that have one output, and between the groups they belong to.

    The means of groups vary by more than their own uncertainty explains (DerSimonian and Laird 1986); that much is the
    groups', and what is left of the true variance of outputs is split by WITHIN_SHARE. Floors as in `_variances`.
    """
    typical = float(np.median(variance))
    weight = 1 / (variance + typical) ** 2
    total = float(np.average((y - np.average(y, weights=weight)) ** 2 - variance, weights=weight))
    total = max(total, 0.1 * typical)
    levels = []
    for grouping in groupings:
        codes = pd.factorize(grouping)[0]
        precision = np.bincount(codes, 1 / (variance + total))
        mean = np.bincount(codes, y / (variance + total)) / precision
        excess = (mean - np.average(mean, weights=precision)) ** 2 - 1 / precision
        levels.append(Level(codes, max(float(np.average(excess, weights=precision**2)), 0.0)))
    rest = max(total - sum(level.variance for level in levels), 0.1 * typical)
    return WITHIN_SHARE * rest, (1 - WITHIN_SHARE) * rest, tuple(levels)


def design(docs: list[Doc], vectors: np.ndarray | None = None) -> Design:
    """Vocabularies, style and embedding of the distinct documents, with columns scaled to their prior variances.

    `vectors` are the sentence embeddings of the documents, shape (n docs, dimensions), NaN where there is none; None
    goes without.
    """
    vectors = np.zeros((len(docs), 0), np.float32) if vectors is None else vectors.astype(np.float32)
    return _design(tuple(docs), vectors.tobytes(), vectors.shape[1])


# Late feedback closes the last cycles again: other outcomes of the same documents.
@lru_cache(maxsize=4)
def _design(docs: tuple[Doc, ...], vectors: bytes, dimensions: int) -> Design:
    kinds = ["words", "chars"] + (["segment_words"] if len({segment for segment, _ in docs}) > 1 else [])
    fitted = (TermBlock.fit(kind, docs, min_docs=3 if kind == "chars" else 2, max_terms=40_000) for kind in kinds)
    # A family without a single term would leave no row behind, and so not come back from the lake.
    blocks = tuple(block for block in fitted if block.terms)
    raw = style_matrix([text for _, text in docs])
    centre, spread = raw.mean(axis=0).astype(np.float32), raw.std(axis=0).astype(np.float32)
    style = standardised([text for _, text in docs], centre, spread)
    parts = [block.transform(docs) * VARIANCE_SHARES[block.kind] ** 0.5 for block in blocks]
    # Sparse although they are dense: sparse products add in a fixed order whatever the number of threads.
    parts.append(sparse.csr_matrix(style * (VARIANCE_SHARES["style"] / style.shape[1]) ** 0.5))
    embedded = np.frombuffer(vectors, np.float32).reshape(len(docs), dimensions)
    embedding_centre = centre_of(embedded)
    if dimensions:
        # Vectors have unit length, as rows of terms have: the coefficients of both have the same prior variance.
        parts.append(sparse.csr_matrix(centred(embedded, embedding_centre) * VARIANCE_SHARES["embedding"] ** 0.5))
    return Design(sparse.csr_matrix(sparse.hstack(parts)), blocks, centre, spread, embedding_centre)


def standardised(texts: Sequence[str], centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Style features in standard deviations, at most 4 either way, shape (n texts, n features); 0 where none vary."""
    spread = spread.astype(np.float64)
    usable = spread > 1e-9
    standard = (style_matrix(texts) - centre.astype(np.float64)) / np.where(usable, spread, 1.0)
    return np.clip(standard, -4, 4) * usable


def _solve(data: Window, design: Design, rows: np.ndarray) -> np.ndarray:
    """Feature weights (for `design.matrix`) given the outcomes of `rows`, by preconditioned conjugate gradients.

    Solves V a = y with V = brief + text + same text + rest, then weights = text variance * Z'a. The preconditioner
    inverts the brief blocks exactly (Sherman and Morrison), which leaves a well-conditioned rest.
    """
    y, document = data.y[rows], data.document[rows]
    brief = pd.factorize(data.brief[rows])[0]
    n_docs, text = len(data.docs), TEXT_SHARE * data.within
    same = SAME_TEXT_SHARE * data.within
    diagonal = data.variance[rows] + REST_SHARE * data.within
    levels = [(level.codes[rows], level.variance) for level in data.levels]
    features, transposed = design.matrix, sparse.csr_matrix(design.matrix.T)

    def times(x: np.ndarray) -> np.ndarray:
        per_doc = np.bincount(document, x, minlength=n_docs)
        per_doc = text * (features @ (transposed @ per_doc)) + same * per_doc
        image = per_doc[document] + data.between * np.bincount(brief, x)[brief] + diagonal * x
        for codes, spread in levels:
            image = image + spread * np.bincount(codes, x)[codes]
        return image

    inverse = 1 / (diagonal + same + text * design.prior)
    shrink = data.between / (1 + data.between * np.bincount(brief, inverse))

    def precondition(r: np.ndarray) -> np.ndarray:
        scaled = inverse * r
        return scaled - inverse * (shrink * np.bincount(brief, scaled))[brief]

    solution, residual = np.zeros_like(y), y.copy()
    step = precondition(residual)
    size = start = (residual * step).sum()
    for _ in range(200):
        if size <= 1e-12 * start or size == 0:
            break
        image = times(step)
        rate = size / (step * image).sum()
        solution += rate * step
        residual -= rate * image
        conditioned = precondition(residual)
        size, last = (residual * conditioned).sum(), size
        step = conditioned + (size / last) * step
    return np.asarray(text * (transposed @ np.bincount(document, solution, minlength=n_docs)))


def unscaled(design: Design, weights: np.ndarray) -> dict[str, Any]:
    """Weights of the scaled design back on the features themselves, as float32 rounded to six decimals."""

    def of(kind: str, per: int = 1) -> np.ndarray:
        part = weights[design.columns.get(kind, slice(0, 0))] * (VARIANCE_SHARES[kind] / per) ** 0.5
        return np.round(part, 6).astype(np.float32)

    return {
        "blocks": design.blocks,
        "coefficients": tuple(of(block.kind) for block in design.blocks),
        "style_centre": design.centre,
        "style_scale": design.spread,
        "style_coefficients": of("style", len(STYLE_FEATURES)),
        "embedding_centre": design.embedding_centre,
        "embedding_coefficients": of("embedding"),
    }


def text_weights(data: Window, design: Design, rows: np.ndarray) -> np.ndarray:
    """Feature weights from the outcomes of `rows`: where briefs offered choices, the mean of two estimates.

    One uses every brief, the other only briefs that offered a choice. Briefs with one output are many and say much
    about words that are rarely up for a choice, but all they say is mixed with what the brief itself was worth; the
    mean of the two predicts better than either.
    """
    if data.levels:
        return _solve(data, design, rows)
    texts = pd.DataFrame({"brief": data.brief[rows], "document": data.document[rows]}).groupby("brief")["document"]
    choice = rows.copy()
    choice[rows] = texts.transform("nunique").to_numpy() > 1
    everything = _solve(data, design, rows)
    return everything if (choice == rows).all() else (everything + _solve(data, design, choice)) / 2
