"""The rows in quarantine: which are open, how people name them, and what became of the others.

Here: reading and choosing. Not here: putting rows aside (`landing` and the feeds), or handing them in again and
discarding them (`releasing`).

A row is open until it has an event: released, matched or discarded. A file's row may be wrong in several columns; it
is one row here, with all that is wrong with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import QUARANTINE, QUARANTINE_EVENTS

PROBLEMS = ("unreadable", "invalid", "unmatched", "ambiguous", "held", "conflict", "stale")
SHORT = 8
"""Characters of a batch's id in the id of a row."""
_ROW_ID = re.compile(r"(?P<batch>[0-9a-zA-Z]{4,}):(?P<row>\d+)")


@dataclass(frozen=True)
class WrongCell:
    """One thing that is wrong with a row."""

    field: str
    found: str
    reason: str


@dataclass(frozen=True)
class QuarantinedRow:
    """One row of a file that was put aside.

    Attributes:
        flywheel: whose file it was.
        batch_id, source_row: the batch it came with and its number in the file, which is its key.
        source: the file.
        feed: the feed it came by; None for archives.
        problem: one of PROBLEMS; None for archives.
        recorded_at: when it was put aside.
        wrong: what is wrong with it, by column.
        cells: its cells by their headers; None when it could not be split.
        event: what became of it (event, decided_by, note, recorded_at, batch_id); None while it is open.
    """

    flywheel: str
    batch_id: str
    source_row: int
    source: str
    feed: str | None
    problem: str | None
    recorded_at: datetime
    wrong: tuple[WrongCell, ...]
    cells: Mapping[str, str | None] | None
    event: Mapping[str, Any] | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Batch and number of the row."""
        return self.batch_id, self.source_row

    @property
    def row_id(self) -> str:
        """What people call it: the start of the batch's id, and the number of the row."""
        return f"{self.batch_id[:SHORT]}:{self.source_row}"

    @property
    def is_open(self) -> bool:
        """Whether it still waits."""
        return self.event is None


@dataclass(frozen=True)
class Choice:
    """Which rows are meant; None leaves a question open.

    Attributes:
        feed: name of a feed.
        problem: one of PROBLEMS.
        batch: start of a batch's id.
        since: first day on which they were put aside, UTC.
    """

    feed: str | None = None
    problem: str | None = None
    batch: str | None = None
    since: date | None = None

    def __post_init__(self) -> None:
        """Raises FlywheelError when there is no such problem."""
        if self.problem is not None and self.problem not in PROBLEMS:
            raise FlywheelError(f"--problem: found {self.problem!r}; there are {', '.join(PROBLEMS)}.")

    def of(self, rows: pa.Table) -> pa.Table:
        """The rows of `quarantine` that are meant."""
        if self.feed is not None:
            rows = rows.filter(pc.field("feed") == self.feed)
        if self.problem is not None:
            rows = rows.filter(pc.field("problem") == self.problem)
        if self.since is not None:
            rows = rows.filter(pc.field("recorded_at") >= datetime.combine(self.since, time(), UTC))
        return rows if self.batch is None else _of_batch(rows, self.batch)


def open_rows(lake: Lake, flywheel: str, choice: Choice | None = None) -> list[QuarantinedRow]:
    """The rows that wait, oldest first; those of one batch in the order of the file."""
    events = lake.read(QUARANTINE_EVENTS, flywheel, columns=["quarantined_batch", "quarantined_row"])
    return _rows_of(flywheel, _open(lake.read(QUARANTINE, flywheel), events), choice or Choice(), {})


def count_open(lake: Lake, flywheel: str) -> int:
    """How many rows wait. A row that is wrong in several columns is one."""
    stored = lake.read(QUARANTINE, flywheel, columns=["batch_id", "source_row"])
    events = lake.read(QUARANTINE_EVENTS, flywheel, columns=["quarantined_batch", "quarantined_row"])
    key = ["batch_id", "source_row"]
    return _open(stored, events).group_by(key).aggregate([]).num_rows


