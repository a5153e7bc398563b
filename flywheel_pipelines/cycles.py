"""The one definition of a cycle: cadence, the dates that start cycles, and their Dagster partitions.

Here: calendar arithmetic in UTC and the partitions definition made from it.
Not here: what happens in a cycle. Dagster is imported only by `partitions_definition`, so that the command line can
do calendar arithmetic without paying two seconds for that import.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


class Cadence(StrEnum):
    """How long a cycle lasts."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


def cycle_of(day: date, cadence: Cadence) -> date:
    """The first day of the cycle that `day` falls into: itself, its Monday, or the first of its month."""
    match cadence:
        case Cadence.DAILY:
            return day
        case Cadence.WEEKLY:
            return day - timedelta(days=day.weekday())
        case Cadence.MONTHLY:
            return day.replace(day=1)


def shift_cycle(cycle: date, cadence: Cadence, by: int) -> date:
    """The cycle `by` cycles later (earlier when negative)."""
    match cadence:
        case Cadence.DAILY:
            return cycle + timedelta(days=by)
        case Cadence.WEEKLY:
            return cycle + timedelta(weeks=by)
        case Cadence.MONTHLY:
            months = cycle.year * 12 + cycle.month - 1 + by
            return date(months // 12, months % 12 + 1, 1)


def cycles_between(first: date, last: date, cadence: Cadence) -> int:
    """How many cycles `last` is later than `first`; 0 when it is earlier."""
    match cadence:
        case Cadence.DAILY:
            age = (last - first).days
        case Cadence.WEEKLY:
            age = (last - first).days // 7
        case Cadence.MONTHLY:
            age = (last.year - first.year) * 12 + last.month - first.month
    return max(0, age)


def cycle_range(first: date, last: date, cadence: Cadence) -> Iterator[date]:
    """Every cycle from the one holding `first` to the one holding `last`, both included, in order."""
    cycle = cycle_of(first, cadence)
    while cycle <= last:
        yield cycle
        cycle = shift_cycle(cycle, cadence, 1)


def cycle_window(cycle: date, cadence: Cadence, length: int) -> tuple[date, date]:
    """First and last cycle of the window of `length` cycles that ends with `cycle`."""
    return shift_cycle(cycle, cadence, 1 - length), cycle


def cycle_start(cycle: date) -> datetime:
    """The instant a cycle begins, UTC."""
    return datetime.combine(cycle, time(), UTC)


def cycle_end(cycle: date, cadence: Cadence) -> datetime:
    """The instant the cycle is over, which is the instant the next one begins, UTC."""
    return cycle_start(shift_cycle(cycle, cadence, 1))


def partitions_definition(start: date, cadence: Cadence) -> dg.TimeWindowPartitionsDefinition:
    """One Dagster partition per cycle, keyed `YYYY-MM-DD`, from `start` up to and including the running cycle.

    `end_offset=1` makes the running cycle a partition too: production opens a week before the week is over.
    """
    import dagster as dg

    match cadence:
        case Cadence.DAILY:
            return dg.DailyPartitionsDefinition(start_date=start.isoformat(), end_offset=1)
        case Cadence.WEEKLY:
            # Dagster counts weekdays from Sunday = 0; cycles are keyed by their Monday.
            return dg.WeeklyPartitionsDefinition(start_date=start.isoformat(), day_offset=1, end_offset=1)
        case Cadence.MONTHLY:
            return dg.MonthlyPartitionsDefinition(start_date=start.isoformat(), end_offset=1)
