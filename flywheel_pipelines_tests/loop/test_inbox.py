"""Which files of the inbox are looked at, in which order, and which are refused."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop import inbox
from flywheel_pipelines.loop.inbox import (
    SETTLE_SECONDS,
    InboxFile,
    Landed,
    feed_of,
    find_files,
    is_new,
    land,
    marks_of,
    patterns,
)
from flywheel_pipelines.loop.landing_desk import LandingDesk
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines_tests.loop.histories import killed_before
from flywheel_pipelines_tests.written_world import NAME, SETTINGS, WEEKS, WrittenWorld, later

NOW = 1_800_000_000.0
LEADS, MAILER = "leads", "mailer"


def spec_with(**feeds: dict) -> FlywheelSpec:
    return parse_spec({**SETTINGS, "feeds": {**SETTINGS["feeds"], **feeds}}, "test")


SPEC = spec_with()


def put(inbox: Path, name: str, *, age: float = 60.0, text: str = "a\n") -> Path:
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (NOW - age, NOW - age))
    return path


def ready(inbox: Path, spec: FlywheelSpec = SPEC) -> list[tuple[str, str]]:
    return [(file.feed, file.name) for file in find_files(spec, inbox, NOW).ready]


def test_files_of_every_feed_are_found_by_its_pattern(tmp_path: Path) -> None:
    put(tmp_path, "leads/a.csv")
    put(tmp_path, "mailer/b.csv")
    put(tmp_path, "mailer/b.txt")
    put(tmp_path, "other/c.csv")
    assert ready(tmp_path) == [(LEADS, "leads/a.csv"), (MAILER, "mailer/b.csv")]


@pytest.fixture
def waiting(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    """A measurement by a platform's id came before anybody said whose id it is; the file that says so lies there."""
    world = played.copy_to(tmp_path / "world")
    ids = {"kind": "outputs", "path": "ids/*.csv"}
    world.configure(
        feeds={
            **SETTINGS["feeds"],
            "mailer": {**SETTINGS["feeds"]["mailer"], "join": "external_id", "hold_implausible": False},
            "ids": ids,
        }
    )
    put(tmp_path, "mailer/late.csv", text=f"external_id,day,sends,replies\nc-17,{WEEKS[0]},50,4\n")
    put(tmp_path, "ids/ids.csv", text=f"external_id,output_id\nc-17,{first_output(world)}\n")
    measured = Landed()
    land(world.lake, world.spec, the_file(world, tmp_path, "mailer"), later(WEEKS[5]), measured)
    assert (measured.n_rows, measured.n_quarantined) == (0, 1)
    return world


def first_output(world: WrittenWorld) -> str:
    return world.rows(tables.PUBLISHED_OUTPUTS, WEEKS[0])[0]["output_id"]


def the_file(world: WrittenWorld, inbox: Path, feed: str) -> InboxFile:
    (file,) = [file for file in find_files(world.spec, inbox, NOW).ready if file.feed == feed]
    return file


def assert_its_row_found_its_output_once(world: WrittenWorld) -> None:
    landed = [row for row in world.rows(tables.METRIC_LEDGER, WEEKS[0]) if row["recorded_at"] >= later(WEEKS[5])]
    assert {(row["output_id"], row["measure"]): row["value"] for row in landed} == {
        (first_output(world), "sends"): 50.0,
        (first_output(world), "replies"): 4.0,
    }
    assert len(landed) == 2
    assert world.lake.read(tables.QUARANTINE_EVENTS, NAME).num_rows == 1


def test_a_file_of_outputs_lets_rows_that_waited_find_theirs(waiting: WrittenWorld, tmp_path: Path) -> None:
    named = Landed()
    at = later(WEEKS[5]) + timedelta(hours=1)
    land(waiting.lake, waiting.spec, the_file(waiting, tmp_path, "ids"), at, named)
    assert named.n_matched == 1
    assert "1 row of the quarantine found" in named.words
    assert_its_row_found_its_output_once(waiting)


