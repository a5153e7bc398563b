"""Files of metrics in the lake: measures, days, several rows of a day, what is counted, and both ways of reading."""

from __future__ import annotations

import gzip
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.attribution import Output
from flywheel_pipelines.feedback.feeds import Incoming, Release
from flywheel_pipelines.feedback.feeds.metric_cells import day_number
from flywheel_pipelines.feedback.feeds.metric_facts import MetricFacts
from flywheel_pipelines.feedback.feeds.metrics import Held
from flywheel_pipelines.feedback.holding import hold_rule
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.measuring import read_measurements
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.feedback.metric_world import AT, FIRST, NAME, WEEKS, Desk, mail_spec, published_lake

HEADER = "output_id,date,sends,replies"


def desk(root: Path, **feed: Any) -> Desk:
    return Desk(root, mail_spec(mailer=feed))


# -- measures --------------------------------------------------------------------------------------------------------
def test_without_named_measures_a_file_gives_what_the_metrics_count(tmp_path: Path) -> None:
    at = desk(tmp_path)
    at.land(HEADER + ",ctr", "aaaa,2026-01-06,40,2,5%")
    assert at.known() == {("aaaa", "sends", 1): 40.0, ("aaaa", "replies", 1): 2.0}


def test_named_measures_are_what_a_file_gives_also_those_that_no_metric_counts(tmp_path: Path) -> None:
    at = desk(tmp_path, columns={"sends": "Sent", "ctr": "CTR", "position": "Position"}, numbers="1.234,5")
    at.land("output_id;date;Sent;CTR;Position", "aaaa;2026-01-06;1.250;4,17%;8,5")
    assert at.known() == {("aaaa", "sends", 1): 1250.0, ("aaaa", "ctr", 1): 0.0417, ("aaaa", "position", 1): 8.5}


def test_a_measure_that_no_metric_counts_may_be_missing_in_a_row(tmp_path: Path) -> None:
    at = desk(tmp_path, columns={"sends": "sends", "position": "position"})
    at.land("output_id,date,sends,position", "aaaa,2026-01-06,10,", "bbbb,2026-01-06,,3")
    assert at.known() == {("aaaa", "sends", 1): 10.0}
    assert at.aside() == [(2, "sends", "invalid")]


def test_a_row_without_any_number_is_put_aside(tmp_path: Path) -> None:
    at = desk(tmp_path, columns={"ctr": "ctr", "position": "position"})
    at.land("output_id,date,ctr,position", "aaaa,2026-01-06,,--", "bbbb,2026-01-06,1%,")
    assert at.aside() == [(1, "ctr", "invalid")]
    assert at.known() == {("bbbb", "ctr", 1): 0.01}


def test_every_row_of_the_ledger_says_its_feed(tmp_path: Path) -> None:
    at = desk(tmp_path)
    at.land(HEADER, "aaaa,2026-01-06,40,2")
    assert {row["feed"] for row in at.ledger()} == {"mailer"}


# -- days ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("feed", "lines", "name", "options"),
    [
        ({}, (), "file.csv", {"period": (date(2026, 1, 5), date(2026, 1, 11))}),
        ({}, ("# Start date: 20260105", "# End date: 20260111"), "file.csv", {}),
        ({"file_date": r"_(\d{4}-\d\d-\d\d)"}, (), "mail_2026-01-11.csv", {}),
        ({"file_date": r"_(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)"}, (), "mail_2026-01-05_2026-01-11.csv", {}),
    ],
    ids=["a period", "comments", "a day in the name", "two days in the name"],
)
def test_a_file_without_dates_is_about_the_last_day_of_its_period(
    tmp_path: Path, feed: dict[str, Any], lines: tuple[str, ...], name: str, options: dict[str, Any]
) -> None:
    at = desk(tmp_path, **feed)
    at.land(*lines, "output_id,sends,replies", "aaaa,40,2", name=name, **options)
    assert at.known() == {("aaaa", "sends", 6): 40.0, ("aaaa", "replies", 6): 2.0}


def test_a_file_about_no_days_is_refused_with_the_three_ways_to_name_them(tmp_path: Path) -> None:
    at = desk(tmp_path)
    with pytest.raises(InputFileError, match=r"(?s)feed's columns.*file_date.*period"):
        at.land("output_id,sends,replies", "aaaa,40,2")


def test_a_period_that_is_not_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="before these days were over"):
        desk(tmp_path).land("output_id,sends,replies", "aaaa,4,2", period=(FIRST, AT.date() + timedelta(days=9)))


