"""What is expected of an output, learned from its own past and from that of its flywheel.

Here: sums over history in SQL, variance components from them by the method of moments, and per output an expected value
with its spread. Not here: tests (`plausibility`), or which measurements are history (whoever calls).

Both models have three levels: the flywheel, the output around it, the day around the output. An output without a past
is expected to be like the flywheel's others; with every day it has, its own past counts for more.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from scipy.special import digamma, polygamma

MIN_OUTPUTS = 20
"""Outputs with a past below which nothing is tested: a spread from fewer is a guess."""
MIN_DAYS = 14
"""Days of a feed's past below which its days are not tested: two turns of the week."""
LEAST_SPREAD = 0.1
"""No output and no day is taken to be steadier than by a tenth, however steady the past looks."""
AGE = "ln(1 + greatest(measured_on - cycle, 0) / 7.0)"
"""Weeks since the output's cycle began, in logs, as SQL: what is new is read most."""
STEEPEST = 3.0
"""Slopes on AGE beyond this are an accident of a short past."""
MOST_FREEDOM = 200.0
"""Above this many degrees of freedom Student's t and the normal agree to what matters here."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of every output, on the scale of the test (logit of a rate, log of a count).

    Attributes:
        outputs: columns output_id, centre (expected value), doubt (variance of the output's own level around it) and
            noise (variance of a single day around the output's level), for outputs with a past.
        centre, doubt, noise: the same for an output without a past.
        freedom: degrees of freedom of the tests.
        n_outputs, n_days: how much past there is: outputs, and days of outputs.
        slope: what AGE adds to the centre.
    """

    outputs: pa.Table
    centre: float
    doubt: float
    noise: float
    freedom: float
    n_outputs: int
    n_days: int
    slope: float = 0.0


def expected_rates(connection: duckdb.DuckDBPyConnection, known: str, successes: str, exposure: str) -> Expected | None:
    """Expected logits of a rate per output; None when there is too little history.

    The variance of rates between outputs and the intra-class correlation of the days of an output are moment
    estimates (Kleinman 1973, "Proportions with extraneous variance"; Ridout, Demetrio and Firth 1999, "Estimating
    intraclass correlation for binary data", their analysis-of-variance estimator). An output's own counts are divided
    by their design effect (Rao and Scott 1992, "A simple method for the analysis of clustered binary data") and
    update the beta distribution of rates between outputs; `centre` and `doubt` are mean and variance of the logit
    under the result: digamma(a) - digamma(b), trigamma(a) + trigamma(b).

    Args:
        connection: where `known` is.
        known: relation with output_id and a column per measure, one row per output and day.
        successes: column of the successes.
        exposure: column of the trials.
    """
    past = connection.execute(
        f"""
        select output_id, count(*) as days, sum(s) as s, sum(n) as n, sum(n * n) as nn, sum(s * s / n) as squares
        from (
            select output_id, least("{successes}", "{exposure}") as s, "{exposure}" as n
            from {known} where "{exposure}" > 0 and "{successes}" is not null
        )
        group by output_id
        order by output_id
        """
    ).to_arrow_table()
    if past.num_rows < MIN_OUTPUTS:
        return None
    days, s, n, nn, squares = (past[name].to_numpy().astype(float) for name in ("days", "s", "n", "nn", "squares"))
    share = s / n
    correlation = _within_correlation(days, share, n, nn, squares)
    design = 1 + (nn / n - 1) * correlation
    middle, variance = _between(share, n, design)
    if middle <= 0:
        return None
    trust = middle * (1 - middle) / variance - 1
    a, b = trust * middle + s / design, trust * (1 - middle) + (n - s) / design
    usual = a / (a + b)
    start = trust * np.array([middle, 1 - middle])
    columns = {
        "output_id": past["output_id"],
        "centre": digamma(a) - digamma(b),
        "doubt": polygamma(1, a) + polygamma(1, b),
        "noise": _logit_noise(correlation, usual),
    }
    return Expected(
        outputs=pa.table(columns),
        centre=float(digamma(start[0]) - digamma(start[1])),
        doubt=float(polygamma(1, start).sum()),
        noise=float(_logit_noise(correlation, np.array([middle]))[0]),
        freedom=min(past.num_rows - 1.0, MOST_FREEDOM),
        n_outputs=past.num_rows,
        n_days=int(days.sum()),
    )


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


