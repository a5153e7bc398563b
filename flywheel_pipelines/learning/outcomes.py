"""What was seen of each output, as a likelihood of its place x on the scale of its metric.

Here: successes of trials (x is a logit), counts per exposure and durations (logarithms), amounts (as they are). Not
here: how numbers of a table become outcomes (`kinds`), priors (`posterior`), the algebra (`joint`, `components`).

Each likelihood has a score `seen - fitted(x)`, which is what Newton's method and Fisher scoring ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from scipy.special import expit, log_expit, logit

LONGEST_STEP = 2.0
"""In log or logit. Without it, a fit to tests of which seven in ten pass swung to a logit of 188 and ended in nan."""


class Outcomes(Protocol):
    """Outcomes of n outputs; indexed by rows of any shape, they take that shape."""

    longest_step: ClassVar[float]
    """Most that x may move in a round of a fit: where the curve is flat, a full step leads to where it is flatter."""

    def __getitem__(self, rows: np.ndarray) -> Self:
        """The outcomes of some outputs."""
        ...

    @property
    def seen(self) -> np.ndarray:
        """What was seen, in the units of `fitted`."""
        ...

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """What x lets expect of it."""
        ...

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Fisher information about x."""
        ...

    def third(self, x: np.ndarray) -> np.ndarray:
        """Third derivative of the log likelihood."""
        ...

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """But for what does not depend on x, summed over the last axis."""
        ...

    def working(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far from x the outcome puts it (the working response, less x), and the variance of that."""
        ...

    def pooled(self) -> float:
        """The x that all outcomes together speak for."""
        ...


@dataclass(frozen=True, eq=False)
class Successes:
    """k successes of n trials, binomial; x is the logit."""

    longest_step: ClassVar[float] = LONGEST_STEP

    k: np.ndarray
    n: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Successes:
        """See `Outcomes`."""
        return Successes(self.k[rows], self.n[rows])

    @property
    def seen(self) -> np.ndarray:
        """See `Outcomes.seen`."""
        return self.k

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.fitted`."""
        return self.n * expit(x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.curvature`."""
        rate = expit(x)
        return self.n * rate * (1 - rate)

    def third(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.third`."""
        rate = expit(x)
        return -self.n * rate * (1 - rate) * (1 - 2 * rate)

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.log_likelihood`."""
        return (self.k * log_expit(x) + (self.n - self.k) * log_expit(-x)).sum(axis=-1)

    def working(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Outcomes.working`."""
        fit = expit(x)
        return (self.k / self.n - fit) / (fit * (1 - fit)), 1 / (self.n * fit * (1 - fit))

    def pooled(self) -> float:
        """See `Outcomes.pooled`."""
        return float(logit((self.k.sum() + 0.5) / (self.n.sum() + 1)))


@dataclass(frozen=True, eq=False)
class Events:
    """k events in an exposure n; x is the logarithm of the events per exposure.

    Over-dispersed: the mean of k is m = n exp(x) and its variance `dispersion` m, as of a Poisson count whose rate is
    gamma-distributed with shape m / (dispersion - 1) (negative binomial; the form NB1 of Cameron and Trivedi 1986,
    "Econometric models based on count data"). Its quasi-likelihood, which has the same two moments, is the Poisson one
    over the dispersion (McCullagh and Nelder 1989, "Generalized Linear Models", section 9.2).
    """

    longest_step: ClassVar[float] = LONGEST_STEP

    k: np.ndarray
    n: np.ndarray
    dispersion: float = 1.0

    def __getitem__(self, rows: np.ndarray) -> Events:
        """See `Outcomes`."""
        return Events(self.k[rows], self.n[rows], self.dispersion)

    @property
    def seen(self) -> np.ndarray:
        """See `Outcomes.seen`."""
        return self.k / self.dispersion

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.fitted`."""
        return self.n / self.dispersion * np.exp(x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.curvature`."""
        return self.fitted(x)

    def third(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.third`."""
        return -self.fitted(x)

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.log_likelihood`."""
        return (self.seen * x - self.fitted(x)).sum(axis=-1)

    def working(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Outcomes.working`."""
        fitted = self.fitted(x)
        return (self.seen - fitted) / fitted, 1 / fitted

    def pooled(self) -> float:
        """See `Outcomes.pooled`."""
        return float(np.log((self.k.sum() + 0.5) / max(self.n.sum(), 1e-300)))


@dataclass(frozen=True, eq=False)
class Measured:
    """Places x that were seen with normal errors of known precision (0: not seen at all)."""

    longest_step: ClassVar[float] = float("inf")

    place: np.ndarray
    precision: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Measured:
        """See `Outcomes`."""
        return Measured(self.place[rows], self.precision[rows])

    @property
    def seen(self) -> np.ndarray:
        """See `Outcomes.seen`."""
        return self.precision * self.place

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.fitted`."""
        return self.precision * x

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.curvature`."""
        return self.precision + np.zeros_like(x)

    def third(self, x: np.ndarray) -> np.ndarray:
        """A normal likelihood has none."""
        return np.zeros_like(x)

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """See `Outcomes.log_likelihood`."""
        return -(self.precision * (self.place - x) ** 2).sum(axis=-1) / 2

    def working(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Outcomes.working`."""
        return self.place - x, 1 / self.precision

    def pooled(self) -> float:
        """See `Outcomes.pooled`."""
        total = self.precision.sum()
        return float((self.precision * self.place).sum() / total) if total > 0 else 0.0
