"""Reading a file of fixes that shipped: when, about which theme, and what was changed.

Not here: what they did (`learning.themes.fixes`).

The same id again, in this file or a later one, corrects: the row recorded last counts. A file without ids gets
them from what a row says. The day decides the cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from flywheel_pipelines.cycles import cycle_of
from flywheel_pipelines.feedback.feeds.batch import FeedBatch, Incoming, RowsInProgress, batch_id_of
from flywheel_pipelines.feedback.feeds.moments import parse_moment
from flywheel_pipelines.feedback.feeds.rows import CellError, FeedRow, checked_name, headers_of, read_rows
from flywheel_pipelines.feedback.feeds.scrubbing import scrubbed
from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import SHIPPED_FIXES

REQUIRED = ("date", "theme", "what")
OPTIONAL = ("fix_id",)
LONGEST_WHAT = 500


def read_fixes(incoming: Incoming) -> FeedBatch:
    """Read one file of fixes into facts for `shipped_fixes`.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for date, theme or what.
    """
    feed, spec = incoming.feed, incoming.spec
    headers, _ = headers_of(incoming.path, feed, required=REQUIRED, optional=OPTIONAL)
    rows = read_rows(incoming.path, headers)
    batch = RowsInProgress(
        SHIPPED_FIXES,
        incoming.source_name,
        batch_id_of(incoming, spec.name, spec.cadence),
        incoming.recorded_at,
        incoming.feed_name,
    )
    batch.put_unreadable(rows.unreadable)
    for row in rows:
        fact, problems = _fix(row, headers, feed.dates, incoming.recorded_at)
        if problems:
            batch.put_aside(problems, "invalid", row.raw)
            continue
        shipped = fact["shipped_on"]
        assert isinstance(shipped, date)
        batch.accept(row.source_row, [{**fact, "cycle": cycle_of(shipped, spec.cadence)}])
    return batch.finish()


def _fix(
    row: FeedRow, headers: Mapping[str, str], dates: list[str], recorded_at: datetime
) -> tuple[dict[str, object], list[RowProblem]]:
    """What one row says, and everything that is wrong with it."""
    checks = {
        "fix_id": lambda value: checked_name(value, "the id of the fix"),
        "date": lambda value: parse_moment(value, dates, not_after=recorded_at).date(),
        "theme": lambda value: checked_name(value, "the id or the name of a theme"),
        "what": lambda value: scrubbed(checked_name(value, "what was changed", LONGEST_WHAT))[0],
    }
    problems: list[RowProblem] = []
    fact: dict[str, object] = {}
    for name, check in checks.items():
        if name not in headers:
            continue
        try:
            fact["shipped_on" if name == "date" else name] = check(row.cells[name])
        except CellError as error:
            problems.append(row.problem(headers[name], name, str(error)))
    if not problems and "fix_id" not in headers:
        fact["fix_id"] = content_hash("fix", fact["shipped_on"], fact["theme"], fact["what"])
    return fact, problems
