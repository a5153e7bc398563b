"""How well a scoring model predicts outcomes that it has not seen: the most recent ones, from those before.

Here: the hold-out, within briefs where they offered a choice, else between briefs; for the whole model and for each
family of its features. Not here: fitting (`mixed_model`) and what follows from the skill (`text_model`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.mixed_model import Design, Window, text_weights

HOLDOUT_SHARE = 0.25
CENTRING_ROUNDS = 50
TOGETHER, WITHOUT_EMBEDDING = "together", "without_embedding"


@dataclass(frozen=True)
class BlockSkill:
    """How a prediction compared with the held-out outcomes.

    `block` says whose prediction: that of the whole model ("together"), the part of it that one family of features
    contributes, or that of a model fitted without the embedding ("without_embedding"). `z` is the correlation in
    standard errors of no skill. Hit rate and chance are None where there was no choice.
    """

    block: str
    correlation: float
    z: float
    hit_rate: float | None
    chance: float | None


@dataclass(frozen=True)
class HeldOut:
    """The `holdout_*` fields of a `TextModel`, and the skill of the model and of its parts."""

    facts: dict[str, Any]
    skills: tuple[BlockSkill, ...] = ()


def held_out_within(data: Window, features: Design, value: np.ndarray) -> HeldOut:
    """Predict the most recent quarter of the briefs from the earlier ones, and compare within each brief.

    Args:
        data: the training window.
        features: of its documents.
        value: the outcomes as they were measured, shape (n,); the best of a brief is the one with the highest.
    """
    frame = pd.DataFrame({"brief": data.brief, "cycle": data.cycle, "document": data.document})
    per_brief = frame.groupby("brief").agg(first=("cycle", "min"), texts=("document", "nunique"))
    choice = per_brief[per_brief["texts"] > 1]
    cut = np.sort(choice["first"].to_numpy())[int(len(choice) * (1 - HOLDOUT_SHARE))]
    held = np.isin(data.brief, choice.index[choice["first"] >= cut])
    past = data.cycle < cut
    facts: dict[str, Any] = {"holdout_z": 0.0, "holdout_correlation": 0.0}
    facts |= {"holdout_first": pd.Timestamp(cut).date(), "holdout_briefs": int((choice["first"] >= cut).sum())}
    if not past.any():
        return HeldOut(facts)
    brief = pd.factorize(data.brief[held])[0]
    weight = 1 / (data.variance[held] + data.within)
    total = np.bincount(brief, weight)

    def centred(x: np.ndarray) -> np.ndarray:
        return x - (np.bincount(brief, weight * x) / total)[brief]

    # Under no skill the correlation has about 1/sqrt(degrees of freedom within briefs) as its standard error.
    compare = _Comparison(weight, centred(data.y[held]), centred, len(brief) - len(total), (value[held], brief))
    return compare.all_of(facts, data, features, past, held)


def held_out_between(data: Window, features: Design) -> HeldOut:
    """Predict the briefs of the most recent cycles, a quarter of all, and compare between briefs.

    Outcomes and predictions are compared net of what their segment and their cycle have in common, for a
    prediction that only knows an easy segment from a hard one, or a good season from a bad one, chooses no better than
    chance. Nobody offered a choice, so there is no hit rate.
    """
    cut = np.sort(data.cycle)[int(len(data.cycle) * (1 - HOLDOUT_SHARE))]
    held, past = data.cycle >= cut, data.cycle < cut
    facts: dict[str, Any] = {"holdout_z": 0.0, "holdout_correlation": 0.0}
    facts |= {"holdout_hit_rate": None, "holdout_chance": None}
    facts |= {"holdout_first": pd.Timestamp(cut).date(), "holdout_briefs": len(np.unique(data.brief[held]))}
    codes = [pd.factorize(level.codes[held])[0] for level in data.levels]
    free = int(held.sum()) - sum(int(code.max()) for code in codes) - 1
    if not past.any() or free < 1:
        return HeldOut(facts)
    weight = 1 / (data.variance[held] + data.within + data.between)

    def net(x: np.ndarray) -> np.ndarray:
        return _net_of(codes, weight, x)

    return _Comparison(weight, net(data.y[held]), net, free, None).all_of(facts, data, features, past, held)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Held-out outcomes, net of what does not count; `choice` holds their values and briefs where there was one."""

    weight: np.ndarray
    outcome: np.ndarray
    net: Callable[[np.ndarray], np.ndarray]
    free: int
    choice: tuple[np.ndarray, np.ndarray] | None

    def all_of(
        self, facts: dict[str, Any], data: Window, features: Design, past: np.ndarray, held: np.ndarray
    ) -> HeldOut:
        """The skill of the model fitted on `past`, and of its parts."""
        skills = tuple(
            self.of(block, score[data.document[held]]) for block, score in _predictions(data, features, past)
        )
        whole = skills[0]
        facts = facts | {"holdout_correlation": whole.correlation, "holdout_z": whole.z}
        return HeldOut(facts | {"holdout_hit_rate": whole.hit_rate, "holdout_chance": whole.chance}, skills)

    def of(self, block: str, score: np.ndarray) -> BlockSkill:
        """The skill of one prediction of the held-out outputs."""
        predicted = self.net(score)
        spread = float(np.sqrt((self.weight * self.outcome**2).sum() * (self.weight * predicted**2).sum()))
        correlation = float((self.weight * self.outcome * predicted).sum() / spread) if spread > 1e-12 else 0.0
        correlation = round(correlation, 6)
        hits, chance = (None, None) if self.choice is None else _hits(score, *self.choice)
        return BlockSkill(block, correlation, round(correlation * float(np.sqrt(self.free)), 6), hits, chance)


def _predictions(data: Window, features: Design, past: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Scores of all documents from the outcomes of `past`: of the whole model first, then of its parts."""
    weights = text_weights(data, features, past)
    yield TOGETHER, features.matrix @ weights
    for kind, columns in features.columns.items():
        yield kind, features.matrix[:, columns] @ weights[columns]
    if len(features.embedding_centre):
        plain = features.without_embedding()
        yield WITHOUT_EMBEDDING, plain.matrix @ text_weights(data, plain, past)


def _hits(score: np.ndarray, value: np.ndarray, brief: np.ndarray) -> tuple[float, float]:
    """Share of briefs whose best-scored output was the best observed, and what a random choice would reach."""
    groups = pd.DataFrame({"brief": brief, "score": score, "value": value}).groupby("brief")
    best = groups["value"].transform("max").to_numpy() == value
    chosen = groups["score"].transform("max").to_numpy() == score
    per = pd.DataFrame({"brief": brief, "hit": best & chosen, "chosen": chosen, "best": best}).groupby("brief")
    hits = float((per["hit"].sum() / per["chosen"].sum()).mean())
    return round(hits, 6), round(float(per["best"].mean().mean()), 6)


def _net_of(codes: list[np.ndarray], weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Residuals of x after the weighted means of every grouping, by sweeping them out in turn."""
    for _ in range(CENTRING_ROUNDS):
        for code in codes:
            x = x - (np.bincount(code, weight * x) / np.bincount(code, weight))[code]
    return x
