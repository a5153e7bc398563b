"""Cycles: calendar arithmetic for every cadence, and that Dagster's partitions are the same cycles."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.cycles import (
    Cadence,
    cycle_end,
    cycle_of,
    cycle_range,
    cycle_start,
    cycle_window,
    partitions_definition,
    shift_cycle,
)

days = st.dates(date(1990, 1, 1), date(2090, 12, 31))
cadences = st.sampled_from(Cadence)
steps = st.integers(-300, 300)


@pytest.mark.parametrize(
    ("cadence", "first"),
    [(Cadence.DAILY, date(2024, 2, 29)), (Cadence.WEEKLY, date(2024, 2, 26)), (Cadence.MONTHLY, date(2024, 2, 1))],
)
def test_a_leap_day_belongs_to_its_day_its_monday_and_its_first(cadence: Cadence, first: date) -> None:
    assert cycle_of(date(2024, 2, 29), cadence) == first


@given(days, cadences)
def test_a_day_lies_in_its_cycle_and_in_no_other(day: date, cadence: Cadence) -> None:
    cycle = cycle_of(day, cadence)
    assert cycle <= day < shift_cycle(cycle, cadence, 1)
    assert cycle_of(cycle, cadence) == cycle


@given(days, cadences, steps, steps)
def test_shifts_add_up_and_stay_on_cycles(day: date, cadence: Cadence, one: int, two: int) -> None:
    cycle = cycle_of(day, cadence)
    shifted = shift_cycle(shift_cycle(cycle, cadence, one), cadence, two)
    assert shifted == shift_cycle(cycle, cadence, one + two)
    assert cycle_of(shifted, cadence) == shifted


@given(days, cadences)
def test_a_cycle_ends_when_the_next_begins(day: date, cadence: Cadence) -> None:
    cycle = cycle_of(day, cadence)
    assert cycle_end(cycle, cadence) == cycle_start(shift_cycle(cycle, cadence, 1))
    assert cycle_start(cycle) == datetime(cycle.year, cycle.month, cycle.day, tzinfo=UTC)


@given(days, cadences, st.integers(0, 400))
def test_a_range_holds_every_day_once_and_in_order(first: date, cadence: Cadence, length: int) -> None:
    last = first + timedelta(days=length)
    cycles = list(cycle_range(first, last, cadence))
    assert cycles == sorted({cycle_of(first + timedelta(days=n), cadence) for n in range(length + 1)})


def test_a_range_that_ends_before_it_begins_is_empty() -> None:
    assert list(cycle_range(date(2024, 1, 8), date(2024, 1, 1), Cadence.WEEKLY)) == []


@given(days, cadences, st.integers(1, 104))
def test_a_window_has_as_many_cycles_as_asked_and_ends_with_its_own(day: date, cadence: Cadence, length: int) -> None:
    cycle = cycle_of(day, cadence)
    cycles = list(cycle_range(*cycle_window(cycle, cadence, length), cadence))
    assert len(cycles) == length
    assert cycles[-1] == cycle


@settings(max_examples=30, deadline=None)
@given(st.dates(date(2001, 1, 1), date(2025, 1, 1)), cadences, st.integers(0, 500), st.integers(0, 86_399))
def test_partition_keys_are_the_cycles_up_to_the_running_one(
    day: date, cadence: Cadence, later: int, second: int
) -> None:
    start = cycle_of(day, cadence)
    now = datetime.combine(start, datetime.min.time(), UTC) + timedelta(days=later, seconds=second)
    keys = partitions_definition(start, cadence).get_partition_keys(current_time=now)
    assert keys == [cycle.isoformat() for cycle in cycle_range(start, now.date(), cadence)]


def test_control_without_the_offset_the_running_cycle_could_not_be_opened() -> None:
    import dagster as dg

    now = datetime(2024, 1, 17, tzinfo=UTC)
    without = dg.WeeklyPartitionsDefinition(start_date="2024-01-01", day_offset=1).get_partition_keys(current_time=now)
    with_it = partitions_definition(date(2024, 1, 1), Cadence.WEEKLY).get_partition_keys(current_time=now)
    assert set(with_it) - set(without) == {"2024-01-15"}


@pytest.mark.parametrize("cadence", Cadence)
def test_a_partition_covers_exactly_its_cycle(cadence: Cadence) -> None:
    cycle = cycle_of(date(2024, 2, 29), cadence)
    window = partitions_definition(cycle_of(date(2024, 1, 3), cadence), cadence).time_window_for_partition_key(
        cycle.isoformat()
    )
    assert (window.start, window.end) == (cycle_start(cycle), cycle_end(cycle, cadence))
