"""Instants in the cells of a feed: a feed's own formats first, then ISO 8601, always in UTC.

Here: `parse_moment`. Not here: days without a time where only days make sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from flywheel_pipelines.feedback.archive.days import EARLIEST, LATEST
from flywheel_pipelines.feedback.feeds.rows import AGAIN, CellError

UNIX_TIME = "%s"
_LONGEST = 64


def parse_moment(value: str | None, formats: Sequence[str], *, not_after: datetime) -> datetime:
    """The instant in a cell, in UTC.

    Args:
        value: the cell.
        formats: strptime formats; `%s` is Unix time in seconds. What none of them reads may be ISO 8601 (2020-04-01,
            2020-04-01T17:31:32.000Z). What names no zone is UTC; a day alone is its midnight.
        not_after: when the file became known. A day of grace is given, since clocks and zones differ.

    Raises:
        CellError: it is empty, in none of these formats, a different instant in two of them (as `parse_day` does:
            the order of a list cannot know what was meant), outside 1990 to 2099, or in the future.
    """
    if value is None:
        raise CellError(f"empty; expected a day or an instant, e.g. 2026-01-05T09:30:00Z. {AGAIN}")
    meanings: dict[datetime, str] = {}
    for written in formats:
        if (moment := _read(value, written)) is not None:
            meanings.setdefault(moment, written)
    if len(meanings) > 1:
        said = " or ".join(f"{moment:%Y-%m-%d %H:%M:%S} ({written})" for moment, written in meanings.items())
        raise CellError(f"could be {said}; which one is unknown. Keep only one of these formats in the feed's dates.")
    found = next(iter(meanings), None) or _read_iso(value)
    if found is None:
        wanted = ", ".join(formats)
        raise CellError(
            f"not an instant; expected {wanted} or ISO 8601, e.g. 2026-01-05T09:30:00Z. Correct the row, or add how it "
            "is written to the feed's dates."
        )
    if not EARLIEST <= found.date() < LATEST:
        raise CellError(f"the year is outside {EARLIEST.year} to {LATEST.year - 1}. {AGAIN}")
    if found > not_after + timedelta(days=1):
        raise CellError(f"in the future, since the file arrived on {not_after:%Y-%m-%d}. {AGAIN}")
    return found


def _read(value: str, written: str) -> datetime | None:
    try:
        if written == UNIX_TIME:
            return datetime.fromtimestamp(float(value), UTC) if value.replace(".", "", 1).isdecimal() else None
        return _in_utc(datetime.strptime(value, written))
    except (ValueError, OverflowError, OSError):
        return None


def _read_iso(value: str) -> datetime | None:
    try:
        return _in_utc(datetime.fromisoformat(value)) if len(value) <= _LONGEST else None
    except (ValueError, OverflowError):
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
