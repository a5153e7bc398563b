"""Which turn of a flywheel is due: the cycle to close or to open next, from what is open, what is closed, and the time.

At `schedule.hour` of a cycle's first day the cycle before is closed; once it is, the cycle itself is opened. Turns that
were missed are caught up one by one, oldest first, so that each cycle is opened with what the one before has taught. A
flywheel that writes about what another publishes opens a cycle once that has published in it.

Here: that rule, as a function of its arguments, and holes in history. Not here: asking the clock, or requesting runs
(`components/automation.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from flywheel_pipelines.cycles import Cadence, cycle_of, cycle_range, cycle_start, cycles_between, shift_cycle
from flywheel_pipelines.spec import AnySpec, FlywheelSpec, InsightSpec

Verb = Literal["close", "open"]


@dataclass(frozen=True)
class Turn:
    """One cycle to close or to open, and why, in words."""

    verb: Verb
    cycle: date
    words: str


def next_turn(
    spec: FlywheelSpec,
    opened: Collection[date],
    closed: Collection[date],
    now: datetime,
    published: Collection[date] = (),
) -> Turn | str:
    """The turn that is due at `now` (an instant with a time zone), or why none is, in words.

    Args:
        spec: the flywheel; cadence, start and schedule count.
        opened: cycles whose outputs are published.
        closed: cycles whose momentum stands.
        now: the present.
        published: cycles in which `briefs.published_by` has published; of no interest where no flywheel is named.
    """
    due = _next_in_order(spec, opened, closed, now)
    if not isinstance(due, Turn) or due.verb == "close" or spec.briefs.published_by is None:
        return due
    return due if due.cycle in published else _waits_for_briefs(spec, due, published)


def _next_in_order(spec: FlywheelSpec, opened: Collection[date], closed: Collection[date], now: datetime) -> Turn | str:
    running = running_cycle(spec, now)
    newest = max(opened, default=None)
    if running < spec.start:
        return f"The first cycle, {spec.start}, opens at {_tick(spec, spec.start)}."
    missed = _missed(spec, newest, running)
    if missed > spec.schedule.catch_up:
        return _too_late(spec, newest, running, missed)
    if newest is None:
        return Turn("open", spec.start, f"Nothing is open yet: cycle {spec.start} is the first.")
    if newest >= running:
        following = shift_cycle(newest, spec.cadence, 1)
        return f"Cycle {newest} is open until {following} begins; it closes at {_tick(spec, following)}."
    late = f" {missed} cycles have begun since it opened; they are caught up in order." if missed > 1 else ""
    if newest not in closed:
        return Turn("close", newest, f"Cycle {newest} is over, and its turn was at {_turn_of(spec, newest)}.{late}")
    following = shift_cycle(newest, spec.cadence, 1)
    return Turn("open", following, f"Cycle {newest} is closed, so that cycle {following} opens.{late}")


def next_insight_turn(
    spec: InsightSpec, opened: Collection[date], closed: Collection[date], now: datetime
) -> Turn | str:
    """The turn of an insight flywheel that is due: a cycle is sorted and then closed when it is over, never before.

    A ticket is there once it was written, so that a cycle has nothing to open with when it begins. Arguments as those
    of `next_turn`; opened are the cycles that are sorted.
    """
    newest = max(opened, default=None)
    if newest is not None and newest not in closed:
        return Turn("close", newest, f"The tickets of cycle {newest} are sorted, so that it is closed.")
    following = spec.start if newest is None else shift_cycle(newest, spec.cadence, 1)
    over = shift_cycle(running_cycle(spec, now), spec.cadence, -1)
    if over < following:
        return f"Cycle {following} gathers tickets; they are sorted at {_turn_of(spec, following)}."
    missed = cycles_between(following, over, spec.cadence) + 1
    if missed > spec.schedule.catch_up:
        return (
            f"{missed} cycles from {following} on are over and not sorted, which is more than schedule.catch_up allows "
            f"({spec.schedule.catch_up}), so that nothing starts by itself. Raise it to have all sorted and closed in "
            f"order, or run the job {spec.name}__catch_up over them."
        )
    late = f" {missed} cycles wait; they are caught up in order." if missed > 1 else ""
    return Turn("open", following, f"Cycle {following} is over, so that its tickets are sorted.{late}")


def running_cycle(spec: AnySpec, now: datetime) -> date:
    """The newest cycle whose `schedule.hour` has come."""
    return cycle_of((now - timedelta(hours=spec.schedule.hour)).date(), spec.cadence)


def holes(spec: AnySpec, opened: Collection[date], closed: Collection[date]) -> list[date]:
    """Cycles before the newest open one that were never opened or never closed, in order."""
    if not opened:
        return []
    done = {*opened} & {*closed}
    return [cycle for cycle in cycle_range(min(opened), max(opened), spec.cadence) if cycle not in done | {max(opened)}]


def holes_in_words(spec: AnySpec, found: Sequence[date], opened: Collection[date]) -> str:
    """What a hole is, and how it is filled; empty without one."""
    if not found:
        return ""
    state = "was opened but never closed" if found[0] in opened else "was never opened"
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"History has a hole: cycle {found[0]} {state}{more}. Open and close what is missing, in order (the job "
        f"{spec.name}__catch_up does both), or leave it: the cycle behind it records that a gap was allowed."
    )


def _waits_for_briefs(spec: FlywheelSpec, due: Turn, published: Collection[date]) -> str:
    """What an opening waits for, and what helps when it would wait for ever."""
    source = spec.briefs.published_by
    later = [cycle for cycle in published if cycle > due.cycle]
    if not later:
        return f"{due.words} It waits until {source} has published in cycle {due.cycle}: its outputs are the briefs."
    return (
        f"{due.words} Its briefs would be what {source} published in cycle {due.cycle}, but that has gone on to "
        f"{min(later)} without it. Open {due.cycle} with the job {source}__open, or {min(later)} of {spec.name} alone "
        f"with the job {spec.name}__open and allow_gap: true; the turns go on from there."
    )


def _missed(spec: FlywheelSpec, newest: date | None, running: date) -> int:
    before_first = shift_cycle(spec.start, spec.cadence, -1)
    return cycles_between(newest or before_first, running, spec.cadence)


def _too_late(spec: FlywheelSpec, newest: date | None, running: date, missed: int) -> str:
    since = f"the newest open one, {newest}," if newest else f"start, {spec.start},"
    gap = " and allow_gap: true" if newest else ""
    return (
        f"{missed} cycles have begun since {since} which is more than schedule.catch_up allows "
        f"({spec.schedule.catch_up}), so that nothing starts by itself. Raise it to have them all opened and closed in "
        f"order, run the job {spec.name}__catch_up over those you want, or open {running} alone with the job "
        f"{spec.name}__open{gap}; the schedule goes on from there."
    )


def _tick(spec: AnySpec, cycle: date) -> str:
    return f"{cycle_start(cycle) + timedelta(hours=spec.schedule.hour):%Y-%m-%d %H:%M} UTC"


def _turn_of(spec: AnySpec, cycle: date) -> str:
    return _tick(spec, shift_cycle(cycle, spec.cadence, 1))


@dataclass(frozen=True)
class Overdue:
    """A cycle that should have been closed, and by when, in words."""

    cycle: date
    deadline: str


def overdue(spec: AnySpec, opened: Collection[date], closed: Collection[date], now: datetime) -> Overdue | None:
    """The newest open cycle, when it is over and its hours of grace have passed; None otherwise.

    By the cycle and not by when something was computed last: a correction of another one closes none.
    """
    newest = max(opened, default=None)
    if newest is None or newest in closed:
        return None
    following = shift_cycle(newest, spec.cadence, 1)
    deadline = cycle_start(following) + timedelta(hours=spec.schedule.hour + spec.schedule.grace_hours)
    return Overdue(newest, f"{deadline:%Y-%m-%d %H:%M} UTC") if now >= deadline else None


def deadline_cron(spec: AnySpec) -> str:
    """The deadlines of the closes as a cron expression, UTC: `schedule.grace_hours` after each turn."""
    days, hour = divmod(spec.schedule.hour + spec.schedule.grace_hours, 24)
    match spec.cadence:
        case Cadence.DAILY:
            return f"0 {hour} * * *"
        case Cadence.WEEKLY:
            # Cycles begin on Mondays, which cron calls 1.
            return f"0 {hour} * * {1 + days}"
        case Cadence.MONTHLY:
            return f"0 {hour} {1 + days} * *"
