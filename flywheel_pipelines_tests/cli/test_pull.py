"""`flywheel pull`, from a real PostgreSQL into the ledgers."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from flywheel_pipelines.cli import shared
from flywheel_pipelines.feedback import landing
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.pulling import default_days
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.corrections import settle, ticking
from flywheel_pipelines_tests.loop.histories import killed_before
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, postgres
from flywheel_pipelines_tests.pulled_world import (
    FEED,
    FEED_YAML,
    VARIABLE,
    landed,
    measured,
    n_batches,
    outputs_of,
    with_feeds,
)
from flywheel_pipelines_tests.written_world import NAME, SETTINGS, WEEKS, WrittenWorld

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


# -- a failure in the middle -----------------------------------------------------------------------------------------
IDS_YAML = """
ids:
  kind: outputs
  sql: {url_variable: WAREHOUSE_URL, query: "SELECT * FROM ids WHERE :first_day <= :last_day"}
"""
PULL_IDS = ("pull", "--flywheel", NAME, "--feed", "ids", *DAYS, "--land")


@pytest.fixture
def waiting(world: WrittenWorld, postgres: Postgres, database: str) -> str:
    """A row by a platform's id has landed before anybody said whose it is; the database says so. Returns the output."""
    external = {**SETTINGS["feeds"]["mailer"], "join": "external_id"}
    world.configure(feeds={**SETTINGS["feeds"], "mailer": external, **yaml.safe_load(IDS_YAML)})
    path = world.root / "late.csv"
    path.write_text(f"external_id,day,sends,replies\nc-17,{WEEKS[0]},53,7\n", encoding="utf-8")
    batch, _ = land_file(world.lake, world.spec, "mailer", path, recorded_at=datetime.now(UTC))
    assert batch.n_quarantined == 1
    output = outputs_of(world)[0]
    postgres.execute(
        "CREATE TABLE ids (external_id text, output_id text)",
        f"INSERT INTO ids VALUES ('c-17', '{output}')",
        database=database,
    )
    return output


@pytest.mark.parametrize("rename", range(6))
def test_a_pull_that_was_killed_anywhere_is_done_once_by_the_next(
    world: WrittenWorld, waiting: str, run: Run, rename: int
) -> None:
    """The renames: the pulled file, its rows, its batch; then the rows that waited, their events, their batch."""
    n_before = n_batches(world)
    with killed_before(rename) as kill:
        run(*PULL_IDS)
    assert kill.came
    assert n_batches(world) < n_before + 2
    said = run(*PULL_IDS).said
    assert "1 row(s) of the quarantine found their output." in said
    assert ("1 rows landed" in said) == (rename <= 2)
    assert (n_batches(world), landed(world, waiting)["sends"]) == (n_before + 2, 53.0)
    assert "It was landed before; nothing changed." in run(*PULL_IDS).said
    assert n_batches(world) == n_before + 2
    assert len(list((world.paths.inbox / NAME / "ids").glob("*.parquet"))) == 1


def test_the_kills_are_in_every_place_that_there_is(world: WrittenWorld, waiting: str, run: Run) -> None:
    with killed_before(None) as kill:
        assert run(*PULL_IDS).code == 0
    assert (kill.came, kill.n_renames) == (False, 6)


def test_a_pull_that_failed_to_land_leaves_its_file_to_the_sensor(
    world: WrittenWorld, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    n_before = n_batches(world)
    with monkeypatch.context() as patch:
        patch.setattr(landing, "land_file", full)
        ran = run(*PULL, *DAYS, "--land")
    assert ran.code == 2
    assert "No space left on device" in ran.said
    for path in (world.paths.inbox / NAME / FEED).glob("*.parquet"):
        settle(path)
    with ticking(world) as ticks:
        assert "1 file landed" in ticks.requested().tags["landed"]
        assert n_batches(world) == n_before + 1
    assert "It was landed before; nothing changed." in run(*PULL, *DAYS, "--land").said
