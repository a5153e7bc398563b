"""What the simulated audience reports, as rows and as a CSV file, a few of the rows damaged.

Here: the export, the ways in which rows break, and writing the file. Not here: what is reported (`audience`), or
reading it back (`feedback.feeds`). Every row says `source=simulated`.
"""

from __future__ import annotations

import csv
import io
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flywheel_pipelines.feedback.files.cells import WHOLE_ROW
from flywheel_pipelines.simulation.market import SOURCE, AudienceKind

Row = tuple[str, ...]
Way = tuple[str, str, Callable[[Row, Sequence[str]], Row]]
"""The column that is wrong, what is wrong with it, and the change that makes it so."""


@dataclass(frozen=True)
class BrokenRow:
    """A row damaged on purpose: its number in the file from 1, the column that is wrong, and what is wrong with it."""

    source_row: int
    field: str
    what: str


@dataclass(frozen=True)
class Export:
    """The rows that arrived by the end of a cycle, as text; `broken` is the truth about the damaged ones."""

    cycle: date
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    broken: tuple[BrokenRow, ...]


def export_name(cycle: date) -> str:
    """The name of an export's file. It stands as the source of its batch and of quarantined rows: it says simulated."""
    return f"{SOURCE}-{cycle.isoformat()}.csv"


def write_export(path: Path | str, export: Export, headers: Mapping[str, str] | None = None) -> bool:
    """Write an export as a CSV file, whole or not at all; the same export gives the same bytes.

    Args:
        path: the file, named by `export_name`, e.g. data/inbox/outreach/mailer/simulated-2026-01-05.csv.
        export: what arrived.
        headers: how the file calls the columns, our name: their header, as in a feed's `columns`.

    Returns:
        False when nothing arrived; then no file is written, since a file without rows is refused by whoever reads it.
    """
    if not export.rows:
        return False
    path = Path(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([(headers or {}).get(name, name) for name in export.columns])
    writer.writerows(export.rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(text.getvalue().encode())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def broken_ways(kind: AudienceKind, measures: Sequence[str] | None = None, *, in_cells: bool = True) -> tuple[Way, ...]:
    """The ways in which a report of this kind arrives damaged; every one of them is told from a good row.

    Args:
        kind: the kind of audience.
        measures: what the report holds; None: all that the kind reports.
        in_cells: whether a count stands in a cell, and so can be wrong; else it is the number of cases or events.
    """
    traffic = kind.traffic[0]
    exposure, success = traffic.measure, traffic.responses[0].measure
    of_tag_and_day: tuple[Way, ...] = (
        ("output_id", "the tracking tag is cut off", lambda row, names: _changed(row, names, "output_id", row[0][:-1])),
        ("output_id", "the tracking tag is missing", lambda row, names: _changed(row, names, "output_id", "")),
        ("date", "there is no such day", lambda row, names: _changed(row, names, "date", f"{row[1][:4]}-02-30")),
    )
    if not in_cells or not {exposure, success} <= set(kind.measures if measures is None else measures):
        return of_tag_and_day
    return (
        *of_tag_and_day,
        (exposure, "negative", lambda row, names: _changed(row, names, exposure, "-1")),
        (exposure, "not a number", lambda row, names: _changed(row, names, exposure, "n/a")),
        (
            success,
            "more successes than trials",
            lambda row, names: _changed(row, names, success, str(int(row[names.index(exposure)]) + 1)),
        ),
        (WHOLE_ROW, "a cell is missing", lambda row, names: (*row[:2], *row[3:])),
    )


def damaged(row: Row, columns: Sequence[str], ways: Sequence[Way], draw: float, number: int) -> tuple[Row, BrokenRow]:
    """The row damaged in the way that the draw (0 to 1) picks; `number` is its place in the file, from 1."""
    field, what, change = ways[int(draw * len(ways))]
    return change(row, columns), BrokenRow(number, field, what)


def _changed(row: Row, columns: Sequence[str], name: str, value: str) -> Row:
    position = columns.index(name)
    return (*row[:position], value, *row[position + 1 :])
