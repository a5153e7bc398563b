"""Instants in the cells of a feed: a feed's own formats first, then ISO 8601, always in UTC.

Here: `parse_moment`. Not here: days without a time where only days make sense (`day_formats`).

Decisions:
- What names no zone is UTC, wherever the machine stands, so no hour is missing or there twice. Names of zones (%Z) are
  refused, as for days.
- ISO 8601 is read beside the declared formats only where none of them reads an ISO day as another one: under %Y-%d-%m
  the cell 2026-01-13 would else be January, and 2026-01-12 December.
- A day with an offset and no time, 2026-01-05+02:00, is refused: it is the evening before in UTC, and Python takes the
  offset for the time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.archive.days import EARLIEST, LATEST
from flywheel_pipelines.feedback.feeds.day_formats import UNIX_TIME, check_day_formats
from flywheel_pipelines.feedback.feeds.rows import AGAIN, CellError

_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?")
_ISO = re.compile(r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}([T ][0-9:.,]{2,18}(Z|[+-][0-9:]{2,8})?)?")
_ISO_DAYS = ("%Y-%m-%d", "%Y%m%d")


def parse_moment(value: str | None, formats: Sequence[str], *, not_after: datetime) -> datetime:
    """The instant in a cell, in UTC.

    Args:
        value: the cell.
        formats: strptime formats; `%s` is Unix time in seconds. What none of them reads may be ISO 8601 (2020-04-01,
            2020-04-01T17:31:32.000Z) unless they take ISO days for others. What names no zone is UTC; a day alone is
            its midnight.
        not_after: when the file became known. A day of grace is given, since clocks and zones differ.

    Raises:
        CellError: it is empty, in none of these formats, a different instant in two of them (as `parse_day` does:
            the order of a list cannot know what was meant), outside 1990 to 2099, or in the future.
        FlywheelError: a format says no day, or depends on the machine, or does not tell morning from evening.
    """
    reads_iso = _check_formats(tuple(formats))
    if value is None or not value.strip():
        raise CellError(f"empty; expected a day or an instant, e.g. 2026-01-05T09:30:00Z. {AGAIN}")
    meanings: dict[datetime, str] = {}
    for written in formats:
        if (moment := _read(value, written)) is not None:
            meanings.setdefault(moment, written)
    if len(meanings) > 1:
        said = " or ".join(f"{moment:%Y-%m-%d %H:%M:%S} ({written})" for moment, written in meanings.items())
        raise CellError(f"could be {said}; which one is unknown. Keep only one of these formats in the feed's dates.")
    found = next(iter(meanings), None) or (_read_iso(value) if reads_iso else None)
    if found is None:
        wanted = " or ".join([*formats, *(["ISO 8601, e.g. 2026-01-05T09:30:00Z"] if reads_iso else [])])
        raise CellError(
            f"not an instant; expected {wanted}. Correct the row, or add how it is written to the feed's dates."
        )
    if not EARLIEST <= found.date() < LATEST:
        raise CellError(f"the year is outside {EARLIEST.year} to {LATEST.year - 1}. {AGAIN}")
    if found > not_after + timedelta(days=1):
        raise CellError(f"in the future, since the file arrived on {not_after:%Y-%m-%d}. {AGAIN}")
    return found


@cache
def _check_formats(formats: tuple[str, ...]) -> bool:
    """Whether ISO 8601 may be read beside these formats. Raises FlywheelError when one of them is no format at all."""
    check_day_formats(formats)
    for written in formats:
        # A %% is no directive.
        plain = written.replace("%%", "")
        if "%I" in plain and "%p" not in plain:
            raise FlywheelError(
                f"dates: {written!r} has hours of a half day (%I) and does not say which half. Add %p, or write %H for "
                "the hours of a whole day."
            )
    # Days 1 to 28 of every month: as another day they are read by every format that reads any ISO day so.
    days = [date(2026, month, day) for month in range(1, 13) for day in range(1, 29)]
    return all(
        (moment := _read(day.strftime(iso), written)) is None or moment.date() == day
        for written in formats
        if written != UNIX_TIME
        for iso in _ISO_DAYS
        for day in days
    )


def _read(value: str, written: str) -> datetime | None:
    try:
        if written == UNIX_TIME:
            return datetime.fromtimestamp(float(value), UTC) if _SECONDS.fullmatch(value) else None
        return _in_utc(datetime.strptime(value, written))
    except (ValueError, OverflowError, OSError):
        return None


def _read_iso(value: str) -> datetime | None:
    try:
        return _in_utc(datetime.fromisoformat(value)) if _ISO.fullmatch(value) else None
    except (ValueError, OverflowError):
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
