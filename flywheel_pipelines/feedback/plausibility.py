"""Feedback that is too good to be true: found by a rule with a known rate of false alarms, held for a person to decide.

Here: the tests of one file against the past of its outputs and its flywheel. Not here: what is expected
(`plausibility_history`), formulas (`plausibility_tails`), the words about what is held (`plausibility_words`), or
putting rows aside (`landing`).

Decisions:
- Only jumps upwards are tested: of a rate, of an output's exposure in a day, and of all outputs' exposure in a day.
  It is the direction in which clicks, votes and traffic are made up, and it is the one that promotes. What is taken
  back (a bot filter) must not need anybody's leave: a value no higher than the one known for its day always passes.
- The null hypothesis is not "as before" but "up to MARGIN times as before": traffic has weekdays, seasons and growth,
  and texts get better. A test of it (Murphy and Myors 1999, "Testing the hypothesis that treatments have negligible
  effects") holds its level for all of them at once.
- ERROR_RATE is per file: the probability that an honest file has any row held, whatever the number of its rows (Holm).
  Every kind of test gets the same part of it, so that the many days do not drown the few outputs and the few totals.
- The past is what was accepted. Nothing is held before there is enough of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import numpy as np

from flywheel_pipelines.feedback.plausibility_days import OutputDays, weeks_of_age
from flywheel_pipelines.feedback.plausibility_history import (
    MIN_DAYS,
    Expected,
    day_spread,
    expected_counts,
    expected_rates,
)
from flywheel_pipelines.feedback.plausibility_scan import CountScan, scan_count, scan_rate
from flywheel_pipelines.feedback.plausibility_tails import binomial_tail, bound_of_tail, holm, student_tail
from flywheel_pipelines.feedback.plausibility_words import Finding, ImplausibleRow
from flywheel_pipelines.spec import Metric, RateMetric

ERROR_RATE = 0.01
"""Probability that an honest file has a row held, at most."""
RATE_MARGIN = 1.25
"""A rate may be this many times the expected one (as odds) before chance is asked at all."""
COUNT_MARGIN = 1.5
"""The same for an output's count in a day: a week in the news doubles it."""
DAY_MARGIN = 4.0
"""The same for the counts of all outputs in a day, of which there is one series and no other to compare it with."""
MIN_SUCCESSES = 5
"""A day with fewer successes is never held: it can move no decision."""
MIN_COUNT = 50
"""An output's day with a smaller count is never held, nor a day on which outputs have a smaller one on average."""

_NEAR = 2.0
"""Distances below it cannot be rejected: half of the tail of a Student t beyond 2 is above ERROR_RATE."""
_ROUNDING = 1e-9
"""What a comparison of logarithms and one of the numbers themselves may differ by."""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, eq=False)
class _Same:
    """What the tests of one kind have in common."""

    measure: str
    exposure: str | None
    expected: Expected
    margin: float
    freedom: float


@dataclass(frozen=True, eq=False)
class _Suspects:
    """Tests whose distance is not small, all of one kind; arrays of shape (n,).

    A test is of an output on a day, of an output (`day` is None), or of a day (`output` is None). `size` is what is
    compared with `centre`: the logit of a rate, the log of a count.
    """

    same: _Same
    output: np.ndarray | None
    day: np.ndarray | None
    value: np.ndarray
    trials: np.ndarray
    size: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    n_tests: int

    def __len__(self) -> int:
        return len(self.value)

    @property
    def distance(self) -> np.ndarray:
        """How far what was found is above the margin around what was expected, in standard deviations."""
        return (self.size - self.centre - math.log(self.same.margin)) / self.spread

    def far(self) -> _Suspects:
        """Those whose distance is not small."""
        kept = np.flatnonzero(self.distance > _NEAR)
        names = ("output", "day", "value", "trials", "size", "centre", "spread")
        some = {name: None if getattr(self, name) is None else getattr(self, name)[kept] for name in names}
        return _Suspects(**{**vars(self), **some})

    def bounds(self) -> np.ndarray:
        """Lower bounds of the p-values, from the distance alone."""
        return (bound_of_tail if self.same.exposure else student_tail)(self.distance, self.same.freedom)

    def p_values(self, wanted: np.ndarray) -> np.ndarray:
        """Exact p-values of some of the tests."""
        if self.same.exposure is None:
            return student_tail(self.distance[wanted], self.same.freedom)
        return binomial_tail(
            self.value[wanted],
            self.trials[wanted],
            self.centre[wanted] + math.log(self.same.margin),
            self.spread[wanted],
            self.same.freedom,
        )

    def finding(self, at: int) -> Finding:
        """One of them, to be put in words."""
        return Finding(
            value=self.value[at],
            trials=self.trials[at] if self.same.exposure else None,
            centre=self.centre[at],
            measure=self.same.measure,
            exposure=self.same.exposure,
            all_days=self.day is None,
            n_outputs=self.trials[at] if self.output is None else None,
            margin=self.same.margin,
            error_rate=ERROR_RATE,
            expected=self.same.expected,
        )


