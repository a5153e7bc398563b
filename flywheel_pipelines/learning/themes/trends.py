"""Whether a theme's share of the tickets moved, beyond chance, total volume and weekdays.

Here: shares with intervals, and the cycle's share against that of the cycles before. Not here: what made it move
(`fixes`).

A theme's count in a cycle is compared with what its share of the reference cycles lets expect of as many tickets on the
same weekdays. Shares vary more from cycle to cycle than chance alone has them; by how much is estimated from all themes
together (intra-class correlation by moments), and widens every interval and test. The p value is the larger of that
test's and of the exact conditional binomial test, so small counts are not overrated. Over the themes of a cycle the
false-discovery rate is held by Benjamini and Hochberg (JRSS B 57, 1995).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Movement = Literal["emerging", "growing", "steady", "shrinking", "gone"]
WEEKDAYS = 7
SHRINK = 10.0
"""Expected tickets of a weekday that its own rate weighs as much as the theme's rate of all days."""
FEW_BEFORE = 0.25
"""A growing theme with less than this share of its present share in the reference cycles is emerging."""
TAIL_DEGREES = 2
"""Degrees of freedom per reference cycle of the excess correlation, which is estimated: normal tails called one of
twelve themes moving in a quarter of the simulated cycles in which none was, these in about a tenth."""
SUCCESSIVE = 2 / 3
"""Degrees of freedom of a successive difference: of m cycles, the variance of their mean square is that of (m - 1)
squares times (3m - 4) / (2m - 2)."""
QUIET_CYCLES = 2
"""Cycles without a ticket, the last included, after which a shrinking theme is gone."""


@dataclass(frozen=True)
class TrendSettings:
    """How movement is judged."""

    reference_cycles: int = 8
    false_discoveries: float = 0.1
    confidence: float = 0.95
    min_tickets: int = 5
    """Fewest tickets, in the cycle or expected of it, for a theme to be tested."""


@dataclass(frozen=True)
class Trend:
    """One theme in one cycle. Shares are of all tickets of the cycle; `ratio` is observed over expected."""

    n_tickets: int
    share: float
    share_low: float
    share_high: float
    expected: float
    ratio: float | None
    p_value: float | None
    q_value: float | None
    movement: Movement


def trends(counts: np.ndarray, totals: np.ndarray, settings: TrendSettings) -> list[Trend]:
    """The trend of each theme in the last cycle.

    Args:
        counts: tickets by theme, cycle and weekday, shape (themes, cycles, 7).
        totals: all tickets by cycle and weekday, shape (cycles, 7).
        settings: levels; cycles before the last `reference_cycles + 1` are not looked at.
    """
    counts, totals = counts[:, -settings.reference_cycles - 1 :], totals[-settings.reference_cycles - 1 :]
    spread = excess_correlation(counts, totals)
    expected = np.array([_expected(of_theme, totals) for of_theme in counts]).reshape(len(counts))
    p_values = [_p_value(one, totals, e, spread, settings) for one, e in zip(counts, expected, strict=True)]
    # Whether a theme is tested depends on its count, so those with too few tickets are in the family, too: without them
    # something was said to move in half of the cycles of forty small themes that do not.
    family = [1.0 if p is None and of_theme.any() else p for p, of_theme in zip(p_values, counts, strict=True)]
    q_values = [q if p is not None else None for p, q in zip(p_values, adjusted(family), strict=True)]
    return [
        _trend(counts[at], totals, float(expected[at]), p_values[at], q_values[at], spread, settings)
        for at in range(len(counts))
    ]


