"""Levels and spreads of past outcomes: the variance components that a prior is made of.

Here: maximum likelihood on the working response. Not here: what is done with the estimates (`posterior`), likelihoods
(`outcomes`), how alike the outputs of a brief are (`likeness`).

The model of `posterior`, linearised at each brief's level (Breslow and Clayton 1993, "Approximate inference in
generalized linear mixed models", marginal quasi-likelihood for the outputs): working response z, with

    z = centre + coefficient * x + level of brief + particular + noise,    noise ~ (0, 1 / information)

and variances between^2, tau^2 * likeness and the noise. Scores and expected information
of the spreads as in Harville 1977, "Maximum likelihood approaches to variance component estimation".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flywheel_pipelines.learning.likeness import Panel
from flywheel_pipelines.learning.outcomes import Outcomes

ROUNDS = 40


@dataclass(frozen=True, eq=False)
class Components:
    """What the past says, on the scale of the metric.

    Attributes:
        centre: usual level of a brief.
        centre_se: its standard error.
        tau: standard deviation of what is particular to an output.
        tau_doubt: standard error of ln tau.
        between: standard deviation of levels between briefs.
        slope: worth of a prediction, shrunk by its noise, never negative; from differences within briefs, or between
            them where none has any.
        slope_se: its standard error; inf where nothing could be compared.
        level: level of each brief, shrunk to the centre, shape (briefs,).
        alone: level that each brief's own outcomes speak for, shape (briefs,).
        alone_variance: its sampling variance, shape (briefs,).
        working: observed minus expected at the brief's level, per output, shape (n,).
        information: what each output says about its brief, shape (n,).
    """

    centre: float
    centre_se: float
    tau: float
    tau_doubt: float
    between: float
    slope: float
    slope_se: float
    level: np.ndarray
    alone: np.ndarray
    alone_variance: np.ndarray
    working: np.ndarray
    information: np.ndarray


def fit_components(
    outcomes: Outcomes, x: np.ndarray, panels: list[Panel], *, tau: float, between: float, worth: float
) -> Components:
    """Estimate by Fisher scoring.

    Args:
        outcomes: of n outputs, each of which was seen.
        x: predictions relative to the brief, shape (n,).
        panels: the outputs by brief.
        tau: default, pooled into the estimate with `worth` degrees of freedom, so that a short past cannot claim that
            all outputs are equal (a scaled inverse chi-squared prior).
        between: the same for the spread between briefs.
        worth: degrees of freedom of the defaults.
    """
    default = np.log([between**2, tau**2])
    spreads = default.copy()
    centre, slope = outcomes.pooled(), 0.0
    brief = np.empty(len(x), int)
    for panel in panels:
        brief[panel.rows] = panel.brief[:, None]
    level = np.full(brief.max() + 1, centre)
    for _ in range(ROUNDS):
        working, noise = outcomes.working(level[brief] + slope * x)
        sums = _Sums(len(level))
        for panel in panels:
            rows = panel.rows
            response = level[panel.brief][:, None] + working[rows] + slope * x[rows]
            sums.add(panel, response, x[rows], noise[rows], np.exp(spreads), centre, slope)
        size = np.exp(spreads)
        score = size * sums.score + worth / 2 * (np.exp(default - spreads) - 1)
        information = sums.information * np.outer(size, size) + worth / 2 * np.eye(2)
        steps = np.array([*np.linalg.solve(information, score).clip(-1.0, 1.0), sums.pull / sums.precision])
        # The levels answer to the slope and centre that the working response was made with.
        level = level + (centre + size[0] * sums.residual - level).clip(-outcomes.longest_step, outcomes.longest_step)
        slope, slope_se = sums.worth_of_predictions()
        spreads, centre = spreads + steps[:2], centre + float(steps[2])
        if np.abs(steps).max() < 1e-7:
            break
    return Components(
        centre=centre,
        centre_se=float(sums.precision**-0.5),
        tau=float(np.exp(spreads[1] / 2)),
        tau_doubt=float(np.linalg.inv(information)[1, 1] ** 0.5) / 2,
        between=float(np.exp(spreads[0] / 2)),
        slope=slope,
        slope_se=slope_se,
        level=level,
        alone=sums.alone,
        alone_variance=sums.alone_variance,
        working=working,
        information=1 / (noise + np.exp(spreads[1])),
    )


class _Sums:
    """Scores, information and generalised least squares at the current estimates, summed over briefs."""

    def __init__(self, briefs: int) -> None:
        self.score, self.information = np.zeros(2), np.zeros((2, 2))
        self.pull = self.precision = self.curvature = self.cross = 0.0
        self.sum_x = self.sum_xx = self.sum_y = self.sum_xy = 0.0
        self.residual, self.alone, self.alone_variance = np.empty(briefs), np.empty(briefs), np.empty(briefs)

    def add(
        self,
        panel: Panel,
        response: np.ndarray,
        x: np.ndarray,
        noise: np.ndarray,
        spreads: np.ndarray,
        centre: float,
        slope: float,
    ) -> None:
        """Add the briefs of one panel; arrays of shape (briefs, size), `spreads` holds between^2 and tau^2."""
        identity = np.eye(x.shape[1])
        inverse = np.linalg.inv(spreads[1] * panel.likeness + noise[:, :, None] * identity)
        ones = inverse.sum(axis=2)
        own = ones.sum(axis=1)
        self.alone[panel.brief] = (ones * (response - slope * x)).sum(axis=1) / own
        self.alone_variance[panel.brief] = 1 / own
        # Within briefs: as if nothing were known about their levels, so that only differences count.
        by_x = (inverse @ x[:, :, None])[:, :, 0] - ones * ((ones * x).sum(axis=1) / own)[:, None]
        self.curvature += float((by_x * x).sum())
        self.cross += float((by_x * response).sum())
        # Sherman and Morrison: the level of a brief adds between^2 to each entry of its covariance.
        inverse = inverse - (spreads[0] / (1 + spreads[0] * own))[:, None, None] * ones[:, :, None] * ones[:, None, :]
        ones_now, by_x = inverse.sum(axis=2), (inverse @ x[:, :, None])[:, :, 0]
        self.sum_x, self.sum_xx = self.sum_x + float(by_x.sum()), self.sum_xx + float((by_x * x).sum())
        self.sum_y += float((ones_now * response).sum())
        self.sum_xy += float((by_x * response).sum())
        weighed = (inverse @ (response - centre - slope * x)[:, :, None])[:, :, 0]
        residual, precision = weighed.sum(axis=1), inverse.sum(axis=(1, 2))
        self.residual[panel.brief] = residual
        self.pull += float(residual.sum())
        self.precision += float(precision.sum())
        alike = panel.likeness @ inverse
        quadratic = (weighed * (panel.likeness @ weighed[:, :, None])[:, :, 0]).sum()
        self.score += [
            (residual**2 - precision).sum() / 2,
            (quadratic - np.trace(alike, axis1=1, axis2=2).sum()) / 2,
        ]
        crossed = float((inverse.sum(axis=1) * alike.sum(axis=2)).sum()) / 2
        same = float((alike * alike.transpose(0, 2, 1)).sum()) / 2
        self.information += [[float((precision**2).sum()) / 2, crossed], [crossed, same]]

    def worth_of_predictions(self) -> tuple[float, float]:
        """Coefficient of the predictions and its standard error: within briefs, else between them (with an intercept).

        The shrinkage 1 - se^2/b^2 (positive part, James and Stein 1961) makes the expected cost of a useless model nil.
        """
        curvature, cross = self.curvature, self.cross
        if curvature <= 1e-12:
            curvature = self.sum_xx - self.sum_x**2 / self.precision
            cross = self.sum_xy - self.sum_x * self.sum_y / self.precision
        if curvature <= 1e-9:
            return 0.0, float("inf")
        raw = cross / curvature
        shrunk = max(0.0, 1 - 1 / (curvature * raw**2)) * raw if raw > 0 else 0.0
        return shrunk, curvature**-0.5
