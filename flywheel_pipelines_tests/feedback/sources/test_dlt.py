"""What a real dlt pipeline has loaded from files, read into one file of the inbox."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.spec import FeedSpec
from flywheel_pipelines_tests.feedback.sources.dlt_pipelines import DATASET, PIPELINE, DltWorld, read_apart
from flywheel_pipelines_tests.feedback.sources.samples import FIRST, LAST, Puller
from flywheel_pipelines_tests.small_world import changed_files, fingerprint


@pytest.fixture(scope="module", params=["duckdb", "filesystem"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DltWorld:
    """A pipeline that has loaded two rows; every load is a process that takes seconds to import dlt."""
    made = DltWorld(tmp_path_factory.mktemp(request.param), request.param)
    made.drop("monday.csv", "a,2026-01-06,40,3", "b,2026-01-07,30,1")
    made.load()
    return made


@pytest.fixture
def world(loaded: DltWorld, monkeypatch: pytest.MonkeyPatch) -> DltWorld:
    """The same, with its configuration in force; read it only."""
    for name, value in loaded.environment.items():
        monkeypatch.setenv(name, value)
    return loaded


@pytest.fixture
def in_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DltWorld:
    """A pipeline of one's own that has loaded one row into DuckDB."""
    made = DltWorld(tmp_path, "duckdb")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    made.drop("monday.csv", "a,2026-01-06,40,3")
    made.load()
    return made


def feed(world: DltWorld, table: str = "mailer", **more: object) -> FeedSpec:
    return FeedSpec.model_validate(
        {
            "kind": "metrics",
            "dlt": {"pipeline": PIPELINE, "pipelines_dir": str(world.pipelines), "table": table},
            "columns": {"date": "day"},
            **more,
        }
    )


def ids(world: DltWorld, folder: Path, first: date = FIRST, last: date = LAST) -> list[str]:
    path = Puller("", folder).pull(feed(world), first, last)
    return pq.read_table(path)["output_id"].to_pylist() if path else []


def test_a_table_is_read_with_its_types_and_without_dlts_own_columns(world: DltWorld, tmp_path: Path) -> None:
    found = Puller("", tmp_path).table(feed(world))
    assert found.to_pylist() == [
        {"output_id": "a", "day": date(2026, 1, 6), "sends": 40, "replies": 3},
        {"output_id": "b", "day": date(2026, 1, 7), "sends": 30, "replies": 1},
    ]


def test_only_the_days_asked_for_are_read(world: DltWorld, tmp_path: Path) -> None:
    assert ids(world, tmp_path, first=date(2026, 1, 7), last=date(2026, 1, 8)) == ["b"]
    assert ids(world, tmp_path, first=date(2026, 1, 1), last=date(2026, 1, 6)) == ["a"]
    assert ids(world, tmp_path, first=date(2026, 2, 1), last=date(2026, 2, 6)) == []


def test_reading_writes_nothing_but_the_file(world: DltWorld, tmp_path: Path) -> None:
    before = fingerprint(world.root)
    ids(world, tmp_path)
    assert changed_files(before, fingerprint(world.root)) == []
    assert list((world.root / "home").iterdir()) == []


WATCHED = """
import os, sys
os.environ.pop("RUNTIME__DLTHUB_TELEMETRY")
os.environ["RUNTIME__DLTHUB_TELEMETRY_ENDPOINT"] = "http://127.0.0.1:9/"
seen = []
reaching_out = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg")
sys.addaudithook(lambda event, args: seen.append(event) if event in reaching_out else None)
from pathlib import Path
{work}
from dlt.common.runtime import anon_tracker
print(seen, anon_tracker._ANON_TRACKER_ENDPOINT)
"""


def test_reading_leaves_the_machine_alone(world: DltWorld, tmp_path: Path) -> None:
    """No telemetry, also where nobody has switched it off, and no look-up of a name."""
    work = (
        "from flywheel_pipelines_tests.feedback.sources.samples import FIRST, LAST, Puller\n"
        "from flywheel_pipelines.spec import FeedSpec\n"
        f"feed = FeedSpec.model_validate_json({feed(world).model_dump_json()!r})\n"
        f"assert Puller('', Path({str(tmp_path)!r})).table(feed).num_rows == 2\n"
    )
    done = read_apart(world, WATCHED.format(work=work))
    assert done.stdout.split() == ["[]", "None"], done.stderr


