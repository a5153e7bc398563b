"""What killed writes leave is removed by the next write to its folder, and what somebody is writing never is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from flywheel_pipelines.lake.writing import (
    ABANDONED_AFTER,
    TEMPORARY_PREFIX,
    remove_abandoned,
    replace_atomically,
    write_atomically,
)

TABLE = pa.table({"a": [1]})
WRITER = """
import sys
from pathlib import Path
from flywheel_pipelines.lake.writing import replace_atomically

def fill(handle):
    handle.write(b"half")
    handle.flush()
    print("writing", flush=True)
    sys.stdin.readline()

replace_atomically(Path(sys.argv[1]), fill)
"""


def aged(path: Path, seconds: float = ABANDONED_AFTER + 60) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def unfinished(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{TEMPORARY_PREFIX}*"))


@pytest.fixture
def writer(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process in the middle of a write to the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "part.parquet")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def test_a_write_removes_what_a_killed_write_left_in_its_folder(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    writer.kill()
    writer.communicate()
    [left] = unfinished(tmp_path)
    aged(left)
    write_atomically(tmp_path / "part.parquet", TABLE)
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]


def test_what_another_process_is_writing_stays_however_old_it_is(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    [under_way] = unfinished(tmp_path)
    aged(under_way)
    assert remove_abandoned(tmp_path) == []
    writer.communicate("go on\n")
    assert writer.returncode == 0
    assert (tmp_path / "part.parquet").read_bytes() == b"half"


def test_a_young_file_that_nobody_holds_stays(tmp_path: Path) -> None:
    young = tmp_path / f"{TEMPORARY_PREFIX}1"
    young.write_bytes(b"")
    aged(young, ABANDONED_AFTER - 60)
    write_atomically(tmp_path / "part.parquet", TABLE)
    assert unfinished(tmp_path) == [young]
    assert remove_abandoned(tmp_path.joinpath("nowhere")) == []
    assert remove_abandoned(aged(young).parent) == [young.name]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"before")

    def fail(handle: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_atomically(path, fail)
    assert path.read_bytes() == b"before" and unfinished(tmp_path) == []
