"""Hand-made malformed files, all through the door by which files land: rows, quarantine, or words; nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines.loop.inbox import Landed, find_files, land
from flywheel_pipelines_tests.feedback.hostile_files import HOSTILE
from flywheel_pipelines_tests.feedback.landing_door import AT, FEEDS, Door, check_earlier_files
from flywheel_pipelines_tests.small_world import fingerprint

SECONDS = 30
"""A file that takes longer hangs; the slowest takes about one on an idle machine."""


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door.make(tmp_path / "lake")


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_of_metrics_ends_as_it_should(door: Door, tmp_path: Path, name: str) -> None:
    hostile = HOSTILE[name]
    folder = tmp_path / "inbox"
    folder.mkdir()
    ended = door.hand_in("numbers", hostile.make(folder))
    if hostile.taken is None:
        assert ended.error is not None
        assert hostile.words in ended.error
    else:
        assert (ended.error, ended.n_rows, ended.n_quarantined) == (None, hostile.taken, hostile.aside)
        assert hostile.words in ended.reasons


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_of_another_kind_ends_in_rows_quarantine_or_words(door: Door, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    path = HOSTILE[name].make(folder)
    for feed in FEEDS:
        if feed != "numbers":
            ended = door.hand_in(feed, path)
            assert (ended.error is None) == (ended.n_rows + ended.n_quarantined > 0), feed


def test_there_are_at_least_forty() -> None:
    assert len(HOSTILE) >= 40


def test_control_a_changed_table_is_noticed(door: Door) -> None:
    before = fingerprint(door.lake.root)
    victim = next(path for path in sorted(door.lake.root.rglob("*.parquet")) if "metric_ledger" in str(path))
    data = victim.read_bytes()
    victim.unlink()  # it is a link to the sample that all doors share
    victim.write_bytes(data + b"\0")
    with pytest.raises(AssertionError, match="earlier tables changed"):
        check_earlier_files(before, fingerprint(door.lake.root))


def test_an_inbox_of_tricky_names_lands_what_it_can(door: Door, tmp_path: Path) -> None:
    """What looks through the inbox must survive every name and link that lies in it."""
    inbox = tmp_path / "inbox"
    folder = inbox / "numbers"
    folder.mkdir(parents=True)
    tricky = ("name_with_a_line_break", "name_that_reads_backwards", "name_of_bytes", "name_like_a_statement")
    for name in (*tricky, "link_to_itself", "link_to_nothing", "pipe"):
        HOSTILE[name].make(folder)
    (tmp_path / "elsewhere").mkdir()
    HOSTILE["link_out_of_the_inbox"].make(tmp_path / "elsewhere").rename(folder / "link.csv")
    found = find_files(door.spec, inbox, now=0)
    landed = Landed()
    for file in found.ready:
        land(door.lake, door.spec, file, AT, landed)
    assert (landed.n_files, len(landed.unusable), len(found.refused)) == (1, 3, 3)
    assert (landed.words + "".join(found.refused)).isprintable()