def test_days_are_read_as_the_feed_writes_them(tmp_path: Path) -> None:
    at = desk(tmp_path, dates=["%d.%m.%Y", "%b %d, %Y"])
    at.land("output_id,date,sends,replies", "aaaa,06.01.2026,40,2", 'aaaa,"Jan 7, 2026",30,1', "aaaa,2026-01-08,1,1")
    assert {key[2]: value for key, value in at.known().items() if key[1] == "sends"} == {1: 40.0, 2: 30.0}
    assert at.aside() == [(3, "date", "invalid")]


# -- several rows of one output and day ------------------------------------------------------------------------------
ROWS = ("aaaa,2026-01-06,40,2", "bbbb,2026-01-06,7,0", "aaaa,2026-01-06,50,1", "aaaa,2026-01-07,5,0")


def test_of_several_rows_the_lowest_counts_and_lands_once(tmp_path: Path) -> None:
    at = desk(tmp_path)
    batch = at.land(HEADER, *ROWS)
    assert batch.n_rows == 4
    assert sorted(row["source_row"] for row in at.ledger() if row["measure"] == "sends") == [2, 3, 4]
    assert at.known()["aaaa", "sends", 1] == 50.0


def test_rows_add_up_where_the_feed_says_so(tmp_path: Path) -> None:
    at = desk(tmp_path, aggregate="sum")
    at.land(HEADER, *ROWS)
    assert {key: value for key, value in at.known().items() if key[1] == "sends"} == {
        ("aaaa", "sends", 1): 90.0,
        ("bbbb", "sends", 1): 7.0,
        ("aaaa", "sends", 2): 5.0,
    }


EVENTS = {"aggregate": "count", "events": {"delivered": "sends", "reply": "replies", "processed": "processed"}}


def test_events_are_counted_as_the_feed_names_them(tmp_path: Path) -> None:
    at = desk(tmp_path, **EVENTS, dates=["%s"], columns={"date": "timestamp"})
    second = 1767657600  # 2026-01-06
    rows = [
        f"aaaa,{second + number},{event}" for number, event in enumerate(["delivered"] * 3 + ["reply", "dance", ""])
    ]
    at.land("output_id,timestamp,event", *rows)
    assert at.known() == {("aaaa", "sends", 1): 3.0, ("aaaa", "replies", 1): 1.0}
    assert at.aside() == [(5, "event", "invalid"), (6, "event", "invalid")]


def test_a_row_may_be_several_events(tmp_path: Path) -> None:
    at = desk(tmp_path, **EVENTS, columns={"count": "Event count"})
    at.land("output_id,date,event,Event count", "aaaa,2026-01-06,delivered,30", "aaaa,2026-01-06,delivered,12")
    assert at.known() == {("aaaa", "sends", 1): 42.0}


def test_released_rows_of_a_feed_that_adds_up_are_added_to_what_is_known(tmp_path: Path) -> None:
    """Their file's other rows were added up without them."""
    at = desk(tmp_path, aggregate="sum")
    batch = at.land(HEADER, "aaaa,2026-01-06,40,2", "aaaa,2026-01-06,ten,0")
    release = Release(((batch.batch_id, 2),), "released", "ana")
    at.land(HEADER, "aaaa,2026-01-06,10,0", name="released.csv", at=AT + timedelta(days=1), release=release)
    assert at.known()["aaaa", "sends", 1] == 50.0


# -- counts of a batch -----------------------------------------------------------------------------------------------
def test_late_rows_are_about_a_cycle_whose_window_had_passed(tmp_path: Path) -> None:
    at = desk(tmp_path)
    during = AT.replace(month=1, day=14)
    batch = at.land(HEADER, "aaaa,2026-01-13,40,2", "cccc,2026-01-13,40,2", "nobody,2026-01-13,1,0", at=during)
    header = at.header(batch)
    assert (header["n_rows"], header["n_late"], header["n_unmatched"]) == (2, 1, 1)


def test_a_batch_that_is_there_already_is_not_judged_again(tmp_path: Path) -> None:
    at = desk(tmp_path)
    first = at.land(HEADER, "aaaa,2026-01-06,40,2", "nobody,2026-01-06,4,2")
    path = at.file(HEADER, "aaaa,2026-01-06,40,2", "nobody,2026-01-06,4,2")
    again, is_new = land_file(at.lake, at.spec, "mailer", path, recorded_at=AT + timedelta(days=1))
    assert (is_new, again.n_rows, again.n_quarantined, again.cycles) == (False, 1, 1, first.cycles)
    assert len(at.ledger()) == 2