def expected_counts(connection: duckdb.DuckDBPyConnection, known: str, measure: str) -> Expected | None:
    """Expected logs of a count per output and day; None when there is too little history.

    Logs of counts are a random-effects model with one slope on the output's age (traffic comes when something is new)
    fitted within outputs, the variance components of the analysis of variance, and the best linear unbiased prediction
    of an output's level (Henderson 1975; Searle, Casella and McCulloch 1992, "Variance components", chapters 3 and 7).
    How heavy the tails are is measured: the degrees of freedom of Student's t are matched to the kurtosis of the past,
    4 + 6 / excess. Arguments as in `expected_rates`; `known` has a column cycle, too; days without any count say
    nothing.
    """
    slope = _slope_on_age(connection, known, measure)
    past = connection.execute(
        f"""
        select output_id, count(*) as days,
            sum(y) as y1, sum(y * y) as y2, sum(y * y * y) as y3, sum(y * y * y * y) as y4
        from (select output_id, ln("{measure}") - {slope} * {AGE} as y from {known} where "{measure}" > 0)
        group by output_id
        order by output_id
        """
    ).to_arrow_table()
    if past.num_rows < MIN_OUTPUTS:
        return None
    days, y1, y2, y3, y4 = (past[name].to_numpy().astype(float) for name in ("days", "y1", "y2", "y3", "y4"))
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
    columns = {
        "output_id": past["output_id"],
        "centre": middle + own * (mean - middle),
        "doubt": between * (1 - own),
        "noise": np.full(len(days), within),
    }
    return Expected(
        outputs=pa.table(columns),
        centre=middle,
        doubt=between * (1 + 1 / len(days)),
        noise=within,
        freedom=min(past.num_rows - 1.0, MOST_FREEDOM, *(4 + 6 / max(value, 1e-3) for value in excess)),
        n_outputs=past.num_rows,
        n_days=int(days.sum()),
        slope=slope,
    )


def _slope_on_age(connection: duckdb.DuckDBPyConnection, known: str, measure: str) -> float:
    """How logs of counts change with AGE, by least squares within outputs; 0 where no output has two ages."""
    found = connection.execute(
        f"""
        select coalesce(sum(ay - a * y / n) / nullif(sum(aa - a * a / n), 0), 0)
        from (
            select count(*) as n, sum(age) as a, sum(y) as y, sum(age * age) as aa, sum(age * y) as ay
            from (select output_id, ln("{measure}") as y, {AGE} as age from {known} where "{measure}" > 0)
            group by output_id
        )
        """
    ).fetchone()
    assert found is not None
    return float(np.clip(found[0], -STEEPEST, STEEPEST))


def _excess(fourth: np.ndarray, square: np.ndarray, n: float) -> float:
    """Excess kurtosis from sums of fourth powers and squares of n deviations, less its standard error when normal."""
    variance = square.sum() / n
    return float(fourth.sum() / n / variance**2 - 3 - np.sqrt(24 / n)) if variance > 0 else 0.0


def day_spread(connection: duckdb.DuckDBPyConnection, known: str, measure: str, slope: float) -> tuple[float, int]:
    """Variance of what all outputs of a day have in common (in logs), and the number of days it is known from.

    `connection` holds the table `expected_outputs` of `expected_counts`. Days with fewer than three outputs are
    left out, since their mean is a matter of single outputs.
    """
    found = connection.execute(
        f"""
        select count(*), coalesce(avg(effect * effect), 0)
        from (
            select avg(ln("{measure}") - {slope} * {AGE} - centre) as effect
            from {known} inner join expected_outputs using (output_id)
            where "{measure}" > 0
            group by measured_on
            having count(*) >= 3
        )
        """
    ).fetchone()
    assert found is not None
    return max(float(found[1]), LEAST_SPREAD**2), int(found[0])
