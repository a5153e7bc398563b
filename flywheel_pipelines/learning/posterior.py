"""Empirical Bayes: what is known about the true value of each output, given its outcome and everything before it.

Here: the prior fitted on past cycles and the joint posterior of the outputs of each brief, for metrics of kind rate.
Not here: floors and decisions (`scoring`), predictions from text (`text_model`); both only meet here in the column
`predicted`. A new kind of metric is one more `Family` in `FAMILIES`; everything downstream reads only `BriefPosterior`.

Rates. Output i of brief b, n exposures, k successes:

    k_i ~ Binomial(n_i, p_i),   p_i ~ Beta with mean m_i and variance (m_i (1 - m_i) tau)^2      (over-dispersion)
    logit m_i = level_b + coefficient * x_i,   level_b ~ Normal(centre of its segment, between^2)

x_i is the prediction recorded before publishing, relative to the brief. Constant tau on the logit scale means that
outputs differ by the same *factor* in briefs with low and with high rates. `tau`, `between` and the coefficient are
fitted on past outcomes by iterated weighted least squares with moment estimates of the variances (Williams 1982,
"Extra-binomial variation in logistic linear models"; Paule and Mandel 1982 for the moment equation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import betaln, expit, logit, logsumexp, ndtri

NODES = 9
"""Quadrature nodes over the level of a brief."""
UNEVEN = (0.0, 0.3, 0.6, 0.9)
"""Candidate values for how unevenly briefs spread (sd of ln tau between briefs); the evidence of the past picks one."""
DEFAULT_TAU, DEFAULT_BETWEEN, DEFAULT_WORTH = 0.3, 0.5, 10
"""With no past at all outputs are taken to differ by 30% within and 50% between briefs; worth 10 degrees of freedom."""


@dataclass(frozen=True, eq=False)
class BriefPosterior:
    """Joint posterior of outputs: independent within a brief *given* a node, i.e. a possible level of that brief.

    Attributes:
        brief: integer code of each output's brief, shape (n,).
        weight: posterior probability of each node, by brief, shape (briefs, nodes).
        mean: posterior mean of each output at each node, shape (n, nodes).
        variance: posterior variance, same shape.
        third: third central moment, same shape.
        prior_mean: what was expected before the outcome but after the siblings', shape (n,).
        prior_strength: what the prior is worth, in exposures, shape (n,).
    """

    brief: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    third: np.ndarray
    prior_mean: np.ndarray
    prior_strength: np.ndarray

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each output with the level of its brief integrated out, shapes (n,)."""
        weight = self.weight[self.brief]
        mean = (weight * self.mean).sum(axis=1)
        return mean, (weight * (self.variance + (self.mean - mean[:, None]) ** 2)).sum(axis=1)


class Prior(Protocol):
    """What past cycles teach about outputs that are still to be measured."""

    def posterior(self, outputs: pd.DataFrame) -> BriefPosterior:
        """Joint posterior of `outputs`: columns brief_id, segment, numerator, exposure, predicted."""
        ...

    def level(self, quantile: float | None = None, *, control: bool = False) -> tuple[float, float]:
        """Mean (or quantile) of the true values of past outputs, and its standard error; (nan, nan) without a past."""
        ...


class Family(Protocol):
    """One kind of metric."""

    def fit(self, history: pd.DataFrame) -> Prior:
        """Fit on past outputs: columns brief_id, segment, numerator, exposure, predicted, control_weight."""
        ...


