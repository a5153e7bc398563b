"""What is remembered of an inbox: the cursor stays small, and a list that is gone costs reading and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from flywheel_pipelines.lake.writing import TEMPORARY_PREFIX
from flywheel_pipelines.loop.seen import KEPT_SECONDS, SeenFiles

MARKS = {f"{number:016x}" for number in range(5_000)}


@pytest.fixture
def seen(tmp_path: Path) -> SeenFiles:
    return SeenFiles(tmp_path / "seen")


def lists(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "seen").iterdir()}


def leave_alone(path: Path, seconds: float = 2 * KEPT_SECONDS) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("marks", [set(), {"0" * 16}, MARKS])
def test_a_cursor_stands_for_its_marks_and_is_as_long_for_any_number(seen: SeenFiles, marks: set[str]) -> None:
    cursor = seen.keep(marks)
    assert len(cursor) == 64
    assert seen.recall(cursor).marks == marks
    assert not seen.recall(cursor).is_lost


def test_no_cursor_stands_for_nothing(seen: SeenFiles) -> None:
    assert seen.recall(None) == seen.recall("")
    assert (seen.recall(None).marks, seen.recall(None).is_lost) == (frozenset(), False)


def test_the_same_marks_have_the_same_cursor_and_one_list(seen: SeenFiles, tmp_path: Path) -> None:
    assert seen.keep(["b", "a"]) == seen.keep({"a", "b"})
    assert len(lists(tmp_path)) == 1


def test_a_cursor_that_is_a_list_itself_is_read(seen: SeenFiles) -> None:
    """Cursors of before there were files for it: an upgrade reads nothing again."""
    assert seen.recall(json.dumps(sorted(MARKS))).marks == MARKS


@pytest.mark.parametrize("cursor", ["[", "no such list", "..", "a" * 5_000])
def test_a_cursor_that_says_nothing_is_a_loss_and_no_error(seen: SeenFiles, cursor: str) -> None:
    seen.keep(MARKS)
    assert (seen.recall(cursor).marks, seen.recall(cursor).is_lost) == (frozenset(), True)


@pytest.mark.parametrize("damage", [b"", b"0000", b"\xff\xfe"])
def test_a_damaged_list_is_a_lost_one_and_is_written_anew(seen: SeenFiles, tmp_path: Path, damage: bytes) -> None:
    cursor = seen.keep(MARKS)
    (tmp_path / "seen" / cursor).write_bytes(damage)
    assert seen.recall(cursor).is_lost
    assert seen.keep(MARKS) == cursor
    assert seen.recall(cursor).marks == MARKS


def test_lists_that_no_tick_used_for_a_while_are_removed(seen: SeenFiles, tmp_path: Path) -> None:
    old, recent = seen.keep({"old"}), seen.keep({"recent"})
    leave_alone(tmp_path / "seen" / old)
    (tmp_path / "seen" / f"{TEMPORARY_PREFIX}left").touch()
    leave_alone(tmp_path / "seen" / f"{TEMPORARY_PREFIX}left")
    new = seen.keep({"new"})
    assert lists(tmp_path) == {recent, new}


def test_a_list_that_is_recalled_is_in_use(seen: SeenFiles, tmp_path: Path) -> None:
    """A sensor that slept for long may be killed before its next cursor is kept, and comes back with this one."""
    slept = seen.keep({"slept"})
    leave_alone(tmp_path / "seen" / slept)
    assert seen.recall(slept).marks == {"slept"}
    seen.keep({"new"})
    assert seen.recall(slept).marks == {"slept"}


def test_a_list_that_stays_the_same_is_in_use(seen: SeenFiles, tmp_path: Path) -> None:
    same = seen.keep({"same"})
    leave_alone(tmp_path / "seen" / same)
    assert seen.keep({"same"}) == same
    SeenFiles(tmp_path / "seen").keep({"another sensor's"})
    assert seen.recall(same).marks == {"same"}


def test_a_kill_while_a_list_is_written_leaves_the_earlier_ones(
    seen: SeenFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for a kill."""

    def die(*_: object) -> None:
        raise Killed

    before = seen.keep({"before"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            seen.keep({"before", "after"})
    assert lists(tmp_path) == {before}
    assert seen.recall(before).marks == {"before"}
