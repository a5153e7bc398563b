"""Feedback that is too good to be true: found by a rule with a known rate of false alarms, held for a person to decide.

Here: the tests of one file against the past of its outputs and its flywheel, and the words about what fails them. Not
here: what is expected (`plausibility_history`), formulas (`plausibility_tails`), or putting rows aside (`landing`).

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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa

from flywheel_pipelines.feedback.plausibility_history import (
    AGE,
    MIN_DAYS,
    Expected,
    day_spread,
    expected_counts,
    expected_rates,
)
from flywheel_pipelines.feedback.plausibility_tails import binomial_tail, bound_of_tail, holm, student_tail
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


@dataclass(frozen=True)
class ImplausibleRow:
    """One output and day of a file that is held.

    Attributes:
        output_id: the output.
        measured_on: the day.
        measure: the measure that jumped.
        found: what stood there, e.g. 38 of 41.
        reason: what was expected, how improbable it is, and what to do.
        p_value: probability of as much or more, under the most lenient of the honest explanations.
    """

    output_id: str
    measured_on: date
    measure: str
    found: str
    reason: str
    p_value: float


@dataclass(frozen=True, eq=False)
class _Suspects:
    """Tests whose distance is not small, all of one kind; arrays of shape (n,)."""

    kind: str
    measure: str
    exposure: str | None
    expected: Expected
    keys: list[tuple[str | int | None, date | None]]
    value: np.ndarray
    trials: np.ndarray
    centre: np.ndarray
    distance: np.ndarray
    spread: np.ndarray
    freedom: float
    n_tests: int

    def bounds(self) -> np.ndarray:
        """Lower bounds of the p-values, from the distance alone."""
        tail = student_tail(self.distance, self.freedom)
        return bound_of_tail(self.distance, self.freedom) if self.exposure else tail

    def p_values(self, wanted: np.ndarray) -> np.ndarray:
        """Exact p-values of some of the tests."""
        if self.exposure is None:
            return student_tail(self.distance[wanted], self.freedom)
        margin = math.log(RATE_MARGIN)
        return binomial_tail(
            self.value[wanted],
            self.trials[wanted],
            self.centre[wanted] + margin,
            self.spread[wanted],
            self.freedom,
        )


def find_implausible(
    connection: duckdb.DuckDBPyConnection, metrics: Sequence[Metric], *, facts: str = "facts", known: str = "known"
) -> list[ImplausibleRow]:
    """The outputs and days of a file that are too far above their past, in the order of output and day.

    Args:
        connection: holds two relations with the columns output_id (text, or faster a number), cycle, measured_on and
            one per measure, one row per output and day; a measure that was not reported is null.
        metrics: the flywheel's metrics. Rates whose measures are columns of `facts` are tested, and what else is
            counted by any metric; amounts, times and positions are not, since they have no shape in common.
        facts: what the file says, as it would count after landing.
        known: what the same feed said before (`plausibility_past`).

    Returns:
        Empty when the past is too short to tell.
    """
    tests = _Tests(connection, facts, known)
    columns = {str(row[0]) for row in connection.execute(f"describe {facts}").fetchall()}
    columns &= {str(row[0]) for row in connection.execute(f"describe {known}").fetchall()}
    both = {
        (metric.successes, metric.exposure)
        for metric in metrics
        if isinstance(metric, RateMetric) and {metric.successes, metric.exposure} <= columns
    }
    for successes, exposure in sorted(both):
        tests.test_rate(successes, exposure)
    alone = {name for metric in metrics for name in metric.whole} & columns
    for measure in sorted(alone - {successes for successes, _ in both}):
        tests.test_count(measure)
    return tests.rejected()


class _Tests:
    """The tests of one file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, facts: str, known: str) -> None:
        self.connection, self.facts, self.known = connection, facts, known
        self.n_kinds = 0
        self.suspects: list[_Suspects] = []

    # -- testing ----------------------------------------------------------------------------------------------------
    def test_rate(self, successes: str, exposure: str) -> None:
        """A rate of every output, day by day and over all days of the file: many small jumps are one large one."""
        expected = expected_rates(self.connection, self.known, successes, exposure)
        if expected is None:
            return
        self._expect(expected, math.log(RATE_MARGIN))
        tested = f"""
            select output_id, measured_on, least("{successes}", "{exposure}") as s, "{exposure}" as n, 1.0 as share,
                0.0 as shift
            from {self.facts} where "{exposure}" > 0 and "{successes}" is not null
        """
        # One pass over the rows gives both numbers of tests.
        self.connection.execute(
            f"""
            create or replace temp table in_all as
            select output_id, null::date as measured_on, sum(s) as s, sum(n) as n, sum(n * n) / sum(n) ** 2 as share,
                0.0 as shift, count(*) as days
            from ({tested}) group by output_id
            """
        )
        counted = self.connection.execute("select sum(days), count(*) filter (days > 1) from in_all").fetchone()
        n_days, n_outputs = counted or (0, 0)
        # Successes without a failure have no finite logit; half a failure is what the lenient side allows.
        odds = "s / greatest(n - s, 0.5)"
        for query, kind, n_tests in (
            (f'{tested} and least("{successes}", "{exposure}") >= {MIN_SUCCESSES}', "rate of a day", n_days),
            (f"select * from in_all where days > 1 and s >= {MIN_SUCCESSES}", "rate of an output", n_outputs),
        ):
            far = self._far(expected, query, odds, math.log(RATE_MARGIN), is_shared=kind == "rate of an output")
            self._add(kind, successes, exposure, expected, far, int(n_tests or 0), expected.freedom)
        self.connection.unregister("expected_outputs")

    def test_count(self, measure: str) -> None:
        """A count of every output and day, and of every day over all outputs."""
        expected = expected_counts(self.connection, self.known, measure)
        if expected is None:
            return
        self._expect(expected, math.log(COUNT_MARGIN))
        tested = f"""
            select output_id, measured_on, "{measure}" as s, 0.0 as n, 1.0 as share,
                {expected.slope} * {AGE} as shift
            from {self.facts} where "{measure}" > 0
        """
        days = self.connection.execute(
            f"select measured_on, avg(s) as s, count(*) as n, min(shift) as shift from ({tested}) group by measured_on"
        ).to_arrow_table()
        n_tests = int(days["n"].to_numpy().sum())
        least = float(days["shift"].to_numpy().min(initial=0.0))
        query = f'{tested} and "{measure}" >= {MIN_COUNT}'
        far = self._far(expected, query, "s", math.log(COUNT_MARGIN), least_shift=least)
        self._add("count", measure, None, expected, far, n_tests, expected.freedom)
        variance, n_known = day_spread(self.connection, self.known, measure, expected.slope)
        if n_known >= MIN_DAYS:
            freedom = min(expected.freedom, n_known - 1.0)
            self._add("count of a day", measure, None, expected, self._far_days(expected, tested, days, variance),
                      days.num_rows, freedom)  # fmt: skip
        self.connection.unregister("expected_outputs")

    def _far_days(self, expected: Expected, tested: str, days: pa.Table, variance: float) -> pa.Table:
        """The days on which the outputs together are not near to what is expected."""
        # A mean of logs is below the log of the mean, so most days are told to be near without a look at the outputs.
        centre = self._least("centre", expected.centre)
        highest = np.log(days["s"].to_numpy()) - days["shift"].to_numpy() - centre - math.log(DAY_MARGIN)
        could_be = (highest > _NEAR * math.sqrt(variance)) & (days["s"].to_numpy() >= MIN_COUNT)
        self.connection.register("wanted_days", days.filter(pa.array(could_be)).select(["measured_on"]))
        found = self.connection.sql(
            f"""
            select null as output_id, measured_on, avg(s) as s, count(*)::double as n,
                avg(shift + coalesce(centre, {expected.centre})) as centre,
                {variance} + sum(coalesce(doubt, {expected.doubt}) + coalesce(noise, {expected.noise}))
                    / count(*) ** 2 as variance,
                (avg(ln(s) - shift - coalesce(centre, {expected.centre})) - {math.log(DAY_MARGIN)}) / sqrt(variance)
                    as distance
            from ({tested} and measured_on in (select measured_on from wanted_days))
            left join expected_outputs using (output_id)
            group by measured_on
            order by measured_on
            """
        ).to_arrow_table()
        self.connection.unregister("wanted_days")
        return found.filter(pa.array((found["distance"].to_numpy() > _NEAR) & (found["s"].to_numpy() >= MIN_COUNT)))

    def _expect(self, expected: Expected, margin: float) -> None:
        """Register what is expected, and from where on an output's day is not near to it."""
        spread = np.sqrt(expected.outputs["doubt"].to_numpy() + expected.outputs["noise"].to_numpy())
        far_from = expected.outputs["centre"].to_numpy() + margin + _NEAR * spread
        outputs = expected.outputs.append_column("far_from", pa.array(far_from))
        self.connection.register("expected_outputs", outputs)

    def _least(self, column: str, without: float) -> float:
        """The smallest number of a column of `expected_outputs` and of an output without a past."""
        found = self.connection.execute(f"select min({column}) from expected_outputs").fetchone()
        return min(without, float(found[0])) if found and found[0] is not None else without

    def _far(
        self,
        expected: Expected,
        tested: str,
        size: str,
        margin: float,
        *,
        least_shift: float = 0.0,
        is_shared: bool = False,
    ) -> pa.Table:
        """Tests that are not near to what is expected; the log of `size` is what is compared.

        Most rows are below what is far for any output, which takes neither a logarithm nor a look at the output. A
        spread that is shared by several days is smaller; then the doubt alone is what there is at least.
        """
        far_from = self._least("far_from", expected.centre + margin)
        if is_shared:
            far_from = self._least("centre", expected.centre) + margin
        score = f"ln({size}) - centre - {margin}"
        return self.connection.sql(
            f"""
            with possible as (select * from ({tested}) where {size} > {math.exp(far_from + least_shift - _ROUNDING)}),
            compared as (
                select output_id, measured_on, s, n,
                    shift + coalesce(centre, {expected.centre}) as centre,
                    coalesce(doubt, {expected.doubt}) + coalesce(noise, {expected.noise}) * share as variance
                from possible left join expected_outputs using (output_id)
            )
            select *, ({score}) / sqrt(variance) as distance from compared where ({score}) > {_NEAR} * sqrt(variance)
            order by output_id, measured_on
            """
        ).to_arrow_table()

    def _add(
        self,
        kind: str,
        measure: str,
        exposure: str | None,
        expected: Expected,
        found: pa.Table,
        n_tests: int,
        freedom: float,
    ) -> None:
        self.n_kinds += n_tests > 0
        if not found.num_rows:
            return
        numbers = {name: found[name].to_numpy().astype(float) for name in ("s", "n", "centre", "variance", "distance")}
        keys = list(zip(found["output_id"].to_pylist(), found["measured_on"].to_pylist(), strict=True))
        self.suspects.append(
            _Suspects(
                kind=kind,
                measure=measure,
                exposure=exposure,
                expected=expected,
                keys=keys,
                value=numbers["s"],
                trials=numbers["n"],
                centre=numbers["centre"],
                distance=numbers["distance"],
                spread=np.sqrt(numbers["variance"]),
                freedom=freedom,
                n_tests=n_tests,
            )
        )

    # -- deciding ---------------------------------------------------------------------------------------------------
    def rejected(self) -> list[ImplausibleRow]:
        """The rows whose tests are rejected together, each once with its most improbable finding."""
        if not self.suspects:
            return []
        sizes = [len(suspects.keys) for suspects in self.suspects]
        ends = np.cumsum(sizes)
        # Holm on lower bounds of p-values rejects all that Holm on the p-values can; only those are worked out.
        p_values = np.concatenate([suspects.bounds() for suspects in self.suspects])
        weights = np.concatenate([np.full(len(one.keys), 1 / one.n_tests) for one in self.suspects])
        likely = holm(p_values, weights, ERROR_RATE, self.n_kinds)
        for suspects, end, size in zip(self.suspects, ends, sizes, strict=True):
            wanted = np.flatnonzero(likely[end - size : end])
            p_values[end - size + wanted] = suspects.p_values(wanted)
        p_values[~likely] = 1.0
        rejected = holm(p_values, weights, ERROR_RATE, self.n_kinds)
        rows: dict[tuple[str, date], ImplausibleRow] = {}
        for suspects, end, size in zip(self.suspects, ends, sizes, strict=True):
            found = np.flatnonzero(rejected[end - size : end])
            if len(found):
                for row in self._rows(suspects, found, p_values[end - size + found]):
                    key = (row.output_id, row.measured_on)
                    if key not in rows or row.p_value < rows[key].p_value:
                        rows[key] = row
        return [rows[key] for key in sorted(rows)]

    def _rows(self, suspects: _Suspects, found: np.ndarray, p_values: np.ndarray) -> list[ImplausibleRow]:
        """The rows behind rejected tests that say more than is known of their day."""
        measure, exposure = f'"{suspects.measure}"', f'"{suspects.exposure}"' if suspects.exposure else None
        raised = f"file.{measure} > coalesce(past.{measure}, 0)"
        if exposure:
            # A rate also rises when its exposure is taken back.
            raised += f" or file.{measure} * past.{exposure} > past.{measure} * file.{exposure}"
        keys = [suspects.keys[at] for at in found]
        tests = pa.table(
            {
                "number": pa.array(range(len(keys)), pa.int64()),
                "output_id": pa.array([key[0] for key in keys]),
                "measured_on": pa.array([key[1] for key in keys], pa.date32()),
            }
        )
        # Tests of one kind are all about an output and a day, about an output, or about a day.
        names = ("output_id", "measured_on")
        same = [name for name, key in zip(names, keys[0], strict=True) if key is not None]
        self.connection.register("rejected_tests", tests)
        behind = self.connection.execute(
            f"""
            select tests.number, file.output_id, file.measured_on, file.{measure},
                {f"file.{exposure}" if exposure else "null"}
            from {self.facts} as file
            inner join rejected_tests as tests on {" and ".join(f"file.{name} = tests.{name}" for name in same)}
            left join {self.known} as past
                on past.output_id = file.output_id and past.measured_on = file.measured_on
            where file.{measure} > 0 and ({raised})
            """
        ).fetchall()
        self.connection.unregister("rejected_tests")
        reasons = [_reason(suspects, int(at), float(p)) for at, p in zip(found, p_values, strict=True)]
        return [
            ImplausibleRow(
                output_id=str(output_id),
                measured_on=measured_on,
                measure=suspects.measure,
                found=f"{value:,.0f} of {trials:,.0f}" if exposure else f"{value:,.0f}",
                reason=reasons[number],
                p_value=float(p_values[number]),
            )
            for number, output_id, measured_on, value, trials in behind
        ]


