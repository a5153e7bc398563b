"""One look at all rows of a file, which may be millions: what the plausibility rule needs of nearly all of them.

Here: sums by output and by day, and which rows could be far from what is expected at all. Not here: what is expected,
or how far a row is from it (`plausibility`).

Rows are taken some hundred thousand at a time, so that what is worked out on the way stays in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flywheel_pipelines.feedback.plausibility_days import OutputDays

AT_ONCE = 1 << 18
"""Rows at a time."""


@dataclass(frozen=True, eq=False)
class RateScan:
    """The rows that tell a rate: `possible` are positions; the sums are by output, shape (outputs,).

    Attributes:
        possible: rows whose rate could be far.
        days: rows.
        good: sums of successes, none above its trials.
        trials: sums of trials.
        squares: sums of squared trials.
    """

    possible: np.ndarray
    days: np.ndarray
    good: np.ndarray
    trials: np.ndarray
    squares: np.ndarray


def scan_rate(file: OutputDays, successes: str, exposure: str, n_outputs: int, *, far: float, least: float) -> RateScan:
    """Look at a rate in all rows that tell one (trials, and successes that are reported).

    Args:
        file: the rows.
        successes: measure of the successes.
        exposure: measure of the trials.
        n_outputs: numbers that outputs may have.
        far: odds that a row has to pass to be possible.
        least: successes that it has to have.
    """
    sums = np.zeros((4, n_outputs))
    possible = [np.empty(0, np.int64)]
    # s / (n - s) > t where s (1 + t) / t > n: neither a division nor a logarithm for rows that are plainly near.
    factor = (1 + far) / far
    for start in range(0, len(file.day), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        output, trials = file.output[part].astype(np.intp), file.values[exposure][part]
        good = np.minimum(file.values[successes][part], trials)
        # A minimum with nan is nan, and no comparison holds for it.
        told = (trials > 0) & (good == good)
        possible.append(start + np.flatnonzero((good * factor > trials) & (good >= least) & told))
        if not told.all():
            output, trials, good = output[told], trials[told], good[told]
        for total, column in zip(sums, (None, good, trials, trials * trials), strict=True):
            total += np.bincount(output, column, n_outputs)
    return RateScan(np.concatenate(possible), *sums)


@dataclass(frozen=True, eq=False)
class CountScan:
    """The rows that tell a count above 0: `possible` are positions; the sums are by day, shape (days,).

    Attributes:
        possible: rows whose count could be far.
        first_day: the first day (since 1970-01-01).
        outputs: rows of each day from it on.
        value: sums of the count.
    """

    possible: np.ndarray
    first_day: int
    outputs: np.ndarray
    value: np.ndarray

    @property
    def days(self) -> np.ndarray:
        """Every day from the first to the last, since 1970-01-01."""
        return self.first_day + np.arange(len(self.outputs))


def scan_count(file: OutputDays, measure: str, *, far: float) -> CountScan:
    """Look at a count in all rows where it is above 0; those of `far` or more are possible."""
    if not len(file.day):
        return CountScan(np.empty(0, np.int64), 0, np.zeros(0), np.zeros(0))
    first_day = int(file.day.min())
    sums = np.zeros((2, int(file.day.max()) - first_day + 1))
    possible = [np.empty(0, np.int64)]
    for start in range(0, len(file.day), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        value, day = file.values[measure][part], file.day[part].astype(np.intp) - first_day
        possible.append(start + np.flatnonzero(value >= far))
        told = value > 0
        if not told.all():
            value, day = value[told], day[told]
        for total, column in zip(sums, (None, value), strict=True):
            total += np.bincount(day, column, sums.shape[1])
    return CountScan(np.concatenate(possible), first_day, *sums)
