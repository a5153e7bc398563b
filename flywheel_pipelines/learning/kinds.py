"""The kinds of metrics: what the numbers of each say of an output's true value, and how noisy they are.

Here: from numerator, exposure and the spread of the reports to outcomes on the scale of the kind, with the noise fitted
on the past. Not here: likelihoods (`outcomes`), how outputs and briefs differ (`posterior`, the same for all kinds).

- rate, top_k: successes of trials, binomial; logit scale.
- count: events per exposure. Gamma-Poisson: the dispersion is fitted on how the reports of an output scatter.
- mean: an amount per exposure, of either sign. Normal: the mean of n has the variance `variance` / n.
- duration: a time per case. Log-normal: a mean of n log-normal times is log-normal to good approximation (Fenton 1960,
  "The sum of log-normal probability distributions in scatter transmission systems"), with ln(1 + cv^2 / n) as variance.

What one case scatters is read off the reports of an output: with report d of n_d cases that add up to a_d, the sum over
d of a_d^2 / n_d, less A^2 / N of the totals, has the expectation (reports - 1) times the variance of one case, whatever
the sizes of the reports. So two sums per output suffice, `n_reports` and `squares`, and days that differ among
themselves count as scatter, as they should. Where outputs have one report each, nothing is known of it: half of
how amounts differ between outputs is then taken for scatter, durations for exponential (cv 1), counts for Poisson.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import numpy as np
import pandas as pd

from flywheel_pipelines.learning.outcomes import Events, Measured, Outcomes, Successes
from flywheel_pipelines.learning.scales import LOG, LOGIT, LinearScale, Scale

SPREAD_COLUMNS = ("n_reports", "squares")
"""Columns that say how the reports of an output scatter; a frame without them is taken to have one report each."""
TINY_SHARE = 1e-3
"""A duration of nothing has no logarithm; it is taken for this share of the typical one."""


class Kind(Protocol):
    """One kind of metric, with what was fitted about its noise."""

    can_split: ClassVar[bool]
    """Whether outcomes can be split into those of a part of the exposure and of the rest (`calibration`)."""

    @property
    def scale(self) -> Scale:
        """Where true values are normal."""
        ...

    def fitted_on(self, history: pd.DataFrame) -> Self:
        """The kind with its noise as past outputs show it, all of them with exposure."""
        ...

    def outcomes(self, frame: pd.DataFrame) -> Outcomes:
        """What was seen of each output. Raises ValueError for numbers that cannot be."""
        ...

    def pooled(self, frame: pd.DataFrame) -> float:
        """The value of all outputs together, never at the end of what is possible."""
        ...

    def sampling_variance(self, exposure: np.ndarray, value: float | np.ndarray) -> np.ndarray:
        """Of the observed value, where the true one is `value`."""
        ...

    def strength(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Exposures whose observed value would be as certain as a distribution of the true one with these moments."""
        ...


