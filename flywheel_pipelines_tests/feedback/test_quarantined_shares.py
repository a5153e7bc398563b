"""Which share of a file is in quarantine, on both sides of the limit, and what settles the matter."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.contracts.quarantined import FileShare
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import write_atomically
from flywheel_pipelines_tests.feedback.contract_lakes import (
    NAME,
    WEEKS,
    ContractLake,
    letters,
    measurement,
    output_id,
)

WEEK = WEEKS[0]
ROWS = range(1001, 1100)


def lake_with(tmp_path: Path, n_good: int, n_bad: int, **mailer: Any) -> ContractLake:
    """Three weeks, and a file about the first of which some rows landed and some are in quarantine."""
    lake = ContractLake(tmp_path, letters(**mailer)).publish(WEEKS[:3])
    hand_in(lake, "first", n_good, n_bad)
    return lake


def hand_in(
    lake: ContractLake,
    batch: str,
    n_good: int,
    n_bad: int,
    *,
    source: str = "export.csv",
    week: Any = WEEK,
    hour: int = 1,
) -> None:
    days = [week + timedelta(days=number % 7) for number in range(n_good)]
    facts = [measurement(output_id(week, number // 7 % 4), "sends", 4.0, day) for number, day in enumerate(days)]
    at = cycle_start(WEEKS[2]) + timedelta(hours=hour)
    lake.put(
        "mailer",
        tables.METRIC_LEDGER,
        facts,
        cycle=week,
        batch=batch,
        source=source,
        n_quarantined=n_bad,
        recorded_at=at,
    )
    if n_bad:
        lake.quarantine("mailer", batch, n_bad)


def shares(lake: ContractLake, *weeks: Any) -> list[FileShare]:
    return list(lake.check("mailer", *(weeks or (WEEK,))).files)


@pytest.mark.parametrize(
    ("n_bad", "verdict"), [(0, "passed"), (1, "passed"), (2, "passed"), (3, "blocked"), (8, "blocked")]
)
def test_a_file_blocks_when_more_is_open_than_its_feed_allows(tmp_path: Path, n_bad: int, verdict: str) -> None:
    """Ten rows in all, and a limit of a fifth: two are the most."""
    findings = lake_with(tmp_path, 10 - n_bad, n_bad).check("mailer", WEEK)
    assert findings.verdict == verdict
    assert findings.files[0].share == pytest.approx(n_bad / 10)


def test_the_limit_is_the_feeds_own(tmp_path: Path) -> None:
    assert lake_with(tmp_path / "strict", 9, 1, max_quarantined=0.0).check("mailer", WEEK).verdict == "blocked"
    assert lake_with(tmp_path / "lax", 1, 9, max_quarantined=1.0).check("mailer", WEEK).verdict == "passed"


def test_a_row_with_several_wrong_cells_counts_once(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 8, 2)
    path = lake.lake.partition_dir(tables.QUARANTINE, flywheel=NAME) / "first.parquet"
    once = pq.read_table(path)
    again = once.slice(0, 1).to_pylist()[0] | {"field": "Replies"}
    write_atomically(path, pa.concat_tables([once, pa.Table.from_pylist([again], schema=once.schema)]))
    assert shares(lake)[0].n_open == 2


@pytest.mark.parametrize("event", ["released", "matched", "discarded"])
def test_a_row_that_was_decided_about_no_longer_counts(tmp_path: Path, event: str) -> None:
    lake = lake_with(tmp_path, 7, 3)
    assert lake.check("mailer", WEEK).verdict == "blocked"
    lake.decide("first", [1001], event)
    findings = lake.check("mailer", WEEK)
    assert (findings.files[0].n_open, findings.verdict) == (2, "passed")


def test_a_decision_after_the_cutoff_is_not_known_yet(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 7, 3)
    lake.decide("first", [1001], "discarded", recorded_at=cycle_start(WEEKS[5]))
    assert lake.check("mailer", WEEK, cutoff=cycle_start(WEEKS[4])).verdict == "blocked"
    assert lake.check("mailer", WEEK, cutoff=cycle_start(WEEKS[6])).verdict == "passed"


def test_what_is_released_and_wrong_again_counts_for_the_file_it_came_with(tmp_path: Path) -> None:
    """Two of a hundred rows are released; one is wrong again. That is 1 of 100, and not 1 of 2."""
    lake = lake_with(tmp_path, 98, 2)
    lake.decide("first", [1001, 1002], "released", wrong_again=1)
    [file] = shares(lake)
    assert (file.batch_id, file.n_open, file.n_rows) == ("first", 1, 100)


def test_the_corrected_file_under_the_same_name_settles_the_matter(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 2, 8)
    hand_in(lake, "second", 10, 0, hour=2)
    findings = lake.check("mailer", WEEK)
    assert [file.batch_id for file in findings.files] == ["second"]
    assert findings.verdict == "passed"


def test_a_good_file_of_another_name_or_about_another_cycle_does_not(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 2, 8)
    hand_in(lake, "second", 10, 0, source="other.csv", hour=2)
    hand_in(lake, "third", 10, 0, week=WEEKS[1], hour=3)
    findings = lake.check("mailer", WEEK)
    assert findings.verdict == "blocked"
    assert [file.source for file in findings.too_much_quarantined] == ["export.csv"]


def test_a_file_about_other_cycles_does_not_hold_this_one_back(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 2, 8)
    hand_in(lake, "second", 10, 0, week=WEEKS[1], source="other.csv", hour=2)
    assert lake.check("mailer", WEEKS[1]).verdict == "passed"
    assert lake.check("mailer", WEEK, WEEKS[1]).verdict == "blocked"


def test_a_file_without_a_usable_row_counts_for_the_newest_cycle_that_was_out(tmp_path: Path) -> None:
    lake = ContractLake(tmp_path).publish(WEEKS[:3])
    lake.measure(WEEKS[1])
    hand_in(lake, "useless", 0, 5)
    assert lake.check("mailer", WEEKS[1]).verdict == "passed"
    findings = lake.check("mailer", WEEKS[2])
    assert [file.share for file in findings.too_much_quarantined] == [1.0]
    hand_in(lake, "corrected", 10, 0, week=WEEKS[2], hour=2)
    assert lake.check("mailer", WEEKS[2]).too_much_quarantined == ()


def test_words_say_how_much_why_and_the_ways_out(tmp_path: Path) -> None:
    words = lake_with(tmp_path, 7, 3).check("mailer", WEEK).words
    for part in (
        "export.csv: 3 of 10 rows (30%)", "3 invalid", "allows 20%", "hand it in again under its name", "release",
        "discard", "raise max_quarantined of feeds.mailer",
    ):  # fmt: skip
        assert part in words


def test_quarantine_of_another_feed_is_not_counted(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 10, 0)
    lake.put("desk", tables.REVIEWS, [], cycle=WEEK, batch="reviews", n_quarantined=9)
    lake.quarantine("desk", "reviews", 9)
    assert lake.check("mailer", WEEK).verdict == "passed"


# -- the same file by two ways in --------------------------------------------------------------------------------------
def test_a_correction_from_elsewhere_settles_the_file_that_was_dropped(tmp_path: Path) -> None:
    """The inbox records a path, and a command that is handed a file from a desk only its name."""
    lake = ContractLake(tmp_path, letters()).publish(WEEKS[:3])
    hand_in(lake, "dropped", 5, 5, source="letters/mailer/export.csv")
    assert lake.check("mailer", WEEK).verdict == "blocked"
    hand_in(lake, "corrected", 10, 0, source="export.csv", hour=2)
    assert [file.source for file in shares(lake)] == ["export.csv"]
    assert lake.check("mailer", WEEK).verdict == "passed"


def test_a_correction_that_is_dropped_settles_the_file_that_a_command_landed(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 5, 5)
    hand_in(lake, "corrected", 10, 0, source="letters/mailer/export.csv", hour=2)
    assert lake.check("mailer", WEEK).verdict == "passed"


def test_control_a_name_alone_means_no_file_where_two_folders_have_it(tmp_path: Path) -> None:
    lake = ContractLake(tmp_path, letters()).publish(WEEKS[:3])
    hand_in(lake, "north", 5, 5, source="letters/north/export.csv")
    hand_in(lake, "south", 10, 0, source="letters/south/export.csv", hour=2)
    hand_in(lake, "corrected", 10, 0, source="export.csv", hour=3)
    assert lake.check("mailer", WEEK).verdict == "blocked"


def test_control_another_name_settles_nothing(tmp_path: Path) -> None:
    lake = ContractLake(tmp_path, letters()).publish(WEEKS[:3])
    hand_in(lake, "dropped", 5, 5, source="letters/mailer/export.csv")
    hand_in(lake, "other", 10, 0, source="report.csv", hour=2)
    assert lake.check("mailer", WEEK).verdict == "blocked"
