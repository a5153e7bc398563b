"""Reading a file of metrics: what was counted for published outputs on a day.

Here: the way of a file from its cells to facts and quarantine. Not here: columns (`metric_columns`), cells as numbers
(`metric_cells`), words about bad rows (`metric_rows`), facts (`metric_facts`), which output a row is about
(`feedback.attribution`), or which of several reports of a day counts (`feedback.performance`: the one recorded last).

Decisions:
- A row is one output and one day, with a column per measure, or one event. A number reported again for the same day
  replaces the earlier one; it is never added to it.
- A row with anything wrong is put aside whole: half of a row would turn into a rate that nobody measured.
- A measurement belongs to the cycle in which its output was published, whatever day it is about.
- Measures that no metric counts land as well; their numbers may be missing, be decimals or shares. So may amounts,
  times and positions be decimals.
- An event that the feed does not name is put aside: left out silently, a renamed event would count as none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from flywheel_pipelines.feedback.attribution import Found, Output, named_by_id
from flywheel_pipelines.feedback.feeds.batch import (
    Days,
    FeedBatch,
    PutAside,
    batch_header,
    feed_batch_id,
    problems_of,
    quarantine_table,
)
from flywheel_pipelines.feedback.feeds.metric_cells import Attribute, MetricCells, Numbers, day_number
from flywheel_pipelines.feedback.feeds.metric_columns import SESSION, MetricColumns, metric_columns
from flywheel_pipelines.feedback.feeds.metric_facts import MetricFacts, facts_of
from flywheel_pipelines.feedback.feeds.metric_rows import MetricRow, RowRules
from flywheel_pipelines.feedback.feeds.metric_sessions import unshown
from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.lake.tables import METRIC_LEDGER, QUARANTINE
from flywheel_pipelines.spec import FeedSpec, Metric


@dataclass(frozen=True)
class Held:
    """One output and day of a file that waits for a person, and why."""

    output_id: str
    measured_on: date
    measure: str
    found: str
    reason: str


HoldRule = Callable[[Sequence[Output]], Callable[[MetricFacts], Sequence[Held]]]
"""Given the outputs that a file names, what says which of the facts that would land are held. The first is called while
the rows are still being judged, and may take its time to read what it needs."""


@dataclass(frozen=True)
class MetricsFile:
    """A file of metrics, and everything that decides how it is read.

    Attributes:
        path: the file.
        feed: how it is read.
        measures: what it counts.
        metrics: the flywheel's metrics; a row that says what cannot be of one is put aside.
        attribute: finds the outputs of distinct texts, given the days they are about.
        recorded_at: when the file became known. A correction counts when it is recorded later than what it corrects, so
            two files of one feed should not share an instant.
        batch_id: gives the id of the batch; asked while the file is read.
        feed_name, source: what the books say it came by and from.
        period: the days it is about, when somebody said so.
        is_late: whether the measurement window of a cycle had passed when the file became known.
        hold: tells which facts wait for a person; None: none.
        is_known: whether a batch is in the lake already; its file is not judged again.
    """

    path: Path
    feed: FeedSpec
    measures: Sequence[str]
    metrics: Collection[Metric]
    attribute: Attribute
    recorded_at: datetime
    batch_id: Callable[[], str]
    feed_name: str | None = None
    source: str | None = None
    period: Days | None = None
    is_late: Callable[[date], bool] = lambda _: False
    hold: HoldRule | None = None
    is_known: Callable[[str], bool] = lambda _: False


@dataclass
class MeasuredBatch:
    """What a file says: its facts as arrays, and the rest as a batch without rows for the metric ledger."""

    batch: FeedBatch
    facts: MetricFacts
    columns: MetricColumns


def read_metrics(
    path: Path | str,
    feed: FeedSpec,
    *,
    measures: Sequence[str],
    outputs: Mapping[str, date],
    recorded_at: datetime,
    metrics: Collection[Metric] = (),
    feed_name: str | None = None,
) -> FeedBatch:
    """Read one file of measurements about outputs that are known, with its rows for `metric_ledger` in one table.

    Args:
        path: CSV, TSV, JSONL or Parquet.
        feed: how it is read; rows name outputs by their id.
        measures: what the file counts, e.g. clicks; every one needs a column.
        outputs: the cycle of every published output by its id; rows about anything else are put aside.
        recorded_at: when the file became known.
        metrics: the flywheel's metrics.
        feed_name: the feed's name in the flywheel's YAML.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for one of the names.
    """
    path = Path(path)
    file = MetricsFile(
        path=path,
        feed=feed,
        measures=measures,
        metrics=metrics,
        attribute=lambda texts, _: among(outputs, texts),
        recorded_at=recorded_at,
        batch_id=lambda: feed_batch_id(path, feed, *measures),
        feed_name=feed_name,
    )
    measured = measure_file(file)
    assert measured is not None
    batch = measured.batch
    schema = pa.schema([pa.field("cycle", pa.date32()), *METRIC_LEDGER.schema])
    tables = [
        part.make().cast(METRIC_LEDGER.schema).add_column(0, schema.field(0), pa.repeat(part.cycle, n))
        for part in batch.parts[METRIC_LEDGER]
        for n in (part.make().num_rows,)
    ]
    rows = pa.concat_tables([schema.empty_table(), *tables]).sort_by("source_row")
    return FeedBatch(
        batch.header, {METRIC_LEDGER: rows, **batch.facts}, batch.problems, batch.n_rows, batch.n_quarantined
    )


def among(outputs: Mapping[str, date], texts: Iterable[str]) -> dict[str, Found]:
    """Outputs named by their id among those that are known."""
    return {text: named_by_id(text, outputs) for text in texts}


def measure_file(file: MetricsFile, *, fast: bool = True) -> MeasuredBatch | None:
    """Read one file, unless its batch is known already (None).

    With `fast` False every row goes through the careful reader and the Python checks.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for one of the names.
    """
    today = file.recorded_at.date()
    columns = metric_columns(file.path, file.feed, file.measures, file.metrics, file.period, today)
    with duckdb.connect() as connection, ThreadPoolExecutor(2) as pool:
        connection.execute("set timezone = 'UTC'")
        id_of_batch = pool.submit(file.batch_id)
        cells = MetricCells(connection, file.path, file.feed, columns)
        cells.load(pool, fast=fast)
        if file.is_known(id_of_batch.result()):
            return None
        outputs = cells.look_up(file.attribute)
        held_of = None if file.hold is None else pool.submit(file.hold, outputs)
        numbers = cells.numbers(outputs, today)
        judged = _Judged(file, columns, id_of_batch.result())
        judged.put(cells.unreadable)
        rules = RowRules(file.feed, columns, cells.found, today, cells.sessions)
        _judge_the_rest(cells, numbers, rules, judged, fast)
        if file.feed.sessions is not None:
            _put_unshown(cells, numbers, file.feed, columns, judged)
        facts = facts_of(numbers, file.feed, columns.measures)
        if held_of is not None and (held := held_of.result()(facts)):
            _hold(cells, numbers, held, columns, judged)
            facts = facts_of(numbers, file.feed, columns.measures)
        return MeasuredBatch(judged.batch(numbers, facts), facts, columns)


def _judge_the_rest(cells: MetricCells, numbers: Numbers, rules: RowRules, judged: _Judged, fast: bool) -> None:
    """Let the Python checks decide about the rows that are not plainly fine, or about all."""
    index = {one.output_id: number for number, one in enumerate(numbers.outputs)}
    wanted = np.flatnonzero(~numbers.fine) if fast else np.arange(cells.n_rows)
    aside: list[PutAside] = []
    for position, row in cells.rows(wanted):
        found = rules.judged(row)
        numbers.fine[position] = isinstance(found, MetricRow)
        if isinstance(found, PutAside):
            aside.append(found)
            if len(aside) >= 10_000:
                judged.put(aside)
                aside = []
            continue
        numbers.output[position] = index[found.output.output_id]
        numbers.day[position] = day_number(found.day)
        for value, of_column in zip(found.values, numbers.values.values(), strict=True):
            of_column[position] = value
    judged.put(aside)


def _put_unshown(cells: MetricCells, numbers: Numbers, feed: FeedSpec, columns: MetricColumns, judged: _Judged) -> None:
    """Put the rows of sessions aside in which the output was never shown: nobody accepts what nobody saw."""
    assert feed.sessions is not None
    header, shown_by = columns.headers[SESSION], feed.sessions.shown
    positions = np.flatnonzero(unshown(numbers, feed, columns.measures))
    aside = []
    for _, row in cells.rows(positions):
        reason = (
            f"no row of event {shown_by} in this session for this output; expected one in the same file. Hand in a "
            "file with all rows of the session."
        )
        aside.append(PutAside([row.problem(header, SESSION, reason)], "invalid", row.raw))
    numbers.fine[positions] = False
    judged.put(aside)


def _hold(cells: MetricCells, numbers: Numbers, held: Sequence[Held], columns: MetricColumns, judged: _Judged) -> None:
    """Take the rows behind some facts out again and put them aside."""
    index = {one.output_id: number for number, one in enumerate(numbers.outputs)}
    by_key = {(index[one.output_id], day_number(one.measured_on)): one for one in held}
    wide = 1 << 32
    keys = numbers.output.astype(np.int64) * wide + (numbers.day.astype(np.int64) + wide // 2)
    wanted = np.array([output * wide + day + wide // 2 for output, day in by_key], np.int64)
    positions = np.flatnonzero(numbers.fine & np.isin(keys, wanted))
    aside = []
    for position, row in cells.rows(positions):
        one = by_key[int(numbers.output[position]), int(numbers.day[position])]
        header = columns.headers.get(one.measure, columns.headers.get("event", columns.headers[columns.key]))
        aside.append(PutAside([RowProblem(row.source_row, header, one.found, one.reason)], "held", row.raw))
    numbers.fine[positions] = False
    judged.put(aside)


@dataclass
class _Judged:
    """Rows put aside on the way, as tables, so that many bad rows do not fill the memory."""

    file: MetricsFile
    columns: MetricColumns
    batch_id: str
    tables: list[pa.Table] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def put(self, aside: Sequence[PutAside]) -> None:
        if not aside:
            return
        source = self.file.source or self.file.path.name
        books = {
            "batch_id": self.batch_id,
            "recorded_at": self.file.recorded_at,
            "source": source,
            "feed": self.file.feed_name,
        }
        self.tables.append(quarantine_table(books, aside))
        room = max(0, PROBLEMS_KEPT - len(self.problems))
        self.problems.extend(problems_of(aside)[:room])
        for row in aside:
            self.counts[row.code] = self.counts.get(row.code, 0) + 1

    def batch(self, numbers: Numbers, facts: MetricFacts) -> FeedBatch:
        file = self.file
        n_rows = int(np.count_nonzero(numbers.fine))
        of_cycle = {cycle: file.is_late(cycle) for cycle in {one.cycle for one in numbers.outputs}}
        late = np.array([of_cycle[one.cycle] for one in numbers.outputs], bool)
        # Rows about nobody's output have the index -1, and are not fine.
        n_late = int(np.count_nonzero(late[numbers.output] & numbers.fine)) if late.any() else 0
        header = batch_header(
            self.batch_id,
            file.source or file.path.name,
            file.recorded_at,
            file.feed_name,
            n_rows=n_rows,
            n_late=n_late,
            aside=self.counts,
            cycles=facts.cycles,
            period=None if self.columns.has_dates else self.columns.period,
        )
        quarantine = pa.concat_tables([QUARANTINE.schema.empty_table(), *self.tables])
        parts = facts.parts(feed_name=file.feed_name, batch_id=self.batch_id, recorded_at=file.recorded_at)
        return FeedBatch(
            header=header,
            facts={QUARANTINE: quarantine.sort_by([("source_row", "ascending"), ("field", "ascending")])},
            problems=tuple(sorted(self.problems, key=lambda problem: (problem.source_row, problem.field))),
            n_rows=n_rows,
            n_quarantined=sum(self.counts.values()),
            parts={METRIC_LEDGER: parts},
        )


PROBLEMS_KEPT = 10_000
"""Problems of a file that `FeedBatch.problems` names; the quarantine holds them all."""