def test_control_dlt_left_to_itself_would_be_ready_to_report(world: DltWorld) -> None:
    done = read_apart(world, WATCHED.format(work="import dlt; dlt.attach('mail', pipelines_dir='pipelines')"))
    assert "http://127.0.0.1:9/" in done.stdout, done.stderr


def test_a_relative_folder_is_below_the_data_folder(world: DltWorld) -> None:
    relative = FeedSpec.model_validate(
        {"kind": "metrics", "dlt": {"pipeline": PIPELINE, "pipelines_dir": "pipelines", "table": "mailer"}}
    )
    assert Puller("", world.root).table(relative).num_rows == 2


def test_a_table_that_is_not_there_is_refused_with_those_that_are(world: DltWorld, tmp_path: Path) -> None:
    with pytest.raises(FlywheelError, match=r"pipeline mail: has no table 'letters'; there are mailer"):
        Puller("", tmp_path).pull(feed(world, "letters"))


def test_a_pipeline_that_never_ran_is_refused_and_none_is_made(world: DltWorld, tmp_path: Path) -> None:
    before = fingerprint(world.root)
    never = feed(world).model_copy(update={"dlt": feed(world).dlt.model_copy(update={"pipeline": "post"})})  # type: ignore[union-attr]
    with pytest.raises(FlywheelError, match=r"no pipeline of that name below .*pipelines; there are mail\."):
        Puller("", tmp_path).pull(never)
    assert changed_files(before, fingerprint(world.root)) == []


# -- what was loaded later -------------------------------------------------------------------------------------------
def test_an_aborted_load_does_not_count(in_duckdb: DltWorld) -> None:
    in_duckdb.drop("tuesday.csv", "z,2026-01-08,20,0")
    in_duckdb.load("aborts")
    assert "z" in column(in_duckdb, "output_id")
    assert ids(in_duckdb, in_duckdb.root) == ["a"]


def test_an_incremental_load_adds_its_rows(in_duckdb: DltWorld) -> None:
    in_duckdb.drop("tuesday.csv", "z,2026-01-08,20,0")
    in_duckdb.load()
    assert ids(in_duckdb, in_duckdb.root) == ["a", "z"]


def column(world: DltWorld, name: str) -> list[str]:
    """What stands in the destination's table, completed or not."""
    with duckdb.connect(str(world.root / "mail.duckdb"), read_only=True) as connection:
        return [row[0] for row in connection.execute(f"SELECT {name} FROM {DATASET}.mailer").fetchall()]


def test_days_in_text_are_read_by_the_feeds_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    german = DltWorld(tmp_path, "duckdb")
    for name, value in german.environment.items():
        monkeypatch.setenv(name, value)
    german.drop("monday.csv", "a,06.01.2026,40,3", "b,07.02.2026,30,1", "c,soon,1,0")
    german.load()
    found = Puller("", german.root).table(feed(german, dates=["%d.%m.%Y"]))
    # What no format reads stays in, for the quarantine to say so.
    assert found["output_id"].to_pylist() == ["a", "c"]


def test_a_table_of_nested_values_is_refused(in_duckdb: DltWorld) -> None:
    in_duckdb.load("nested")
    with pytest.raises(FlywheelError, match=r"does not say by which load its rows came .* Name one of letters, mailer"):
        Puller("", in_duckdb.root).pull(feed(in_duckdb, "letters__parts"))


def test_a_destination_that_is_gone_is_an_error_for_people(in_duckdb: DltWorld) -> None:
    (in_duckdb.root / "mail.duckdb").unlink()
    with pytest.raises(FlywheelError, match=r"dlt said: .* Nothing was pulled") as caught:
        Puller("", in_duckdb.root).pull(feed(in_duckdb))
    assert caught.value.__context__ is None
    assert not (in_duckdb.root / "mail.duckdb").exists()