def rows_named(lake: Lake, flywheels: Sequence[str], ids: Iterable[str]) -> list[QuarantinedRow]:
    """The rows of these ids, open or not, in the order of the ids; each once.

    Raises:
        FlywheelError: an id is none, is nobody's, or is the beginning of more than one.
    """
    found: dict[tuple[str, str, int], QuarantinedRow] = {}
    stored = {flywheel: lake.read(QUARANTINE, flywheel) for flywheel in flywheels}
    events = {flywheel: latest_events(lake, flywheel) for flywheel in flywheels}
    for row_id in ids:
        parsed = _ROW_ID.fullmatch(row_id.strip())
        if parsed is None:
            raise FlywheelError(
                f"{row_id!r} is not the id of a row in quarantine; expected one such as 1f3a77c0:12 "
                "(`flywheel quarantine list` shows them)."
            )
        batch, number = parsed["batch"].lower(), int(parsed["row"])
        rows = [row for name in flywheels for row in _with_number(stored[name], name, batch, number, events[name])]
        if len(rows) > 1:
            longer = ", ".join(f"{row.batch_id}:{row.source_row} of {row.flywheel}" for row in rows)
            raise FlywheelError(f"{row_id!r} is ambiguous, there are {longer}. Write more of the batch's id.")
        if not rows:
            raise FlywheelError(
                f"{row_id!r}: no row of that id was ever put aside in {', '.join(flywheels) or 'any flywheel'}. "
                "`flywheel quarantine list` shows those that are open."
            )
        found[(rows[0].flywheel, *rows[0].key)] = rows[0]
    return list(found.values())


def _with_number(
    stored: pa.Table, flywheel: str, batch: str, number: int, events: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[QuarantinedRow]:
    of_row = _of_batch(stored.filter(pc.field("source_row") == number), batch)
    return _rows_of(flywheel, of_row, Choice(), events)


def _of_batch(rows: pa.Table, start: str) -> pa.Table:
    """The rows of batches whose id starts like this."""
    return rows.filter(pa.array([batch_id.startswith(start) for batch_id in rows["batch_id"].to_pylist()], pa.bool_()))


def _open(stored: pa.Table, events: pa.Table) -> pa.Table:
    """Rows of `quarantine` without an event."""
    if not events.num_rows or not stored.num_rows:
        return stored
    closed = events.rename_columns(["batch_id", "source_row"])
    return stored.join(closed, ["batch_id", "source_row"], join_type="left anti")


def latest_events(lake: Lake, flywheel: str) -> dict[tuple[str, int], Mapping[str, Any]]:
    """What became of rows, by batch and number of the row; those without an entry are open."""
    events = lake.read(QUARANTINE_EVENTS, flywheel).sort_by([("recorded_at", "ascending"), ("batch_id", "ascending")])
    return {(row["quarantined_batch"], row["quarantined_row"]): row for row in events.to_pylist()}


def _rows_of(
    flywheel: str, stored: pa.Table, choice: Choice, events: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[QuarantinedRow]:
    by_key: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in choice.of(stored).to_pylist():
        by_key.setdefault((row["batch_id"], row["source_row"]), []).append(row)
    rows = [
        QuarantinedRow(
            flywheel=flywheel,
            batch_id=key[0],
            source_row=key[1],
            source=wrong[0]["source"],
            feed=wrong[0]["feed"],
            problem=wrong[0]["problem"],
            recorded_at=wrong[0]["recorded_at"],
            wrong=tuple(
                WrongCell(row["field"], row["found"], row["reason"])
                for row in sorted(wrong, key=lambda row: str(row["field"]))
            ),
            cells=json.loads(wrong[0]["cells"]) if wrong[0]["cells"] is not None else None,
            event=events.get(key),
        )
        for key, wrong in by_key.items()
    ]
    return sorted(rows, key=lambda row: (row.recorded_at, row.key))
