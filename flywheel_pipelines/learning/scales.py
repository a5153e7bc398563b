"""The scales that priors live on, and the way from there to values of a metric and back.

Here: identity, logarithm and logit, and what a Gaussian on each says of the value. Not here: how outcomes are counted
(`outcomes`), posteriors (`joint`).

What is particular to an output is taken to be normal on the scale of its metric: rates on the logit scale, where briefs
with low and with high rates differ by the same factor of their odds; counts and durations on the log scale; amounts as
they are, in units of how much outputs differ. Comparisons within a brief are made where the level of the brief
cancels: differences of amounts, and ratios of all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import expit, gammaincc, log_expit, logit, ndtr


class Scale(Protocol):
    """A monotone way from x, where things are normal, to values of a metric; arrays of any shape."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """Values of the metric."""
        ...

    def position(self, value: float) -> float:
        """Where a value lies; values outside of what is possible lie at the end."""
        ...

    def slope(self, value: float) -> float:
        """How much the value moves by a unit of x."""
        ...

    def moments(self, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the value of a Gaussian x."""
        ...

    def above_mean(self, mean: np.ndarray, covariance: np.ndarray, share: np.ndarray) -> np.ndarray:
        """P(value_i > sum_j share_j value_j) of Gaussians x of means (briefs, q, size); `share` (briefs, size)."""
        ...


@dataclass(frozen=True)
class LogitScale:
    """Shares between 0 and 1."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """See `Scale.value`."""
        return expit(x)

    def position(self, value: float) -> float:
        """See `Scale.position`."""
        return float(logit(np.clip(value, 0.0, 1.0)))

    def slope(self, value: float) -> float:
        """See `Scale.slope`."""
        return value * (1 - value)

    def moments(self, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By Gauss-Hermite quadrature."""
        return rate_moments(mean, variance)

    def above_mean(self, mean: np.ndarray, covariance: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Taken on the log scale, where the level of the brief cancels nearly: ln p bends by p (1 - p) / 2."""
        rate = expit(mean)
        shrink = 1 - rate
        variance = np.diagonal(covariance, axis1=2, axis2=3)
        log_rate = log_expit(mean) - rate * shrink * variance / 2
        return above_mean_of_logs(log_rate, shrink[..., :, None] * covariance * shrink[..., None, :], share)


@dataclass(frozen=True)
class LogScale:
    """Positive values: counts per exposure, durations."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """See `Scale.value`."""
        return np.exp(x)

    def position(self, value: float) -> float:
        """See `Scale.position`."""
        return float(np.log(value)) if value > 0 else -np.inf

    def slope(self, value: float) -> float:
        """See `Scale.slope`."""
        return max(value, 0.0)

    def moments(self, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of the log-normal distribution."""
        first = np.exp(mean + variance / 2)
        return first, first**2 * np.expm1(variance)

    def above_mean(self, mean: np.ndarray, covariance: np.ndarray, share: np.ndarray) -> np.ndarray:
        """See `above_mean_of_logs`."""
        return above_mean_of_logs(mean, covariance, share)


@dataclass(frozen=True)
class LinearScale:
    """Amounts of either sign: value = origin + unit * x."""

    origin: float = 0.0
    unit: float = 1.0

    def value(self, x: np.ndarray) -> np.ndarray:
        """See `Scale.value`."""
        return self.origin + self.unit * x

    def position(self, value: float) -> float:
        """See `Scale.position`."""
        return (value - self.origin) / self.unit

    def slope(self, value: float) -> float:
        """See `Scale.slope`."""
        return self.unit

    def moments(self, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exact."""
        return self.value(mean), self.unit**2 * variance

    def above_mean(self, mean: np.ndarray, covariance: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Exact: the difference is normal."""
        parts = share[:, None]
        with_sum = (covariance @ parts[..., None])[..., 0]
        of_sum = (parts * with_sum).sum(axis=2, keepdims=True)
        variance = np.diagonal(covariance, axis1=2, axis2=3) - 2 * with_sum + of_sum
        apart = mean - (parts * mean).sum(axis=2, keepdims=True)
        # A variance of zero is an output compared with itself; its probability is not used, but must not warn.
        return ndtr(apart / np.sqrt(np.where(variance > 0, variance, np.inf)))


LOGIT, LOG = LogitScale(), LogScale()


def above_mean_of_logs(log_value: np.ndarray, covariance: np.ndarray, share: np.ndarray) -> np.ndarray:
    """P(ln v_i > ln sum_j share_j v_j) of Gaussian ln v, shape (briefs, q, size).

    The logarithm of the sum is expanded to second order, a quadratic form in Gaussians with known first three moments
    (Mathai and Provost 1992, theorem 3.2b.2).
    """
    variance = np.diagonal(covariance, axis1=2, axis2=3)
    parts = share[:, None] * np.exp(log_value - log_value.max(axis=2, keepdims=True))
    total = parts.sum(axis=2, keepdims=True)
    parts = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    log_sum = np.log(np.where(total > 0, total, 1.0)) + log_value.max(axis=2, keepdims=True)
    hessian = parts[..., None] * np.eye(share.shape[1]) - parts[..., :, None] * parts[..., None, :]
    bent = hessian @ covariance
    bent2 = bent @ bent
    with_sum = (covariance @ parts[..., None])[..., 0]
    of_sum = (parts * with_sum).sum(axis=2, keepdims=True)
    apart = covariance - with_sum[..., :, None]
    mean = log_value - log_sum - np.trace(bent, axis1=2, axis2=3)[..., None] / 2
    spread = variance - 2 * with_sum + of_sum + np.trace(bent2, axis1=2, axis2=3)[..., None] / 2
    third = -3 * (apart * (hessian @ apart)).sum(axis=2) - np.trace(bent2 @ bent, axis1=2, axis2=3)[..., None]
    return pearson3_above_zero(mean, spread, third)


def pearson3_above_zero(mean: np.ndarray, variance: np.ndarray, third: np.ndarray) -> np.ndarray:
    """P(D > 0) for a Pearson type III (shifted gamma) variable with these central moments; normal without skewness."""
    # A variance of zero is an output compared with itself; its probability is not used, but must not warn.
    sd = np.sqrt(np.where(variance > 0, variance, np.inf))
    z, skew = mean / sd, third / sd**3
    slight = np.abs(skew) < 0.02
    shape = 4 / np.where(slight, 1.0, skew) ** 2
    # In units of sd: D = mean + sign(skew) (G - shape) / sqrt(shape) with G ~ Gamma(shape).
    turned = np.sign(skew) * z
    tail = gammaincc(shape, np.maximum(shape - np.sqrt(shape) * turned, 0.0))
    return np.where(slight, ndtr(z), np.where(skew > 0, tail, 1 - tail))


def rate_moments(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of expit(x), x ~ Normal(mean, variance), by Gauss-Hermite quadrature."""
    node, weight = hermegauss(11)
    values = expit(mean[..., None] + np.sqrt(variance)[..., None] * node)
    first = (values * weight).sum(axis=-1) / weight.sum()
    return first, ((values - first[..., None]) ** 2 * weight).sum(axis=-1) / weight.sum()
