"""From the good rows of a file of metrics to facts: one value per output, day and measure.

Here: what several rows of one output and day are (`FeedSpec.aggregate`), and the facts as rows of `metric_ledger`,
cycle by cycle. Not here: which rows are good (`metric_cells`, `metric_rows`).

- last: of several rows the lowest counts, measure by measure; the others are said by the file and corrected by it.
- sum: their values are added in the order of the file.
- count: each row is one event, or as many as its column `count` says.
- sessions: as count, once in each session (`metric_sessions`).

A fact carries the number of the last row that it comes from. Keys are numbers (output times days), so that finding the
last of many rows is one pass over an array and no sort, unless the keys are spread too thinly for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa

from flywheel_pipelines.feedback.attribution import Output
from flywheel_pipelines.feedback.feeds.metric_cells import Numbers, to_day
from flywheel_pipelines.feedback.feeds.metric_columns import COUNT, EVENT
from flywheel_pipelines.feedback.feeds.metric_sessions import counted_in_sessions
from flywheel_pipelines.feedback.plausibility_days import OutputDays
from flywheel_pipelines.lake.parts import LedgerPart
from flywheel_pipelines.lake.tables import METRIC_LEDGER
from flywheel_pipelines.spec import FeedSpec

SPARSE = 8
"""Keys per row above which an array of all keys would be mostly empty."""


@dataclass(frozen=True)
class Rows:
    """Where facts stand: positions of shape (n,) in longer arrays, so that nothing is copied twice."""

    at: np.ndarray
    output: np.ndarray
    day: np.ndarray
    source_row: np.ndarray

    @cached_property
    def of_outputs(self) -> np.ndarray:
        """The output of each, as an index."""
        return self.output[self.at]


@dataclass(frozen=True)
class Column:
    """The facts of one measure; `values` is an array like those of `rows`, which measures may share."""

    measure: str
    rows: Rows
    values: np.ndarray

    @property
    def output(self) -> np.ndarray:
        """The output of each fact, as an index."""
        return self.rows.of_outputs

    @property
    def day(self) -> np.ndarray:
        """The day of each fact, since 1970-01-01."""
        return self.rows.day[self.rows.at]

    @property
    def value(self) -> np.ndarray:
        """The facts themselves."""
        return self.values[self.rows.at]


@dataclass(frozen=True)
class MetricFacts:
    """All facts of one file; the columns refer to `outputs`, which are in the order of cycle and id."""

    outputs: Sequence[Output]
    columns: Sequence[Column]

    @cached_property
    def spans(self) -> list[tuple[date, int, int]]:
        """The cycles that the facts are about, in order, and the outputs of each: from which index to before which."""
        there = np.zeros(len(self.outputs), bool)
        for rows in {id(column.rows): column.rows for column in self.columns}.values():
            there[rows.of_outputs] = True
        return [(cycle, first, last) for cycle, first, last in _spans(self.outputs) if there[first:last].any()]

    @property
    def n_facts(self) -> int:
        """How many values there are."""
        return sum(len(column.rows.at) for column in self.columns)

    @property
    def cycles(self) -> list[date]:
        """The cycles that the facts are about, in order."""
        return [cycle for cycle, _, _ in self.spans]

    @property
    def days(self) -> tuple[date, date] | None:
        """First and last day that the facts are about."""
        days = [column.day for column in self.columns if len(column.rows.at)]
        if not days:
            return None
        return to_day(min(int(day.min()) for day in days)), to_day(max(int(day.max()) for day in days))

    def by_day(self) -> OutputDays:
        """One row per output and day, with nan where something was not measured; numbers are places in `outputs`."""
        return side_by_side(self.columns)

    def parts(self, *, feed_name: str | None, batch_id: str, recorded_at: datetime) -> list[LedgerPart]:
        """The rows of `metric_ledger`, one part a cycle."""
        same = _Same(feed_name, batch_id, recorded_at)
        cut = _Cut(self)
        return [
            LedgerPart(cycle, lambda number=number: _ledger_rows(cut, number, self, same))
            for number, (cycle, _, _) in enumerate(self.spans)
        ]


class _Cut:
    """The rows of each cycle, found in one stable sort by cycle instead of one search through all rows a cycle."""

    def __init__(self, facts: MetricFacts) -> None:
        """Sort; rows that measures share are sorted once."""
        ends = np.array([last for _, _, last in facts.spans], np.int64)
        cycle_of = np.searchsorted(ends, np.arange(len(facts.outputs)), side="right").astype(np.uint16)
        self._sorted: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for one in {id(column.rows): column.rows for column in facts.columns}.values():
            cycle = cycle_of[one.of_outputs]
            bounds = np.concatenate([[0], np.cumsum(np.bincount(cycle, minlength=len(ends)))])
            self._sorted[id(one)] = one.at[np.argsort(cycle, kind="stable")], bounds

    def between(self, rows: Rows, number: int) -> np.ndarray:
        """The positions of those rows that are about the cycle of this number in `spans`."""
        at, bounds = self._sorted[id(rows)]
        return at[bounds[number] : bounds[number + 1]]


def facts_of(numbers: Numbers, feed: FeedSpec, measures: Sequence[str]) -> MetricFacts:
    """The facts of the rows that are fine."""
    if not numbers.fine.any():
        return MetricFacts(numbers.outputs, [])
    if feed.aggregate == "last":
        return MetricFacts(numbers.outputs, _last(numbers))
    if feed.sessions is not None:
        return MetricFacts(numbers.outputs, _in_sessions(numbers, feed, measures))
    rows = np.flatnonzero(numbers.fine)
    output, day, source_row = numbers.output[rows], numbers.day[rows], numbers.source_row[rows]
    values = {name: value[rows] for name, value in numbers.values.items()}
    first_day = int(day.min())
    n_days = int(day.max()) - first_day + 1
    keys = output.astype(np.int64) * n_days + (day - first_day)
    add = _counted if feed.aggregate == "count" else _added
    return MetricFacts(
        numbers.outputs,
        [
            Column(
                name,
                Rows(
                    np.arange(len(of)),
                    (of // n_days).astype(np.int32),
                    (of % n_days + first_day).astype(np.int32),
                    row,
                ),
                value,
            )
            for name, of, value, row in add(keys, len(numbers.outputs) * n_days, values, measures, source_row)
        ],
    )


def _in_sessions(numbers: Numbers, feed: FeedSpec, measures: Sequence[str]) -> list[Column]:
    counted = counted_in_sessions(numbers, feed, measures)
    rows = Rows(np.arange(len(counted.output)), counted.output, counted.day, counted.source_row)
    return [Column(name, rows, values) for name, values in counted.values.items()]


def _last(numbers: Numbers) -> list[Column]:
    day = numbers.day
    first_day = int(np.min(day, where=numbers.fine, initial=np.iinfo(np.int32).max))
    n_days = int(np.max(day, where=numbers.fine, initial=first_day)) - first_day + 1
    n_keys = len(numbers.outputs) * n_days
    # By day first, as most files are, so that neighbours in the file are neighbours among the keys.
    keys = day.astype(np.int32 if n_keys < 2**31 - 1 else np.int64)
    keys -= first_day
    keys *= len(numbers.outputs)
    keys += numbers.output
    # All rows that say nothing share one key behind the others.
    np.copyto(keys, n_keys, where=~numbers.fine)
    shared: Rows | None = None
    columns = []
    for name, values in numbers.values.items():
        missing = np.isnan(values)
        if missing.any():
            own = np.where(missing, n_keys, keys)
            columns.append(Column(name, _last_of(own, n_keys, numbers), values))
            continue
        shared = shared or _last_of(keys, n_keys, numbers)
        columns.append(Column(name, shared, values))
    return columns


def _last_of(keys: np.ndarray, n_keys: int, numbers: Numbers) -> Rows:
    at = last_rows(keys, n_keys + 1)
    nothing = np.flatnonzero(keys == n_keys)
    if len(nothing):
        at = np.delete(at, np.searchsorted(at, nothing[-1]))
    return Rows(at, numbers.output, numbers.day, numbers.source_row)


_Summed = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def _added(
    keys: np.ndarray, n_keys: int, values: dict[str, np.ndarray], _: Sequence[str], source_row: np.ndarray
) -> list[_Summed]:
    """Per measure: the keys, their sums, and the last row of each."""
    found = []
    for name, value in values.items():
        there = np.flatnonzero(~np.isnan(value))
        kept = there[last_rows(keys[there], n_keys)]
        unique, place = np.unique(keys[there], return_inverse=True)
        totals = np.bincount(place, weights=value[there], minlength=len(unique))
        found.append((name, keys[kept], totals[np.searchsorted(unique, keys[kept])], source_row[kept]))
    return found


def _counted(
    keys: np.ndarray, n_keys: int, values: dict[str, np.ndarray], measures: Sequence[str], source_row: np.ndarray
) -> list[_Summed]:
    weights = values.get(COUNT, np.ones(len(keys)))
    found = []
    for number, name in enumerate(measures):
        mine = np.flatnonzero(values[EVENT] == number)
        found += _added(keys[mine], n_keys, {name: weights[mine]}, measures, source_row[mine])
    return found


def last_rows(keys: np.ndarray, n_keys: int) -> np.ndarray:
    """Positions of the last row of each key, in the order of the rows."""
    n = len(keys)
    if n_keys <= SPARSE * max(n, 1_000):
        rows = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
        last = np.empty(n_keys, rows.dtype)
        # Of several values for one place numpy keeps the last; places that no row names are not looked at.
        last[keys] = rows
        return np.flatnonzero(last[keys] == rows)
    _, from_behind = np.unique(keys[::-1], return_index=True)
    return np.sort(n - 1 - from_behind)


def _spans(outputs: Sequence[Output]) -> list[tuple[date, int, int]]:
    """The outputs of each cycle: from which index to before which."""
    spans: list[tuple[date, int, int]] = []
    for number, one in enumerate(outputs):
        if spans and spans[-1][0] == one.cycle:
            spans[-1] = (one.cycle, spans[-1][1], number + 1)
        else:
            spans.append((one.cycle, number, number + 1))
    return spans


def side_by_side(columns: Sequence[Column]) -> OutputDays:
    """One row per output and day that any of the columns has a fact of; nan where another has none."""
    if not columns:
        return OutputDays(np.array([], np.int32), np.array([], np.int32), {})
    same = columns[0]
    if all(_are_same(column.rows, same.rows) for column in columns):
        return OutputDays(same.output, same.day, {column.measure: column.value for column in columns})
    days = [column.day for column in columns]
    first = min(int(day.min()) for day in days if len(day))
    n_days = max(int(day.max()) for day in days if len(day)) - first + 1
    keys = [column.output.astype(np.int64) * n_days + (day - first) for column, day in zip(columns, days, strict=True)]
    unique = np.unique(np.concatenate(keys))
    values = {}
    for column, of in zip(columns, keys, strict=True):
        values[column.measure] = np.full(len(unique), np.nan)
        values[column.measure][np.searchsorted(unique, of)] = column.value
    return OutputDays((unique // n_days).astype(np.int32), (unique % n_days + first).astype(np.int32), values)


def _are_same(one: Rows, other: Rows) -> bool:
    """Whether they are about the same outputs and days in the same order."""
    if one is other:
        return True
    if len(one.at) != len(other.at):
        return False
    return np.array_equal(one.of_outputs, other.of_outputs) and np.array_equal(one.day[one.at], other.day[other.at])


@dataclass(frozen=True)
class _Same:
    """What is the same in all rows of a batch."""

    feed: str | None
    batch_id: str
    recorded_at: datetime


def _ledger_rows(cut: _Cut, number: int, facts: MetricFacts, same: _Same) -> pa.Table:
    """The facts about one cycle as rows of the ledger, measure by measure."""
    _, first, last = facts.spans[number]
    ids = pa.array([one.output_id for one in facts.outputs[first:last]], pa.string())
    measures = pa.array([column.measure for column in facts.columns], pa.string())
    instant = METRIC_LEDGER.schema.field("recorded_at").type
    of_rows: dict[int, tuple[np.ndarray, dict[str, pa.Array]]] = {}
    parts = []
    for position, column in enumerate(facts.columns):
        rows = column.rows
        if id(rows) not in of_rows:
            at = cut.between(rows, number)
            n = len(at)
            of_rows[id(rows)] = (
                at,
                {
                    "output_id": pa.DictionaryArray.from_arrays(pa.array(rows.output[at] - first, pa.int32()), ids),
                    "measured_on": pa.array(rows.day[at], pa.int32()).view(pa.date32()),
                    "feed": _repeated(None if same.feed is None else 0, n, pa.array([same.feed], pa.string())),
                    "batch_id": _repeated(0, n, pa.array([same.batch_id], pa.string())),
                    "recorded_at": pa.repeat(pa.scalar(same.recorded_at, instant), n),
                    "source_row": pa.array(rows.source_row[at], pa.int64()),
                },
            )
        at, arrays = of_rows[id(rows)]
        own = {"measure": _repeated(position, len(at), measures), "value": pa.array(column.values[at], pa.float64())}
        parts.append(pa.table({name: (arrays | own)[name] for name in METRIC_LEDGER.columns}))
    return pa.concat_tables(parts)


def _repeated(index: int | None, n: int, dictionary: pa.Array) -> pa.DictionaryArray:
    indices = pa.nulls(n, pa.int32()) if index is None else pa.array(np.full(n, index, np.int32))
    return pa.DictionaryArray.from_arrays(indices, dictionary)
