"""Comparing two arms again and again, at every close, without fooling oneself: anytime-valid inference.

Here: sums over cycles that can be carried along, the interval of a ratio of two means that holds at all looks at once,
and the evidence against "no difference". Not here: which briefs are compared (`momentum`, `learning`), and intervals
for a single look (`momentum/intervals.py`).

**The method** is an asymptotic confidence sequence: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52, 2024. Its boundary
is the normal mixture of H. Robbins ("Statistical methods related to the law of the iterated logarithm", Annals of
Mathematical Statistics 41, 1970), which a normal walk crosses at any time with probability alpha at most.

**Strata.** Within a cycle the arms are drawn by hash, so `mean(first) - r mean(second)` of each cycle has expectation
0 where r is the true ratio, whatever the season. The walk is the sum of these over cycles, weighted by briefs; a change
of level or of shares between cycles does not enter. A cycle that has fewer than two briefs in an arm has no spread to
be judged by; it waits, and is one stratum with the next.

**Small numbers.** The sum over its estimated standard deviation is t-like, not normal. It is turned into the normal
deviate of the same tail before it is held against the boundary (D. L. Wallace, "Bounds on normal approximations to
Student's and the chi-square distributions", Annals of Mathematical Statistics 30, 1959: closed, so SQL can do it),
with Satterthwaite's degrees of freedom. `python -m benchmarks.gate` shows what remains of the error with 3 to 40 briefs
an arm and cycle.

**Why not** the exact alternatives. Betting on bounded means (Waudby-Smith and Ramdas, JRSS B 86, 2024) knows of a rate
only that it lies in [0, 1]: where four in a hundred answer, no single bet may be large enough to win within a year.
Group-sequential spending (Lan and DeMets 1983) fixes the last look beforehand, and a flywheel has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import Any, NamedTuple, Self

import numpy as np

PRIOR_PAIRS = 8.0
"""Where the boundary is narrow: within 5% of its least from 32 to 320 pairs, 4 to 40 times this number. n against m
briefs count as n m / (n + m) pairs: 20 against 20 as 10."""
MINIMUM_BRIEFS = 8
"""Briefs in either arm below which nothing is said; before that the spread itself is hardly known."""
MINIMUM_IN_STRATUM = 2


@dataclass(frozen=True)
class PairSums:
    """Sums over the briefs of one stratum: two arms, of which some briefs (`n_both`) may have both."""

    n_first: int = 0
    n_second: int = 0
    n_both: int = 0
    first: float = 0.0
    second: float = 0.0
    first_squares: float = 0.0
    second_squares: float = 0.0
    products_both: float = 0.0
    first_both: float = 0.0
    second_both: float = 0.0

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> Self:
        """Sums over briefs: an entry per brief, NaN where it is not in that arm. Independent of their order."""
        a, b = first[~np.isnan(first)], second[~np.isnan(second)]
        both = ~np.isnan(first) & ~np.isnan(second)
        a_both, b_both = first[both], second[both]
        real = (a, b, a * a, b * b, a_both * b_both, a_both, b_both)
        return cls(len(a), len(b), len(a_both), *(math.fsum(values) for values in real))

    def __add__(self, other: PairSums) -> PairSums:
        return PairSums(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def is_stratum(self) -> bool:
        """Whether both arms have briefs enough to be judged by their own spread."""
        return min(self.n_first, self.n_second) >= MINIMUM_IN_STRATUM


def compared(first: np.ndarray, second: np.ndarray) -> PairSums:
    """The sums over one cycle's briefs of two arms (see `PairSums.of`).

    Where some briefs have both arms, the others have no counterpart, and their spread would only widen the interval.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    return PairSums.of(first[both], second[both]) if both.any() else PairSums.of(first, second)


