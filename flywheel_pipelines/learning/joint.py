"""The joint posterior of the outputs of each brief, and the comparisons it answers.

Here: the Laplace approximation of a binomial model with a Gaussian prior on the logit scale, and the probabilities of
"above a level" and "above a weighted mean of the brief". Not here: where the prior comes from (`posterior`), floors and
decisions (`scoring`).

Laplace as in Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", section 3.4, with the first-order
correction of the mean for the skewness of the likelihood (Rue, Martino and Chopin 2009, section 3.2.3). Several priors
may be mixed, each weighted by the evidence that the brief's own outcomes give it. No random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import expit, gammaincc, log_expit, logit, ndtr, ndtri

STEPS = 60
LONGEST_STEP = 2.0
"""Newton's method from far away would overshoot: at a rate of 0.1% one success more asks for a step of 1000."""


@dataclass(frozen=True, eq=False)
class Block:
    """Posterior of briefs of one size: a mixture of q Gaussians on the logit scale.

    Attributes:
        rows: position of each brief's outputs, shape (briefs, size).
        weight: probability of each component, shape (briefs, q).
        mean: shape (briefs, q, size).
        covariance: shape (briefs, q, size, size).
    """

    rows: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """Marginal variances on the logit scale, shape (briefs, q, size)."""
        return np.diagonal(self.covariance, axis1=2, axis2=3)

    def mix(self, values: np.ndarray) -> np.ndarray:
        """Average over the components: (briefs, q, size) to (briefs, size)."""
        return (self.weight[:, :, None] * values).sum(axis=1)


@dataclass(frozen=True, eq=False)
class BriefPosterior:
    """What is known about the true rates of n outputs, jointly within each brief.

    Attributes:
        blocks: the posterior, briefs of one size together.
        prior_mean: rate expected of each output from everything but its own outcome, shape (n,).
        prior_strength: what that expectation is worth, in exposures, shape (n,).
    """

    blocks: tuple[Block, ...]
    prior_mean: np.ndarray
    prior_strength: np.ndarray

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each true rate, shapes (n,)."""
        mean, variance = np.empty_like(self.prior_mean), np.empty_like(self.prior_mean)
        for block in self.blocks:
            first, second = rate_moments(block.mean, block.variance)
            mean[block.rows] = block.mix(first)
            variance[block.rows] = block.mix(second + (first - mean[block.rows][:, None]) ** 2)
        return mean, variance

    def interval(self, content: float) -> tuple[np.ndarray, np.ndarray]:
        """Central interval of each true rate, shapes (n,)."""
        centre, spread = np.empty_like(self.prior_mean), np.empty_like(self.prior_mean)
        for block in self.blocks:
            centre[block.rows] = block.mix(block.mean)
            away = block.mean - centre[block.rows][:, None]
            spread[block.rows] = np.sqrt(block.mix(block.variance + away**2))
        reach = ndtri((1 + content) / 2) * spread
        return expit(centre - reach), expit(centre + reach)

    def above_level(self, level: float, error: float = 0.0) -> np.ndarray:
        """P(rate > level), where the level itself has a standard error; shape (n,)."""
        bar = float(logit(np.clip(level, 0.0, 1.0)))
        wide = error / max(level * (1 - level), 1e-12)
        result = np.empty_like(self.prior_mean)
        for block in self.blocks:
            result[block.rows] = block.mix(ndtr((block.mean - bar) / np.sqrt(block.variance + wide**2)))
        return result.clip(0.0, 1.0)

    def above_mean(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(rate > sum of share * rate over the brief), and the posterior mean of that sum; shapes (n,).

        `share` sums to one over each brief; where it does not, the answers mean nothing.
        """
        result, bar = np.empty_like(self.prior_mean), np.empty_like(self.prior_mean)
        rate = self.moments()[0]
        for block in self.blocks:
            parts = share[block.rows]
            bar[block.rows] = (parts * rate[block.rows]).sum(axis=1, keepdims=True)
            result[block.rows] = block.mix(_above_mean(block, parts))
        return result.clip(0.0, 1.0), bar

    def measured_again(self, exposure: np.ndarray) -> BriefPosterior:
        """The same for the rates *observed* in a fresh measurement: adds its binomial noise, keeping the means."""
        blocks = []
        for block in self.blocks:
            rate = expit(block.mean)
            # Of ln(observed / true); the logit scale stretches it by 1 / (1 - rate).
            noise = np.log1p((1 - rate) / (rate * exposure[block.rows][:, None])) / (1 - rate) ** 2
            identity = np.eye(block.rows.shape[1])
            mean = block.mean - (1 - rate) * noise / 2
            blocks.append(replace(block, mean=mean, covariance=block.covariance + noise[..., None] * identity))
        return replace(self, blocks=tuple(blocks))


