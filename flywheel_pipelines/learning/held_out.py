"""How well a scoring model predicts outcomes that it has not seen: the most recent ones, from those before.

Here: the hold-out, within briefs where they offered a choice, else between briefs. Not here: fitting (`mixed_model`)
and what follows from the skill (`text_model`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.mixed_model import Design, Window, text_weights

HOLDOUT_SHARE = 0.25
CENTRING_ROUNDS = 50


def held_out_within(data: Window, features: Design, value: np.ndarray) -> dict[str, Any]:
    """Predict the most recent quarter of the briefs from the earlier ones, and compare within each brief.

    Args:
        data: the training window.
        features: of its documents.
        value: the outcomes as they were measured, shape (n,); the best of a brief is the one with the highest.

    Returns:
        The `holdout_*` fields of a `TextModel`.
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
        return facts
    brief = pd.factorize(data.brief[held])[0]
    weight = 1 / (data.variance[held] + data.within)
    total = np.bincount(brief, weight)

    def centred(x: np.ndarray) -> np.ndarray:
        return x - (np.bincount(brief, weight * x) / total)[brief]

    outcome = centred(data.y[held])
    score = (features.matrix @ text_weights(data, features, past))[data.document[held]]
    predicted = centred(score)
    spread = float(np.sqrt((weight * outcome**2).sum() * (weight * predicted**2).sum()))
    correlation = float((weight * outcome * predicted).sum() / spread) if spread > 0 else 0.0
    hits, chance = _hits(score, value[held], brief)
    facts |= {"holdout_correlation": round(correlation, 6)}
    facts |= {"holdout_hit_rate": round(hits, 6), "holdout_chance": round(chance, 6)}
    # Under no skill the correlation has about 1/sqrt(degrees of freedom within briefs) as its standard error.
    facts["holdout_z"] = round(facts["holdout_correlation"] * float(np.sqrt(len(brief) - len(total))), 6)
    return facts


def _hits(score: np.ndarray, value: np.ndarray, brief: np.ndarray) -> tuple[float, float]:
    """Share of briefs whose best-scored output was the best observed, and what a random choice would reach."""
    groups = pd.DataFrame({"brief": brief, "score": score, "value": value}).groupby("brief")
    best = groups["value"].transform("max").to_numpy() == value
    chosen = groups["score"].transform("max").to_numpy() == score
    per = pd.DataFrame({"brief": brief, "hit": best & chosen, "chosen": chosen, "best": best}).groupby("brief")
    return float((per["hit"].sum() / per["chosen"].sum()).mean()), float(per["best"].mean().mean())


def held_out_between(data: Window, features: Design) -> dict[str, Any]:
    """Predict the briefs of the most recent cycles, a quarter of all, and compare between briefs.

    Outcomes and predictions are compared net of what their segment and their cycle have in common, for a
    prediction that only knows an easy segment from a hard one, or a good season from a bad one, chooses no better than
    chance. Nobody offered a choice, so there is no hit rate.

    Returns:
        The `holdout_*` fields of a `TextModel`.
    """
    cut = np.sort(data.cycle)[int(len(data.cycle) * (1 - HOLDOUT_SHARE))]
    held, past = data.cycle >= cut, data.cycle < cut
    facts: dict[str, Any] = {"holdout_z": 0.0, "holdout_correlation": 0.0}
    facts |= {"holdout_hit_rate": None, "holdout_chance": None}
    facts |= {"holdout_first": pd.Timestamp(cut).date(), "holdout_briefs": len(np.unique(data.brief[held]))}
    codes = [pd.factorize(level.codes[held])[0] for level in data.levels]
    free = int(held.sum()) - sum(int(code.max()) for code in codes) - 1
    if not past.any() or free < 1:
        return facts
    weight = 1 / (data.variance[held] + data.within + data.between)
    score = (features.matrix @ text_weights(data, features, past))[data.document[held]]
    outcome, predicted = (_net_of(codes, weight, x) for x in (data.y[held], score))
    spread = float(np.sqrt((weight * outcome**2).sum() * (weight * predicted**2).sum()))
    correlation = float((weight * outcome * predicted).sum() / spread) if spread > 1e-12 else 0.0
    facts["holdout_correlation"] = round(correlation, 6)
    facts["holdout_z"] = round(facts["holdout_correlation"] * float(np.sqrt(free)), 6)
    return facts


def _net_of(codes: list[np.ndarray], weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Residuals of x after the weighted means of every grouping, by sweeping them out in turn."""
    for _ in range(CENTRING_ROUNDS):
        for code in codes:
            x = x - (np.bincount(code, weight * x) / np.bincount(code, weight))[code]
    return x
