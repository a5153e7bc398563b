"""What each cell of an archive must say, and the reason given when it does not.

Here: the SQL that finds wrong cells, and the sentences about them.
Not here: reading cells from files (`feedback.files`), and what the good rows become (`reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import duckdb
import pyarrow as pa

from flywheel_pipelines.feedback.archive.mapping import ArchiveMapping
from flywheel_pipelines.feedback.counts import WHOLE_NUMBER, why_no_count
from flywheel_pipelines.feedback.files import RowProblem, shown
from flywheel_pipelines.feedback.files.cells import SHOWN

NAME_LIMIT = 200
"""Characters of a segment's name; it labels groups, axes and folders of reports."""

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_CONTROL_OR_BREAK = r"[\x00-\x1f\x7f]"
_AGAIN = "Correct the row and hand the file in again."
_HOLDS_BREAK = f"holds control characters or line breaks, which a name cannot have. {_AGAIN}"
_HOLDS_CONTROL = f"holds control characters, which no text that people saw has. {_AGAIN}"

# Each finds the wrong cells of one column of the view `kept`, whose columns are named after their role (see `reading`).
_IS_COUNT = f"coalesce(regexp_full_match(ROLE, '{WHOLE_NUMBER}'), false)"
_WRONG_COUNTS = f"select source_row, ROLE as found from kept where not {_IS_COUNT}"
_WRONG_TEXTS = f"select source_row, ROLE as found from kept where regexp_matches(ROLE, '{_CONTROL}')"
_WRONG_PARTS = f"select source_row, ROLE as found from kept where regexp_matches(ROLE, '{_CONTROL_OR_BREAK}')"
_WRONG_NAMES = f"{_WRONG_PARTS} or length(ROLE) > {NAME_LIMIT}"
_EMPTY = "select source_row, null as found from kept where ROLE is null"
_WRONG_DAYS = """
    select kept.source_row, kept.cycle as found
    from kept left join days on days.written = kept.cycle where days.day is null
"""
_ABOVE_EXPOSURE = f"""
    select source_row, successes || ' of ' || exposure as found from kept
    where {_IS_COUNT.replace("ROLE", "successes")} and {_IS_COUNT.replace("ROLE", "exposure")}
      and successes::double > exposure::double
"""


def wrong_cells(
    connection: duckdb.DuckDBPyConnection, mapping: ArchiveMapping, reasons_for_days: dict[str, str]
) -> list[RowProblem]:
    """Everything wrong with the rows of the view `kept`, at most one problem per row and column.

    `reasons_for_days` holds, for what was written in the cycle column and is no day, what was expected instead.
    """
    columns = mapping.columns
    exposure, successes = columns.exposure, columns.successes
    problems: dict[tuple[int, str], RowProblem] = {}

    def add(query: str, field: str, reason: Callable[[str | None], str]) -> None:
        for row, found in _rows(connection, query):
            problems.setdefault((row, field), RowProblem(row, field, shown(found), reason(found)))

    for role, field in (("exposure", exposure), ("successes", successes)):
        add(_WRONG_COUNTS.replace("ROLE", role), field, why_no_count)
    add(_ABOVE_EXPOSURE, successes, lambda _: f"more {successes} than {exposure}; a success needs a trial. {_AGAIN}")
    add(_WRONG_DAYS, columns.cycle, lambda found: _why_no_day(found, reasons_for_days))
    add(_EMPTY.replace("ROLE", "text"), columns.text, lambda _: f"empty; expected the text that was shown. {_AGAIN}")
    add(_WRONG_TEXTS.replace("ROLE", "text"), columns.text, lambda _: _HOLDS_CONTROL)
    no_brief = f"{' and '.join(columns.brief)} empty; a row needs to say which brief it answers. {_AGAIN}"
    add(_EMPTY.replace("ROLE", "brief_id"), columns.brief[0], lambda _: no_brief)
    for position, field in enumerate(columns.brief):
        add(_WRONG_PARTS.replace("ROLE", f"brief_{position}"), field, lambda _: _HOLDS_BREAK)
    if columns.segment:
        add(_WRONG_NAMES.replace("ROLE", "segment"), columns.segment, _why_no_name)
    return list(problems.values())


def shown_part(value: str) -> str:
    """As much of a wrong value as leaves the engine: what is shown, and one more so that the cut shows."""
    return value[: SHOWN + 1]


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> Iterable[tuple[int, str | None]]:
    # A wrong cell may be long; only what `shown_part` keeps of it leaves DuckDB.
    cut = f"select source_row, left(found, {SHOWN + 1}) from ({query}) order by source_row"
    return connection.execute(cut).fetchall()


def _why_no_day(found: str | None, reasons: dict[str, str]) -> str:
    if not found:
        return f"empty; expected the date or week the row belongs to. {_AGAIN}"
    return f"not a day: {reasons.get(found, 'not readable')}. {_AGAIN}"


def _why_no_name(found: str | None) -> str:
    if found and len(found) > NAME_LIMIT:
        return f"longer than {NAME_LIMIT} characters; expected the short name of a group. {_AGAIN}"
    return _HOLDS_BREAK


def problems_table(problems: Iterable[RowProblem]) -> pa.Table:
    """Problems as a table with the columns of RowProblem."""
    rows = list(problems)
    return pa.table(
        {
            "source_row": pa.array([problem.source_row for problem in rows], pa.int64()),
            "field": pa.array([problem.field for problem in rows], pa.string()),
            "found": pa.array([problem.found for problem in rows], pa.string()),
            "reason": pa.array([problem.reason for problem in rows], pa.string()),
        }
    )