@dataclass(frozen=True)
class Comparison:
    """All strata so far in a few sums, and what waits to become one.

    With w = n m / (n + m) of a stratum with n and m briefs, the sums over strata are: `pairs` of w, `first` and
    `second` of w mean, `first_variance` and `second_variance` of w² s² / n, `covariance` of w² n_both cov / (n m).
    """

    n_strata: int = 0
    n_first: int = 0
    n_second: int = 0
    n_both: int = 0
    pairs: float = 0.0
    first: float = 0.0
    second: float = 0.0
    first_variance: float = 0.0
    second_variance: float = 0.0
    covariance: float = 0.0
    waiting: PairSums = field(default_factory=PairSums)

    def add(self, cycle: PairSums) -> Comparison:
        """The comparison with one more cycle."""
        found = self.waiting + cycle
        if not found.is_stratum:
            return Comparison(*self._settled, waiting=found)
        n, m = found.n_first, found.n_second
        weight = n * m / (n + m)
        spread_first = variance_from_sums(found.first, found.first_squares, n)
        spread_second = variance_from_sums(found.second, found.second_squares, m)
        covariance = covariance_from_sums(
            found.first_both,
            found.second_both,
            found.products_both,
            found.n_both,
            limit=math.sqrt(spread_first * spread_second),
        )
        shared = weight**2 * found.n_both * covariance / (n * m)
        added = (
            1, n, m, found.n_both, weight, weight * found.first / n, weight * found.second / m,
            weight**2 * spread_first / n, weight**2 * spread_second / m, shared,
        )  # fmt: skip
        return Comparison(*(mine + more for mine, more in zip(self._settled, added, strict=True)))

    @property
    def _settled(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _SETTLED)

    @property
    def ratio(self) -> float | None:
        """Weighted mean of the first arm over that of the second; None while it cannot be told."""
        return self.first / self.second if self.n_strata and self.second > 0 else None

    def carried(self) -> list[float]:
        """All sums in the order of CARRIED: what the next cycle adds to."""
        return [float(value) for value in (*self._settled, *astuple(self.waiting))]

    @classmethod
    def from_carried(cls, sums: Sequence[float]) -> Self:
        """The comparison from its sums. Raises ValueError when they are not as many as CARRIED names."""
        if not sums:
            return cls()
        if len(sums) != len(CARRIED):
            raise ValueError(f"found {len(sums)} carried sums, expected {len(CARRIED)}: {', '.join(CARRIED)}")
        settled, waiting = sums[: len(_SETTLED)], sums[len(_SETTLED) :]
        return cls(*_counts_whole(settled, 4), waiting=PairSums(*_counts_whole(waiting, 3)))


_SETTLED = tuple(part.name for part in fields(Comparison) if part.name != "waiting")
CARRIED = (*_SETTLED, *(f"waiting_{part.name}" for part in fields(PairSums)))


class Bounds(NamedTuple):
    """A ratio of means with both ends of its interval, valid at every look; None where unknown."""

    ratio: float | None
    lower: float | None = None
    upper: float | None = None


def bounds_of(comparison: Comparison, alpha: float) -> Bounds:
    """The ratio of the two means, and the ratios that the evidence has not ruled out.

    Either end is wrong, at any look of all that there will be, with probability alpha at most; both together with
    2 alpha. The ends are Fieller's (J. R. Stat. Soc. B 16, 1954): ratios r for which the walk of
    `first - r second` stays below its boundary.

    Args:
        comparison: the sums.
        alpha: probability of error of either end; 0.025 gives a 95% interval.

    Returns:
        Bounds without ends while an arm has fewer than MINIMUM_BRIEFS briefs, nothing varies, or the second mean is too
        uncertain for the interval to be bounded.
    """
    degrees = _degrees_of(comparison)
    if degrees is None:
        return Bounds(comparison.ratio)
    limit = critical_t(boundary(comparison.pairs, alpha), degrees) ** 2
    first, second = comparison.first, comparison.second
    a = second**2 - limit * comparison.second_variance
    if a <= 0:
        return Bounds(comparison.ratio)
    b = first * second - limit * comparison.covariance
    c = first**2 - limit * comparison.first_variance
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Bounds(comparison.ratio, (b - root) / a, (b + root) / a)


