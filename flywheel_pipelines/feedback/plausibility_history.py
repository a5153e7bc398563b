"""What is expected of an output, learned from its own past and from that of its flywheel.

Here: sums over the past by output and day, variance components from them by the method of moments, and per output an
expected value with its spread. Not here: tests (`plausibility`), or which measurements are the past (whoever calls).

Both models have three levels: the flywheel, the output around it, the day around the output. An output without a past
is expected to be like the flywheel's others; with every day it has, its own past counts for more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from flywheel_pipelines.feedback.plausibility_days import OutputDays, weeks_of_age

MIN_OUTPUTS = 20
"""Outputs with a past below which nothing is tested: a spread from fewer is a guess."""
MIN_DAYS = 14
"""Days of a feed's past below which its days are not tested: two turns of the week."""
MIN_OUTPUTS_OF_A_DAY = 3
"""Days with fewer outputs say nothing of the days: their mean is a matter of single outputs."""
LEAST_SPREAD = 0.1
"""No output and no day is taken to be steadier than by a tenth, however steady the past looks."""
STEEPEST = 3.0
"""Slopes on age beyond this are an accident of a short past."""
MOST_FREEDOM = 200.0
"""Above this many degrees of freedom Student's t and the normal agree to what matters here."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of every output, on the scale of the test (logit of a rate, log of a count).

    Attributes:
        centre: the expected value; by number of the output, shape (outputs,), as are the next two. An output without
            a past has that of any output.
        doubt: variance of the output's own level around it.
        noise: variance of a single day around the output's level.
        freedom: degrees of freedom of the tests.
        n_outputs, n_days: how much past there is: outputs, and days of outputs.
        slope: what a unit of age (`weeks_of_age`) adds to the centre.
    """

    centre: np.ndarray
    doubt: np.ndarray
    noise: np.ndarray
    freedom: float
    n_outputs: int
    n_days: int
    slope: float = 0.0


def expected_rates(past: OutputDays, successes: str, exposure: str, n_outputs: int) -> Expected | None:
    """Expected logits of a rate per output; None when there is too little history.

    The variance of rates between outputs and the intra-class correlation of the days of an output are moment
    estimates (Kleinman 1973, "Proportions with extraneous variance"; Ridout, Demetrio and Firth 1999, "Estimating
    intraclass correlation for binary data", their analysis-of-variance estimator). An output's own counts are divided
    by their design effect (Rao and Scott 1992, "A simple method for the analysis of clustered binary data") and
    update the beta distribution of rates between outputs; `centre` and `doubt` are mean and variance of the logit
    under the result: digamma(a) - digamma(b), trigamma(a) + trigamma(b).

    Args:
        past: what was said before.
        successes: measure of the successes.
        exposure: measure of the trials.
        n_outputs: numbers that outputs may have.
    """
    known = past.where((past.values[exposure] > 0) & ~np.isnan(past.values[successes]))
    trials = known.values[exposure]
    good = np.minimum(known.values[successes], trials)
    every = _by_output(known, n_outputs, np.ones(len(trials)), good, trials, trials**2, good**2 / trials)
    there = np.flatnonzero(every[0])
    if len(there) < MIN_OUTPUTS:
        return None
    days, s, n, nn, squares = every[:, there]
    share = s / n
    correlation = _within_correlation(days, share, n, nn, squares)
    design = 1 + (nn / n - 1) * correlation
    middle, variance = _between(share, n, design)
    if middle <= 0:
        return None
    trust = middle * (1 - middle) / variance - 1
    # An output without a past has the distribution between outputs and nothing to update it.
    a, b = np.full(n_outputs, trust * middle), np.full(n_outputs, trust * (1 - middle))
    a[there] += s / design
    b[there] += (n - s) / design
    return Expected(
        centre=digamma(a) - digamma(b),
        doubt=polygamma(1, a) + polygamma(1, b),
        noise=_logit_noise(correlation, a / (a + b)),
        freedom=min(len(there) - 1.0, MOST_FREEDOM),
        n_outputs=len(there),
        n_days=int(days.sum()),
    )


def _by_output(known: OutputDays, n_outputs: int, *columns: np.ndarray) -> np.ndarray:
    """Sums of columns per output, shape (columns, outputs)."""
    return np.array([np.bincount(known.output, column, n_outputs) for column in columns])


def _within_correlation(
    days: np.ndarray, share: np.ndarray, n: np.ndarray, nn: np.ndarray, squares: np.ndarray
) -> float:
    """Intra-class correlation of trials of one day, from what the days of an output vary more than coins would."""
    unit = share * (1 - share)
    excess = float((squares - n * share**2 - unit * (days - 1)).sum())
    room = float((unit * (n - nn / n - (days - 1))).sum())
    return float(np.clip(excess / room, 0.0, 0.5)) if room > 0 else 0.0


def _between(share: np.ndarray, n: np.ndarray, design: np.ndarray) -> tuple[float, float]:
    """Mean and variance of true rates between outputs; weights level off, so that the largest do not speak for all."""
    weights = n / (n + np.median(n))
    total = weights.sum()
    middle = float((weights * share).sum() / total)
    unit = middle * (1 - middle)
    left = weights * (1 - weights / total)
    variance = float(((weights * (share - middle) ** 2).sum() - (left * unit * design / n).sum()) / left.sum())
    return middle, float(np.clip(variance, (LEAST_SPREAD * unit) ** 2, unit / 2))


