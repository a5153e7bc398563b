"""`flywheel pull`, from a real PostgreSQL into the ledgers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from flywheel_pipelines.cli import shared
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.pulling import default_days
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, postgres
from flywheel_pipelines_tests.pulled_world import FEED, FEED_YAML, VARIABLE, landed, measured, n_batches, with_feeds
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

__all__ = ["postgres"]
DAYS = ("--from", str(WEEKS[0]), "--to", str(WEEKS[2]))
PULL = ("pull", "--flywheel", NAME, "--feed", FEED)


@pytest.fixture
def database(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def world(
    played: WrittenWorld, postgres: Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WrittenWorld]:
    """Three cycles were played, two outputs are measured in the database, and the commands find all of it."""
    made = with_feeds(played.copy_to(tmp_path))
    measured(made, postgres, database)
    monkeypatch.setattr(shared, "DEFS_DIR", made.root / "defs")
    monkeypatch.setenv(VARIABLE, postgres.url(database))
    with made.in_force():
        yield made


def test_a_pull_lands_like_a_file(world: WrittenWorld, run: Run) -> None:
    ran = run(*PULL, *DAYS, "--land")
    assert ran.code == 0, ran.said
    assert f"Feed {FEED}: 2 rows for {WEEKS[0]} to {WEEKS[2]} are in" in ran.said
    assert f"2 rows landed about the cycles {WEEKS[0]} to {WEEKS[0]}; 0 are in quarantine." in ran.said
    assert sorted(landed(world, output)["sends"] for output in outputs(world)) == [40.0, 50.0]


def outputs(world: WrittenWorld) -> list[str]:
    """Those that the newest batch is about."""
    rows = world.lake.read(tables.METRIC_LEDGER, NAME).to_pylist()
    newest = max(row["recorded_at"] for row in rows)
    return sorted({row["output_id"] for row in rows if row["recorded_at"] == newest})


def test_without_land_only_the_file_is_written(world: WrittenWorld, run: Run) -> None:
    before = world.bytes_of()
    ran = run(*PULL, *DAYS)
    path = Path(re.findall(r"are in (\S+\.parquet)\.", ran.said)[0])
    assert path.parent == world.paths.inbox / NAME / FEED
    assert world.bytes_of() == before


def test_the_same_pull_twice_is_one_batch(world: WrittenWorld, run: Run) -> None:
    run(*PULL, *DAYS, "--land")
    before = n_batches(world)
    assert "It was landed before; nothing changed." in run(*PULL, *DAYS, "--land").said
    assert n_batches(world) == before


def test_rows_that_changed_at_the_source_restate(
    world: WrittenWorld, run: Run, postgres: Postgres, database: str
) -> None:
    run(*PULL, *DAYS, "--land")
    (first, _) = outputs(world)
    postgres.execute(f"UPDATE mailer SET replies = 9 WHERE tracking_tag = '{first}'", database=database)
    run(*PULL, *DAYS, "--land")
    assert landed(world, first)["replies"] == 9.0


def test_a_correction_that_is_taken_back_is_taken_back(
    world: WrittenWorld, run: Run, postgres: Postgres, database: str
) -> None:
    run(*PULL, *DAYS, "--land")
    (first, _) = outputs(world)
    was = landed(world, first)["replies"]
    for replies in (9, int(was)):
        postgres.execute(f"UPDATE mailer SET replies = {replies} WHERE tracking_tag = '{first}'", database=database)
        assert "rows landed" in run(*PULL, *DAYS, "--land").said
    assert landed(world, first)["replies"] == was


def test_rows_that_cannot_be_used_are_put_aside(
    world: WrittenWorld, run: Run, postgres: Postgres, database: str
) -> None:
    postgres.execute(f"INSERT INTO mailer VALUES ('nobody', '{WEEKS[0]}', 1, 0)", database=database)
    ran = run(*PULL, *DAYS, "--land")
    assert "2 rows landed" in ran.said
    assert "1 are in quarantine" in ran.said


def test_no_rows_are_said_and_nothing_lands(world: WrittenWorld, run: Run) -> None:
    before = n_batches(world)
    ran = run(*PULL, "--from", "2027-01-04", "--to", "2027-01-05", "--land")
    assert (ran.code, n_batches(world)) == (0, before)
    assert "its source has no rows for 2027-01-04 to 2027-01-05, so no file was written" in ran.said


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "2026-01-05'; DROP TABLE mailer; --"])
def test_what_is_no_day_is_refused(
    world: WrittenWorld, run: Run, postgres: Postgres, database: str, value: str
) -> None:
    ran = run(*PULL, "--from", value)
    assert ran.code == 2
    assert "--from: found" in ran.said
    assert "expected a day such as 2026-01-05" in ran.said
    assert postgres.execute("SELECT count(*) FROM mailer", database=database) == [(2,)]


def test_a_feed_of_files_has_nothing_to_pull(world: WrittenWorld, run: Run) -> None:
    ran = run("pull", "--flywheel", NAME, "--feed", "mailer")
    assert ran.code == 2
    assert "Feed mailer: comes in files (mailer/*.csv), so there is nothing to pull" in ran.said


def test_an_unknown_feed_is_refused_with_those_that_can_be_pulled(world: WrittenWorld, run: Run) -> None:
    ran = run("pull", "--flywheel", NAME, "--feed", "letters")
    assert ran.code == 2
    assert f"there is none of that name; there are {FEED}" in ran.said


def test_a_wrong_url_shows_nothing_of_itself(
    world: WrittenWorld, run: Run, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, postgres.url("nowhere", password=f"{PASSWORD}x"))
    ran = run(*PULL, *DAYS)
    assert ran.code == 2
    assert f"cannot connect to the database that {VARIABLE} names" in ran.said
    assert PASSWORD not in ran.out + ran.err


@pytest.mark.parametrize(
    ("today", "first"),
    [
        # measurement_window is 2 here: two cycles and the running one.
        (date(2026, 2, 4), date(2026, 1, 19)),
        (date(2026, 2, 2), date(2026, 1, 19)),
        (date(2026, 1, 7), date(2026, 1, 5)),
        (date(2025, 12, 1), date(2025, 12, 1)),
    ],
)
def test_what_is_pulled_by_itself_is_what_is_still_measured(world: WrittenWorld, today: date, first: date) -> None:
    spec = world.spec.model_copy(update={"measurement_window": 2})
    assert default_days(spec, today) == (first, today)


def test_the_feed_of_these_tests_is_yaml_that_people_can_copy(world: WrittenWorld) -> None:
    assert world.spec.feeds[FEED].sql is not None
    assert ":first_day" in FEED_YAML