@pytest.mark.parametrize("rename", range(5))
def test_rows_find_their_output_once_wherever_a_kill_came(waiting: WrittenWorld, tmp_path: Path, rename: int) -> None:
    """Among others between the batch of outputs and the batch of the rows that waited for them."""
    file, at = the_file(waiting, tmp_path, "ids"), later(WEEKS[5]) + timedelta(hours=1)
    n_before = waiting.lake.read(tables.BATCHES, NAME).num_rows
    with killed_before(rename) as kill:
        land(waiting.lake, waiting.spec, file, at, Landed())
    assert kill.came
    assert waiting.lake.read(tables.BATCHES, NAME).num_rows < n_before + 2
    for hour in (2, 3):
        assert land(waiting.lake, waiting.spec, file, at + timedelta(hours=hour), Landed()) == file.mark()
        assert waiting.lake.read(tables.BATCHES, NAME).num_rows == n_before + 2
    assert_its_row_found_its_output_once(waiting)


def test_rows_that_a_person_settles_at_the_same_moment_do_not_stop_the_inbox(
    waiting: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settled(*_: object) -> int:
        raise FlywheelError("row 1 is not open any more")

    file, said = the_file(waiting, tmp_path, "ids"), Landed()
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "matched_by", settled)
        assert land(waiting.lake, waiting.spec, file, later(WEEKS[6]), said) is None, "so it is tried again"
    assert "are tried again: row 1 is not open any more" in said.words
    land(waiting.lake, waiting.spec, file, later(WEEKS[6]), Landed())
    assert_its_row_found_its_output_once(waiting)


def test_no_inbox_is_an_empty_inbox(tmp_path: Path) -> None:
    assert ready(tmp_path / "none") == []


def test_a_feed_with_a_source_of_its_own_may_be_handed_files(tmp_path: Path) -> None:
    sql = {"url_variable": "CRM_URL", "query": "select 1"}
    spec = spec_with(crm={"kind": "metrics", "sql": sql})
    put(tmp_path, f"{NAME}/crm/export.csv")
    assert patterns(spec)["crm"] == f"{NAME}/crm/*"
    assert ready(tmp_path, spec) == [("crm", f"{NAME}/crm/export.csv")]


def test_briefs_and_outputs_come_first_and_older_changes_before_newer_ones(tmp_path: Path) -> None:
    put(tmp_path, "mailer/new.csv", age=10)
    put(tmp_path, "mailer/old.csv", age=90)
    put(tmp_path, "leads/newest.csv", age=6)
    assert [name for _, name in ready(tmp_path)] == ["leads/newest.csv", "mailer/old.csv", "mailer/new.csv"]


@pytest.mark.parametrize(
    "name", [".hidden.csv", ".writing-abc.csv", "export.csv.part", "export.csv.tmp", "export.csv.crdownload", "a.csv~"]
)
def test_files_in_the_making_are_left_alone(tmp_path: Path, name: str) -> None:
    spec = spec_with(mailer={"kind": "metrics", "path": "mailer/*", "columns": {"date": "day"}})
    put(tmp_path, f"mailer/{name}")
    assert ready(tmp_path, spec) == []


def test_control_the_same_pattern_finds_a_finished_one(tmp_path: Path) -> None:
    spec = spec_with(mailer={"kind": "metrics", "path": "mailer/*", "columns": {"date": "day"}})
    put(tmp_path, "mailer/export.csv")
    assert len(ready(tmp_path, spec)) == 1


@pytest.mark.parametrize(("age", "is_ready"), [(SETTLE_SECONDS - 1, False), (SETTLE_SECONDS + 1, True)])
def test_a_file_waits_until_it_has_been_left_alone(tmp_path: Path, age: float, is_ready: bool) -> None:
    put(tmp_path, "mailer/a.csv", age=age)
    found = find_files(SPEC, tmp_path, NOW)
    assert (len(found.ready), len(found.waiting)) == ((1, 0) if is_ready else (0, 1))


def test_folders_and_pipes_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "mailer" / "folder.csv").mkdir(parents=True)
    os.mkfifo(tmp_path / "mailer" / "pipe.csv")
    assert ready(tmp_path) == []


# -- links -----------------------------------------------------------------------------------------------------------
def test_a_link_out_of_the_inbox_is_refused_in_words(tmp_path: Path) -> None:
    inbox, outside = tmp_path / "inbox", put(tmp_path, "secret.csv")
    (inbox / "mailer").mkdir(parents=True)
    (inbox / "mailer" / "a.csv").symlink_to(outside)
    found = find_files(SPEC, inbox, NOW)
    assert found.ready == []
    (words,) = found.refused
    assert "mailer/a.csv (feed mailer) leads out of the inbox" in words
    assert "Put the file itself into the inbox." in words


