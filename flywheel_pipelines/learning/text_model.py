"""The scoring model: from a text (and its segment) to how well it is expected to do, learned from past outcomes.

Here: `fit_text_model`, a pure function of a frame of past outcomes, and `TextModel`, what it learned, with its own
account of how well it predicted outcomes it had not seen. Not here: reading or writing tables, features that need no
outcome (`text_features`), the algebra (`mixed_model`), measuring the skill (`held_out`), turning a prediction into a
prior or a decision (`posterior`, `scoring`).

The model is a linear mixed model (Henderson 1975, best linear unbiased prediction) on the relative outcome y:

    y = brief + text terms . coefficients + same text + rest + sampling error

All but the last are random effects, each with one variance. A brief is an effect with a *finite* variance, so that the
comparison between briefs also teaches (recovery of inter-block information, Yates 1940), also briefs with one output.
Where briefs offer no choice, as in a flywheel that publishes one written output for each, that comparison is all there
is. Segments and cycles are random effects then too, so that no word is credited with an easy segment or a good season.
A text that was published several times has an effect of its own, so that it does not count as independent evidence
about its words each time. Variances are estimated by moments from the window, so nothing is tuned to a metric's scale.
The most recent slice of the window, predicted from what came before, says whether the model has shown any skill. With
too little to learn from, it predicts zeros and says so.

Sentence embeddings, where there are any, are one more family of text features. A text without a vector is taken to be
the mean text: its words are all that is known of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.embedding_features import TextVectors, centred
from flywheel_pipelines.learning.held_out import BlockSkill, held_out_between, held_out_within
from flywheel_pipelines.learning.mixed_model import (
    VARIANCE_SHARES,
    design,
    prepare,
    standardised,
    text_weights,
    unscaled,
)
from flywheel_pipelines.learning.text_features import STYLE_FEATURES, TermBlock

TRAINING_COLUMNS = ("brief_id", "segment", "text", "cycle", "value", "variance")
MIN_CHOICE_BRIEFS = 8
"""Fewer give a hold-out of one brief, and nothing to learn from."""
MIN_BRIEFS = 40
"""Without choices, briefs it takes: one output says far less against those of other briefs than beside its own."""
SKILL_Z = 1.645
"""Standard errors above no skill at which the model calls itself skilled: 5%, one-sided."""
EMBEDDING_FIELDS = ("embedding_model", "embedding_centre", "embedding_coefficients", "n_without_vector")
ARRAYS = ("style_centre", "style_scale", "style_coefficients", "embedding_centre", "embedding_coefficients")
APART = ("blocks", "coefficients", "skills")
"""Fields that a record does not hold as they are."""


@dataclass(frozen=True, eq=False)
class TextModel:
    """What was learned, from which outcomes, and how well it did on outcomes it had not seen.

    `predict` answers on the scale of `y`: expected ln(value / overall mean of the window) when `scale` is "log",
    or (value - mean) / standard deviation when it is "linear" (metrics that take negative values, and outcomes that are
    mostly chance). Only differences within one brief are meant to be compared. `better` is not applied: higher predicts
    a higher value. Hit rate and chance are None where the held-out briefs had one output each.
    """

    as_of: date
    scale: Literal["log", "linear"]
    skilled: bool
    reason: str
    window_first: date | None = None
    window_last: date | None = None
    n_outputs: int = 0
    n_briefs: int = 0
    n_choice_briefs: int = 0
    within_sd: float = 0.0
    between_sd: float = 0.0
    holdout_first: date | None = None
    holdout_briefs: int = 0
    holdout_correlation: float = 0.0
    holdout_z: float = 0.0
    holdout_hit_rate: float | None = 0.0
    holdout_chance: float | None = 0.0
    blocks: tuple[TermBlock, ...] = ()
    coefficients: tuple[np.ndarray, ...] = ()
    style_centre: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    style_scale: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    style_coefficients: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    embedding_model: str = ""
    """Whose vectors it learned from; empty without."""
    n_without_vector: int = 0
    """Distinct texts of the window that had none."""
    embedding_centre: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    embedding_coefficients: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    skills: tuple[BlockSkill, ...] = ()
    """Of the model and of its parts, on the held-out briefs; not part of what a prediction depends on."""

    def predict(
        self, texts: Sequence[str], segments: Sequence[str] | None = None, vectors: TextVectors | None = None
    ) -> np.ndarray:
        """Expected relative outcome of each text, shape (n,), float64; zeros where there was too little to learn.

        `vectors` are the stored embeddings; a text that has none there, or none by `embedding_model`, counts as the
        mean text.
        """
        docs = list(zip(segments if segments is not None else [""] * len(texts), texts, strict=True))
        score = np.zeros(len(docs))
        if not len(self.style_coefficients) or not docs:
            return score
        for block, coefficients in zip(self.blocks, self.coefficients, strict=True):
            score += block.transform(docs) @ coefficients.astype(np.float64)
        style = standardised(texts, self.style_centre, self.style_scale)
        # A sum, not `@`: BLAS may add in another order for another number of rows, and a stored prediction must
        # come out the same whether its text was scored alone or in a batch.
        score = score + (style * self.style_coefficients.astype(np.float64)).sum(axis=1)
        if vectors is None or not self.embedding_model or not _fits(vectors, self):
            return score
        embedded = centred(vectors.of(texts), self.embedding_centre)
        return score + (embedded * self.embedding_coefficients.astype(np.float64)).sum(axis=1)

    def top_terms(self, n: int = 10) -> pd.DataFrame:
        """The `n` strongest words, pairs and style features in each direction: columns kind, term, coefficient."""
        rows = [("style", name, value) for name, value in zip(STYLE_FEATURES, self.style_coefficients, strict=False)]
        for block, values in zip(self.blocks, self.coefficients, strict=True):
            if block.kind != "chars":
                rows += [(block.kind, term, value) for term, value in zip(block.terms, values, strict=True)]
        frame = pd.DataFrame(rows, columns=["kind", "term", "coefficient"]).astype({"coefficient": float})
        frame = frame.sort_values(["coefficient", "kind", "term"], ascending=[False, True, True], ignore_index=True)
        return pd.concat([frame.head(n), frame.tail(n)]).drop_duplicates(ignore_index=True)

    def to_record(self) -> dict[str, Any]:
        """Flat dictionary for one Parquet row: scalars, ISO dates, lists of terms and of float32 numbers."""
        record: dict[str, Any] = {"version": self.version}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in APART or self._goes_without(item.name):
                continue
            if isinstance(value, np.ndarray):
                value = value.tolist()
            record[item.name] = value.isoformat() if isinstance(value, date) else value
        for block, coefficients in zip(self.blocks, self.coefficients, strict=True):
            record[f"{block.kind}_terms"] = list(block.terms)
            record[f"{block.kind}_idf"] = block.idf.tolist()
            record[f"{block.kind}_coefficients"] = coefficients.tolist()
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> TextModel:
        """Inverse of `to_record`, predicts bit-identically; ValueError when the content does not match its hash."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            if item.name in APART or (item.name in EMBEDDING_FIELDS and item.name not in record):
                continue
            value = record[item.name]
            if item.name in ARRAYS:
                value = np.array(value, dtype=np.float32)
            elif item.name in ("as_of", "window_first", "window_last", "holdout_first") and isinstance(value, str):
                value = date.fromisoformat(value)
            values[item.name] = value
        kinds = [kind for kind in VARIANCE_SHARES if record.get(f"{kind}_terms") is not None]
        values["blocks"] = tuple(
            TermBlock(kind, tuple(record[f"{kind}_terms"]), np.array(record[f"{kind}_idf"], dtype=np.float32))
            for kind in kinds
        )
        values["coefficients"] = tuple(np.array(record[f"{kind}_coefficients"], dtype=np.float32) for kind in kinds)
        model = cls(**values)
        if model.version != record["version"]:
            raise ValueError(
                f"scoring model of {record['as_of']}: content hashes to {model.version}, the record says "
                f"{record['version']}. The row was changed after it was written; close that cycle again."
            )
        return model

    @property
    def version(self) -> str:
        """sha256 of everything the model holds, in hexadecimal."""
        digest = hashlib.sha256()
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "blocks":
                for block in value:
                    digest.update(json.dumps([block.kind, block.terms]).encode() + block.idf.tobytes())
            elif item.name == "skills" or self._goes_without(item.name):
                continue
            elif item.name == "coefficients":
                digest.update(b"".join(array.tobytes() for array in value))
            else:
                content = value.tobytes() if isinstance(value, np.ndarray) else json.dumps(value, default=str).encode()
                digest.update(item.name.encode() + content)
        return digest.hexdigest()

    def _goes_without(self, name: str) -> bool:
        """Whether a field is about embeddings where there are none: such a model is what it was before there were."""
        return name in EMBEDDING_FIELDS and not self.embedding_model