def _logit(good: np.ndarray, trials: np.ndarray) -> np.ndarray:
    # Successes without a failure have no finite logit; half a failure is what the lenient side allows.
    return np.log(good / np.maximum(trials - good, 0.5))


def find_implausible(
    file: OutputDays, past: OutputDays, cycle: np.ndarray, metrics: Sequence[Metric]
) -> list[ImplausibleRow]:
    """The outputs and days of a file that are too far above their past, in the order of output and day.

    Args:
        file: what the file says, as it would count after landing.
        past: what the same feed said before (`plausibility_past`).
        cycle: the cycle of every output of either (days since 1970-01-01), by its number, shape (outputs,).
        metrics: the flywheel's metrics. Rates whose measures are reported are tested, and what else is counted by any
            metric; amounts, times and positions are not, since they have no shape in common.

    Returns:
        Empty when the past is too short to tell.
    """
    tests = _Tests(file, past, cycle)
    both = {
        (metric.successes, metric.exposure)
        for metric in metrics
        if isinstance(metric, RateMetric) and {metric.successes, metric.exposure} <= tests.measures
    }
    alone = {name for metric in metrics for name in metric.whole} & tests.measures
    kinds = [partial(tests.of_rate, successes, exposure) for successes, exposure in sorted(both)]
    kinds += [partial(tests.of_count, measure) for measure in sorted(alone - {successes for successes, _ in both})]
    # Nearly all of it is work on arrays, during which another thread can go on.
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda kind: list(kind()), kinds):
            tests.add(found)
    return tests.rejected()


