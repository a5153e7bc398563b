"""An anytime-valid test of paired differences: is their mean above zero?

Here: the running test. Not here: what the differences are.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, "Time-uniform central limit
theory and asymptotic confidence sequences", Annals of Statistics 52, one-sided form): with t differences of mean m and
standard deviation s, the mean lies above

    m - s * sqrt((t r^2 + 1) / t^2 / r^2 * 2 * log(1 + sqrt(t r^2 + 1) / (2 * error)))

for all t at once, but for a probability of `error` in the limit of large t. Looking after every difference is therefore
no cheating. As a limit it says nothing about a handful of differences, so the first FEWEST decide nothing.
"""

from __future__ import annotations

import math

FEWEST = 20


class PairedTest:
    """Takes differences one by one, and says when their mean is decided to be above zero."""

    def __init__(self, error: float, *, tightest_at: int = 60) -> None:
        """Test with a probability of `error` to ever decide wrongly.

        Args:
            error: between 0 and 1.
            tightest_at: number of differences for which the bound is made tight; it holds for every number.
        """
        if not 0 < error < 1:
            raise ValueError(f"error: found {error}, expected a probability between 0 and 1")
        self._error = error
        # The choice that is best around that number (Waudby-Smith et al., appendix C.3, by its approximation).
        self._r2 = (2 * math.log(1 / (2 * error)) + math.log(1 + 2 * math.log(1 / (2 * error)))) / tightest_at
        self.n, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, difference: float) -> bool:
        """Take one more difference in; whether the mean is decided to be above zero."""
        # Welford (1962): no catastrophic cancellation.
        self.n += 1
        step = difference - self.mean
        self.mean += step / self.n
        self._squares += step * (difference - self.mean)
        return self.n >= FEWEST and self.lower > 0

    @property
    def lower(self) -> float:
        """The mean lies above this, at every moment at once; minus infinity before anything is known."""
        if self.n < 2:
            return -math.inf
        scaled = self.n * self._r2 + 1
        spread = math.sqrt(self._squares / (self.n - 1))
        width = math.sqrt(scaled / (self.n**2 * self._r2) * 2 * math.log(1 + math.sqrt(scaled) / (2 * self._error)))
        return self.mean - spread * width
