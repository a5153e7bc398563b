"""What the inbox sensor remembers between ticks: thousands of files, kills, two sensors, a memory that is gone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel_pipelines.components import inbox_sensor
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.inbox import InboxFile, Landed
from flywheel_pipelines.loop.seen import KEPT_SECONDS
from flywheel_pipelines_tests.corrections import Ticks, inbox_of, marks, settle, ticking, write_correction
from flywheel_pipelines_tests.small_world import fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

SECOND = WEEKS[1]
MANY = 5_000
NOTHING = "No closed cycle is touched."
LOST = "Which files were read is no longer known, so every file is read once more."


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    return played.copy_to(tmp_path)


@pytest.fixture(scope="module")
def closed(played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[WrittenWorld, str | None]:
    """Three corrections, landed and closed, and the cursor after them. Read only."""
    world = played.copy_to(tmp_path_factory.mktemp("closed"))
    for number in range(3):
        write_correction(world, SECOND, inbox_of(world) / f"{number}.csv", replies=300 + number)
    with ticking(world) as ticks:
        assert ticks.execute(ticks.requested()).success
        assert ticks.skipped() == NOTHING
        return world, ticks.cursor


@pytest.fixture
def corrected(closed: tuple[WrittenWorld, str | None], tmp_path: Path) -> Iterator[tuple[WrittenWorld, Ticks]]:
    """A copy of that, and its sensor where it stood."""
    world = closed[0].copy_to(tmp_path)
    with ticking(world) as ticks:
        ticks.cursor = closed[1]
        yield world, ticks


def n_batches(world: WrittenWorld) -> int:
    return world.lake.read(tables.BATCHES, NAME).num_rows


def lists(world: WrittenWorld) -> list[Path]:
    return sorted((world.paths.inbox_seen / NAME).iterdir())


# -- many files ------------------------------------------------------------------------------------------------------
def test_thousands_of_files_are_a_small_cursor_and_none_is_asked_for_twice(
    world: WrittenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The door is stood in for: how a file lands is not in question, and five thousand take minutes."""
    asked: list[str] = []

    def land(*given: object) -> str:
        file, landed = given[2], given[4]
        assert isinstance(file, InboxFile)
        assert isinstance(landed, Landed)
        asked.append(file.name)
        landed.n_files += 1
        return file.mark()

    monkeypatch.setattr(inbox_sensor, "land", land)
    monkeypatch.setattr(inbox_sensor, "TICK_SECONDS", 300.0)
    folder = inbox_of(world)
    folder.mkdir(parents=True)
    for number in range(MANY):
        (folder / f"{number:04}.csv").write_text(f"output_id,day,replies,sends\nnobody,{SECOND},1,{number}\n", "utf-8")
        settle(folder / f"{number:04}.csv")
    with ticking(world) as ticks:
        assert f"{MANY:,} files landed" in ticks.skipped()
        assert len(set(asked)) == MANY
        assert len(ticks.cursor or "") < 1_000
        assert len(json.dumps(sorted(marks(world, ticks.cursor)))) > 50 * 1_000, "control: the marks alone are long"
        assert [ticks.skipped(), ticks.skipped()] == [NOTHING, NOTHING]
        assert len(asked) == MANY
        settle(folder / "0007.csv", 60)
        assert "1 file landed" in ticks.skipped()
        assert asked[MANY:] == ["mailer/0007.csv"]