class _Tests:
    """The tests of one file."""

    def __init__(self, file: OutputDays, past: OutputDays, cycle: np.ndarray) -> None:
        self.file, self.past, self.cycle = file, past, cycle
        self.measures = set(file.values) & set(past.values)
        self.n_kinds = 0
        self.suspects: list[_Suspects] = []

    # -- testing ----------------------------------------------------------------------------------------------------
    def of_rate(self, successes: str, exposure: str) -> Iterator[_Suspects]:
        """A rate of every output, day by day and over all days of the file: many small jumps are one large one."""
        expected = expected_rates(self.past, successes, exposure, len(self.cycle))
        if expected is None:
            return
        spread = np.sqrt(expected.doubt + expected.noise)
        far = float(np.exp((expected.centre + math.log(RATE_MARGIN) + _NEAR * spread).min() - _ROUNDING))
        scan = scan_rate(self.file, successes, exposure, len(self.cycle), far=far, least=MIN_SUCCESSES)
        same = _Same(successes, exposure, expected, RATE_MARGIN, expected.freedom)
        day = self.file.where(scan.possible)
        trials = day.values[exposure]
        good = np.minimum(day.values[successes], trials)
        yield _Suspects(
            same,
            output=day.output,
            day=day.day,
            value=good,
            trials=trials,
            size=_logit(good, trials),
            centre=expected.centre[day.output],
            spread=spread[day.output],
            n_tests=int(scan.days.sum()),
        )
        output = np.flatnonzero((scan.days > 1) & (scan.good >= MIN_SUCCESSES))
        good, trials = scan.good[output], scan.trials[output]
        # The noise of several days is that of one, by the share that each has in their trials.
        noise = expected.noise[output] * scan.squares[output] / trials**2
        yield _Suspects(
            same,
            output=output,
            day=None,
            value=good,
            trials=trials,
            size=_logit(good, trials),
            centre=expected.centre[output],
            spread=np.sqrt(expected.doubt[output] + noise),
            n_tests=int((scan.days > 1).sum()),
        )

    def of_count(self, measure: str) -> Iterator[_Suspects]:
        """A count of every output and day, and of every day over all outputs."""
        expected = expected_counts(self.past, measure, self.cycle)
        if expected is None:
            return
        spread = np.sqrt(expected.doubt + expected.noise)
        least = self._least_shift(expected.slope)
        far = (expected.centre + math.log(COUNT_MARGIN) + _NEAR * spread).min() + least - _ROUNDING
        scan = scan_count(self.file, measure, far=max(MIN_COUNT, math.exp(far)))
        day = self.file.where(scan.possible)
        value = day.values[measure]
        yield _Suspects(
            _Same(measure, None, expected, COUNT_MARGIN, expected.freedom),
            output=day.output,
            day=day.day,
            value=value,
            trials=np.zeros(len(value)),
            size=np.log(value),
            centre=expected.centre[day.output] + self._shift(expected, day),
            spread=spread[day.output],
            n_tests=int(scan.outputs.sum()),
        )
        variance, n_known = day_spread(self.past, measure, self.cycle, expected)
        if n_known >= MIN_DAYS:
            freedom = min(expected.freedom, n_known - 1.0)
            yield self._of_days(_Same(measure, None, expected, DAY_MARGIN, freedom), scan, variance)

    def _of_days(self, same: _Same, scan: CountScan, variance: float) -> _Suspects:
        """A count of every day over all outputs; `variance` is that of what the outputs of a day have in common."""
        expected = same.expected
        mean = scan.value / np.maximum(scan.outputs, 1)
        # A mean of logs is below the log of the mean, so most days are told to be near without a look at the outputs.
        ends = [expected.slope * weeks_of_age(scan.days, end) for end in (self.cycle.min(), self.cycle.max())]
        with np.errstate(divide="ignore"):
            highest = np.log(mean) - np.minimum(*ends) - expected.centre.min() - math.log(DAY_MARGIN)
        days = np.flatnonzero((highest > _NEAR * math.sqrt(variance)) & (mean >= MIN_COUNT))
        rows = np.flatnonzero(np.isin(self.file.day, scan.days[days])) if len(days) else days
        some = self.file.where(rows)
        some = some.where(some.values[same.measure] > 0)
        place, n_outputs = np.searchsorted(scan.days[days], some.day), scan.outputs[days]

        def mean_of(column: np.ndarray) -> np.ndarray:
            return np.bincount(place, column, len(days)) / n_outputs

        doubt = mean_of(expected.doubt[some.output] + expected.noise[some.output]) / n_outputs
        return _Suspects(
            same,
            output=None,
            day=scan.days[days],
            value=mean[days],
            trials=n_outputs,
            size=mean_of(np.log(some.values[same.measure])),
            centre=mean_of(expected.centre[some.output] + self._shift(expected, some)),
            spread=np.sqrt(variance + doubt),
            n_tests=int((scan.outputs > 0).sum()),
        )

    def _least_shift(self, slope: float) -> float:
        """Not above the shift of any row of the file."""
        day = self.file.day
        if not len(day):
            return 0.0
        ends = weeks_of_age(np.array([day.min(), day.max()]), np.array([self.cycle.max(), self.cycle.min()]))
        return float((slope * ends).min())

    def _shift(self, expected: Expected, days: OutputDays) -> np.ndarray:
        return expected.slope * weeks_of_age(days.day, self.cycle[days.output])

    def add(self, kinds: Sequence[_Suspects]) -> None:
        """Take tests of some kinds into account."""
        self.n_kinds += sum(tests.n_tests > 0 for tests in kinds)
        self.suspects += [far for far in (tests.far() for tests in kinds) if len(far)]

    # -- deciding ---------------------------------------------------------------------------------------------------
    def rejected(self) -> list[ImplausibleRow]:
        """The rows whose tests are rejected together, each once with its most improbable finding."""
        if not self.suspects:
            return []
        parts = np.split(np.arange(sum(map(len, self.suspects))), np.cumsum([len(one) for one in self.suspects])[:-1])
        # Holm on lower bounds of p-values rejects all that Holm on the p-values can; only those are worked out.
        p_values = np.concatenate([suspects.bounds() for suspects in self.suspects])
        weights = np.concatenate([np.full(len(one), 1 / one.n_tests) for one in self.suspects])
        likely = holm(p_values, weights, ERROR_RATE, self.n_kinds)
        for suspects, part in zip(self.suspects, parts, strict=True):
            wanted = np.flatnonzero(likely[part])
            p_values[part[wanted]] = suspects.p_values(wanted)
        p_values[~likely] = 1.0
        rejected = holm(p_values, weights, ERROR_RATE, self.n_kinds)
        rows: dict[tuple[int, date], ImplausibleRow] = {}
        for suspects, part in zip(self.suspects, parts, strict=True):
            found = np.flatnonzero(rejected[part])
            if len(found):
                for row in self._rows(suspects, found, p_values[part[found]]):
                    key = (row.output, row.measured_on)
                    if key not in rows or row.p_value < rows[key].p_value:
                        rows[key] = row
        return [rows[key] for key in sorted(rows)]

    def _rows(self, suspects: _Suspects, found: np.ndarray, p_values: np.ndarray) -> list[ImplausibleRow]:
        """The rows behind rejected tests that say more than is known of their day."""
        rows = _Behind(self.file, suspects, found, len(self.cycle))
        before = _Behind(self.past, suspects, found, len(self.cycle)).said(suspects)
        reasons = [suspects.finding(at).reason(float(p)) for at, p in zip(found.tolist(), p_values, strict=True)]
        held = []
        for (output, day), (test, value, trials) in rows.said(suspects).items():
            _, value_before, trials_before = before.get((output, day), (0, math.nan, math.nan))
            raised = value > (0.0 if math.isnan(value_before) else value_before)
            # A rate also rises when its exposure is taken back.
            raised |= suspects.same.exposure is not None and value * trials_before > value_before * trials
            if value > 0 and raised:
                found_words = f"{value:,.0f} of {trials:,.0f}" if suspects.same.exposure else f"{value:,.0f}"
                held.append(
                    ImplausibleRow(
                        output,
                        _EPOCH + timedelta(days=day),
                        suspects.same.measure,
                        found_words,
                        reasons[test],
                        float(p_values[test]),
                    )
                )
        return held


