"""Quarantine: what is open, and that a row leaves it exactly once, by hand or because its output became known."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback import releasing
from flywheel_pipelines.feedback.quarantine import count_open, rows_named
from flywheel_pipelines.feedback.releasing import discard, release, retry_unmatched
from flywheel_pipelines.lake import parts, store, tables
from flywheel_pipelines_tests.feedback.quarantine_desk import AT, FLYWHEEL, Desk, line, problems
from flywheel_pipelines_tests.small_world import changed_files, fingerprint

LATER = AT + timedelta(days=1)
DAY = date(2026, 1, 6)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.publish("aaaa", "bbbb")
    return made


def let_go(desk: Desk, *ids: str, **options: object) -> list[releasing.Released]:
    rows = rows_named(desk.lake, [FLYWHEEL], ids) if ids else desk.open()
    return release(desk.lake, desk.spec, rows, recorded_at=LATER, decided_by="ana", **options)  # type: ignore[arg-type]


def dying_after(survived: int, patch: pytest.MonkeyPatch) -> None:
    """From now on the process ends after so many files of the lake were written."""
    written = 0
    real = store.write_atomically

    def dies(path: Path, table: object, *how: object) -> None:
        nonlocal written
        if written == survived:
            raise KeyboardInterrupt
        written += 1
        real(path, table, *how)  # type: ignore[arg-type]

    for module in (store, parts):
        patch.setattr(module, "write_atomically", dies)


# -- what is open ----------------------------------------------------------------------------------------------------
def test_a_row_that_is_wrong_twice_is_one_row(desk: Desk) -> None:
    desk.land(line("aaaa", day="soon", sends="many"), line("nobody"), line("bbbb"))
    assert problems(desk.open()) == [(1, "invalid"), (2, "unmatched")]
    assert [wrong.field for wrong in desk.open()[0].wrong] == ["sends", "sent_on"]
    assert count_open(desk.lake, FLYWHEEL) == 2


def test_rows_are_chosen_by_feed_problem_batch_and_day(desk: Desk) -> None:
    first = desk.land(line("nobody"))
    second = desk.land(line("aaaa", sends="many"), hours=48)
    assert desk.ids(problem="unmatched") == [f"{first.batch_id[:8]}:1"]
    assert desk.ids(batch=second.batch_id[:6]) == [f"{second.batch_id[:8]}:1"]
    assert desk.ids(since=(AT + timedelta(hours=48)).date()) == [f"{second.batch_id[:8]}:1"]
    assert len(desk.ids(feed="mailer")) == 2
    assert desk.ids(feed="leads") == []


def test_a_problem_there_is_not_is_refused_with_those_there_are(desk: Desk) -> None:
    with pytest.raises(FlywheelError, match="found 'odd'; there are unreadable, invalid"):
        desk.open(problem="odd")


def test_an_id_may_be_cut_short_as_long_as_it_is_one_rows(desk: Desk) -> None:
    batch = desk.land(line("nobody"))
    (row,) = rows_named(desk.lake, [FLYWHEEL], [f"{batch.batch_id[:5]}:1"])
    assert row.key == (batch.batch_id, 1)


def test_an_id_of_two_rows_is_refused_with_the_longer_ids(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = iter(["c0ffee0000000001", "c0ffee0000000002"])
    monkeypatch.setattr("flywheel_pipelines.feedback.measuring.batch_id_of", lambda *_: next(hashes))
    desk.land(line("nobody"))
    desk.land(line("nobody else"))
    with pytest.raises(FlywheelError, match=r"ambiguous, there are c0ffee0000000001:1 .*c0ffee0000000002:1"):
        rows_named(desk.lake, [FLYWHEEL], ["c0ffee00:1"])
    assert len(rows_named(desk.lake, [FLYWHEEL], ["c0ffee0000000002:1"])) == 1


@pytest.mark.parametrize("row_id", ["", "12", "abc:1", "zzzzzzzz:1", "%%%%%:1", "1f3a77c0:x"])
def test_an_id_that_is_none_is_refused_in_words(desk: Desk, row_id: str) -> None:
    desk.land(line("nobody"))
    with pytest.raises(FlywheelError, match="flywheel quarantine list"):
        rows_named(desk.lake, [FLYWHEEL], [row_id])


def test_sql_says_what_is_open_in_one_short_query(desk: Desk) -> None:
    desk.land(line("nobody"), line("aaaa", sends="many"))
    let_go(desk, desk.ids()[1], changes={"sends": "40"})
    with duckdb.connect() as connection:
        connection.execute("create schema lake")
        for table in (tables.QUARANTINE, tables.QUARANTINE_EVENTS):
            connection.register("stored", desk.lake.read(table, FLYWHEEL))
            connection.execute(f"create table lake.{table.name} as select * from stored")
        found = connection.execute(OPEN_QUERY).fetchall()
    assert [row[:3] for row in found] == [("mailer", "unmatched", 1)]


OPEN_QUERY = """
select feed, problem, count(distinct (batch_id, source_row)) as n_open, min(recorded_at) as oldest
from lake.quarantine as rows
where not exists (
    from lake.quarantine_events as events
    where events.quarantined_batch = rows.batch_id and events.quarantined_row = rows.source_row
)
group by all order by n_open desc
"""


# -- handed in again by a person -------------------------------------------------------------------------------------
def test_a_corrected_cell_lands_and_closes_its_row(desk: Desk) -> None:
    desk.land(line("aaaa", sends="many"))
    (done,) = let_go(desk, changes={"sends": "40"}, note="typed by hand")
    assert (done.is_new, done.batch.n_rows, desk.ids()) == (True, 1, [])
    assert desk.known() == {("aaaa", DAY): 3.0}
    (event,) = desk.events()
    assert (event["event"], event["decided_by"], event["note"]) == ("released", "ana", "typed by hand")
    assert event["batch_id"] == done.batch.batch_id


def test_rows_of_two_files_of_a_feed_are_one_batch(desk: Desk) -> None:
    desk.land(line("aaaa", sends="many"))
    desk.land(line("bbbb", sends="many"), hours=1)
    (done,) = let_go(desk, changes={"sends": "40"})
    assert (done.batch.n_rows, len(desk.events())) == (2, 2)


def test_rows_under_other_headers_keep_their_own(desk: Desk) -> None:
    """A brief's own fields are the columns of its file."""
    desk.land("l1,2026-02-30,hotels,no time", header="lead_id,date,industry,pain", feed="leads")
    desk.land("l2,2026-02-30,hotels,30%", header="lead_id,date,industry,claim", feed="leads", hours=1)
    done = let_go(desk, changes={"date": "2026-01-06"})
    assert [one.batch.n_rows for one in done] == [1, 1]
    briefs = desk.lake.read(tables.BRIEF_LEDGER, FLYWHEEL).to_pylist()
    assert [json.loads(row["fields"]) for row in briefs] == [{"pain": "no time"}, {"claim": "30%"}]