def test_a_tick_without_news_does_not_look_into_files(corrected: tuple[WrittenWorld, Ticks]) -> None:
    """Whatever reads files, DuckDB included: other bytes of the same size and time are not noticed."""
    world, ticks = corrected
    path = inbox_of(world) / "0.csv"
    status = path.stat()
    path.write_bytes(b"?" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ticks.skipped() == NOTHING
    settle(path, 60)
    assert "Not usable" in ticks.skipped(), "control: whoever looks into it says so"


# -- a memory that is gone -------------------------------------------------------------------------------------------
def assert_nothing_happens_twice(world: WrittenWorld, ticks: Ticks, words: str) -> None:
    before, n_before = fingerprint(world.paths.lake), n_batches(world)
    said = ticks.skipped()
    assert words in said
    assert said.endswith(NOTHING)
    assert fingerprint(world.paths.lake) == before
    assert n_batches(world) == n_before
    assert ticks.skipped() == NOTHING


@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_without_its_list_the_sensor_reads_everything_and_the_ledger_knows_it(
    corrected: tuple[WrittenWorld, Ticks], how: str
) -> None:
    world, ticks = corrected
    if how == "removed":
        shutil.rmtree(world.paths.inbox_seen)
    else:
        for path in lists(world):
            path.write_bytes(b"torn")
    assert_nothing_happens_twice(world, ticks, f"{LOST} 3 files held nothing that was not landed before.")
    assert len(marks(world, ticks.cursor)) == 3


def test_what_is_new_lands_although_the_list_is_gone(corrected: tuple[WrittenWorld, Ticks]) -> None:
    world, ticks = corrected
    n_before = n_batches(world)
    shutil.rmtree(world.paths.inbox_seen)
    write_correction(world, SECOND, inbox_of(world) / "new.csv", replies=17)
    landed = ticks.requested().tags["landed"]
    assert "1 file landed (mailer/new.csv): 1 rows. 3 files held nothing that was not landed before." in landed
    assert n_batches(world) == n_before + 1


def test_a_kill_between_the_list_and_its_cursor_lands_nothing_twice(corrected: tuple[WrittenWorld, Ticks]) -> None:
    world, ticks = corrected
    earlier = ticks.cursor
    write_correction(world, SECOND, inbox_of(world) / "new.csv", replies=17)
    request = ticks.requested()
    assert earlier != ticks.cursor
    ticks.cursor = earlier
    again = ticks.requested()
    assert again.run_key == request.run_key, "Dagster starts one run for a key"
    assert "1 file held nothing that was not landed before." in again.tags["landed"]
    assert ticks.execute(again).success
    assert ticks.skipped() == NOTHING


def test_a_cursor_of_an_earlier_version_is_taken_over(corrected: tuple[WrittenWorld, Ticks]) -> None:
    world, ticks = corrected
    was = ticks.cursor
    ticks.cursor = json.dumps(sorted(marks(world, was)))
    assert ticks.skipped() == NOTHING
    assert ticks.cursor == was


# -- two sensors -----------------------------------------------------------------------------------------------------
def test_two_sensors_of_one_inbox_land_nothing_twice(corrected: tuple[WrittenWorld, Ticks]) -> None:
    """Two instances over one data directory: each has a cursor, and both name lists in the same folder."""
    world, ticks = corrected
    other = Ticks(world, ticks.instance)
    assert_nothing_happens_twice(world, other, "3 files held nothing that was not landed before.")
    assert other.cursor == ticks.cursor
    write_correction(world, SECOND, inbox_of(world) / "new.csv", replies=17)
    assert ticks.execute(ticks.requested()).success
    assert_nothing_happens_twice(world, other, "1 file held nothing that was not landed before.")
    assert ticks.skipped() == NOTHING


def test_a_sensor_whose_list_another_one_removed_reads_once_more(corrected: tuple[WrittenWorld, Ticks]) -> None:
    world, ticks = corrected
    other = Ticks(world, ticks.instance)
    assert "3 files held nothing" in other.skipped()
    for path in lists(world):
        settle(path, 2 * KEPT_SECONDS)
    (inbox_of(world) / "0.csv").unlink()
    ticks.tick()
    settle(world.paths.inbox_seen / NAME / str(other.cursor), 2 * KEPT_SECONDS)
    ticks.tick()
    assert [path.name for path in lists(world)] == [ticks.cursor]
    assert_nothing_happens_twice(world, other, f"{LOST} 2 files held nothing that was not landed before.")