# -- holding ---------------------------------------------------------------------------------------------------------
def test_what_a_rule_holds_waits_in_quarantine_with_its_reason(tmp_path: Path) -> None:
    at = desk(tmp_path)
    path = at.file(HEADER, "aaaa,2026-01-06,1,0", "bbbb,2026-01-06,7,0", "aaaa,2026-01-06,4000,0")
    asked = []

    def hold(facts: MetricFacts) -> list[Held]:
        days, outputs = facts.by_day(), [facts.outputs[number] for number in facts.by_day().output]
        asked.extend(zip(outputs, days.day.tolist(), days.values["sends"].tolist(), strict=True))
        return [Held("aaaa", date(2026, 1, 6), "sends", "4,000", "far too many")]

    batch = read_measurements(Incoming(at.lake, at.spec, "mailer", path, AT), hold=lambda _: hold)
    assert (Output("aaaa", FIRST), day_number(date(2026, 1, 6)), 4000.0) in asked
    assert (batch.n_rows, batch.header["n_held"]) == (1, 2)
    assert [(problem.source_row, problem.reason) for problem in batch.problems] == [
        (1, "far too many"),
        (3, "far too many"),
    ]


@pytest.mark.parametrize("why", ["the feed does not hold", "a person has decided"])
def test_nothing_is_held_when(tmp_path: Path, why: str) -> None:
    at = desk(tmp_path, hold_implausible=why != "the feed does not hold")
    release = Release((("b", 1),), "released", "ana") if why == "a person has decided" else None
    incoming = Incoming(at.lake, at.spec, "mailer", at.file(HEADER, "aaaa,2026-01-06,1,0"), AT, release=release)
    assert hold_rule(incoming) is None
    assert hold_rule(Incoming(at.lake, mail_spec(mailer={}), "mailer", incoming.path, AT)) is not None


# -- both ways of reading --------------------------------------------------------------------------------------------
def mixed_file(path: Path, n: int, *, seed: int, faults: bool) -> Path:
    """A file with more than a megabyte, so that it is read strictly; with faults in all columns."""
    draw = random.Random(seed)
    lines = [HEADER]
    for _ in range(n):
        output = draw.choice(["aaaa", "bbbb", "cccc", "dddd"])
        day = WEEKS[2] + timedelta(days=draw.randrange(40))
        cells = [output, str(day), str(draw.randrange(20, 90)), str(draw.randrange(0, 20))]
        if faults and draw.random() < 0.02:
            wrong = [
                "nobody",
                "",
                " aaaa ",
                "2026-13-01",
                "soon",
                "2025-01-01",
                "-1",
                "1.0",
                "007",
                "many",
                "99",
                "1e2",
            ]
            cells[draw.randrange(4)] = draw.choice(wrong)
        lines.append(",".join(cells))
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["file.csv", "file.csv.gz"])
@pytest.mark.parametrize("aggregate", ["last", "sum"])
def test_mixed_faults_give_the_same_fast_and_with_care(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, aggregate: str
) -> None:
    monkeypatch.setattr("flywheel_pipelines.feedback.feeds.metric_cells.STRICT_FROM", 0)
    at = desk(tmp_path, aggregate=aggregate)
    path = mixed_file(tmp_path / name, 3_000, seed=5, faults=True)
    incoming = Incoming(at.lake, at.spec, "mailer", path, AT)
    fast, careful = (read_measurements(incoming, fast=way) for way in (True, False))
    assert fast.header == careful.header
    assert fast.n_quarantined > 30
    assert fast.problems == careful.problems
    assert fast.facts[tables.QUARANTINE].equals(careful.facts[tables.QUARANTINE])
    for one, other in zip(fast.parts[tables.METRIC_LEDGER], careful.parts[tables.METRIC_LEDGER], strict=True):
        assert one.cycle == other.cycle
        assert one.make().equals(other.make())


def test_equal_files_give_equal_bytes_in_the_lake(tmp_path: Path) -> None:
    written = []
    for folder in ("one", "other"):
        root = tmp_path / folder
        root.mkdir()
        at = Desk(root, mail_spec(mailer={}), published_lake(root))
        path = mixed_file(root / "file.csv", 2_000, seed=1, faults=True)
        land_file(at.lake, at.spec, "mailer", path, recorded_at=AT)
        written.append({str(file.relative_to(root)): file.read_bytes() for file in at.lake.root.rglob("*.parquet")})
    assert written[0] == written[1]


def test_what_lands_reads_back_by_the_contract(tmp_path: Path) -> None:
    at = desk(tmp_path)
    path = mixed_file(tmp_path / "file.csv", 2_000, seed=2, faults=False)
    land_file(at.lake, at.spec, "mailer", path, recorded_at=AT)
    stored = at.lake.read(tables.METRIC_LEDGER, NAME)
    assert stored.schema.field("output_id").type == "string"
    assert tables.METRIC_LEDGER.conform(stored.drop_columns(["cycle"])).num_rows == stored.num_rows
    assert np.isfinite(stored["value"].to_numpy()).all()
