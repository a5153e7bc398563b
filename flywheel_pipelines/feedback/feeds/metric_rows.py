"""What one row of metrics says, in words when it is wrong.

Here: the checks of one row in Python, which decide. Not here: the same for millions of rows at once (`metric_cells`),
which passes only what is plainly fine and leaves the rest to these checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from flywheel_pipelines.feedback.attribution import Found, Nobody, Output
from flywheel_pipelines.feedback.counts import why_no_count
from flywheel_pipelines.feedback.feeds.batch import ProblemCode, PutAside
from flywheel_pipelines.feedback.feeds.day_formats import parse_day
from flywheel_pipelines.feedback.feeds.formats import parse_count, parse_number
from flywheel_pipelines.feedback.feeds.metric_columns import COUNT, DATE, EVENT, SESSION, MetricColumns
from flywheel_pipelines.feedback.feeds.rows import FeedRow, checked_name
from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.feedback.files.cells import AGAIN, CellError, shown
from flywheel_pipelines.spec import FeedSpec


@dataclass(frozen=True)
class MetricRow:
    """A row that can be used: the output, the day, and the values in the order of the columns; nan was not measured."""

    output: Output
    day: date
    values: tuple[float, ...]


@dataclass(frozen=True)
class RowRules:
    """What the rows of one file are held against."""

    feed: FeedSpec
    columns: MetricColumns
    found: Mapping[str, Found]
    today: date
    sessions: Mapping[str, int] = field(default_factory=dict)
    """The number of each session by its name."""

    def judged(self, row: FeedRow) -> MetricRow | PutAside:
        """What a row says, or everything that is wrong with it."""
        problems: list[RowProblem] = []
        headers, key = self.columns.headers, self.columns.key
        output = self.found[row.raw[headers[key]] or ""]
        code: ProblemCode = "invalid"
        if isinstance(output, Nobody):
            problems.append(row.problem(headers[key], key, output.reason))
            code = output.code
        day = self._day(row, output, problems)
        values = self._values(row, problems)
        if not problems:
            problems = [*self._impossible_rates(row, values), *self._missing_halves(row, values)]
        if problems or day is None or isinstance(output, Nobody):
            return PutAside(problems, code if len(problems) == 1 else "invalid", row.raw)
        return MetricRow(output, day, tuple(values.values()))

    def _day(self, row: FeedRow, output: Found, problems: list[RowProblem]) -> date | None:
        try:
            if not self.columns.has_dates:
                assert self.columns.period is not None
                day = self.columns.period[1]
            else:
                day = parse_day(row.cells[DATE], self.feed.dates)
            check_time(day, output.cycle if isinstance(output, Output) else None, self.today)
        except CellError as error:
            header = self.columns.headers.get(DATE, self.columns.headers[self.columns.key])
            found = row.cells.get(DATE) or str(self.columns.period[1] if self.columns.period else "")
            problems.append(RowProblem(row.source_row, header, shown(found), str(error)))
            return None
        return day

    def _values(self, row: FeedRow, problems: list[RowProblem]) -> dict[str, float]:
        """The numbers of a row by our names, or by the measure of its event."""
        values: dict[str, float] = {}
        for name in self.columns.headers:
            if name in (self.columns.key, DATE):
                continue
            try:
                values[name] = self._value(name, row.cells[name])
            except CellError as error:
                problems.append(row.problem(self.columns.headers[name], name, str(error)))
        if EVENT not in self.columns.headers and not problems and all(map(math.isnan, values.values())):
            name = self.columns.measures[0]
            reason = f"the row holds no number at all; expected one of its measures. {AGAIN}"
            problems.append(row.problem(self.columns.headers[name], name, reason))
        return values

    def _value(self, name: str, value: str | None) -> float:
        if name == EVENT:
            return self._event(value)
        if name == SESSION:
            return float(self.sessions[checked_name(value, "the session in which it happened")])
        return self._number(name, value)

    def _number(self, name: str, value: str | None) -> float:
        if name not in self.columns.whole and name != COUNT:
            number = parse_number(value, self.feed.numbers)
            least = self.columns.least.get(name)
            if number is not None and least is not None and number < least:
                raise CellError(f"below {least:g}; expected {least:g} or more. {AGAIN}")
            return math.nan if number is None else number
        if name == COUNT and value is None and self.feed.sessions:
            return 1.0
        count = parse_count(value, self.feed.numbers)
        if count is None:
            raise CellError(why_no_count(value))
        return count

    def _event(self, value: str | None) -> float:
        """The number of the measure that an event counts as."""
        if value is None or value not in self.feed.events:
            known = ", ".join(self.feed.events)
            what = "empty" if value is None else "an event that the feed does not name"
            raise CellError(
                f"{what}; expected one of {known}. Add it to the feed's events, as a measure of its own if no metric "
                "counts it, then release the row."
            )
        return float(self.columns.measures.index(self.feed.events[value]))

    def _impossible_rates(self, row: FeedRow, values: Mapping[str, float]) -> list[RowProblem]:
        """Successes above exposure, for the rates whose two measures the file holds; one problem per column."""
        problems: dict[str, RowProblem] = {}
        headers = self.columns.headers
        for rate in self.columns.rates:
            if values[rate.successes] > values[rate.exposure]:
                successes, exposure = headers[rate.successes], headers[rate.exposure]
                found = f"{row.cells[rate.successes]} of {row.cells[rate.exposure]}"
                reason = f"more {successes} than {exposure}; a success needs a trial. {AGAIN}"
                problems.setdefault(successes, RowProblem(row.source_row, successes, found, reason))
        return list(problems.values())

    def _missing_halves(self, row: FeedRow, values: Mapping[str, float]) -> list[RowProblem]:
        """What a row leaves out of a metric though it counts the other half: it would be taken for nothing."""
        headers = self.columns.headers
        return [
            row.problem(
                headers[name],
                name,
                f"empty, but {headers[other]} is {values[other]:g}; expected the {headers[name]} that goes with it, 0 "
                f"if there was none. {AGAIN}",
            )
            for name, other in self.columns.paired.items()
            if math.isnan(values[name]) and values[other] > 0
        ]


def latest_day(today: date) -> date:
    """The last day that a file of `today` can be about: today in UTC is tomorrow already in a part of the world."""
    return today + timedelta(days=1)


def check_time(day: date, cycle: date | None, today: date) -> None:
    """Raises CellError when a day is before the output's cycle, or has not come yet."""
    if cycle is not None and day < cycle:
        raise CellError(f"before {cycle}, when the output's cycle began; expected a day on which it was out. {AGAIN}")
    if day > latest_day(today):
        raise CellError(f"in the future: the file arrived on {today}; expected a day that has come. {AGAIN}")