def test_a_linked_folder_out_of_the_inbox_is_refused_as_well(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    put(tmp_path, "outside/a.csv")
    inbox.mkdir()
    (inbox / "mailer").symlink_to(tmp_path / "outside", target_is_directory=True)
    found = find_files(SPEC, inbox, NOW)
    assert (found.ready, len(found.refused)) == ([], 1)


def test_a_pattern_that_climbs_out_of_the_inbox_finds_nothing(tmp_path: Path) -> None:
    put(tmp_path, "outside/a.csv")
    (tmp_path / "inbox").mkdir()
    spec = spec_with(mailer={"kind": "metrics", "path": "../outside/*.csv"})
    found = find_files(spec, tmp_path / "inbox", NOW)
    assert (found.ready, len(found.refused)) == ([], 1)


def test_an_absolute_pattern_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "outside/a.csv")
    spec = spec_with(mailer={"kind": "metrics", "path": str(tmp_path / "outside" / "*.csv")})
    found = find_files(spec, tmp_path / "inbox", NOW)
    assert found.ready == []
    assert "is not relative to the inbox" in found.refused[0]


def test_control_a_link_within_the_inbox_is_read(tmp_path: Path) -> None:
    path = put(tmp_path, "kept/a.csv")
    (tmp_path / "mailer").mkdir()
    (tmp_path / "mailer" / "a.csv").symlink_to(path)
    assert ready(tmp_path) == [(MAILER, "mailer/a.csv")]


# -- remembering -----------------------------------------------------------------------------------------------------
def test_a_file_is_new_until_it_is_remembered_and_again_when_it_changes(tmp_path: Path) -> None:
    put(tmp_path, "mailer/a.csv")
    (file,) = find_files(SPEC, tmp_path, NOW).ready
    assert is_new(file, SPEC, set())
    assert not is_new(file, SPEC, {file.mark()})
    put(tmp_path, "mailer/a.csv", text="other\n")
    (changed,) = find_files(SPEC, tmp_path, NOW).ready
    assert is_new(changed, SPEC, {file.mark()})
    assert file.mark() in marks_of([file], SPEC)
    assert file.mark() not in marks_of([changed], SPEC)


# -- which feed a file belongs to ------------------------------------------------------------------------------------
def test_the_feed_of_a_file_is_read_from_the_right_end_of_its_path(tmp_path: Path) -> None:
    assert feed_of(SPEC, tmp_path / "anywhere" / "mailer" / "correction.csv") == MAILER


@pytest.mark.parametrize(("path", "said"), [("x/correction.csv", "no feed"), ("mailer/a.csv", "more than one feed")])
def test_a_file_that_fits_none_or_several_feeds_is_refused_with_the_feeds_there_are(path: str, said: str) -> None:
    spec = spec_with(again={"kind": "metrics", "path": "mailer/*.csv"})
    with pytest.raises(FlywheelError, match=said) as caught:
        feed_of(spec, Path("/data") / path)
    assert "mailer (mailer/*.csv)" in str(caught.value)
    assert "--feed" in str(caught.value)


# -- the desk --------------------------------------------------------------------------------------------------------
def files(*names: str) -> list[InboxFile]:
    return [InboxFile(MAILER, Path(name), name, 1, NOW) for name in names]


def test_the_desk_lands_in_order_and_adds_up() -> None:
    seen: list[str] = []

    def work(file: InboxFile, landed: Landed) -> str:
        seen.append(file.name)
        landed.n_files += 1
        return file.mark()

    progress = LandingDesk().land(files("a", "b"), work, 10)
    assert seen == ["a", "b"]
    assert (progress.landed.n_files, len(progress.marks), progress.n_left) == (2, 2, 0)


def test_a_file_that_takes_long_goes_on_and_is_not_begun_twice() -> None:
    desk, begun = LandingDesk(), []

    def work(file: InboxFile, landed: Landed) -> str:
        begun.append(file.name)
        time.sleep(0.5)
        return file.mark()

    first = desk.land(files("slow", "next"), work, 0.05)
    assert first.reading is not None
    assert (first.reading.name, first.marks, first.n_left) == ("slow", set(), 1)
    second = desk.land(files("slow", "next"), work, 10)
    assert (len(second.marks), second.reading, begun) == (2, None, ["slow", "next"])


def test_an_error_of_a_file_reaches_whoever_asked_and_frees_the_desk() -> None:
    desk = LandingDesk()

    def fail(*_: object) -> str:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        desk.land(files("a"), fail, 10)
    assert desk.land(files("a"), lambda file, _: file.mark(), 10).marks
