"""Whether a ticket belongs to a theme of the library, with a probability, or to none that is known.

The probability is a logistic curve over how alike the ticket and the nearest theme are, and how far ahead of the second
nearest that one is. The curve is fitted on the library's own reference tickets: each is matched with itself left out of
its theme (the right answer is known), and again with its whole theme left out (the right answer is "unknown"). The two
kinds are weighted by the share of tickets that may be of a theme that nobody has seen, which is larger the fewer themes
are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flywheel_pipelines.learning.themes.vectors import similarities, sums_by, unit_length

LEAST_UNKNOWN, HALF_KNOWN = 0.1, 4
"""Share of tickets of themes that nobody has seen, which the curve is calibrated for: half where the library has
`HALF_KNOWN` themes, less the more it has, and never less than the first."""
OWN_FLOOR = 0.4
"""Share of the median similarity of reference tickets to their own themes, below which no ticket is taken for one."""
FEWEST_THEMES, FEWEST_EXAMPLES = 3, 30
"""Below these a fitted curve would rest on next to nothing, and the fixed one is used."""
CHUNK = 20_000
"""Tickets that are compared at a time: 20,000 against 500 themes are 80 MB."""


@dataclass(frozen=True)
class Calibration:
    """Log odds that the nearest theme is the right one: intercept + similarity * s + lead * (s - second)."""

    intercept: float
    similarity: float
    lead: float
    floor: float = 0.0
    """Similarity below which nothing is probable."""
    n_examples: int = 0

    def probability(self, nearest: np.ndarray, second: np.ndarray) -> np.ndarray:
        """That the nearest theme is right."""
        odds = self.intercept + self.similarity * nearest + self.lead * (nearest - second)
        return np.where(nearest >= self.floor, 1 / (1 + np.exp(-np.clip(odds, -50, 50))), 0.0)


FIXED = Calibration(intercept=-6.0, similarity=20.0, lead=10.0)
"""For a library that is too small to be fitted on: even odds at a cosine of 0.2 with nothing else near."""


@dataclass(frozen=True)
class Match:
    """The nearest theme of each ticket: its index (-1 without a library), the probability, and both similarities."""

    nearest: np.ndarray
    probability: np.ndarray
    similarity: np.ndarray
    second: np.ndarray
    runner_up: np.ndarray
    """Index of the second nearest; that of the nearest where there is no other."""


@dataclass(frozen=True)
class References:
    """The reference tickets of the themes: rows of unit length, and the index of each one's theme."""

    rows: Any
    themes: np.ndarray
    n_themes: int

    @property
    def centres(self) -> Any:
        """One row of unit length per theme."""
        return unit_length(sums_by(self.rows, self.themes, self.n_themes))


def calibrate(references: References) -> Calibration:
    """The curve for a library; `FIXED` where there are too few themes or reference tickets."""
    n = len(references.themes)
    if references.n_themes < FEWEST_THEMES or n < FEWEST_EXAMPLES:
        return FIXED
    from sklearn.linear_model import LogisticRegression

    sums = sums_by(references.rows, references.themes, references.n_themes)
    lengths = np.sqrt(_squares(sums))
    against = similarities(references.rows, sums)
    own_sum = against[np.arange(n), references.themes]
    of_row = _squares(references.rows)
    # The cosine with the theme's centre when the ticket itself is taken out of it.
    left = np.sqrt(np.maximum(lengths[references.themes] ** 2 - 2 * own_sum + of_row, 0))
    own = np.where(left > 1e-9, (own_sum - of_row) / np.maximum(left, 1e-9), 0.0)
    floor = OWN_FLOOR * float(np.median(own))
    against = against / np.maximum(lengths, 1e-9)
    against[np.arange(n), references.themes] = own
    nearest, best, _, second = _two_best(against)
    known = np.column_stack([best, best - second]), (nearest == references.themes).astype(int)
    against[np.arange(n), references.themes] = -1.0
    _, best, _, second = _two_best(against)
    unknown = np.column_stack([best, best - second]), np.zeros(n, int)
    features, right = np.vstack([known[0], unknown[0]]), np.concatenate([known[1], unknown[1]])
    if right.min() == right.max():
        return FIXED
    unknown_share = max(LEAST_UNKNOWN, HALF_KNOWN / (HALF_KNOWN + references.n_themes))
    weights = np.repeat([1 - unknown_share, unknown_share], n)
    fitted = LogisticRegression(C=100.0).fit(features, right, sample_weight=weights)
    similarity, lead = (float(value) for value in fitted.coef_[0])
    return Calibration(float(fitted.intercept_[0]), similarity, lead, floor, n)


def match(rows: Any, references: References, calibration: Calibration) -> Match:
    """The nearest theme of each row."""
    n = rows.shape[0]
    if not references.n_themes:
        return Match(np.full(n, -1), np.zeros(n), np.zeros(n), np.zeros(n), np.full(n, -1))
    centres = references.centres
    parts = [_two_best(similarities(rows[at : at + CHUNK], centres)) for at in range(0, max(n, 1), CHUNK)]
    nearest, best, runner_up, second = (np.concatenate([part[column] for part in parts]) for column in range(4))
    return Match(nearest, calibration.probability(best, second), best, second, runner_up)


def _two_best(against: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Index of the greatest per row and its value, and those of the second greatest (0 where there is no second)."""
    every = np.arange(len(against))
    nearest = against.argmax(axis=1)
    best = against[every, nearest]
    if against.shape[1] < 2:
        return nearest, best, nearest, np.zeros(len(against))
    others = against.copy()
    others[every, nearest] = -np.inf
    runner_up = others.argmax(axis=1)
    return nearest, best, runner_up, np.maximum(others[every, runner_up], 0.0)


def _squares(rows: Any) -> np.ndarray:
    squared = rows.multiply(rows) if hasattr(rows, "multiply") else rows * rows
    return np.asarray(squared.sum(axis=1)).ravel()