@dataclass(frozen=True)
class RatePrior:
    """The fitted prior of a rate; all on the logit scale but `n_outputs` and `n_briefs`.

    `coefficient` multiplies predictions: 0 for a useless model, 1 for one whose differences can be taken at face value.
    """

    centre: float = -3.0
    tau: float = DEFAULT_TAU
    uneven: float = 0.0
    between: float = DEFAULT_BETWEEN
    coefficient: float = 0.0
    coefficient_se: float = 0.0
    usual_prediction: float = 0.0
    n_outputs: int = 0
    n_briefs: int = 0
    control_centre: float = float("nan")
    centre_se: float = float("nan")
    segments: Mapping[str, float] = field(default_factory=dict)

    def posterior(self, outputs: pd.DataFrame) -> BriefPosterior:
        """See `Prior.posterior`. Cost is linear in the number of outputs."""
        brief, x = _relative_prediction(outputs, self.usual_prediction)
        k, n = _counts(outputs)
        centre = outputs["segment"].astype(str).map(self.segments).fillna(self.centre).to_numpy(float)
        start = np.zeros(brief.max() + 1 if len(brief) else 0)
        start[brief] = centre
        between = self.between
        if self.n_briefs == 0 and n.sum() > 0:
            # Without a past there is no level to start from: let the outcomes themselves say it.
            start[:], between = logit((k.sum() + 0.5) / (n.sum() + 1)), 1.0
        offset = self.coefficient * x
        mean, strength, joint = _nodes(k, n, offset, brief, start, between, _taus(self.tau, self.uneven))
        weight = np.exp(joint - joint.max(axis=1, keepdims=True, initial=-np.inf))
        weight /= weight.sum(axis=1, keepdims=True)
        prior_mean = (weight[brief] * mean).sum(axis=1)
        prior_strength = (weight[brief] * strength).sum(axis=1)
        a, b = mean * strength + k[:, None], (1 - mean) * strength + (n - k)[:, None]
        total = a + b
        variance = a * b / (total**2 * (total + 1))
        third = 2 * variance * (b - a) / (total * (total + 2))
        return BriefPosterior(brief, weight, a / total, variance, third, prior_mean, prior_strength)

    def level(self, quantile: float | None = None, *, control: bool = False) -> tuple[float, float]:
        """See `Prior.level`. A quantile is one of true values: observed rates spread wider than they do."""
        centre = self.control_centre if control and np.isfinite(self.control_centre) else self.centre
        if self.n_briefs == 0:
            return float("nan"), float("nan")
        total = self.between**2 + self.tau**2
        if quantile is not None:
            node = float(ndtri(quantile))
            value = float(expit(centre + np.sqrt(total) * node))
        else:
            node, weight = hermegauss(21)
            value = float((expit(centre + np.sqrt(total) * node) * weight).sum() / weight.sum())
        return value, value * (1 - value) * self.centre_se


class RateFamily:
    """Successes out of exposures, both counted."""

    def fit(self, history: pd.DataFrame) -> RatePrior:
        """Fit level, spreads and the worth of predictions on measured outputs of past cycles.

        Variances are pooled with their defaults worth `DEFAULT_WORTH` degrees of freedom, so that a short past cannot
        claim that all outputs are equal. The coefficient is shrunk by its own noise and never negative.
        """
        history = history[history["exposure"].to_numpy(float) > 0]
        if history.empty:
            return RatePrior()
        k, n = _counts(history)
        usual = float(np.average(history["predicted"].fillna(0.0), weights=np.minimum(n, np.median(n))))
        brief, x = _relative_prediction(history, usual)
        size = np.bincount(brief)
        x = np.where(size[brief] > 1, x, 0.0)
        centre = float(logit((k.sum() + 0.5) / (n.sum() + 1)))
        tau2, between2, slope, error = DEFAULT_TAU**2, DEFAULT_BETWEEN**2, 0.0, float("inf")
        for _ in range(25):
            level, spread = _mode(k, n, slope * x, brief, np.full(len(size), centre), tau2**0.5, between2**0.5)
            fit = expit(level[brief] + slope * x)
            bernoulli = fit * (1 - fit)
            information = 1 / (1 / (n * bernoulli) + tau2)
            working = (k / n - fit) / bernoulli
            slope, error = _slope(slope, working, x, information, brief)
            own = spread**-2 - 1 / between2
            used = float((own * spread**2).sum())
            tau2 = _spread(tau2, working, 1 / (n * bernoulli), len(k) - used, DEFAULT_TAU)
            # The level that each brief's own outcomes speak for, undone from its shrinkage.
            alone = (level / spread**2 - centre / between2) / own
            centre = float(np.average(alone, weights=1 / (1 / own + between2)))
            between2 = _spread(between2, alone - centre, 1 / own, len(size) - 1, DEFAULT_BETWEEN)
        weight = 1 / (1 / own + between2)
        evidence = [
            float(logsumexp(_nodes(
                k, n, slope * x, brief, np.full(len(size), centre), between2**0.5, _taus(tau2**0.5, uneven)
            )[2], axis=1).sum())
            for uneven in UNEVEN
        ]  # fmt: skip
        return RatePrior(
            centre=centre,
            tau=tau2**0.5,
            uneven=UNEVEN[int(np.argmax(evidence))],
            between=between2**0.5,
            coefficient=slope,
            coefficient_se=error if np.isfinite(error) else 0.0,
            usual_prediction=usual,
            n_outputs=len(k),
            n_briefs=len(size),
            control_centre=_control_centre(history, working, information, level, centre, brief),
            centre_se=float(weight.sum() ** -0.5),
            segments=_segment_centres(history, brief, alone, weight, centre),
        )


