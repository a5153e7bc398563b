"""Reading a file of briefs: things to produce, each wanted in the cycle of its date.

Not here: the briefs of a cycle as they are produced (`production.briefs`), or what a prompt makes of a brief's fields.

Decisions:
- A brief's cycle is the cycle of its date. The same brief in two cycles is wanted twice.
- The same brief again, in this file or in a later one, corrects it: the row recorded last counts. Within a file, what
  such a row leaves blank stays as the row above it said: exports of shops repeat a product for each of its variants.
- A file without a column of dates is about the first day of its period: the one that is given, or the one in its name.
- Whatever the feed gives no role becomes a field of the brief, under its own header; empty cells are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from flywheel_pipelines.constraints import BriefConstraintError, constraints_of
from flywheel_pipelines.cycles import Cadence, cycle_of
from flywheel_pipelines.feedback.feeds.batch import Days, FeedBatch, RowsInProgress, feed_batch_id
from flywheel_pipelines.feedback.feeds.day_formats import parse_day
from flywheel_pipelines.feedback.feeds.rows import (
    AGAIN,
    CellError,
    FeedRow,
    checked_name,
    checked_text,
    headers_of,
    read_rows,
)
from flywheel_pipelines.feedback.files import RowProblem, file_period, read_header, shown
from flywheel_pipelines.lake.tables import BRIEF_LEDGER
from flywheel_pipelines.spec import ConstraintsSpec, FeedSpec

REQUIRED = ("brief_id", "date")
OPTIONAL = ("segment", "title", "locale")
DEFAULT_SEGMENT = "all"
TITLE_LIMIT = 120

_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
"""The shape of a language tag (RFC 5646 without private use); that it exists is not checked."""


def read_briefs(
    path: Path | str,
    feed: FeedSpec,
    *,
    flywheel: str,
    cadence: Cadence,
    recorded_at: datetime,
    feed_name: str | None = None,
    batch_id: str | None = None,
    source: str | None = None,
    period: Days | None = None,
    constraints: ConstraintsSpec | None = None,
) -> FeedBatch:
    """Read one file of briefs into facts for `brief_ledger`.

    Args:
        path: CSV, TSV (plain or gzipped) or Parquet.
        feed: which of its columns are brief_id, date, segment, title and locale. Further names in `feed.columns`
            rename fields.
        flywheel: the flywheel the briefs are for; two flywheels that read one file have a batch each.
        cadence: how long a cycle lasts.
        recorded_at: when the file became known.
        feed_name: the feed's name in the flywheel's YAML.
        batch_id: the id of the batch; None: hash of the file and of how it is read.
        source: where the file comes from, in words; None: its name.
        period: the days of a file without a column of dates; None: those in its name.
        constraints: what outputs are held to; a brief whose own constraints cannot be used is put aside.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for brief_id or date.
    """
    path = Path(path)
    period = period_of_briefs(path, feed, period)
    required = REQUIRED if period is None else ("brief_id",)
    headers, others = headers_of(path, feed, required=required, optional=OPTIONAL)
    others = [header for header in others if feed.fields is None or header in feed.fields]
    renamed = {header: name for name, header in feed.columns.items() if name not in (*REQUIRED, *OPTIONAL)}
    # In the order of the file, which is the order its author reads it in. Fields get a prefix, since a header may be
    # called like one of our own names.
    fields = {f"field {renamed.get(header, header)}": header for header in others}
    rows = read_rows(path, {**headers, **fields, **_absent_fields(renamed, others)})
    batch_id = batch_id or feed_batch_id(path, feed, flywheel, cadence)
    batch = RowsInProgress(BRIEF_LEDGER, source or path.name, batch_id, recorded_at, feed_name, period)
    batch.put_unreadable(rows.unreadable)
    above: dict[tuple[str | None, str | None], FeedRow] = {}
    for found in rows:
        key = (found.cells["brief_id"], found.cells.get("date"))
        row = _with_blanks_filled(found, above.get(key))
        fact, problems = _brief(row, rows.headers, list(fields), feed.dates, period, cadence)
        problems = problems or _wrong_constraints(row, rows.headers, fact, constraints)
        if problems:
            batch.put_aside(problems, "invalid", row.raw)
        else:
            above[key] = row
            batch.accept(row.source_row, [fact])
    return batch.finish()


def period_of_briefs(path: Path, feed: FeedSpec, given: Days | None = None) -> Days | None:
    """The days of a file without a column of dates: those given, else those in its name; None for any other file.

    Raises:
        InputFileError: the file cannot be read, or what its name holds is no day.
    """
    header = feed.columns.get("date", "date")
    return None if header in read_header(path, [header]) else given or file_period(path, feed)


def _with_blanks_filled(row: FeedRow, above: FeedRow | None) -> FeedRow:
    if above is None:
        return row
    return replace(row, cells={name: cell or above.cells[name] for name, cell in row.cells.items()})


def _absent_fields(renamed: Mapping[str, str], others: list[str]) -> dict[str, str]:
    """Renamed columns that the file lacks: asking for them makes the reader say so, with the nearest header."""
    return {f"field {name}": header for header, name in renamed.items() if header not in others}


def _brief(
    row: FeedRow,
    headers: Mapping[str, str],
    fields: list[str],
    dates: list[str],
    period: Days | None,
    cadence: Cadence,
) -> tuple[dict[str, object], list[RowProblem]]:
    """What one row says, and everything that is wrong with it."""
    problems: list[RowProblem] = []
    fact: dict[str, object] = {"segment": DEFAULT_SEGMENT, "locale": None}
    if period is not None:
        fact["date"] = period[0]
    checks = {
        "brief_id": lambda value: checked_name(value, "the id of the brief"),
        "date": lambda value: parse_day(value, dates),
        "segment": lambda value: checked_name(value or DEFAULT_SEGMENT, "the short name of a group"),
        "title": checked_text,
        "locale": _checked_locale,
        **dict.fromkeys(fields, checked_text),
    }
    for name, check in checks.items():
        if name not in headers:
            continue
        try:
            fact[name] = check(row.cells[name])
        except CellError as error:
            problems.append(row.problem(headers[name], name, str(error)))
    if problems:
        return {}, problems
    own = {name.removeprefix("field "): fact.pop(name) for name in fields}
    fact["fields"] = json.dumps({name: value for name, value in own.items() if value}, ensure_ascii=False)
    fact["cycle"] = cycle_of(fact.pop("date"), cadence)  # pyright: ignore[reportArgumentType]
    fact["title"] = titled(fact.get("title") or fact["brief_id"])
    return fact, []


def _wrong_constraints(
    row: FeedRow, headers: Mapping[str, str], fact: Mapping[str, object], constraints: ConstraintsSpec | None
) -> list[RowProblem]:
    """What is wrong with the constraints that a brief brings, under the header that has them."""
    if constraints is None or constraints.of_brief is None:
        return []
    try:
        constraints_of(constraints, json.loads(str(fact["fields"])))
    except BriefConstraintError as error:
        whole = error.field.split(".")[0]
        header = next((headers[f"field {one}"] for one in (error.field, whole) if f"field {one}" in headers), whole)
        return [RowProblem(row.source_row, header, shown(error.found), f"{error}. {AGAIN}")]
    return []


def titled(value: object) -> str:
    """A title on one line, at most TITLE_LIMIT characters."""
    on_one_line = " ".join(str(value).split())
    return on_one_line if len(on_one_line) <= TITLE_LIMIT else f"{on_one_line[: TITLE_LIMIT - 1]}…"


def _checked_locale(value: str | None) -> str | None:
    if value is not None and not _LOCALE.fullmatch(value):
        raise CellError(f"not a language tag; expected one such as en, de or pt-BR. {AGAIN}")
    return value.replace("_", "-") if value else None
