"""Empirical Bayes: what is known about the true value of each output, given its outcome and everything before it.

Here: the prior that past cycles teach, for metrics of every kind. Not here: what the numbers of a kind say (`kinds`,
`outcomes`), the algebra of the joint posterior (`joint`) and of the fit (`components`), which texts are alike
(`likeness`), predictions (`text_model`), floors and decisions (`scoring`). A new kind of metric is one more `Kind`.

The outputs i of brief b, with texts t_i and true values v_i, on the scale of their kind (logit, logarithm, identity):

    outcome_i ~ the likelihood of the kind, given v_i and the exposure
    scale(v_i) = level_b + coefficient * x_i + e_i
    level_b ~ Normal(centre of its segment, between^2),   e ~ Normal(0, tau_b^2 * likeness(t_i, t_j))

x_i is the prediction recorded before publishing, relative to the brief. e is what the prediction missed: the
over-dispersion of real traffic. It is shared between outputs to the degree that their texts are alike, for what makes
one do well is mostly in its words. Rates are thus logit-normal binomial, counts log-normal gamma-Poisson, durations
log-normal and amounts normal throughout. tau_b is log-normal: briefs are uneven, and tau itself is an estimate. So is
the coefficient, whose standard error widens what is expected of an output the more unusual its prediction is. Levels
of segments are shrunk to the flywheel's. Last, the fitted prior of a rate is put to the test on the past itself
(`calibration`); the outcomes of other kinds cannot be split into parts after the fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import logsumexp, ndtri

from flywheel_pipelines.learning.calibration import fit_temper
from flywheel_pipelines.learning.components import Components, fit_components
from flywheel_pipelines.learning.joint import Block, BriefPosterior, laplace
from flywheel_pipelines.learning.kinds import KINDS, RATE, Kind
from flywheel_pipelines.learning.likeness import Panel, arrange, evenly
from flywheel_pipelines.learning.outcomes import Outcomes

UNEVEN = (0.0, 0.2, 0.4, 0.6)
"""Candidate values for how unevenly briefs spread (sd of ln tau between briefs); the evidence of the past picks one."""
UNEVEN_BRIEFS = 1000
"""Briefs whose evidence is asked for that, evenly over the past: more would cost more and say the same."""
DEFAULT_TAU, DEFAULT_BETWEEN, DEFAULT_WORTH = 0.3, 0.5, 10
"""With no past at all outputs are taken to differ by 30% within and 50% between briefs; worth 10 degrees of freedom."""


class Prior(Protocol):
    """What past cycles teach about outputs that are still to be measured."""

    def posterior(self, outputs: pd.DataFrame) -> BriefPosterior:
        """Joint posterior of `outputs`: columns brief_id, segment, numerator, exposure, predicted."""
        ...

    @property
    def temper(self) -> float:
        """Factor for the logit of the probability to beat a brief's mean, as measured on the past; 1 believes it."""
        ...

    def level(self, quantile: float | None = None, *, control: bool = False) -> tuple[float, float]:
        """Mean (or quantile) of the true values of past outputs, and its standard error; (nan, nan) without a past."""
        ...

    def sampling_variance(self, outputs: pd.DataFrame, value: np.ndarray) -> np.ndarray:
        """Of the observed values, where the true ones are `value`; nan without exposure. Shape (n,)."""
        ...


