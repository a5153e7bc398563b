"""The joint posterior of the outputs of each brief, and the comparisons it answers.

Here: the Laplace approximation with a Gaussian prior on the scale of the metric, and the probabilities of "above a
level" and "above a weighted mean of the brief". Not here: likelihoods (`outcomes`), what a scale is (`scales`), where
the prior comes from (`posterior`), floors and decisions (`scoring`).

Laplace as in Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", section 3.4, with the first-order
correction of the mean for the skewness of the likelihood (Rue, Martino and Chopin 2009, section 3.2.3). Several priors
may be mixed, each weighted by the evidence that the brief's own outcomes give it. No random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, ndtr, ndtri

from flywheel_pipelines.learning.outcomes import Outcomes
from flywheel_pipelines.learning.scales import LOGIT, Scale

STEPS = 60
LONGEST_STEP = 2.0
"""Newton's method from far away would overshoot: at a rate of 0.1% one success more asks for a step of 1000."""


@dataclass(frozen=True, eq=False)
class Block:
    """Posterior of briefs of one size: a mixture of q Gaussians on the scale of the metric.

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
        """Marginal variances, shape (briefs, q, size)."""
        return np.diagonal(self.covariance, axis1=2, axis2=3)

    def mix(self, values: np.ndarray) -> np.ndarray:
        """Average over the components: (briefs, q, size) to (briefs, size)."""
        return (self.weight[:, :, None] * values).sum(axis=1)


@dataclass(frozen=True, eq=False)
class BriefPosterior:
    """What is known about the true values of n outputs, jointly within each brief.

    Attributes:
        blocks: the posterior, briefs of one size together.
        prior_mean: value expected of each output from everything but its own outcome, shape (n,).
        prior_strength: what that expectation is worth, in exposures, shape (n,).
        scale: what the blocks are Gaussian on.
    """

    blocks: tuple[Block, ...]
    prior_mean: np.ndarray
    prior_strength: np.ndarray
    scale: Scale = LOGIT

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each true value, shapes (n,)."""
        mean, variance = np.empty_like(self.prior_mean), np.empty_like(self.prior_mean)
        for block in self.blocks:
            first, second = self.scale.moments(block.mean, block.variance)
            mean[block.rows] = block.mix(first)
            variance[block.rows] = block.mix(second + (first - mean[block.rows][:, None]) ** 2)
        return mean, variance

    def interval(self, content: float) -> tuple[np.ndarray, np.ndarray]:
        """Central interval of each true value, shapes (n,)."""
        centre, spread = np.empty_like(self.prior_mean), np.empty_like(self.prior_mean)
        for block in self.blocks:
            centre[block.rows] = block.mix(block.mean)
            away = block.mean - centre[block.rows][:, None]
            spread[block.rows] = np.sqrt(block.mix(block.variance + away**2))
        reach = ndtri((1 + content) / 2) * spread
        return self.scale.value(centre - reach), self.scale.value(centre + reach)

    def above_level(self, level: float, error: float = 0.0) -> np.ndarray:
        """P(value > level), where the level itself has a standard error; shape (n,)."""
        bar = self.scale.position(level)
        wide = error / max(self.scale.slope(level), 1e-12)
        result = np.empty_like(self.prior_mean)
        for block in self.blocks:
            result[block.rows] = block.mix(ndtr((block.mean - bar) / np.sqrt(block.variance + wide**2)))
        return result.clip(0.0, 1.0)

    def above_mean(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(value > sum of share * value over the brief), and the posterior mean of that sum; shapes (n,).

        `share` sums to one over each brief; where it does not, the answers mean nothing.
        """
        result, bar = np.empty_like(self.prior_mean), np.empty_like(self.prior_mean)
        value = self.moments()[0]
        for block in self.blocks:
            parts = share[block.rows]
            bar[block.rows] = (parts * value[block.rows]).sum(axis=1, keepdims=True)
            result[block.rows] = block.mix(self.scale.above_mean(block.mean, block.covariance, parts))
        return result.clip(0.0, 1.0), bar

    def measured_again(self, exposure: np.ndarray) -> BriefPosterior:
        """The same for the *rates* observed in a fresh measurement: adds its binomial noise, keeping the means."""
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
    """Gaussian approximation for stacked briefs of one size.

    Attributes:
        mean: the mode, corrected for skewness, shape (briefs, size).
        covariance: shape (briefs, size, size).
        evidence: log probability of the outcomes, but for what does not depend on the prior, shape (briefs,).
        mode: shape (briefs, size).
    """

    mean: np.ndarray
    covariance: np.ndarray
    evidence: np.ndarray
    mode: np.ndarray


def laplace(outcomes: Outcomes, expected: np.ndarray, prior: np.ndarray) -> Laplace:
    """Gaussian approximation for stacked briefs, and the log evidence of their outcomes.

    Args:
        outcomes: of shape (briefs, size).
        expected: prior means, same shape.
        prior: prior covariances, shape (briefs, size, size); need not be invertible.
    """
    seen, identity = outcomes.seen, np.eye(expected.shape[1])
    mode, dual = expected.copy(), np.zeros_like(expected)
    for _ in range(STEPS):
        curvature = outcomes.curvature(mode)
        root = np.sqrt(curvature)
        inner = identity + root[:, :, None] * prior * root[:, None, :]
        pull = curvature * (mode - expected) + seen - outcomes.fitted(mode)
        target = pull - root * _solve(inner, root * _times(prior, pull))
        move = expected + _times(prior, target) - mode
        part = np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(move).max(axis=1, keepdims=True), 1e-300))
        mode, dual = mode + part * move, dual + part * (target - dual)
        if np.abs(move).max(initial=0.0) < 1e-9:
            break
    root = np.sqrt(outcomes.curvature(mode))
    inner = identity + root[:, :, None] * prior * root[:, None, :]
    scaled = root[:, :, None] * prior
    covariance = prior - scaled.transpose(0, 2, 1) @ np.linalg.solve(inner, scaled)
    covariance = (covariance + covariance.transpose(0, 2, 1)) / 2
    likelihood = outcomes.log_likelihood(mode)
    evidence = likelihood - (dual * (mode - expected)).sum(axis=1) / 2 - np.linalg.slogdet(inner)[1] / 2
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    skewed = _times(covariance, outcomes.third(mode) * variance) / 2
    return Laplace(mode + skewed, covariance, evidence, mode)


def _solve(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.linalg.solve(matrices, vectors[..., None])[..., 0]


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (matrices @ vectors[..., None])[..., 0]
