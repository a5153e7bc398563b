"""How coherent a group must be for people to be asked about it, as their own rulings have it.

Here: the level. Not here: who decides (`library.ruled`), or what stays below it (`library.take_turn`).

A group of chatter costs a question to the model and a minute of somebody's time, and is rejected. What people accepted
and rejected so far says from which coherence on a group is more probably a theme than not: a logistic curve over
coherence (D. Cox, JRSS B 20, 1958), with a ridge since the two may be told apart without an overlap. A group below the
level is not lost: its tickets stay in the pool, and a matter that lasts comes back larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flywheel_pipelines.learning.themes.records import Theme, ThemeSettings

FEWEST_RULINGS = 4
"""Of either kind; below, the level of the settings holds."""
EVEN_ODDS = 0.5


def learned_floor(themes: Sequence[Theme], settings: ThemeSettings) -> float:
    """The coherence that founds a theme: even odds of being accepted, and never less than `settings.min_coherence`.

    It is never above the median of what was accepted, so that half of such themes would still be founded.
    """
    accepted = np.array([theme.coherence for theme in themes if theme.status in ("accepted", "merged")])
    rejected = np.array([theme.coherence for theme in themes if theme.status == "rejected"])
    if min(len(accepted), len(rejected)) < FEWEST_RULINGS or accepted.mean() <= rejected.mean():
        return settings.min_coherence
    from sklearn.linear_model import LogisticRegression

    every = np.concatenate([accepted, rejected])
    centre, scale = float(every.mean()), float(every.std()) or 1.0
    features, kept = (every[:, None] - centre) / scale, np.repeat([1, 0], [len(accepted), len(rejected)])
    fitted = LogisticRegression(C=10.0).fit(features, kept)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        return settings.min_coherence
    even = centre + scale * (np.log(EVEN_ODDS / (1 - EVEN_ODDS)) - intercept) / slope
    return float(np.clip(even, settings.min_coherence, max(float(np.median(accepted)), settings.min_coherence)))
