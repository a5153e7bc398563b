"""The rule of turns: what is due at an instant, for every cadence, in order, and what is refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import yaml

from flywheel_pipelines.cycles import cycle_range, shift_cycle
from flywheel_pipelines.loop.turns import Turn, holes, holes_in_words, next_turn
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines.starter import starter_yaml

STARTS = {"daily": "2026-01-01", "weekly": "2026-01-05", "monthly": "2026-01-01"}


def spec(cadence: str = "weekly", **schedule: Any) -> FlywheelSpec:
    starter = yaml.safe_load(starter_yaml("news", date(2026, 1, 5)))["attributes"]
    return parse_spec({**starter, "cadence": cadence, "start": STARTS[cadence], "schedule": schedule}, "defs.yaml")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(*texts: str) -> list[date]:
    return [date.fromisoformat(text) for text in texts]


def due(one: FlywheelSpec, opened: list[date], closed: list[date], now: str) -> tuple[str, str] | str:
    found = next_turn(one, opened, closed, at(now))
    return (found.verb, found.cycle.isoformat()) if isinstance(found, Turn) else found


W1, W2, W3, W4 = days("2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26")


def test_nothing_is_due_before_the_first_cycle_begins() -> None:
    assert due(spec(), [], [], "2026-01-05T05:59") == "The first cycle, 2026-01-05, opens at 2026-01-05 06:00 UTC."


def test_the_first_cycle_opens_on_top_of_nothing() -> None:
    assert due(spec(), [], [], "2026-01-05T06:00") == ("open", "2026-01-05")


def test_an_open_cycle_stays_open_until_the_next_begins() -> None:
    assert "it closes at 2026-01-12 06:00 UTC" in due(spec(), [W1], [], "2026-01-12T05:59")
    assert due(spec(), [W1], [], "2026-01-12T06:00") == ("close", "2026-01-05")


def test_the_next_cycle_opens_once_the_one_before_is_closed() -> None:
    assert due(spec(), [W1], [W1], "2026-01-12T06:00") == ("open", "2026-01-12")
    assert "it closes at 2026-01-19" in due(spec(), [W1, W2], [W1], "2026-01-12T06:01")


def test_a_cycle_that_somebody_closed_early_does_not_open_the_next_early() -> None:
    assert "it closes at 2026-01-12" in due(spec(), [W1], [W1], "2026-01-09T12:00")


@pytest.mark.parametrize(("hour", "now"), [(0, "2026-01-12T00:00"), (23, "2026-01-12T23:00")])
def test_the_hour_is_that_of_the_yaml_in_utc(hour: int, now: str) -> None:
    one = spec(hour=hour)
    assert due(one, [W1], [], now) == ("close", "2026-01-05")
    before = (at(now) - timedelta(minutes=1)).replace(tzinfo=None).isoformat()
    assert isinstance(due(one, [W1], [], before), str)


def test_missed_turns_are_caught_up_oldest_first() -> None:
    opened, closed = [W1], list[date]()
    seen = []
    while not isinstance(found := next_turn(spec(), opened, closed, at("2026-01-26T06:00")), str):
        seen.append((found.verb, found.cycle))
        (opened if found.verb == "open" else closed).append(found.cycle)
    assert seen == [("close", W1), ("open", W2), ("close", W2), ("open", W3), ("close", W3), ("open", W4)]


def test_more_than_may_be_caught_up_is_refused_in_words() -> None:
    said = due(spec(catch_up=2), [W1], [], "2026-01-26T06:00")
    assert "3 cycles have begun since the newest open one, 2026-01-05" in said
    assert "more than schedule.catch_up allows (2)" in said
    assert "news__catch_up" in said
    assert "open 2026-01-26 alone with the job news__open and allow_gap: true" in said
    assert due(spec(catch_up=3), [W1], [], "2026-01-26T06:00") == ("close", "2026-01-05")


def test_a_start_long_ago_opens_nothing_by_itself() -> None:
    said = due(spec(), [], [], "2026-11-02T06:00")
    assert "44 cycles have begun since start, 2026-01-05" in said
    assert "allow_gap" not in said


def ticks(one: FlywheelSpec, until: datetime) -> Iterator[tuple[str, date, datetime]]:
    """Every turn of a clock that looks each hour, as it is taken."""
    opened, closed = list[date](), list[date]()
    now = datetime(2025, 12, 31, tzinfo=UTC)
    while now < until:
        if isinstance(found := next_turn(one, opened, closed, now), Turn):
            (opened if found.verb == "open" else closed).append(found.cycle)
            yield found.verb, found.cycle, now
        else:
            now += timedelta(hours=1)


@pytest.mark.parametrize("cadence", ["daily", "weekly", "monthly"])
def test_every_cadence_closes_and_opens_each_cycle_once_in_order(cadence: str) -> None:
    one = spec(cadence, hour=6)
    taken = list(ticks(one, datetime(2027, 3, 1, tzinfo=UTC)))
    opened = [cycle for verb, cycle, _ in taken if verb == "open"]
    assert opened == list(cycle_range(one.start, date(2027, 2, 28), one.cadence))
    assert [cycle for verb, cycle, _ in taken if verb == "close"] == opened[:-1]
    for verb, cycle, when in taken:
        first = cycle if verb == "open" else shift_cycle(cycle, one.cadence, 1)
        assert when == datetime(first.year, first.month, first.day, 6, tzinfo=UTC)


def test_a_hole_is_named_with_what_fills_it() -> None:
    found = holes(spec(), [W1, W2, W4], [W1])
    assert found == [W2, W3]
    said = holes_in_words(spec(), found, [W1, W2, W4])
    assert "cycle 2026-01-12 was opened but never closed, and 1 more" in said
    assert "news__catch_up" in said
    assert "cycle 2026-01-19 was never opened" in holes_in_words(spec(), [W3], [W1, W2, W4])


@pytest.mark.parametrize("opened", [[], [W1], [W1, W2, W3]])
def test_control_a_history_without_a_hole_names_none(opened: list[date]) -> None:
    assert holes(spec(), opened, opened[:-1]) == []
    assert holes_in_words(spec(), [], opened) == ""


@pytest.mark.parametrize("wrong", [{"hour": 24}, {"hour": "six"}, {"catch_up": 0}, {"minute": 5}])
def test_a_schedule_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=f"schedule.{next(iter(wrong))}"):
        spec(**wrong)