def excess_correlation(counts: np.ndarray, totals: np.ndarray) -> float:
    """Intra-class correlation of tickets of one cycle, by moments; 0 when shares vary by chance alone.

    From the differences of successive cycles (J. von Neumann, Annals of Mathematical Statistics 12, 1941): a theme that
    came to stay or that fades over months differs from its mean in every cycle, and from the cycle before in one. With
    a share p in cycles of n and m tickets, the squared difference is p(1-p)(1/n + 1/m) times 1 + r(h - 1), where h is
    the harmonic mean of n and m and r the correlation.
    """
    by_cycle, n = counts.sum(axis=2), totals.sum(axis=1)
    used = n > 1
    if used.sum() < 3:
        return 0.0
    by_cycle, n = by_cycle[:, used], n[used]
    shares = by_cycle.sum(axis=1) / n.sum()
    tested = (shares * n.sum() >= 10) & (shares < 1)
    if not tested.any():
        return 0.0
    p = shares[tested][:, None]
    chance = 1 / n[1:] + 1 / n[:-1]
    squares = np.diff(by_cycle[tested] / n, axis=1) ** 2 / (p * (1 - p) * chance)
    # Some themes do move, and should not count as noise: the median theme is taken, and scaled by what chance alone has
    # it at. Successive differences share cycles, so that two of three are worth a degree of freedom.
    free = SUCCESSIVE * len(chance)
    found = float(np.median(squares.sum(axis=1))) / len(chance) * free / _median_chi_square(free)
    return max(0.0, (found - 1) / max(float((2 / chance).mean()) - 1, 1.0))


def adjusted(p_values: list[float | None]) -> list[float | None]:
    """Benjamini-Hochberg q values; None where nothing was tested."""
    tested = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    q_values: list[float | None] = [None] * len(p_values)
    least = 1.0
    for rank in range(len(tested), 0, -1):
        p, at = tested[rank - 1]
        least = min(least, p * len(tested) / rank)
        q_values[at] = least
    return q_values


def share_interval(count: float, total: float, spread: float, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share (JASA 22, 1927), with what the excess correlation leaves of the tickets."""
    if total <= 0:
        return 0.0, 1.0
    from scipy.stats import norm

    n, p = total / (1 + max(total - 1, 0) * spread), count / total
    z = float(norm.ppf((1 + confidence) / 2))
    centre, half = (p + z * z / (2 * n)), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def _expected(counts: np.ndarray, totals: np.ndarray) -> float:
    """Tickets of the last cycle if the theme had its share of the cycles before, weekday by weekday."""
    before, total = counts[:-1].sum(axis=0), totals[:-1].sum(axis=0)
    if not total.sum():
        return 0.0
    share = before.sum() / total.sum()
    by_day = (before + SHRINK * share) / (total + SHRINK)
    return float((by_day * totals[-1]).sum())


def _p_value(
    counts: np.ndarray, totals: np.ndarray, expected: float, spread: float, settings: TrendSettings
) -> float | None:
    """Two-sided, of no movement; None where there is too little to test, or nothing to compare with."""
    from scipy.stats import binomtest, t

    now, n = int(counts[-1].sum()), int(totals[-1].sum())
    before, n_before = int(counts[:-1].sum()), totals[:-1].sum(axis=1)
    if max(now, expected) < settings.min_tickets or not n or not n_before.sum():
        return None
    share = (now + before) / (n + n_before.sum())
    if not 0 < share < 1:
        return None
    exposure = expected / (before / n_before.sum()) if before else float(n)
    exact = binomtest(now, now + before, exposure / (exposure + n_before.sum())).pvalue
    noise = (n_before * (1 + np.maximum(n_before - 1, 0) * spread)).sum() / n_before.sum() ** 2
    variance = share * (1 - share) * ((1 + (n - 1) * spread) / n + noise)
    z = (now - expected) / n / math.sqrt(variance)
    degrees = TAIL_DEGREES * max(int((n_before > 0).sum()), 1)
    return float(max(exact, 2 * t.sf(abs(z), degrees)))


def _trend(
    counts: np.ndarray,
    totals: np.ndarray,
    expected: float,
    p_value: float | None,
    q_value: float | None,
    spread: float,
    settings: TrendSettings,
) -> Trend:
    now, total = int(counts[-1].sum()), int(totals[-1].sum())
    low, high = share_interval(now, total, spread, settings.confidence)
    movement: Movement = "steady"
    if q_value is not None and q_value <= settings.false_discoveries:
        if now > expected:
            movement = "emerging" if expected < FEW_BEFORE * now else "growing"
        else:
            movement = "gone" if not counts[-QUIET_CYCLES:].sum() else "shrinking"
    return Trend(
        now, now / total if total else 0.0, low, high, expected, now / expected if expected else None,
        p_value, q_value, movement,
    )  # fmt: skip


def _median_chi_square(degrees: float) -> float:
    from scipy.stats import chi2

    return float(chi2.ppf(0.5, degrees))
