"""Landing one file of a feed: whole, once, and with everything that cannot be used put aside."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel_pipelines.errors import FlywheelError, InputFileError
from flywheel_pipelines.feedback.landing import Release, land_file, measures_of, record_unusable_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.small_world import changed_files
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

AT = datetime(2026, 2, 2, tzinfo=UTC)


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    return played.copy_to(tmp_path)


def metrics(world: WrittenWorld, *rows: str, name: str = "mailer.csv") -> Path:
    path = world.root / name
    path.write_text("\n".join(["output_id,day,sends,replies", *rows]) + "\n", encoding="utf-8")
    return path


def an_output(world: WrittenWorld) -> str:
    return world.rows(tables.PUBLISHED_OUTPUTS, WEEKS[0])[0]["output_id"]


def test_rows_are_about_the_cycle_that_published_the_output(world: WrittenWorld) -> None:
    """However late they come: the day of a measurement does not say whose it is."""
    path = metrics(world, f"{an_output(world)},{WEEKS[2]},40,3")
    batch, is_new = land_file(world.lake, world.spec, "mailer", path, recorded_at=AT)
    assert (is_new, batch.cycles) == (True, [WEEKS[0]])
    landed = [row for row in world.rows(tables.METRIC_LEDGER, WEEKS[0]) if row["recorded_at"] == AT]
    assert {row["measure"]: row["value"] for row in landed} == {"sends": 40.0, "replies": 3.0}


def test_the_same_file_twice_is_one_batch_also_later_and_under_another_name(world: WrittenWorld) -> None:
    row = f"{an_output(world)},{WEEKS[0]},40,3"
    land_file(world.lake, world.spec, "mailer", metrics(world, row), recorded_at=AT)
    before = world.bytes_of()
    again = land_file(world.lake, world.spec, "mailer", metrics(world, row), recorded_at=AT + timedelta(days=1))
    assert again[1] is False
    assert changed_files(before, world.bytes_of()) == []


def test_control_another_row_makes_another_batch(world: WrittenWorld) -> None:
    row = f"{an_output(world)},{WEEKS[0]},40,3"
    land_file(world.lake, world.spec, "mailer", metrics(world, row), recorded_at=AT)
    more = metrics(world, row, f"{an_output(world)},{WEEKS[1]},4,1")
    assert land_file(world.lake, world.spec, "mailer", more, recorded_at=AT)[1] is True


def test_a_source_of_ones_own_stands_in_the_book_of_batches(world: WrittenWorld) -> None:
    path = metrics(world, f"{an_output(world)},{WEEKS[0]},40,3")
    land_file(world.lake, world.spec, "mailer", path, recorded_at=AT, source="a mailer of ours")
    sources = world.lake.read(tables.BATCHES, NAME, columns=["source"])["source"].to_pylist()
    assert "a mailer of ours" in sources


def test_a_file_of_nothing_but_broken_rows_changes_only_the_quarantine(world: WrittenWorld) -> None:
    before = world.bytes_of("metric_ledger")
    path = metrics(world, "nobody,2026-01-06,40,3", f"{an_output(world)},2026-01-06,3,40")
    batch, is_new = land_file(world.lake, world.spec, "mailer", path, recorded_at=AT)
    assert (is_new, batch.n_quarantined) == (True, 2)
    assert changed_files(before, world.bytes_of("metric_ledger")) == []
    kept = world.lake.read(tables.QUARANTINE, NAME).to_pylist()
    assert [row["source_row"] for row in kept if row["recorded_at"] == AT] == [1, 2]


def test_a_feed_that_is_not_declared_is_refused_with_those_that_are(world: WrittenWorld) -> None:
    before = world.bytes_of()
    with pytest.raises(FlywheelError, match=r"Feed 'letters' of offers: .* there are leads, mailer"):
        land_file(world.lake, world.spec, "letters", metrics(world, "a,2026-01-06,1,1"), recorded_at=AT)
    assert changed_files(before, world.bytes_of()) == []


def test_measures_are_what_the_metrics_count(world: WrittenWorld) -> None:
    assert measures_of(world.spec) == ["replies", "sends"]


# -- what stands in the books ----------------------------------------------------------------------------------------
def test_a_row_in_quarantine_knows_its_feed_its_problem_and_its_cells(world: WrittenWorld) -> None:
    path = metrics(world, f"nobody,{WEEKS[0]}, 40,3", f"{an_output(world)},{WEEKS[0]},many,3", "one cell")
    batch, _ = land_file(world.lake, world.spec, "mailer", path, recorded_at=AT)
    kept = [row for row in world.rows(tables.QUARANTINE) if row["batch_id"] == batch.batch_id]
    assert [(row["source_row"], row["feed"], row["problem"]) for row in kept] == [
        (1, "mailer", "unmatched"),
        (2, "mailer", "invalid"),
        (3, "mailer", "unreadable"),
    ]
    assert json.loads(kept[0]["cells"]) == {"output_id": "nobody", "day": str(WEEKS[0]), "sends": " 40", "replies": "3"}
    assert kept[2]["cells"] is None


def test_the_book_of_batches_counts_by_what_became_of_the_rows(world: WrittenWorld) -> None:
    good = f"{an_output(world)},{WEEKS[0]},40,3"
    path = metrics(world, "nobody,2026-01-06,40,3", "nobody else,2026-01-06,40,3", good, "a,2026-01-06,-1,3")
    batch, _ = land_file(world.lake, world.spec, "mailer", path, recorded_at=AT)
    (header,) = [row for row in world.rows(tables.BATCHES) if row["batch_id"] == batch.batch_id]
    counts = {name: header[name] for name in ("feed", "n_rows", "n_quarantined", "n_unmatched", "n_held")}
    assert counts == {"feed": "mailer", "n_rows": 1, "n_quarantined": 3, "n_unmatched": 2, "n_held": 0}


def test_released_rows_land_with_their_events_in_one_batch(world: WrittenWorld) -> None:
    path = metrics(world, f"{an_output(world)},{WEEKS[0]},40,3")
    release = Release((("earlier", 7),), "released", "ana", "the tag was mistyped")
    batch, _ = land_file(world.lake, world.spec, "mailer", path, recorded_at=AT, release=release)
    (event,) = world.rows(tables.QUARANTINE_EVENTS)
    assert (event["quarantined_batch"], event["quarantined_row"], event["batch_id"]) == ("earlier", 7, batch.batch_id)
    assert (event["event"], event["decided_by"], event["note"]) == ("released", "ana", "the tag was mistyped")


def test_the_same_cells_released_from_another_row_are_another_batch(world: WrittenWorld) -> None:
    path = metrics(world, f"{an_output(world)},{WEEKS[0]},40,3")
    for row, is_new in ((7, True), (8, True), (8, False)):
        release = Release((("earlier", row),), "released", "ana")
        assert land_file(world.lake, world.spec, "mailer", path, recorded_at=AT, release=release)[1] is is_new


def test_a_file_that_cannot_be_used_at_all_is_on_record_until_it_changes(world: WrittenWorld) -> None:
    path = metrics(world)
    path.write_text("nothing,of,the,kind\n1,2,3,4\n", encoding="utf-8")
    with pytest.raises(InputFileError) as error:
        land_file(world.lake, world.spec, "mailer", path, recorded_at=AT)
    for is_new in (True, False):
        found = record_unusable_file(world.lake, world.spec, "mailer", path, error.value, recorded_at=AT)
        assert found[1] is is_new
    (row,) = [row for row in world.rows(tables.QUARANTINE) if row["recorded_at"] == AT]
    assert (row["field"], row["problem"], row["reason"]) == ("(file)", "unreadable", str(error.value))
    path.write_text("nothing,of,any,kind\n1,2,3,4\n", encoding="utf-8")
    assert record_unusable_file(world.lake, world.spec, "mailer", path, error.value, recorded_at=AT)[1] is True