@dataclass(frozen=True)
class RateKind:
    """Successes of trials."""

    can_split: ClassVar[bool] = True

    @property
    def scale(self) -> Scale:
        """See `Kind.scale`."""
        return LOGIT

    def fitted_on(self, history: pd.DataFrame) -> Self:
        """Nothing to fit: a binomial count has no noise but its own."""
        return self

    def outcomes(self, frame: pd.DataFrame) -> Successes:
        """See `Kind.outcomes`."""
        k, n = _totals(frame)
        wrong = ~((k >= 0) & (k <= n))
        if wrong.any():
            row = frame[wrong].iloc[0]
            raise ValueError(
                f"brief {row['brief_id']!r}: {row['numerator']} successes of {row['exposure']} exposures; "
                "expected 0 <= successes <= exposures"
            )
        return Successes(k, n)

    def pooled(self, frame: pd.DataFrame) -> float:
        """See `Kind.pooled`."""
        k, n = _totals(frame)
        return float((k.sum() + 0.5) / (n.sum() + 1))

    def sampling_variance(self, exposure: np.ndarray, value: float | np.ndarray) -> np.ndarray:
        """See `Kind.sampling_variance`."""
        return value * (1 - value) / exposure

    def strength(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Of the beta distribution."""
        return mean * (1 - mean) / variance - 1


@dataclass(frozen=True)
class CountKind:
    """Events per exposure; `dispersion` is the variance of a count over its mean, at least 1."""

    dispersion: float = 1.0
    can_split: ClassVar[bool] = False

    @property
    def scale(self) -> Scale:
        """See `Kind.scale`."""
        return LOG

    def fitted_on(self, history: pd.DataFrame) -> Self:
        """Pearson's estimate (McCullagh and Nelder 1989, section 4.5), with a Poisson count worth one degree."""
        k, n = _totals(history)
        scatter, degrees = _scatter(history)
        seen = (k > 0) & (n > 0)
        rate = k[seen] / n[seen]
        found = (float((scatter[seen] / rate).sum()) + 1.0) / (float(degrees[seen].sum()) + 1.0)
        return replace(self, dispersion=max(found, 1.0))

    def outcomes(self, frame: pd.DataFrame) -> Events:
        """See `Kind.outcomes`; events without exposure say nothing."""
        k, n = _totals(frame)
        _refuse(frame, (k < 0) | (n < 0), "events", "expected 0 or more of both")
        return Events(np.where(n > 0, k, 0.0), n, self.dispersion)

    def pooled(self, frame: pd.DataFrame) -> float:
        """See `Kind.pooled`."""
        k, n = _totals(frame)
        return float((k.sum() + 0.5) / n.sum())

    def sampling_variance(self, exposure: np.ndarray, value: float | np.ndarray) -> np.ndarray:
        """See `Kind.sampling_variance`."""
        return self.dispersion * value / exposure

    def strength(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Of the gamma distribution."""
        return self.dispersion * mean / variance


@dataclass(frozen=True)
class MeanKind:
    """An amount per exposure; `variance` is that of the amount of one.

    `origin` and `unit` standardise it: the value of all past outputs together, and how much they differ. The defaults
    of `posterior` for how much outputs differ are in these units.
    """

    origin: float = 0.0
    unit: float = 1.0
    variance: float = 1.0
    can_split: ClassVar[bool] = False

    @property
    def scale(self) -> Scale:
        """See `Kind.scale`."""
        return LinearScale(self.origin, self.unit)

    def fitted_on(self, history: pd.DataFrame) -> Self:
        """Pooled within outputs; what they scatter among themselves is worth one degree of freedom more."""
        total, n = _totals(history)
        value = total / n
        origin = float(total.sum() / n.sum())
        away = (value - origin) ** 2
        # Large outputs do not speak for all.
        unit = float(np.average(away, weights=np.minimum(n, np.median(n)))) ** 0.5
        unit = unit if unit > 1e-9 * max(abs(origin), 1e-9) else max(abs(origin), 1.0)
        # As if true values did not differ at all: the most that one case can scatter. Half of it is the guess that is
        # never far wrong in either direction.
        guess = float((n * away).sum()) / max(len(n) - 1, 1) / 2
        scatter, degrees = _scatter(history)
        variance = (float(scatter.sum()) + (guess or unit**2)) / (float(degrees.sum()) + 1.0)
        return replace(self, origin=origin, unit=unit, variance=max(variance, 1e-9 * unit**2))

    def outcomes(self, frame: pd.DataFrame) -> Measured:
        """See `Kind.outcomes`."""
        total, n = _totals(frame)
        _refuse(frame, n < 0, "as the sum", "expected an exposure of 0 or more")
        value = np.divide(total, n, out=np.full(len(n), self.origin), where=n > 0)
        return Measured((value - self.origin) / self.unit, n * (self.unit**2 / self.variance))

    def pooled(self, frame: pd.DataFrame) -> float:
        """See `Kind.pooled`."""
        total, n = _totals(frame)
        return float(total.sum() / n.sum())

    def sampling_variance(self, exposure: np.ndarray, value: float | np.ndarray) -> np.ndarray:
        """See `Kind.sampling_variance`."""
        return self.variance / exposure

    def strength(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Of the normal distribution."""
        return self.variance / variance


@dataclass(frozen=True)
class DurationKind:
    """A time per case; `squared_cv` is the variance of one case over its squared mean, `typical` a usual time."""

    squared_cv: float = 1.0
    typical: float = 1.0
    can_split: ClassVar[bool] = False

    @property
    def scale(self) -> Scale:
        """See `Kind.scale`."""
        return LOG

    def fitted_on(self, history: pd.DataFrame) -> Self:
        """Pooled within outputs, relative to the mean of each; the exponential distribution is worth one degree."""
        total, n = _totals(history)
        typical = float(total.sum() / n.sum()) or 1.0
        scatter, degrees = _scatter(history)
        seen = total > 0
        relative = scatter[seen] / (total[seen] / n[seen]) ** 2
        squared_cv = (float(relative.sum()) + 1.0) / (float(degrees[seen].sum()) + 1.0)
        return replace(self, squared_cv=max(squared_cv, 1e-6), typical=typical)

    def outcomes(self, frame: pd.DataFrame) -> Measured:
        """See `Kind.outcomes`."""
        total, n = _totals(frame)
        _refuse(frame, (n < 0) | (total < 0), "as the total time", "expected 0 or more of both")
        mean = np.divide(total, n, out=np.full(len(n), self.typical), where=n > 0)
        noise = np.log1p(self.squared_cv / np.where(n > 0, n, 1.0))
        place = np.log(np.maximum(mean, TINY_SHARE * self.typical)) + noise / 2
        return Measured(place, np.where(n > 0, 1 / noise, 0.0))

    def pooled(self, frame: pd.DataFrame) -> float:
        """See `Kind.pooled`."""
        total, n = _totals(frame)
        return float(total.sum() / n.sum()) or self.typical

    def sampling_variance(self, exposure: np.ndarray, value: float | np.ndarray) -> np.ndarray:
        """See `Kind.sampling_variance`."""
        return self.squared_cv * value**2 / exposure

    def strength(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Exposures at which the mean has the same relative variance."""
        return self.squared_cv * mean**2 / variance


RATE = RateKind()
KINDS: dict[str, Kind] = {
    "rate": RATE,
    "top_k": RATE,
    "count": CountKind(),
    "mean": MeanKind(),
    "duration": DurationKind(),
}
"""Name in the YAML -> the kind, with nothing fitted yet."""


def _totals(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return frame["numerator"].to_numpy(float), frame["exposure"].to_numpy(float)


def _scatter(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squares of the reports of each output around its value, and its degrees of freedom; shapes (n,)."""
    total, n = _totals(frame)
    if any(name not in frame for name in SPREAD_COLUMNS):
        return np.zeros(len(n)), np.zeros(len(n))
    reports, squares = (frame[name].astype(float).fillna(0.0).to_numpy() for name in SPREAD_COLUMNS)
    around = squares - np.divide(total**2, n, out=np.zeros(len(n)), where=n > 0)
    degrees = np.maximum(reports - 1, 0.0)
    return np.where(degrees > 0, np.maximum(around, 0.0), 0.0), degrees


def _refuse(frame: pd.DataFrame, wrong: np.ndarray, what: str, expected: str) -> None:
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise ValueError(
            f"brief {row['brief_id']!r}: {row['numerator']} {what} of {row['exposure']} exposures; {expected}"
        )