def test_what_is_wrong_again_is_in_quarantine_again_once(desk: Desk) -> None:
    first = desk.land(line("aaaa", sends="many"), line("nobody"))
    (done,) = let_go(desk, changes={"sends": "40"})
    assert done.batch.batch_id != first.batch_id
    assert desk.ids() == [f"{done.batch.batch_id[:8]}:2"]
    assert [row.row_id for row, _ in done.again] == [f"{first.batch_id[:8]}:2"]


def test_cells_come_back_as_they_were_whatever_they_hold(desk: Desk) -> None:
    odd = '"a, ""b""\nc; d'
    desk.land(f'{odd}",2026-01-06,40,10,3,0')
    before = desk.open()[0].cells
    let_go(desk)
    (again,) = desk.open()
    assert again.cells == before


def test_a_dry_run_says_the_same_and_writes_nothing(desk: Desk) -> None:
    desk.land(line("aaaa", sends="many"), line("nobody"))
    before = fingerprint(desk.root / "lake")
    (would,) = let_go(desk, changes={"sends": "40"}, dry_run=True)
    assert changed_files(before, fingerprint(desk.root / "lake")) == []
    (done,) = let_go(desk, changes={"sends": "40"})
    assert (would.batch.n_rows, would.again) == (done.batch.n_rows, done.again) != (0, [])


def test_releasing_twice_changes_nothing(desk: Desk) -> None:
    desk.land(line("aaaa", sends="many"))
    rows = desk.open()
    let_go(desk, changes={"sends": "40"})
    before = fingerprint(desk.root / "lake")
    for changes in ({"sends": "40"}, {"sends": "50"}):
        with pytest.raises(FlywheelError, match="not in quarantine any more: it was released by ana"):
            release(desk.lake, desk.spec, rows, recorded_at=LATER, decided_by="ben", changes=changes)
    assert changed_files(before, fingerprint(desk.root / "lake")) == []


