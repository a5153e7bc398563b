"""Readers during a write, and a SIGKILL at any moment, never see a torn partition; in-place writing fails both."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import BRIEFS
from flywheel_pipelines_tests.lake.endless_writer import CYCLE, ROWS

KILLS = 30
READS = 60


def start_writer(folder: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flywheel_pipelines_tests.lake.endless_writer", str(folder), how]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def is_whole(folder: Path) -> bool:
    """Whether the partition can be read and all of it is of one generation."""
    try:
        found = Lake(folder).read(BRIEFS, "f", CYCLE, columns=["segment", "n_candidates"])
    except Exception:  # whatever the engine raises on a torn file
        return False
    return found.num_rows == ROWS and len(set(found.column("segment").to_pylist())) == 1


def torn_after_kills(folder: Path, how: str, kills: int) -> int:
    moments = random.Random(7)
    torn = 0
    for _ in range(kills):
        writer = start_writer(folder, how)
        time.sleep(moments.uniform(0, 0.12))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        torn += not is_whole(folder)
    return torn


def torn_while_writing(folder: Path, how: str, reads: int) -> int:
    writer = start_writer(folder, how)
    try:
        return sum(not is_whole(folder) for _ in range(reads))
    finally:
        writer.kill()
        writer.wait()


@pytest.mark.slow
def test_thirty_kills_leave_no_torn_partition(tmp_path: Path) -> None:
    assert torn_after_kills(tmp_path, "atomic", KILLS) == 0


@pytest.mark.slow
def test_the_same_kills_break_a_naive_in_place_writer(tmp_path: Path) -> None:
    assert torn_after_kills(tmp_path, "in_place", KILLS) > 0


def test_readers_never_see_a_partition_being_written(tmp_path: Path) -> None:
    assert torn_while_writing(tmp_path, "atomic", READS) == 0


def test_readers_do_see_a_naive_writer_at_work(tmp_path: Path) -> None:
    assert torn_while_writing(tmp_path, "in_place", READS) > 0
