"""Outputs of every kind of metric whose true values are known: simulated, several reports each."""

from __future__ import annotations

import numpy as np
import pandas as pd

KINDS = ("rate", "top_k", "count", "mean", "duration")
REPORTS = 5
LEVEL = {"rate": -3.0, "top_k": -0.5, "count": -1.5, "mean": 20.0, "duration": 4.5}
SD_OF_ONE = 18.0
"""Of an amount, which is gamma-distributed around its mean, less 10: some are negative."""
SHIFT = 10.0
LOG_SD_OF_ONE = 0.8
"""Of a time, log-normal."""
DISPERSION = 1.8
"""Variance over mean of a day's count."""


def world(
    kind: str,
    *,
    briefs: int = 400,
    outputs: int = 3,
    per_report: int = 25,
    seed: int = 0,
    segment: str = "all",
    level: float | None = None,
    tau: float = 0.3,
    between: float = 0.4,
) -> pd.DataFrame:
    """Frames as `posterior` takes them, with `truth`; on the scale of the kind outputs differ by tau within a brief."""
    rng = np.random.default_rng(seed)
    brief = np.repeat(np.arange(briefs), outputs)
    unit = 5.0 if kind == "mean" else 1.0
    centre = LEVEL[kind] if level is None else level
    place = centre + unit * (rng.normal(0, between, briefs)[brief] + rng.normal(0, tau, len(brief)))
    truth = place if kind == "mean" else np.exp(place) if kind in ("count", "duration") else 1 / (1 + np.exp(-place))
    n = rng.integers(max(per_report // 2, 1), per_report * 2, (len(brief), REPORTS)).astype(float)
    amount = _draw(kind, truth[:, None], n, rng)
    total = amount.sum(axis=1)
    return pd.DataFrame(
        {
            "output_id": [f"{segment}-o{i}" for i in range(len(brief))],
            "brief_id": [f"{segment}-b{i}" for i in brief],
            "segment": segment,
            "metric": kind,
            "numerator": total,
            "exposure": n.sum(axis=1),
            "n_reports": REPORTS,
            "squares": (amount**2 / n).sum(axis=1),
            "predicted": 0.0,
            "control_weight": 1.0,
            "truth": truth,
        }
    )


def _draw(kind: str, truth: np.ndarray, n: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What each report adds up to, shape (outputs, reports)."""
    if kind in ("rate", "top_k"):
        return rng.binomial(n.astype(int), np.broadcast_to(truth, n.shape)).astype(float)
    if kind == "count":
        # Gamma-Poisson with variance DISPERSION times the mean.
        mean = n * truth
        return rng.poisson(rng.gamma(mean / (DISPERSION - 1), DISPERSION - 1)).astype(float)
    if kind == "mean":
        # The sum of n gamma amounts of variance SD_OF_ONE^2, moved.
        shape = n * ((truth + SHIFT).clip(1.0) / SD_OF_ONE) ** 2
        return rng.gamma(shape, SD_OF_ONE**2 / (truth + SHIFT).clip(1.0)) - n * SHIFT
    found = np.empty(n.shape)
    for (i, j), size in np.ndenumerate(n.astype(int)):
        times = rng.lognormal(-(LOG_SD_OF_ONE**2) / 2, LOG_SD_OF_ONE, size)
        found[i, j] = truth[i, 0] * times.sum()
    return found
