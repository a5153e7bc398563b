"""An anytime-valid test of paired differences: is their mean above zero?

Here: the running test. Not here: what the differences are, and the boundary (`sequential`), which is the gate's, too.
"""

from __future__ import annotations

import math

from flywheel_pipelines.sequential import MINIMUM_BRIEFS, boundary, normal_deviate


class PairedTest:
    """Takes differences one by one, and says when their mean is decided to be above zero.

    The t value of the differences so far, as the normal deviate of the same tail, is held against a boundary that a
    walk without a trend crosses, ever, with a probability of `error` at most; so looking after every difference is no
    cheating. As in `sequential`, that is exact for normal differences and a limit for others.
    """

    def __init__(self, error: float) -> None:
        """Nothing was seen yet. Raises ValueError when `error` is no probability between 0 and 0.5."""
        if not 0 < error < 0.5:
            raise ValueError(f"error: found {error}, expected a probability between 0 and 0.5")
        self._error = error
        self.n, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, difference: float) -> bool:
        """Take one more difference in; whether the mean is decided to be above zero."""
        # B. P. Welford, Technometrics 4, 1962: no digits are lost where the spread is small beside the mean.
        self.n += 1
        step = difference - self.mean
        self.mean += step / self.n
        self._squares += step * (difference - self.mean)
        if self.n < MINIMUM_BRIEFS or self._squares <= 0:
            return False
        t = self.mean / math.sqrt(self._squares / (self.n - 1) / self.n)
        return normal_deviate(t, self.n - 1) >= boundary(self.n, self._error)
