"""Reading a file of metrics: what was counted for a published output on a day.

Not here: which of several reports of a day counts (`feedback.performance`: the one recorded last), or how a file is
matched to outputs that it does not name by their id.

Decisions:
- A row is one output and one day, with a column per measure. A number reported again for the same day replaces the
  earlier one; it is never added to it.
- A row with anything wrong is put aside whole: half of a row would turn into a rate that nobody measured.
- A measurement belongs to the cycle in which its output was published, whatever day it is about.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from flywheel_pipelines.feedback.counts import WHOLE_NUMBER, why_no_count
from flywheel_pipelines.feedback.feeds.batch import FeedBatch, RowsInProgress, feed_batch_id
from flywheel_pipelines.feedback.feeds.rows import (
    AGAIN,
    CellError,
    FeedRow,
    checked_day,
    checked_name,
    headers_of,
    read_rows,
)
from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.lake.tables import METRIC_LEDGER
from flywheel_pipelines.spec import FeedSpec, RateMetric

OUTPUT_ID, DATE = "output_id", "date"


def read_metrics(
    path: Path | str,
    feed: FeedSpec,
    *,
    measures: Sequence[str],
    outputs: Mapping[str, date],
    recorded_at: datetime,
    rates: Collection[RateMetric] = (),
    feed_name: str | None = None,
    batch_id: str | None = None,
    source: str | None = None,
) -> FeedBatch:
    """Read one file of measurements into facts for `metric_ledger`, one per row and measure.

    Args:
        path: CSV, TSV (plain or gzipped) or Parquet.
        feed: which of its columns are output_id, date and the measures; without an entry, the one of that name.
        measures: what the file counts, e.g. clicks; every one needs a column.
        outputs: the cycle of every published output by its id; rows about anything else are put aside.
        recorded_at: when the file became known. A correction counts when it is recorded later than what it corrects,
            so two files of one feed should not share an instant.
        rates: the flywheel's rate metrics; a row with more successes than exposure is put aside.
        feed_name: the feed's name in the flywheel's YAML.
        batch_id: the id of the batch; None: hash of the file and of how it is read.
        source: where the file comes from, in words; None: its name.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for one of the names.
    """
    path = Path(path)
    headers, _ = headers_of(path, feed, required=(OUTPUT_ID, DATE, *measures))
    rows = read_rows(path, headers)
    batch_id = batch_id or feed_batch_id(path, feed, *measures)
    batch = RowsInProgress(METRIC_LEDGER, source or path.name, batch_id, recorded_at, feed_name)
    batch.put_unreadable(rows.unreadable)
    for row in rows:
        facts, problems = _measurements(row, headers, measures, outputs, recorded_at.date())
        problems = problems or _impossible_rates(row, headers, rates)
        if problems:
            is_stranger = [problem.field for problem in problems] == [headers[OUTPUT_ID]] and row.cells[OUTPUT_ID]
            batch.put_aside(problems, "unmatched" if is_stranger else "invalid", row.raw)
        else:
            batch.accept(row.source_row, facts)
    return batch.finish()


def _measurements(
    row: FeedRow, headers: Mapping[str, str], measures: Sequence[str], outputs: Mapping[str, date], today: date
) -> tuple[list[dict[str, object]], list[RowProblem]]:
    """The facts of one row, and everything that is wrong with it."""
    problems: list[RowProblem] = []
    output_id, measured_on = None, None
    try:
        output_id = checked_name(row.cells[OUTPUT_ID], "the id of the output that was measured")
        if output_id not in outputs:
            raise CellError(
                "no published output has this id; expected the tracking tag of one, as it stands in the outbox. "
                "Correct the tag, or hand the row in again in a later file once the output is published."
            )
    except CellError as error:
        problems.append(row.problem(headers[OUTPUT_ID], OUTPUT_ID, str(error)))
    try:
        measured_on = checked_day(row.cells[DATE])
        _check_time(measured_on, outputs.get(output_id or ""), today)
    except CellError as error:
        problems.append(row.problem(headers[DATE], DATE, str(error)))
    for measure in measures:
        value = row.cells[measure]
        if not re.fullmatch(WHOLE_NUMBER, value or ""):
            problems.append(row.problem(headers[measure], measure, why_no_count(value)))
    if problems or output_id is None:
        return [], problems
    return [
        {
            "cycle": outputs[output_id],
            "output_id": output_id,
            "measure": measure,
            "measured_on": measured_on,
            "value": float(row.cells[measure] or 0),
        }
        for measure in measures
    ], []


def _check_time(measured_on: date, cycle: date | None, today: date) -> None:
    if cycle is not None and measured_on < cycle:
        raise CellError(f"before {cycle}, when the output's cycle began; expected a day on which it was out. {AGAIN}")
    # Today in UTC is tomorrow already in a part of the world.
    if measured_on > today + timedelta(days=1):
        raise CellError(f"in the future: the file arrived on {today}; expected a day that has come. {AGAIN}")


def _impossible_rates(row: FeedRow, headers: Mapping[str, str], rates: Collection[RateMetric]) -> list[RowProblem]:
    """Successes above exposure, for the rates whose two measures the file holds; one problem per column."""
    problems: dict[str, RowProblem] = {}
    for rate in rates:
        if rate.successes not in row.cells or rate.exposure not in row.cells:
            continue
        if float(row.cells[rate.successes] or 0) > float(row.cells[rate.exposure] or 0):
            successes, exposure = headers[rate.successes], headers[rate.exposure]
            found = f"{row.cells[rate.successes]} of {row.cells[rate.exposure]}"
            reason = f"more {successes} than {exposure}; a success needs a trial. {AGAIN}"
            problems.setdefault(successes, RowProblem(row.source_row, successes, found, reason))
    return list(problems.values())