FAMILIES: dict[str, Family] = {"rate": RateFamily()}
"""Kind of metric -> how to learn from it."""


def _counts(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    k, n = frame["numerator"].to_numpy(float), frame["exposure"].to_numpy(float)
    wrong = ~((k >= 0) & (k <= n))
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise ValueError(
            f"brief {row['brief_id']!r}: {row['numerator']} successes of {row['exposure']} exposures; "
            "expected 0 <= successes <= exposures"
        )
    return k, n


def _relative_prediction(frame: pd.DataFrame, usual: float) -> tuple[np.ndarray, np.ndarray]:
    """Brief codes and predictions relative to the brief's mean (a single output: to the usual prediction)."""
    brief = pd.factorize(frame["brief_id"])[0]
    predicted = frame["predicted"].fillna(usual).to_numpy(float)
    size = np.bincount(brief)
    mean = np.bincount(brief, predicted) / np.maximum(size, 1)
    return brief, predicted - np.where(size > 1, mean, usual)[brief]


def _taus(tau: float, uneven: float) -> list[tuple[float, float]]:
    """Possible spreads of a brief and their log probability: log-normal with mean square tau^2, three nodes."""
    if uneven <= 0:
        return [(tau, 0.0)]
    node, weight = hermegauss(3)
    spreads = np.exp(uneven * node)
    spreads *= tau / np.sqrt(np.average(spreads**2, weights=weight))
    return [(float(each), float(np.log(w))) for each, w in zip(spreads, weight / weight.sum(), strict=True)]


def _nodes(
    k: np.ndarray,
    n: np.ndarray,
    offset: np.ndarray,
    brief: np.ndarray,
    start: np.ndarray,
    between: float,
    taus: list[tuple[float, float]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prior mean and strength of each output at each node, and the log joint probability of node and outcomes by brief.

    Nodes are pairs of a spread and a level. For each spread the levels are those of adaptive Gauss-Hermite quadrature
    (Pinheiro and Bates 1995): they sit where the posterior of the level is.
    """
    means, strengths, joints = [], [], []
    node, weight = hermegauss(NODES)
    for tau, log_probability in taus:
        level, spread = _mode(k, n, offset, brief, start, tau, between)
        levels = level[:, None] + spread[:, None] * node
        mean = expit(levels[brief] + offset[:, None])
        # The Beta with this mean and standard deviation tau * mean * (1 - mean).
        strength = np.maximum(1 / (mean * (1 - mean) * tau**2) - 1, 0.5)
        a, b = mean * strength, (1 - mean) * strength
        likelihood = betaln(a + k[:, None], b + (n - k)[:, None]) - betaln(a, b)
        joint = np.stack([np.bincount(brief, column, minlength=len(start)) for column in likelihood.T], axis=1)
        joint += np.log(weight / weight.sum()) + node**2 / 2 + np.log(spread / between)[:, None] + log_probability
        joints.append(joint - ((levels - start[:, None]) / between) ** 2 / 2)
        means.append(mean)
        strengths.append(strength)
    return np.hstack(means), np.hstack(strengths), np.hstack(joints)


def _mode(
    k: np.ndarray, n: np.ndarray, offset: np.ndarray, brief: np.ndarray, centre: np.ndarray, tau: float, between: float
) -> tuple[np.ndarray, np.ndarray]:
    """Level of each brief and its standard error (logit scale), by weighted least squares on the working response."""
    level = centre.copy()
    precision = np.full(len(centre), between**-2)
    for _ in range(12):
        fit = expit(level[brief] + offset)
        bernoulli = fit * (1 - fit)
        information = n * bernoulli / (1 + n * bernoulli * tau**2)
        precision = np.bincount(brief, information, minlength=len(centre)) + between**-2
        score = np.zeros(len(fit))
        np.divide(information * (k - n * fit), n * bernoulli, out=score, where=n > 0)
        step = np.bincount(brief, score, minlength=len(centre)) + (centre - level) / between**2
        level = level + np.clip(step / precision, -1.5, 1.5)
    return level, precision**-0.5


def _slope(
    slope: float, working: np.ndarray, x: np.ndarray, information: np.ndarray, brief: np.ndarray
) -> tuple[float, float]:
    """Coefficient of the predictions within briefs and its standard error; shrunk by its noise, never negative.

    The shrinkage 1 - se^2/b^2 (positive part, James and Stein 1961) makes the expected cost of a useless model nil.
    """
    total = np.bincount(brief, information)
    centred = x - (np.bincount(brief, information * x) / total)[brief]
    curvature = float((information * centred**2).sum())
    if curvature <= 1e-12:
        return 0.0, float("inf")
    raw = float((information * centred * (working + slope * x)).sum()) / curvature
    shrunk = max(0.0, 1 - 1 / (curvature * raw**2)) * raw if raw > 0 else 0.0
    return shrunk, curvature**-0.5


def _spread(now: float, residual: np.ndarray, noise: np.ndarray, freedom: float, default: float) -> float:
    """One step of the moment equation sum residual^2 / (noise + v) = freedom, pooled with the default."""
    weight = (1 / (noise + now)) ** 2
    share = freedom / len(residual)
    moment = float((weight * (residual**2 / max(share, 1e-9) - noise)).sum() / weight.sum())
    worth = float((weight * now**2).sum() * max(share, 0.0))
    return (max(moment, 0.0) * worth + DEFAULT_WORTH * default**2) / (worth + DEFAULT_WORTH)


def _control_centre(
    history: pd.DataFrame,
    working: np.ndarray,
    information: np.ndarray,
    level: np.ndarray,
    centre: float,
    brief: np.ndarray,
) -> float:
    """Level of past control outputs: each one's own estimate, averaged; nan where the past has no control."""
    control = history["control_weight"].to_numpy(float) * information
    if control.sum() <= 0:
        return float("nan")
    return centre + float(np.average(level[brief] + working - centre, weights=control))


def _segment_centres(
    history: pd.DataFrame, brief: np.ndarray, alone: np.ndarray, weight: np.ndarray, centre: float
) -> dict[str, float]:
    """Segment levels shrunk to the flywheel's: moment estimate of the spread between segments, then its BLUP."""
    segment = pd.Series(history["segment"].astype(str).to_numpy()).groupby(brief).first()
    frame = pd.DataFrame({"segment": segment.to_numpy(), "w": weight, "d": weight * (alone - centre)})
    sums = frame.groupby("segment")[["w", "d"]].sum()
    if len(sums) < 2:
        return {}
    deviation, noise = sums["d"] / sums["w"], 1 / sums["w"]
    spread = max(float(((deviation**2 - noise) / noise**2).sum() / (1 / noise**2).sum()), 0.0)
    return {str(name): float(value) for name, value in (centre + deviation * spread / (spread + noise)).items()}