def evidence_against_equal(comparison: Comparison) -> float | None:
    """The evidence that the two means differ, as of this look: how many times more likely than without a difference.

    It is Robbins' mixture, 1 / sqrt(1 + g) exp(z² g / (2 (1 + g))), g being pairs / PRIOR_PAIRS and z the normal
    deviate of the walk. Without a difference it ever reaches 1 / (2 alpha) on a given side with probability alpha at
    most, and exactly when it does the interval of `bounds_of` leaves out 1.

    Returns:
        None where `bounds_of` has no ends for want of briefs or variation; infinity beyond what a double holds.
    """
    degrees = _degrees_of(comparison)
    if degrees is None:
        return None
    variance = comparison.first_variance + comparison.second_variance - 2 * comparison.covariance
    if variance <= 0:
        return None
    z = normal_deviate((comparison.first - comparison.second) / math.sqrt(variance), degrees)
    g = comparison.pairs / PRIOR_PAIRS
    exponent = z * z * g / (2 * (1 + g)) - math.log1p(g) / 2
    return math.exp(exponent) if exponent < 700 else math.inf


def needed_evidence(alpha: float) -> float:
    """The evidence at which a side is taken for proven, with a probability of error of alpha over all looks."""
    return 1 / (2 * alpha)


def boundary(pairs: float, alpha: float) -> float:
    """The normal deviate that a walk without a trend reaches on one side, ever, with probability alpha at most."""
    g = pairs / PRIOR_PAIRS
    return math.sqrt((1 + 1 / g) * (math.log1p(g) - 2 * math.log(2 * alpha)))


def normal_deviate(t: float, degrees: float) -> float:
    """The normal deviate with the tail of a t value (Wallace 1959; within 0.02 up to |t| = 6 from 5 degrees on)."""
    scale = (8 * degrees + 1) / (8 * degrees + 3)
    return math.copysign(scale * math.sqrt(degrees * math.log1p(t * t / degrees)), t)


def critical_t(z: float, degrees: float) -> float:
    """The t value with the tail of a normal deviate: the inverse of `normal_deviate`."""
    exponent = (z * (8 * degrees + 3) / (8 * degrees + 1)) ** 2 / degrees
    return math.sqrt(degrees * math.expm1(exponent)) if exponent < 700 else math.inf


def spend(total: float, number: int, returned: float = 0.0) -> float:
    """The share of an error budget that the test with this number, from 1, may use: all tests together use `total`.

    total * 6 / (pi² number²), plus what the test before gave back: a test that proved its case has not erred, so its
    share goes on to the next (online fallback: J. Tian and A. Ramdas, "Online control of the familywise error rate",
    Statistical Methods in Medical Research 30, 2021). The probability of any error in the whole history, however
    long and however the tests depend on each other, is `total` at most.
    """
    return total * 6 / (math.pi**2 * number**2) + returned


def _degrees_of(comparison: Comparison) -> float | None:
    """Degrees of freedom of the walk's estimated variance at the observed ratio; None where nothing can be said."""
    ratio = comparison.ratio
    if ratio is None or min(comparison.n_first, comparison.n_second) < MINIMUM_BRIEFS:
        return None
    first, second = comparison.first_variance, ratio**2 * comparison.second_variance
    total = first + second - 2 * ratio * comparison.covariance
    if total <= 1e-12 * (first + second) or total <= 0:
        return None
    free_first = comparison.n_first - comparison.n_strata
    free_second = comparison.n_second - comparison.n_strata
    if comparison.n_both == comparison.n_first == comparison.n_second:
        return free_first
    return (first + second) ** 2 / (first**2 / free_first + second**2 / free_second)


def variance_from_sums(total: float, squares: float, n: int) -> float:
    """Unbiased variance from sums; differences that are rounding noise count as zero."""
    spread = squares - total * total / n
    return spread / (n - 1) if spread > 1e-12 * squares else 0.0


def covariance_from_sums(first: float, second: float, products: float, n: int, *, limit: float) -> float:
    """Unbiased covariance of n pairs from sums, kept within what the two variances allow: `limit` either way."""
    if n < 2:
        return 0.0
    raw = (products - first * second / n) / (n - 1)
    return min(max(raw, -limit), limit)


def _counts_whole(values: Sequence[float], n_counts: int) -> list[Any]:
    return [round(value) if place < n_counts else value for place, value in enumerate(values)]
