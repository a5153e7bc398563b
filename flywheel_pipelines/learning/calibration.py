"""How far a prior's confidence is to be believed, measured on the past by pretending that less of it had been seen.

Here: splitting past outcomes at random into a first part and a rest, and the temper that makes probabilities from the
first part agree with the rest. Not here: the probabilities (`joint`), or where tempered ones decide (`scoring`).

Only rates can be split after the fact: of n trials any part is as good as any other, while the reports of an amount, a
time or a count are not kept one by one.

Every model of a prior is wrong somewhere, and decisions are taken where it is surest, so errors of its shape all show
as over-confidence. The correction has one number (Platt scaling without intercept, also called temperature scaling; Guo
et al. 2017, "On calibration of modern neural networks"): logit p becomes temper * logit p.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from flywheel_pipelines.learning.joint import BriefPosterior
from flywheel_pipelines.learning.likeness import evenly

SHARES = (1 / 27, 1 / 9, 1 / 3)
"""First parts of the exposure that are tried: decisions are taken early, in between and late."""
CALIBRATION_BRIEFS = 1000
"""Briefs that are split, evenly over the past; bounds the cost of a close."""
DOUBT = 0.2
"""Standard deviation of the temper around 1 before anything was measured, so that a short past changes little."""


class CanJudge(Protocol):
    """What is calibrated: anything that turns outcomes into a joint posterior."""

    def posterior(self, outputs: pd.DataFrame) -> BriefPosterior:
        """As in `posterior.Prior`."""
        ...


def fit_temper(prior: CanJudge, history: pd.DataFrame) -> float:
    """The factor, at most 1, for the logit of the probability of beating the brief's mean.

    Args:
        prior: fitted on the past; its few numbers are not what the splits could over-fit.
        history: measured past outputs, columns as in `posterior.EmpiricalBayes.fit`.

    The draws have a fixed seed, so the same past gives the same answer. The shares reuse the same outcomes, so each
    counts for its part only.
    """
    past = _splittable(history)
    if past.empty:
        return 1.0
    generator = np.random.default_rng(0)
    claimed, found = zip(*(_claims(prior, past, share, generator) for share in SHARES), strict=True)
    z, right = np.concatenate(claimed), np.concatenate(found)
    temper = 1.0
    for _ in range(20):
        p = expit(temper * z)
        slope = float((z * (right - p)).sum()) / len(SHARES) - (temper - 1) / DOUBT**2
        step = slope / (float((z**2 * p * (1 - p)).sum()) / len(SHARES) + DOUBT**-2)
        temper = max(temper + step, 0.1)
        if abs(step) < 1e-9:
            break
    # Calmer only: a promotion is not to rest on the past having been luckier than claimed.
    return min(temper, 1.0)


def _splittable(history: pd.DataFrame) -> pd.DataFrame:
    """Briefs in which every output can be split and there is a choice, in an order that rows do not decide."""
    enough = history["exposure"] * min(SHARES) >= 1
    outputs = history.groupby("brief_id")["exposure"].transform("size")
    past = history[(outputs > 1) & enough.groupby(history["brief_id"]).transform("all")]
    code = pd.factorize(past["brief_id"])[0]
    past = past[np.isin(code, evenly(int(code.max(initial=-1)) + 1, CALIBRATION_BRIEFS))]
    return past.sort_values(["brief_id", "exposure", "numerator", "predicted"], kind="stable", ignore_index=True)


def _claims(
    prior: CanJudge, past: pd.DataFrame, share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Logit of the predictive probability from the first part, and whether the rest agreed; ties are left out."""
    successes, exposure = past["numerator"].to_numpy().astype(int), past["exposure"].to_numpy().astype(int)
    first = np.maximum((exposure * share).astype(int), 1)
    seen = generator.hypergeometric(successes, exposure - successes, first)
    rest = exposure - first
    rate = pd.Series((successes - seen) / rest)
    by_brief = past["brief_id"]
    margin = (rate - rate.groupby(by_brief).transform("mean")).to_numpy()
    equal = (1 / by_brief.groupby(by_brief).transform("size")).to_numpy(float)
    posterior = prior.posterior(past.assign(numerator=seen, exposure=first)).measured_again(rest.astype(float))
    claimed = logit(posterior.above_mean(equal)[0].clip(1e-6, 1 - 1e-6))
    untied = np.abs(margin) > 1e-12
    return claimed[untied], (margin[untied] > 0).astype(float)
