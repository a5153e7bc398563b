"""Reading a file of tickets: what customers wrote, in the cycle in which they wrote it.

Not here: finding personal data in a text (`scrubbing`).

Decisions:
- Only the columns of `ROLES` are read, under the header that the feed names or under their own. Whatever else a support
  system exports (names, addresses, phone numbers) is never read into the lake, its quarantine included: of a row that
  cannot be split into cells nothing is kept but its number and the reason.
- E-mail addresses, phone, card and account numbers and handles are masked in every cell before anything else looks at
  it, so that quarantine and errors hold none either. A column `requester` is read for the names that the texts of its
  row must not have, and forgotten. How many of each kind were masked is kept, and nothing of what they were.
- The language is what the feed says it is (`locale`); none is guessed.
- The same id again, in this file or a later one, corrects: the row recorded last counts.
- A file without ids gets them from what a ticket says: hash of created_at, segment and text. Such a ticket cannot be
  corrected by a later file, since a changed text is another ticket.
- created_at decides the cycle, in UTC.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from flywheel_pipelines.cycles import cycle_of
from flywheel_pipelines.feedback.feeds.batch import FeedBatch, Incoming, RowsInProgress, batch_id_of
from flywheel_pipelines.feedback.feeds.moments import parse_moment
from flywheel_pipelines.feedback.feeds.rows import (
    AGAIN,
    CellError,
    FeedRow,
    checked_name,
    checked_text,
    headers_of,
    read_rows,
)
from flywheel_pipelines.feedback.feeds.scrubbing import scrubbed
from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import TICKETS

REQUIRED = ("created_at", "text")
OPTIONAL = ("ticket_id", "subject", "segment", "channel", "status", "locale", "requester")
ROLES = (*REQUIRED, *OPTIONAL)
DEFAULT_SEGMENT = "all"
DEFAULT_LOCALE = "en"
"""Whose phone numbers are looked for, besides international ones, where a feed names no language."""


def read_tickets(incoming: Incoming) -> FeedBatch:
    """Read one file of tickets into facts for `tickets`.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for created_at or text.
    """
    feed, spec = incoming.feed, incoming.spec
    headers, _ = headers_of(incoming.path, feed, required=REQUIRED, optional=OPTIONAL)
    rows = read_rows(incoming.path, headers)
    batch = RowsInProgress(
        TICKETS,
        incoming.source_name,
        batch_id_of(incoming, spec.name, spec.cadence),
        incoming.recorded_at,
        incoming.feed_name,
    )
    batch.put_unreadable(replace(problem, found="") for problem in rows.unreadable)
    for as_written in rows:
        row, removed = _without_personal_data(as_written, headers)
        fact, problems = _ticket(row, headers, feed.dates, incoming.recorded_at)
        fact["removed"] = json.dumps(removed, sort_keys=True) if removed else None
        if problems:
            batch.put_aside(problems, "invalid", row.raw)
        else:
            written: datetime = fact["created_at"]  # pyright: ignore[reportAssignmentType]
            batch.accept(row.source_row, [{**fact, "cycle": cycle_of(written.date(), spec.cadence)}])
    return batch.finish()


def _ticket(
    row: FeedRow, headers: Mapping[str, str], dates: list[str], recorded_at: datetime
) -> tuple[dict[str, object], list[RowProblem]]:
    """What one row says, and everything that is wrong with it."""
    checks = {
        "ticket_id": lambda value: checked_name(value, "the id of the ticket"),
        "created_at": lambda value: parse_moment(value, dates, not_after=recorded_at),
        "segment": lambda value: checked_name(value or DEFAULT_SEGMENT, "a brand, product or queue"),
        "subject": checked_text,
        "text": _checked_message,
        "locale": lambda value: value and checked_name(value, "a language such as en or pt-BR"),
        "channel": lambda value: value and checked_name(value, "how the ticket came in"),
        "status": lambda value: value and checked_name(value, "where the ticket stands"),
    }
    problems: list[RowProblem] = []
    fact: dict[str, object] = {**dict.fromkeys(OPTIONAL[1:-1]), "segment": DEFAULT_SEGMENT}
    for name, check in checks.items():
        if name not in headers:
            continue
        try:
            fact[name] = check(row.cells[name])
        except CellError as error:
            problems.append(row.problem(headers[name], name, str(error)))
    if not problems and "ticket_id" not in headers:
        fact["ticket_id"] = content_hash("ticket", fact["created_at"], fact["segment"], fact["text"])
    return fact, problems


def _checked_message(value: str | None) -> str | None:
    if value is None:
        raise CellError(f"empty; expected what the customer wrote. {AGAIN}")
    return checked_text(value)


def _without_personal_data(row: FeedRow, headers: Mapping[str, str]) -> tuple[FeedRow, Mapping[str, int]]:
    """The row with its texts masked and without its requester, and what was masked in its texts, by kind."""
    named = [row.cells["requester"] or ""] if "requester" in headers else []
    locale = row.cells.get("locale") or DEFAULT_LOCALE
    removed: Counter[str] = Counter()
    cells, raw = dict(row.cells), dict(row.raw)
    for name, header in headers.items():
        if name == "requester":
            cells[name] = raw[header] = None
            continue
        if name in ("created_at", "ticket_id", "locale"):
            continue
        is_text = name in ("text", "subject")
        found, counts = scrubbed(cells[name] or "", named if is_text else (), locale)
        cells[name] = found or None
        raw[header] = scrubbed(raw[header] or "", named if is_text else (), locale)[0] or None
        removed += counts
    return replace(row, cells=cells, raw=raw), removed