@dataclass(frozen=True, eq=False)
class Laplace:
    """Gaussian approximation of the logits of stacked briefs of one size.

    Attributes:
        mean: the mode, corrected for skewness, shape (briefs, size).
        covariance: shape (briefs, size, size).
        evidence: log probability of the outcomes, but for the binomial coefficients, shape (briefs,).
        mode: shape (briefs, size).
    """

    mean: np.ndarray
    covariance: np.ndarray
    evidence: np.ndarray
    mode: np.ndarray


def laplace(k: np.ndarray, n: np.ndarray, expected: np.ndarray, prior: np.ndarray) -> Laplace:
    """Gaussian approximation of the logits of stacked briefs, and the log evidence of their outcomes.

    Args:
        k: successes, shape (briefs, size).
        n: exposures, same shape.
        expected: prior means on the logit scale, same shape.
        prior: prior covariances, shape (briefs, size, size); need not be invertible.
    """
    mode, dual = expected.copy(), np.zeros_like(expected)
    for _ in range(STEPS):
        rate = expit(mode)
        curvature = n * rate * (1 - rate)
        root = np.sqrt(curvature)
        inner = np.eye(k.shape[1]) + root[:, :, None] * prior * root[:, None, :]
        pull = curvature * (mode - expected) + k - n * rate
        target = pull - root * _solve(inner, root * _times(prior, pull))
        move = expected + _times(prior, target) - mode
        part = np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(move).max(axis=1, keepdims=True), 1e-300))
        mode, dual = mode + part * move, dual + part * (target - dual)
        if np.abs(move).max(initial=0.0) < 1e-9:
            break
    rate = expit(mode)
    root = np.sqrt(n * rate * (1 - rate))
    inner = np.eye(k.shape[1]) + root[:, :, None] * prior * root[:, None, :]
    scaled = root[:, :, None] * prior
    covariance = prior - scaled.transpose(0, 2, 1) @ np.linalg.solve(inner, scaled)
    covariance = (covariance + covariance.transpose(0, 2, 1)) / 2
    likelihood = (k * log_expit(mode) + (n - k) * log_expit(-mode)).sum(axis=1)
    evidence = likelihood - (dual * (mode - expected)).sum(axis=1) / 2 - np.linalg.slogdet(inner)[1] / 2
    third = -n * rate * (1 - rate) * (1 - 2 * rate)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    return Laplace(mode + _times(covariance, third * variance) / 2, covariance, evidence, mode)


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


def _above_mean(block: Block, share: np.ndarray) -> np.ndarray:
    """P(ln rate_i > ln sum_j share_j rate_j) at each component, shape (briefs, q, size).

    Taken on the log scale, where the level of the brief cancels. The logarithm of the sum is expanded to second order,
    a quadratic form in Gaussians with known first three moments (Mathai and Provost 1992, theorem 3.2b.2).
    """
    rate = expit(block.mean)
    shrink = 1 - rate
    log_rate = log_expit(block.mean) - rate * shrink * block.variance / 2
    covariance = shrink[..., :, None] * block.covariance * shrink[..., None, :]
    variance = np.diagonal(covariance, axis1=2, axis2=3)
    parts = share[:, None] * np.exp(log_rate - log_rate.max(axis=2, keepdims=True))
    total = parts.sum(axis=2, keepdims=True)
    parts = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    log_sum = np.log(np.where(total > 0, total, 1.0)) + log_rate.max(axis=2, keepdims=True)
    hessian = parts[..., None] * np.eye(share.shape[1]) - parts[..., :, None] * parts[..., None, :]
    bent = hessian @ covariance
    bent2 = bent @ bent
    with_sum = _times(covariance, parts)
    of_sum = (parts * with_sum).sum(axis=2, keepdims=True)
    apart = covariance - with_sum[..., :, None]
    mean = log_rate - log_sum - np.trace(bent, axis1=2, axis2=3)[..., None] / 2
    spread = variance - 2 * with_sum + of_sum + np.trace(bent2, axis1=2, axis2=3)[..., None] / 2
    third = -3 * (apart * (hessian @ apart)).sum(axis=2) - np.trace(bent2 @ bent, axis1=2, axis2=3)[..., None]
    return pearson3_above_zero(mean, spread, third)


def rate_moments(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of expit(x), x ~ Normal(mean, variance), by Gauss-Hermite quadrature."""
    node, weight = hermegauss(11)
    values = expit(mean[..., None] + np.sqrt(variance)[..., None] * node)
    first = (values * weight).sum(axis=-1) / weight.sum()
    return first, ((values - first[..., None]) ** 2 * weight).sum(axis=-1) / weight.sum()


def _solve(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.linalg.solve(matrices, vectors[..., None])[..., 0]


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (matrices @ vectors[..., None])[..., 0]
