"""Exports that replace a range of days, in every order of arrival, as known at every instant."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.feedback.feeds import Release
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.feedback.metric_world import AT, FIRST, NAME, WEEKS, Desk, mail_spec, published_lake

HEADER = "output_id,date,sends,replies"


def desk(root: Path, **feed: Any) -> Desk:
    return Desk(root, mail_spec(mailer={"corrections": "replace_range", **feed}, other={}))


def sends(at: Desk, cutoff: datetime | None = None) -> dict[tuple[str, int], float]:
    return {(key[0], key[2]): value for key, value in at.known(cutoff).items() if key[1] == "sends"}


def after(days: int) -> datetime:
    return AT + timedelta(days=days)


def test_what_a_later_export_leaves_out_is_gone(tmp_path: Path) -> None:
    at = desk(tmp_path)
    at.land(HEADER, "aaaa,2026-01-12,40,2", "bbbb,2026-01-13,7,0", "aaaa,2026-01-20,9,0")
    at.land(HEADER, "aaaa,2026-01-12,41,2", "aaaa,2026-01-13,5,0", at=after(1))
    assert sends(at) == {("aaaa", 7): 41.0, ("aaaa", 8): 5.0, ("aaaa", 15): 9.0}
    assert sends(at, AT) == {("aaaa", 7): 40.0, ("bbbb", 8): 7.0, ("aaaa", 15): 9.0}


def test_control_an_upserting_feed_keeps_it(tmp_path: Path) -> None:
    at = desk(tmp_path, corrections="upsert")
    at.land(HEADER, "aaaa,2026-01-12,40,2", "bbbb,2026-01-12,7,0")
    at.land(HEADER, "aaaa,2026-01-12,41,2", at=after(1))
    assert sends(at) == {("aaaa", 7): 41.0, ("bbbb", 7): 7.0}


def test_a_cycle_that_only_loses_rows_counts_as_touched(tmp_path: Path) -> None:
    at = desk(tmp_path)
    at.land(HEADER, "aaaa,2026-01-13,40,2", "cccc,2026-01-13,7,0", "dddd,2026-01-19,7,0")
    batch = at.land(HEADER, "aaaa,2026-01-13,40,2", at=after(1))
    assert batch.cycles == [WEEKS[0], WEEKS[1]]
    assert (batch.header["first_cycle"], batch.header["last_cycle"]) == (WEEKS[0], WEEKS[1])


def test_a_period_is_the_range_also_where_no_row_is_left(tmp_path: Path) -> None:
    at = desk(tmp_path)
    at.land(HEADER, "aaaa,2026-01-12,40,2", "aaaa,2026-01-20,9,0")
    at.land(HEADER, "nobody,2026-01-13,1,0", at=after(1), period=(date(2026, 1, 12), date(2026, 1, 18)))
    assert sends(at) == {("aaaa", 15): 9.0}


def test_rows_that_are_put_aside_do_not_widen_the_range(tmp_path: Path) -> None:
    at = desk(tmp_path)
    at.land(HEADER, "aaaa,2026-01-12,40,2", "aaaa,2026-01-20,9,0")
    at.land(HEADER, "aaaa,2026-01-20,10,0", "aaaa,2026-01-05,many,0", "nobody,2026-01-05,1,0", at=after(1))
    assert sends(at) == {("aaaa", 7): 40.0, ("aaaa", 15): 10.0}


def test_another_feed_is_left_alone(tmp_path: Path) -> None:
    at = desk(tmp_path)
    at.land(HEADER, "bbbb,2026-01-12,7,0", feed="other")
    at.land(HEADER, "aaaa,2026-01-12,41,2", at=after(1))
    assert sends(at) == {("aaaa", 7): 41.0, ("bbbb", 7): 7.0}


def test_released_rows_replace_nothing(tmp_path: Path) -> None:
    at = desk(tmp_path)
    batch = at.land(HEADER, "aaaa,2026-01-12,40,2", "bbbb,2026-01-12,many,0")
    release = Release(((batch.batch_id, 2),), "released", "ana")
    at.land(HEADER, "bbbb,2026-01-12,7,0", at=after(1), release=release)
    assert sends(at) == {("aaaa", 7): 40.0, ("bbbb", 7): 7.0}


def test_released_rows_are_replaced_like_all_others(tmp_path: Path) -> None:
    at = desk(tmp_path)
    batch = at.land(HEADER, "aaaa,2026-01-12,40,2", "bbbb,2026-01-12,many,0")
    release = Release(((batch.batch_id, 2),), "released", "ana")
    at.land(HEADER, "bbbb,2026-01-12,7,0", at=after(1), release=release)
    at.land(HEADER, "aaaa,2026-01-12,41,2", at=after(2))
    assert sends(at) == {("aaaa", 7): 41.0}


def test_the_same_export_twice_changes_nothing(tmp_path: Path) -> None:
    at = desk(tmp_path)
    for day in (0, 1, 2):
        at.land(HEADER, "aaaa,2026-01-12,40,2", at=after(day))
    assert at.lake.read(tables.BATCHES, NAME).num_rows == 1
    assert len(at.ledger()) == 2


EXPORTS = (
    (HEADER, "aaaa,2026-01-12,1,0", "bbbb,2026-01-12,1,0", "cccc,2026-01-13,1,0"),
    (HEADER, "aaaa,2026-01-12,2,0", "aaaa,2026-01-13,2,0"),
    (HEADER, "bbbb,2026-01-12,3,0"),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_order_of_arrival_does_not_matter(tmp_path: Path, order: tuple[int, ...]) -> None:
    at = desk(tmp_path)
    for number in order:
        at.land(*EXPORTS[number], at=after(number))
    assert sends(at, after(0)) == {("aaaa", 7): 1.0, ("bbbb", 7): 1.0, ("cccc", 8): 1.0}
    assert sends(at, after(1)) == {("aaaa", 7): 2.0, ("aaaa", 8): 2.0}
    assert sends(at) == {("aaaa", 8): 2.0, ("bbbb", 7): 3.0}


rows_of_export = st.lists(
    st.tuples(st.sampled_from(["aaaa", "bbbb", "cccc", "zzzz"]), st.integers(7, 10), st.integers(0, 9)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.booleans(), rows_of_export), min_size=1, max_size=5),
    st.permutations(range(5)),
    st.integers(0, 4),
)
def test_any_sequence_of_exports_is_known_as_a_model_says(
    tmp_path_factory: pytest.TempPathFactory, exports: list[tuple[bool, list]], order: list[int], cutoff: int
) -> None:
    """The model: exports in the order of recording, each replacing its days or upserting into a dictionary."""
    root = tmp_path_factory.mktemp("desk")
    at = Desk(root, mail_spec(mailer={"corrections": "replace_range"}, other={}), published_lake(root))
    lines = [
        [HEADER, *(f"{output},{FIRST + timedelta(days=day)},{value},0" for output, day, value in rows)]
        for _, rows in exports
    ]
    for number in (number for number in order if number < len(exports)):
        feed = "mailer" if exports[number][0] else "other"
        at.land(*lines[number], feed=feed, at=after(number), name=f"export{number}.csv")
    known: dict[tuple[bool, str, int], tuple[int, float]] = {}
    seen: list[tuple[bool, list[str]]] = []
    for number, (replaces, rows) in enumerate(exports[: cutoff + 1]):
        if (replaces, lines[number]) in seen:
            # The same file again is the same batch; whichever of the two instants it landed with first.
            return
        seen.append((replaces, lines[number]))
        good = [(output, day, value) for output, day, value in rows if output != "zzzz"]
        days = [day for _, day, _ in good]
        if replaces and days:
            known = {k: v for k, v in known.items() if not (k[0] and min(days) <= k[2] <= max(days))}
        known |= {(replaces, output, day): (number, float(value)) for output, day, value in good}
    if any((replaces, lines[number]) in seen for number, (replaces, _) in enumerate(exports) if number > cutoff):
        return
    expected: dict[tuple[str, int], tuple[int, float]] = {}
    for (_, output, day), value in known.items():
        expected[output, day] = max(expected.get((output, day), (-1, 0.0)), value)
    assert sends(at, after(cutoff)) == {key: value for key, (_, value) in expected.items()}