@dataclass(frozen=True)
class Level:
    """A mean of true values, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class FittedPrior:
    """A fitted prior; all on the scale of its kind but `n_outputs`, `n_briefs` and the two means.

    The means, of all and of the control's past outputs, are there only where each brief had one output.
    `coefficient` multiplies predictions: 0 for a useless model, 1 for one whose differences can be taken at face value.
    """

    centre: float = -3.0
    tau: float = DEFAULT_TAU
    tau_doubt: float = 0.0
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
    temper: float = 1.0
    mean: Level | None = None
    control_mean: Level | None = None
    kind: Kind = RATE

    def posterior(self, outputs: pd.DataFrame) -> BriefPosterior:
        """See `Prior.posterior`. Linear in the number of briefs, cubic in the number of outputs of one."""
        kind, x = self._kind_for(outputs), _relative_prediction(outputs, self.usual_prediction)[1]
        outcomes = kind.outcomes(outputs)
        level = outputs["segment"].astype(str).map(self.segments).fillna(self.centre).to_numpy(float)
        between = self.between
        if self.n_briefs == 0 and outputs["exposure"].sum() > 0:
            # Without a past there is no level to start from: let the outcomes themselves say it.
            level, between = np.full(len(x), outcomes.pooled()), 1.0
        expected = level + self.coefficient * x
        shared = np.stack([np.full(len(x), between), self.coefficient_se * x], axis=1)
        taus = _taus(self.tau, float(np.hypot(self.uneven, self.tau_doubt)))
        blocks, mean, strength = [], np.empty(len(x)), np.empty(len(x))
        for panel in arrange(outputs):
            block, mean[panel.rows], strength[panel.rows] = _block(panel, kind, outcomes, expected, shared, taus)
            blocks.append(block)
        return BriefPosterior(tuple(blocks), mean, strength, kind.scale)

    def sampling_variance(self, outputs: pd.DataFrame, value: np.ndarray) -> np.ndarray:
        """See `Prior.sampling_variance`."""
        exposure = outputs["exposure"].to_numpy(float)
        found = self._kind_for(outputs).sampling_variance(np.where(exposure > 0, exposure, np.nan), value)
        return np.asarray(found, float)

    def _kind_for(self, outputs: pd.DataFrame) -> Kind:
        """The kind with its noise; without a past the outcomes themselves have to say how noisy they are."""
        measured = outputs[outputs["exposure"].to_numpy(float) > 0]
        return self.kind if self.n_briefs or measured.empty else self.kind.fitted_on(measured)

    def level(self, quantile: float | None = None, *, control: bool = False) -> tuple[float, float]:
        """See `Prior.level`. A quantile is one of true values: observed ones spread wider than they do.

        The mean is over the briefs of the past the prior was fitted on, whichever arm answered them. As an arm
        improves, the mean follows behind it; control briefs hold it back by their share.
        """
        plain = self.control_mean or self.mean if control else self.mean
        if quantile is None and plain is not None:
            return plain.value, plain.error
        centre = self.control_centre if control and np.isfinite(self.control_centre) else self.centre
        if self.n_briefs == 0:
            return float("nan"), float("nan")
        total = self.between**2 + self.tau**2
        if quantile is not None:
            node = float(ndtri(quantile))
            value = float(self.kind.scale.value(centre + np.sqrt(total) * node))
        else:
            node, weight = hermegauss(21)
            value = float((self.kind.scale.value(centre + np.sqrt(total) * node) * weight).sum() / weight.sum())
        return value, self.kind.scale.slope(value) * self.centre_se


@dataclass(frozen=True)
class EmpiricalBayes:
    """How to learn from metrics of one kind."""

    kind: Kind = RATE

    def fit(self, history: pd.DataFrame) -> FittedPrior:
        """Fit level, spreads and the worth of predictions on measured outputs of past cycles.

        `history` has the columns brief_id, segment, numerator, exposure, predicted, control_weight.

        Variances are pooled with their defaults worth `DEFAULT_WORTH` degrees of freedom, so that a short past cannot
        claim that all outputs are equal. The coefficient is shrunk by its own noise and never negative.
        """
        history = history[history["exposure"].to_numpy(float) > 0]
        if history.empty:
            return FittedPrior(kind=self.kind)
        kind, n = self.kind.fitted_on(history), history["exposure"].to_numpy(float)
        outcomes = kind.outcomes(history)
        usual = float(np.average(history["predicted"].fillna(0.0), weights=np.minimum(n, np.median(n))))
        brief, x = _relative_prediction(history, usual)
        # What a prediction is worth is read off differences within briefs. Only where no brief offers one, as when each
        # publishes one written output, is it read off the differences between briefs.
        size = np.bincount(brief)
        alone = size.max() == 1
        if not alone:
            x = np.where(size[brief] > 1, x, 0.0)
        panels = arrange(history)
        found = fit_components(outcomes, x, panels, tau=DEFAULT_TAU, between=DEFAULT_BETWEEN, worth=DEFAULT_WORTH)
        prior = FittedPrior(
            centre=found.centre,
            tau=found.tau,
            tau_doubt=found.tau_doubt,
            uneven=_unevenness(outcomes, x, panels, found),
            between=found.between,
            coefficient=found.slope,
            coefficient_se=found.slope_se if np.isfinite(found.slope_se) else 0.0,
            usual_prediction=usual,
            n_outputs=len(n),
            n_briefs=len(found.level),
            control_centre=_control_centre(history, brief, found),
            centre_se=found.centre_se,
            segments=_segment_centres(history, brief, found),
            kind=kind,
        )
        if alone:
            spread = float(np.hypot(found.tau, found.between))
            control = history["control_weight"].to_numpy(float)
            prior = replace(
                prior,
                mean=_mean_value(kind, history, spread, np.ones(len(n))),
                control_mean=_mean_value(kind, history, spread, control),
            )
        return replace(prior, temper=fit_temper(prior, history)) if kind.can_split else prior


FAMILIES = {name: EmpiricalBayes(kind) for name, kind in KINDS.items()}
"""Kind of metric -> how to learn from it."""


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


def _block(
    panel: Panel,
    kind: Kind,
    outcomes: Outcomes,
    expected: np.ndarray,
    shared: np.ndarray,
    taus: list[tuple[float, float]],
) -> tuple[Block, np.ndarray, np.ndarray]:
    """Posterior of the briefs of one panel, and what was expected of each output without its own outcome.

    `shared` holds the effects that outputs of a brief have in common, scaled to unit variance, shape (n, effects).
    The expectation is the cavity distribution of Rasmussen and Williams 2006, section 5.4.2: the posterior, less what
    the output's own outcome contributed.
    """
    rows = panel.rows
    common = shared[rows] @ shared[rows].transpose(0, 2, 1)
    parts = [laplace(outcomes[rows], expected[rows], common + tau**2 * panel.likeness) for tau, _ in taus]
    evidence = np.stack([part.evidence + log_w for part, (_, log_w) in zip(parts, taus, strict=True)], axis=1)
    weight = np.exp(evidence - logsumexp(evidence, axis=1, keepdims=True))
    block = Block(
        rows,
        weight,
        np.stack([part.mean for part in parts], axis=1),
        np.stack([part.covariance for part in parts], axis=1),
    )
    mode = np.stack([part.mode for part in parts], axis=1)
    own = outcomes[rows[:, None]]
    without = block.variance / np.maximum(1 - block.variance * own.curvature(mode), 1e-9)
    pulled = mode - without * (own.seen - own.fitted(mode))
    first, second = kind.scale.moments(pulled, without)
    mean = block.mix(first)
    return block, mean, kind.strength(mean, block.mix(second + (first - mean[:, None]) ** 2))


def _unevenness(outcomes: Outcomes, x: np.ndarray, panels: list[Panel], found: Components) -> float:
    """The candidate that makes the outcomes of the past most likely."""
    asked = evenly(len(found.level), UNEVEN_BRIEFS)
    total = np.zeros(len(UNEVEN))
    for panel in panels:
        kept = np.isin(panel.brief, asked)
        if panel.rows.shape[1] == 1 or not kept.any():
            continue
        rows, likeness = panel.rows[kept], panel.likeness[kept]
        expected = found.centre + found.slope * x[rows]

        def evidence(tau: float, rows=rows, likeness=likeness, expected=expected) -> np.ndarray:
            return laplace(outcomes[rows], expected, found.between**2 + tau**2 * likeness).evidence

        for i, uneven in enumerate(UNEVEN):
            nodes = [evidence(tau) + log_probability for tau, log_probability in _taus(found.tau, uneven)]
            total[i] += np.logaddexp.reduce(nodes, axis=0).sum()
    return UNEVEN[int(np.argmax(total))]


def _mean_value(kind: Kind, history: pd.DataFrame, spread: float, counts: np.ndarray) -> Level | None:
    """Mean of true values from the observed ones, which are unbiased whatever the shape of their distribution.

    The fitted centre is not: linearised at the level of a brief that has one output, what that output has for its own
    pulls it up, by 5% at 200 exposures of 4%. Weights depend on exposures alone, and the error is White's (1980), which
    does not ask how the true values are distributed.
    """
    if counts.sum() <= 0:
        return None
    n, pooled = history["exposure"].to_numpy(float), kind.pooled(history)
    observed = history["numerator"].to_numpy(float) / n
    precision = 1 / (kind.sampling_variance(n, pooled) + (kind.scale.slope(pooled) * spread) ** 2)
    weight = counts * precision
    value = float(np.average(observed, weights=weight))
    # A few outputs that happened to agree do not make the mean certain.
    robust, expected = (weight**2 * (observed - value) ** 2).sum(), (weight**2 / precision).sum()
    return Level(value, float(max(robust, expected) ** 0.5 / weight.sum()))


def _control_centre(history: pd.DataFrame, brief: np.ndarray, found: Components) -> float:
    """Level of past control outputs: each one's own estimate, averaged; nan where the past has no control."""
    control = history["control_weight"].to_numpy(float) * found.information
    if control.sum() <= 0:
        return float("nan")
    return found.centre + float(np.average(found.level[brief] + found.working - found.centre, weights=control))


def _segment_centres(history: pd.DataFrame, brief: np.ndarray, found: Components) -> dict[str, float]:
    """Segment levels shrunk to the flywheel's: moment estimate of the spread between segments, then its BLUP."""
    segment = pd.Series(history["segment"].astype(str).to_numpy()).groupby(brief).first()
    weight = 1 / (found.alone_variance + found.between**2)
    frame = pd.DataFrame({"segment": segment.to_numpy(), "w": weight, "d": weight * (found.alone - found.centre)})
    sums = frame.groupby("segment")[["w", "d"]].sum()
    if len(sums) < 2:
        return {}
    deviation, noise = sums["d"] / sums["w"], 1 / sums["w"]
    spread = max(float(((deviation**2 - noise) / noise**2).sum() / (1 / noise**2).sum()), 0.0)
    return {str(name): float(value) for name, value in (found.centre + deviation * spread / (spread + noise)).items()}