class _Behind:
    """The rows that some tests of one kind are about."""

    def __init__(self, days: OutputDays, suspects: _Suspects, found: np.ndarray, n_outputs: int) -> None:
        """Find them in one look at all rows."""
        output = None if suspects.output is None else suspects.output[found].tolist()
        day = None if suspects.day is None else suspects.day[found].tolist()
        is_wanted = np.ones(len(days.day), bool)
        if output is not None:
            chosen = np.zeros(n_outputs, bool)
            chosen[output] = True
            is_wanted &= chosen[days.output]
        if day is not None:
            is_wanted &= np.isin(days.day, np.unique(day))
        self.rows = days.where(np.flatnonzero(is_wanted))
        keys = [(None if output is None else output[n], None if day is None else day[n]) for n in range(len(found))]
        self.test_of = {key: number for number, key in enumerate(keys)}
        self.by_output, self.by_day = output is not None, day is not None

    def said(self, suspects: _Suspects) -> dict[tuple[int, int], tuple[int, float, float]]:
        """By output and day: the number of the test, and what is said of the measure and its exposure."""
        rows = self.rows
        values = rows.values[suspects.same.measure].tolist()
        trials = rows.values[suspects.same.exposure].tolist() if suspects.same.exposure else values
        said = {}
        for output, day, value, of in zip(rows.output.tolist(), rows.day.tolist(), values, trials, strict=True):
            test = self.test_of.get((output if self.by_output else None, day if self.by_day else None))
            if test is not None:
                said[output, day] = (test, value, of)
        return said