@pytest.mark.parametrize("survived", range(6))
def test_a_kill_leaves_rows_open_or_closed_and_the_next_try_ends_alike(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """A release writes the ledger, quarantine, events and the row of the batch; the process ends after some of them."""
    desk.publish("aaaa", "bbbb")
    desk.land(line("aaaa", sends="many"), line("nobody"))
    with monkeypatch.context() as patch:
        dying_after(survived, patch)
        try:
            let_go(desk, changes={"sends": "40"})
        except KeyboardInterrupt:
            assert len(desk.ids()) == 2
            assert desk.known() == {}
    if len(desk.ids()) == 2:
        let_go(desk, changes={"sends": "40"})
    assert problems(desk.open()) == [(2, "unmatched")]
    assert desk.known() == {("aaaa", DAY): 3.0}
    assert len(desk.events()) == 2


@pytest.mark.parametrize("survived", range(3))
def test_a_landing_that_was_killed_may_come_to_other_conclusions(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """What the first try put aside, the second one may match: the row is in one place all the same."""
    rows = (line("aaaa"), line("cccc"))
    with monkeypatch.context() as patch:
        dying_after(survived, patch)
        with pytest.raises(KeyboardInterrupt):
            desk.land(*rows)
    desk.publish("aaaa", "cccc")
    desk.land(*rows)
    assert desk.known() == {("aaaa", DAY): 3.0, ("cccc", DAY): 3.0}
    assert desk.open() == []


def test_a_row_that_could_not_be_split_cannot_be_handed_in(desk: Desk) -> None:
    desk.land("one cell")
    before = fingerprint(desk.root / "lake")
    with pytest.raises(FlywheelError, match=r"could not be split .*flywheel quarantine discard"):
        let_go(desk)
    assert changed_files(before, fingerprint(desk.root / "lake")) == []


def test_a_column_that_a_row_has_not_is_refused_with_those_it_has(desk: Desk) -> None:
    desk.land(line("aaaa", sends="many"))
    with pytest.raises(FlywheelError, match="has no column Sent; it has tracking_tag, sent_on, opens"):
        let_go(desk, changes={"Sent": "40"})


# -- matched by the pipeline -----------------------------------------------------------------------------------------
def test_rows_match_when_their_output_is_published(desk: Desk) -> None:
    desk.land(line("cccc"), line("nobody"))
    assert retry_unmatched(desk.lake, desk.spec, LATER) == []
    desk.publish("aaaa", "cccc")
    (batch,) = retry_unmatched(desk.lake, desk.spec, LATER)
    assert (batch.n_rows, batch.n_quarantined) == (1, 0)
    assert [row.source_row for row in desk.open()] == [2]
    assert desk.known() == {("cccc", DAY): 3.0}
    (event,) = desk.events()
    assert (event["event"], event["decided_by"]) == ("matched", "pipeline")


def test_a_retry_that_matches_nothing_writes_nothing(desk: Desk) -> None:
    desk.land(line("cccc"), line("nobody"))
    before = fingerprint(desk.root / "lake")
    assert retry_unmatched(desk.lake, desk.spec, LATER) == []
    assert changed_files(before, fingerprint(desk.root / "lake")) == []


def test_rows_of_a_feed_that_names_other_columns_by_now_wait_and_stop_nobody(desk: Desk) -> None:
    """A retry runs when a cycle is published; a column renamed in the YAML must not keep it from going out."""
    desk.land(line("cccc"))
    desk.publish("cccc")
    before = desk.ids()
    feed = desk.spec.feeds["mailer"]
    renamed = feed.model_copy(update={"columns": {**feed.columns, "output_id": "Another header"}})
    changed = desk.spec.model_copy(update={"feeds": {**desk.spec.feeds, "mailer": renamed}})
    assert retry_unmatched(desk.lake, changed, LATER) == []
    assert desk.ids() == before != []
    assert len(retry_unmatched(desk.lake, desk.spec, LATER)) == 1


def test_a_second_retry_changes_nothing(desk: Desk) -> None:
    desk.land(line("cccc"))
    desk.publish("cccc")
    retry_unmatched(desk.lake, desk.spec, LATER)
    before = fingerprint(desk.root / "lake")
    assert retry_unmatched(desk.lake, desk.spec, LATER + timedelta(days=1)) == []
    assert changed_files(before, fingerprint(desk.root / "lake")) == []


def test_a_row_that_matches_and_is_wrong_otherwise_says_so(desk: Desk) -> None:
    desk.land(line("cccc", day="2026-01-01"))
    desk.publish("cccc")
    retry_unmatched(desk.lake, desk.spec, LATER)
    (row,) = desk.open()
    assert (row.problem, "before 2026-01-05" in row.wrong[0].reason) == ("invalid", True)


def test_of_two_reports_of_a_day_the_later_one_counts_also_when_both_waited(desk: Desk) -> None:
    desk.land(line("cccc", replies=3))
    desk.land(line("cccc", replies=5), hours=24)
    desk.publish("cccc")
    retry_unmatched(desk.lake, desk.spec, LATER)
    assert desk.known() == {("cccc", DAY): 5.0}


def test_a_row_whose_day_was_reported_anew_since_does_not_win_over_it(desk: Desk) -> None:
    """The output was published before the second report and the first row was never tried in between."""
    desk.land(line("cccc", replies=3))
    desk.publish("cccc")
    newer = desk.land(line("cccc", replies=5), hours=24)
    assert retry_unmatched(desk.lake, desk.spec, LATER + timedelta(days=1)) == []
    assert desk.known() == {("cccc", DAY): 5.0}
    (event,) = desk.events()
    assert (event["event"], event["decided_by"]) == ("discarded", "pipeline")
    assert newer.batch_id in event["note"]
    assert desk.ids() == []


def test_control_a_row_about_another_day_is_matched(desk: Desk) -> None:
    desk.land(line("cccc", replies=3))
    desk.publish("cccc")
    desk.land(line("cccc", day="2026-01-07", replies=5), hours=24)
    (batch,) = retry_unmatched(desk.lake, desk.spec, LATER + timedelta(days=1))
    assert batch.n_rows == 1
    assert desk.known() == {("cccc", DAY): 3.0, ("cccc", DAY + timedelta(days=1)): 5.0}


# -- discarded -------------------------------------------------------------------------------------------------------
def test_what_is_discarded_stays_in_the_table_with_the_note(desk: Desk) -> None:
    desk.land(line("nobody"), line("nobody else"))
    chosen = desk.open()[:1]
    before = desk.lake.read(tables.QUARANTINE, FLYWHEEL)
    assert discard(desk.lake, FLYWHEEL, chosen, recorded_at=LATER, decided_by="ana", note="a test mail") is True
    assert [row.source_row for row in desk.open()] == [2]
    assert desk.lake.read(tables.QUARANTINE, FLYWHEEL).equals(before)
    (row,) = rows_named(desk.lake, [FLYWHEEL], [chosen[0].row_id])
    assert row.event is not None
    assert (row.is_open, row.event["event"], row.event["note"]) == (False, "discarded", "a test mail")


def test_discarding_twice_changes_nothing(desk: Desk) -> None:
    desk.land(line("nobody"))
    rows = desk.open()
    discard(desk.lake, FLYWHEEL, rows, recorded_at=LATER, decided_by="ana", note="a test mail")
    before = fingerprint(desk.root / "lake")
    with pytest.raises(FlywheelError, match="it was discarded by ana"):
        discard(desk.lake, FLYWHEEL, rows, recorded_at=LATER, decided_by="ben", note="again")
    assert changed_files(before, fingerprint(desk.root / "lake")) == []


# -- whatever happens ------------------------------------------------------------------------------------------------
ACTS = st.lists(
    st.tuples(st.sampled_from(["release", "correct", "discard", "publish", "retry", "land"]), st.integers(0, 5)),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_no_row_is_lost_and_none_is_open_in_two_places(acts: list[tuple[str, int]], tmp_path_factory) -> None:
    """Every row of every file is at any time in the ledger, open, or discarded: in exactly one of the three."""
    desk = Desk(tmp_path_factory.mktemp("acts"))
    published = ["aaaa"]
    desk.publish(*published)
    desk.land(*(line(f"{one}", sends="many" if one == "aaaa" else 40) for one in ("aaaa", "bbbb", "cccc", "dddd")))
    n_rows = 4
    for step, (act, number) in enumerate(acts, start=1):
        at = AT + timedelta(hours=step)
        waiting = desk.open()
        chosen = waiting[number % len(waiting) :][:2] if waiting else []
        if act == "publish":
            published = sorted({*published, ("bbbb", "cccc", "dddd")[number % 3]})
            desk.publish(*published)
        elif act == "retry":
            retry_unmatched(desk.lake, desk.spec, at)
        elif act == "land":
            desk.land(line("dddd", day=f"2026-01-{6 + step:02d}"), hours=step)
            n_rows += 1
        elif act == "discard" and chosen:
            discard(desk.lake, FLYWHEEL, chosen, recorded_at=at, decided_by="ana", note="no")
        elif chosen and act in ("release", "correct"):
            changes = {"sends": "40"} if act == "correct" else {}
            release(desk.lake, desk.spec, chosen, recorded_at=at, decided_by="ana", changes=changes)
        n_discarded = sum(event["event"] == "discarded" for event in desk.events())
        assert len(desk.known()) + len(desk.open()) + n_discarded == n_rows