def _reason(suspects: _Suspects, at: int, p_value: float) -> str:
    """What was expected, how improbable what was found is, and what to do."""
    value, trials, centre = suspects.value[at], suspects.trials[at], suspects.centre[at]
    past = f"{suspects.expected.n_outputs:,} outputs and {suspects.expected.n_days:,} of their days"
    if suspects.exposure:
        when = "in all days of the file together" if suspects.keys[at][1] is None else "on this day"
        words = (
            f"{value:,.0f} {suspects.measure} of {trials:,.0f} {suspects.exposure} {when} are {value / trials:.2%}; "
            f"expected about {1 / (1 + math.exp(-centre)):.2%}, from the output's own past and {past}"
        )
        margin = RATE_MARGIN
    elif suspects.keys[at][0] is None:
        words = (
            f"{value:,.0f} {suspects.measure} per output on this day, over {trials:,.0f} outputs; expected about "
            f"{math.exp(centre):,.0f}, from {past}"
        )
        margin = DAY_MARGIN
    else:
        words = (
            f"{value:,.0f} {suspects.measure} in one day; expected about {math.exp(centre):,.0f}, from the output's "
            f"own past and {past}"
        )
        margin = COUNT_MARGIN
    return (
        f"Held as implausible: {words}. Even if {margin:g} times as much were usual, so much has a probability of "
        f"{_shown(p_value)}; of honest files, at most {ERROR_RATE:.0%} have a row held. "
        "If it is true, `flywheel quarantine release` it; if not, `flywheel quarantine discard` it."
    )


def _shown(p_value: float) -> str:
    """Two digits, which do not depend on the order in which a database adds up."""
    if p_value < 1e-12:
        return "less than 1 in 1,000,000,000,000"
    return f"1 in {int(float(f'{1 / p_value:.1e}')):,}"
