"""Landing one file of a feed: whole, once, and with everything that cannot be used put aside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.landing import land_file, measures_of
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
