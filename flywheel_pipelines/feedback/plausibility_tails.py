"""How improbable a count is: tail probabilities, and the number of them that a file may have by chance.

Here: formulas on arrays. Not here: what is expected of an output (`plausibility_history`), or what is done about a row
that is too improbable (`plausibility`).
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, expit
from scipy.stats import t as student

GRID, AT_ONCE = 601, 2_000
"""Points of the integration, and rows that are integrated at once."""
REACH = 12.0
"""How far the points reach beyond the centre and beyond what was observed, in spreads."""


def binomial_tail(
    successes: np.ndarray, trials: np.ndarray, centre: np.ndarray, spread: np.ndarray, freedom: float
) -> np.ndarray:
    """P(S >= successes) when S is binomial and the logit of its rate is Student t around `centre`, shape (n,).

    A binomial with a random effect on the logit scale (Williams 1982, "Extra-binomial variation in logistic linear
    models"); Student's t instead of the normal, since centre and spread were estimated from `freedom` + 1 outputs. Its
    upper tail is heavier than that of the beta-binomial of the same logit mean and variance.

    Args:
        successes: whole counts of 1 or more, shape (n,).
        trials: whole counts, shape (n,).
        centre: expected logit, shape (n,).
        spread: its standard deviation, shape (n,).
        freedom: degrees of freedom.
    """
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(successes), AT_ONCE)]
    found = [_binomial_tail(successes[at], trials[at], centre[at], spread[at], freedom) for at in parts]
    return np.concatenate(found or [np.empty(0)])


def _binomial_tail(
    successes: np.ndarray, trials: np.ndarray, centre: np.ndarray, spread: np.ndarray, freedom: float
) -> np.ndarray:
    scale = spread * _t_scale(freedom)
    share = np.minimum((successes - 0.5) / trials, 1 - 0.5 / trials)
    # What is integrated is smooth but for a step where the rate passes the observed share: the grid holds both.
    turning = np.log(share / (1 - share))
    low = np.minimum(centre, turning) - REACH * scale
    high = np.maximum(centre, turning) + REACH * np.maximum(scale, 1 / np.sqrt(successes))
    logits = np.linspace(low, high, GRID)
    density = student.pdf((logits - centre) / scale, freedom) / scale
    # The binomial's tail is an incomplete beta function (Abramowitz and Stegun 1964, 26.5.24).
    tail = betainc(successes, trials - successes + 1, expit(logits))
    # Rates beyond the grid give the observed count or more for certain.
    beyond = student.sf((high - centre) / scale, freedom)
    return np.minimum(np.trapezoid(density * tail, logits, axis=0) + beyond, 1.0)


def bound_of_tail(distance: np.ndarray, freedom: float) -> np.ndarray:
    """A lower bound of `binomial_tail` from the distance (observed - expected logit) / spread alone, shape (n,).

    With the rate at the observed share or above, at least every second binomial draw is as large as the observed one
    (its median is n p where that is whole, Kaas and Buhrman 1980), so the tail is at least half of that of the rate.
    """
    return student_tail(distance, freedom) / 2


def student_tail(distance: np.ndarray, freedom: float) -> np.ndarray:
    """P(T >= distance) of a Student t with variance 1, shape (n,)."""
    return student.sf(np.asarray(distance) / _t_scale(freedom), freedom)


def _t_scale(freedom: float) -> float:
    """A Student t has variance freedom / (freedom - 2); the spreads here are standard deviations."""
    return float(np.sqrt((freedom - 2) / freedom))


def holm(p_values: np.ndarray, weights: np.ndarray, level: float, total: float) -> np.ndarray:
    """Which of the tests are rejected so that, with probability 1 - level, none is rejected wrongly, shape (n,).

    Holm 1979, "A simple sequentially rejective multiple test procedure", in its weighted form (theorem 2); it holds
    whatever the dependence between the tests.

    Args:
        p_values: of the tests, shape (n,).
        weights: how much of the level each test gets, shape (n,).
        level: probability of any wrong rejection, at most.
        total: the weights of all tests; those not in `p_values` are taken to have larger p-values.
    """
    order = np.argsort(p_values / weights, kind="stable")
    spent = np.concatenate([[0.0], np.cumsum(weights[order])[:-1]])
    passed = p_values[order] <= level * weights[order] / (total - spent)
    n_rejected = len(passed) if passed.all() else int(np.argmin(passed))
    rejected = np.zeros(len(p_values), bool)
    rejected[order[:n_rejected]] = True
    return rejected
