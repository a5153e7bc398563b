"""From the good rows of a file of metrics to facts: one value per output, day and measure.

Here: what several rows of one output and day are (`FeedSpec.aggregate`), and the facts as rows of `metric_ledger`, cycle
by cycle. Not here: which rows are good (`metric_cells`, `metric_rows`).

- last: of several rows the lowest counts, measure by measure; the others are said by the file and corrected by it.
- sum: their values are added in the order of the file.
- count: each row is one event, or as many as its column `count` says.

A fact carries the number of the last row that it comes from. Keys are numbers (output times days), so that finding the
last of many rows is one pass over an array and no sort, unless the keys are spread too thinly for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from flywheel_pipelines.feedback.attribution import Output
from flywheel_pipelines.feedback.feeds.metric_cells import Numbers, to_day
from flywheel_pipelines.feedback.feeds.metric_columns import COUNT, EVENT
from flywheel_pipelines.lake.parts import LedgerPart
from flywheel_pipelines.lake.tables import METRIC_LEDGER
from flywheel_pipelines.spec import FeedSpec

SPARSE = 8
"""Keys per row above which an array of all keys would be mostly empty."""


@dataclass(frozen=True)
class Column:
    """The facts of one measure, arrays of shape (n,): output, day, value, and the row each comes from."""

    measure: str
    output: np.ndarray
    day: np.ndarray
    value: np.ndarray
    source_row: np.ndarray


@dataclass(frozen=True)
class MetricFacts:
    """All facts of one file; the columns refer to `outputs`, which are in the order of cycle and id."""

    outputs: Sequence[Output]
    columns: Sequence[Column]

    @property
    def n_facts(self) -> int:
        """How many values there are."""
        return sum(len(column.value) for column in self.columns)

    @property
    def cycles(self) -> list[date]:
        """The cycles that the facts are about, in order."""
        return [cycle for cycle, first, last in _spans(self.outputs) if self._has_any(first, last)]

    @property
    def days(self) -> tuple[date, date] | None:
        """First and last day that the facts are about."""
        ends = [(int(column.day.min()), int(column.day.max())) for column in self.columns if len(column.day)]
        if not ends:
            return None
        return to_day(min(first for first, _ in ends)), to_day(max(last for _, last in ends))

    def by_day(self) -> pa.Table:
        """One row per output and day, with a column per measure (null where it was not measured).

        Columns output_id, cycle, measured_on, and the measures in their order.
        """
        output, day, values = _side_by_side(self.columns)
        ids = pa.array([one.output_id for one in self.outputs], pa.string())
        cycles = pa.array([one.cycle for one in self.outputs], pa.date32())
        index = pa.array(output, pa.int32())
        measures = {name: pa.array(value, pa.float64(), from_pandas=True) for name, value in values.items()}
        return pa.table(
            {
                "output_id": pa.DictionaryArray.from_arrays(index, ids),
                "cycle": cycles.take(index),
                "measured_on": pa.array(day, pa.int32()).view(pa.date32()),
                **measures,
            }
        )

    def parts(self, *, feed_name: str | None, batch_id: str, recorded_at: datetime) -> list[LedgerPart]:
        """The rows of `metric_ledger`, one part a cycle."""
        same = {"feed": feed_name, "batch_id": batch_id, "recorded_at": recorded_at}
        cut = _Cut(self)
        return [
            LedgerPart(
                cycle, lambda first=first, last=last: _ledger_rows(cut.between(first, last), self, first, last, same)
            )
            for cycle, first, last in _spans(self.outputs)
            if self._has_any(first, last)
        ]

    def _has_any(self, first: int, last: int) -> bool:
        return any(bool(((column.output >= first) & (column.output < last)).any()) for column in self.columns)


class _Cut:
    """The facts of each cycle, found in one stable sort by cycle instead of one search through all facts a cycle."""

    def __init__(self, facts: MetricFacts) -> None:
        self._columns = facts.columns
        ends = np.array([last for _, _, last in _spans(facts.outputs)], np.int64)
        self._orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for column in facts.columns:
            # Measures that stand in the same rows share their arrays.
            if id(column.output) not in self._orders:
                cycle = np.searchsorted(ends, column.output, side="right").astype(np.uint16)
                order = np.argsort(cycle, kind="stable")
                self._orders[id(column.output)] = order, cycle[order]
        self._ends = ends

    def between(self, first: int, last: int) -> list[Column]:
        """The facts about outputs from `first` to before `last`, which are those of one cycle."""
        number = int(np.searchsorted(self._ends, first, side="right"))
        found = []
        for column in self._columns:
            order, cycle = self._orders[id(column.output)]
            start, stop = np.searchsorted(cycle, number, side="left"), np.searchsorted(cycle, number, side="right")
            rows = order[start:stop]
            found.append(
                Column(
                    column.measure,
                    column.output[rows],
                    column.day[rows],
                    column.value[rows],
                    column.source_row[rows],
                )
            )
        return found


def facts_of(numbers: Numbers, feed: FeedSpec, measures: Sequence[str]) -> MetricFacts:
    """The facts of the rows that are fine."""
    rows = np.flatnonzero(numbers.fine)
    if not len(rows):
        return MetricFacts(numbers.outputs, [])
    output, day, source_row = numbers.output, numbers.day, numbers.source_row
    if len(rows) < len(numbers.fine):
        output, day, source_row = output[rows], day[rows], source_row[rows]
    values = {name: value if len(rows) == len(value) else value[rows] for name, value in numbers.values.items()}
    first_day = int(day.min())
    n_days = int(day.max()) - first_day + 1
    keys = output.astype(np.int64) * n_days + (day - first_day)
    n_keys = len(numbers.outputs) * n_days
    if feed.aggregate == "count":
        columns = _counted(keys, n_keys, values, measures, source_row)
    elif feed.aggregate == "sum":
        columns = _added(keys, n_keys, values, source_row)
    else:
        return MetricFacts(numbers.outputs, _last(keys, n_keys, values, output, day, source_row))
    return MetricFacts(
        numbers.outputs,
        [
            Column(name, (of // n_days).astype(np.int32), (of % n_days + first_day).astype(np.int32), value, row)
            for name, of, value, row in columns
        ],
    )


def _last(
    keys: np.ndarray,
    n_keys: int,
    values: dict[str, np.ndarray],
    output: np.ndarray,
    day: np.ndarray,
    source_row: np.ndarray,
) -> list[Column]:
    shared: tuple[np.ndarray, ...] | None = None
    columns = []
    for name, value in values.items():
        missing = np.isnan(value)
        if missing.any():
            there = np.flatnonzero(~missing)
            kept = there[_last_rows(keys[there], n_keys)]
            columns.append(Column(name, output[kept], day[kept], value[kept], source_row[kept]))
            continue
        if shared is None:
            kept = _last_rows(keys, n_keys)
            shared = kept, output[kept], day[kept], source_row[kept]
        columns.append(Column(name, shared[1], shared[2], value[shared[0]], shared[3]))
    return columns


_Summed = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def _added(keys: np.ndarray, n_keys: int, values: dict[str, np.ndarray], source_row: np.ndarray) -> list[_Summed]:
    """Per measure: the keys, their sums, and the last row of each."""
    found = []
    for name, value in values.items():
        there = np.flatnonzero(~np.isnan(value))
        kept = there[_last_rows(keys[there], n_keys)]
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
        found += _added(keys[mine], n_keys, {name: weights[mine]}, source_row[mine])
    return found


def _last_rows(keys: np.ndarray, n_keys: int) -> np.ndarray:
    """Positions of the last row of each key, in the order of the rows."""
    n = len(keys)
    if n_keys <= SPARSE * max(n, 1_000):
        last = np.full(n_keys, -1, np.int32 if n < 2**31 else np.int64)
        # Of several values for one place numpy keeps the last.
        last[keys] = np.arange(n, dtype=last.dtype)
        return np.flatnonzero(last[keys] == np.arange(n, dtype=last.dtype))
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


def _side_by_side(columns: Sequence[Column]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Output and day of every key, and per measure its value there or nan."""
    if not columns:
        return np.array([], np.int32), np.array([], np.int32), {}
    if all(column.output is columns[0].output for column in columns):
        return columns[0].output, columns[0].day, {column.measure: column.value for column in columns}
    first = min(int(column.day.min()) for column in columns if len(column.day))
    n_days = max(int(column.day.max()) for column in columns if len(column.day)) - first + 1
    keys = [column.output.astype(np.int64) * n_days + (column.day - first) for column in columns]
    unique = np.unique(np.concatenate(keys))
    values = {}
    for column, of in zip(columns, keys, strict=True):
        values[column.measure] = np.full(len(unique), np.nan)
        values[column.measure][np.searchsorted(unique, of)] = column.value
    return (unique // n_days).astype(np.int32), (unique % n_days + first).astype(np.int32), values


def _ledger_rows(columns: list[Column], facts: MetricFacts, first: int, last: int, same: dict[str, object]) -> pa.Table:
    """The facts about outputs from `first` to before `last` as rows of the ledger, measure by measure."""
    ids = pa.array([one.output_id for one in facts.outputs[first:last]], pa.string())
    measures = pa.array([column.measure for column in columns], pa.string())
    parts = []
    for number, column in enumerate(columns):
        n = len(column.value)
        arrays = {
            "output_id": pa.DictionaryArray.from_arrays(pa.array(column.output - first, pa.int32()), ids),
            "measure": _repeated(number, n, measures),
            "measured_on": pa.array(column.day, pa.int32()).view(pa.date32()),
            "value": pa.array(column.value, pa.float64()),
            "feed": _repeated(None if same["feed"] is None else 0, n, pa.array([same["feed"]], pa.string())),
            "batch_id": _repeated(0, n, pa.array([same["batch_id"]], pa.string())),
            "recorded_at": pa.repeat(pa.scalar(same["recorded_at"], METRIC_LEDGER.schema.field("recorded_at").type), n),
            "source_row": pa.array(column.source_row, pa.int64()),
        }
        parts.append(pa.table({name: arrays[name] for name in METRIC_LEDGER.columns}))
    return pa.concat_tables(parts)


def _repeated(index: int | None, n: int, dictionary: pa.Array) -> pa.DictionaryArray:
    indices = pa.nulls(n, pa.int32()) if index is None else pa.array(np.full(n, index, np.int32))
    return pa.DictionaryArray.from_arrays(indices, dictionary)