def _fits(vectors: TextVectors, model: TextModel) -> bool:
    return vectors.model == model.embedding_model and vectors.dimensions == len(model.embedding_centre)


def fit_text_model(
    training: pd.DataFrame, *, as_of: date, window_cycles: int = 104, vectors: TextVectors | None = None
) -> TextModel:
    """Learn from the outcomes of the last `window_cycles` cycles that lie strictly before `as_of`.

    Args:
        training: one row per measured output: brief_id, segment, text (str), cycle (date), value (the observed
            metric), variance (its sampling variance, in squared units of value). For a rate use p(1-p)/exposure with
            p pooled over the brief, else an output without a single success would look exactly known. Row order and
            index do not matter. Rows on or after `as_of` are ignored, so it is safe to pass too much.
        as_of: the cycle the model is for.
        window_cycles: how many distinct cycles back it looks; bounds the cost of a close.
        vectors: sentence embeddings of the texts; None, or none of these texts: words and style alone.

    Raises:
        ValueError: a column is missing, or value or variance is not finite or negative where it may not be.
    """
    _check(training)
    window = training.assign(cycle=pd.to_datetime(training["cycle"]))
    window = window[window["cycle"] < pd.Timestamp(as_of)]
    kept = np.sort(window["cycle"].unique())[-window_cycles:]
    window = window[window["cycle"].isin(kept)].sort_values(
        ["cycle", "brief_id", "text", "segment", "value", "variance"], ignore_index=True
    )
    sizes = window.groupby("brief_id")["text"].nunique()
    facts: dict[str, Any] = {
        "as_of": as_of,
        "window_first": kept[0].astype("datetime64[D]").item() if len(kept) else None,
        "window_last": kept[-1].astype("datetime64[D]").item() if len(kept) else None,
        "n_outputs": len(window),
        "n_briefs": len(sizes),
        "n_choice_briefs": int((sizes > 1).sum()),
    }
    by_choice = facts["n_choice_briefs"] >= MIN_CHOICE_BRIEFS
    if not by_choice and facts["n_briefs"] < MIN_BRIEFS:
        return TextModel(scale="log", skilled=False, reason=_too_little(**facts), **facts)
    data = prepare(window, by_choice=by_choice)
    facts |= {"scale": data.scale, "within_sd": round(data.within**0.5, 6), "between_sd": round(data.between**0.5, 6)}
    embedded = _embedded(data.docs, vectors)
    features = design(data.docs, embedded)
    if vectors is not None and embedded is not None:
        facts |= {"embedding_model": vectors.model, "n_without_vector": int(np.isnan(embedded[:, 0]).sum())}
    if by_choice:
        held_out = held_out_within(data, features, window["value"].to_numpy(float))
    else:
        held_out = held_out_between(data, features)
    facts |= held_out.facts | {"skills": held_out.skills}
    skilled = facts["holdout_z"] >= SKILL_Z
    compared = "within-brief" if by_choice else "between-brief"
    judged = f"{compared} correlation {facts['holdout_correlation']:.2f} on {facts['holdout_briefs']} held-out briefs"
    if not skilled:
        judged = f"no skill shown out of time yet: {judged}"
    if facts.get("n_without_vector"):
        judged += f"; {facts['n_without_vector']} of {len(data.docs)} texts had no vector and count as the mean text"
    # Unproven predictions are given all the same: a choice by a weak guess is on average no worse than one at random,
    # and what weight a prediction deserves as a prior is fitted on outcomes where it is used (`posterior`).
    weights = text_weights(data, features, np.ones(len(data.y), dtype=bool))
    return TextModel(skilled=skilled, reason=judged, **facts, **unscaled(features, weights))


def _embedded(docs: Sequence[tuple[str, str]], vectors: TextVectors | None) -> np.ndarray | None:
    """Vectors of the documents; None where not one has any."""
    if vectors is None or not vectors.dimensions:
        return None
    found = vectors.of([text for _, text in docs])
    return None if np.isnan(found).all() else found


def _too_little(n_briefs: int, n_choice_briefs: int, **_: Any) -> str:
    if n_choice_briefs or not n_briefs:
        return f"{n_choice_briefs} briefs offered a choice, {MIN_CHOICE_BRIEFS} are needed"
    return f"{n_briefs} briefs with one output each, {MIN_BRIEFS} are needed"


def _check(training: pd.DataFrame) -> None:
    missing = [name for name in TRAINING_COLUMNS if name not in training]
    if missing:
        raise ValueError(f"training frame lacks {missing}; it needs {list(TRAINING_COLUMNS)}")
    for name in ("value", "variance"):
        bad = ~np.isfinite(training[name].to_numpy(float))
        if name == "variance":
            bad |= training[name].to_numpy(float) < 0
        if bad.any():
            row = training[bad].iloc[0]
            raise ValueError(
                f"training frame, brief {row['brief_id']!r}: {name} is {row[name]!r}; expected a number >= 0"
            )