def _logit_noise(correlation: float, usual: np.ndarray) -> np.ndarray:
    """Variance of a day's logit: that of its rate is correlation p (1 - p), and a logit moves by 1 / (p (1 - p))."""
    return np.maximum(correlation / (usual * (1 - usual)), LEAST_SPREAD**2)


def expected_counts(past: OutputDays, measure: str, cycle: np.ndarray) -> Expected | None:
    """Expected logs of a count per output and day; None when there is too little history.

    Logs of counts are a random-effects model with one slope on the output's age (traffic comes when something is new)
    fitted within outputs, the variance components of the analysis of variance, and the best linear unbiased prediction
    of an output's level (Henderson 1975; Searle, Casella and McCulloch 1992, "Variance components", chapters 3 and 7).
    How heavy the tails are is measured: the degrees of freedom of Student's t are matched to the kurtosis of the past,
    4 + 6 / excess. Days without any count say nothing.

    Args:
        past: what was said before.
        measure: what is counted.
        cycle: the cycle of every output (days since 1970-01-01), shape (outputs,).
    """
    n_outputs = len(cycle)
    known = past.where(past.values[measure] > 0)
    log = np.log(known.values[measure])
    age = weeks_of_age(known.day, cycle[known.output])
    slope = _slope_on_age(known, log, age, n_outputs)
    y = log - slope * age
    every = _by_output(known, n_outputs, np.ones(len(y)), y, y**2, y**3, y**4)
    there = np.flatnonzero(every[0])
    if len(there) < MIN_OUTPUTS:
        return None
    days, y1, y2, y3, y4 = every[:, there]
    mean = y1 / days
    repeats = days.sum() - len(days)
    square = np.maximum(y2 - days * mean**2, 0.0)
    fourth = np.maximum(y4 - 4 * mean * y3 + 6 * mean**2 * y2 - 3 * days * mean**4, 0.0)
    middle, spread = float(mean.mean()), float(mean.var(ddof=1))
    if repeats > 0:
        within = max(square.sum() / repeats, LEAST_SPREAD**2)
        between = max(spread - within * float((1 / days).mean()), LEAST_SPREAD**2)
    else:
        # Without repeated days nothing tells the days of an output from the output.
        within = between = max(spread, LEAST_SPREAD**2) / 2
    own = between / (between + within / days)
    many = days >= 4
    excess = [_excess((mean - middle) ** 4, (mean - middle) ** 2, len(mean))]
    if many.any():
        excess.append(_excess(fourth[many], square[many], float(days[many].sum())))
    centre, doubt = np.full(n_outputs, middle), np.full(n_outputs, between * (1 + 1 / len(days)))
    centre[there] = middle + own * (mean - middle)
    doubt[there] = between * (1 - own)
    return Expected(
        centre=centre,
        doubt=doubt,
        noise=np.full(n_outputs, within),
        freedom=min(len(there) - 1.0, MOST_FREEDOM, *(4 + 6 / max(value, 1e-3) for value in excess)),
        n_outputs=len(there),
        n_days=int(days.sum()),
        slope=slope,
    )


def _slope_on_age(known: OutputDays, log: np.ndarray, age: np.ndarray, n_outputs: int) -> float:
    """How logs of counts change with age, by least squares within outputs; 0 where no output has two ages."""
    every = _by_output(known, n_outputs, np.ones(len(log)), age, log, age**2, age * log)
    n, a, y, aa, ay = every[:, every[0] > 0]
    room = float((aa - a * a / n).sum())
    # What is left of equal ages is rounding.
    if room <= 1e-9 * max(float(aa.sum()), 1.0):
        return 0.0
    return float(np.clip((ay - a * y / n).sum() / room, -STEEPEST, STEEPEST))


def _excess(fourth: np.ndarray, square: np.ndarray, n: float) -> float:
    """Excess kurtosis from sums of fourth powers and squares of n deviations, less its standard error when normal."""
    variance = square.sum() / n
    return float(fourth.sum() / n / variance**2 - 3 - np.sqrt(24 / n)) if variance > 0 else 0.0


def day_spread(past: OutputDays, measure: str, cycle: np.ndarray, expected: Expected) -> tuple[float, int]:
    """Variance of what all outputs of a day have in common (in logs), and the number of days it is known from."""
    known = past.where(past.values[measure] > 0)
    if not len(known.day):
        return LEAST_SPREAD**2, 0
    shift = expected.slope * weeks_of_age(known.day, cycle[known.output])
    left = np.log(known.values[measure]) - shift - expected.centre[known.output]
    of_day = known.day - known.day.min()
    n_outputs = np.bincount(of_day)
    told = n_outputs >= MIN_OUTPUTS_OF_A_DAY
    effects = np.bincount(of_day, left)[told] / n_outputs[told]
    variance = float((effects**2).mean()) if len(effects) else 0.0
    return max(variance, LEAST_SPREAD**2), len(effects)
