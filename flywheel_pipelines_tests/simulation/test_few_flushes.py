"""SQLite files that are flushed rarely while a season is played, and hold everything all the same."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
import sqlalchemy as db
from sqlalchemy.pool import NullPool

from flywheel_pipelines.simulation import few_flushes as module
from flywheel_pipelines.simulation.few_flushes import few_flushes


def add_row(path: Path) -> int:
    """Write a row as Dagster does, with a connection for itself; returns SQLite's level of synchronous."""
    engine = db.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        connection.execute(db.text("PRAGMA journal_mode=WAL"))
        connection.execute(db.text("CREATE TABLE IF NOT EXISTS events (n INTEGER)"))
        connection.execute(db.text("INSERT INTO events VALUES (1)"))
        return connection.execute(db.text("PRAGMA synchronous")).scalar_one()


def rows_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


@pytest.mark.parametrize(("rarely", "level"), [(True, 1), (False, 2)])
def test_the_log_is_kept_between_connections(tmp_path: Path, rarely: bool, level: int) -> None:
    """The control: left alone, SQLite empties its log whenever a connection is closed."""
    path = tmp_path / "runs.db"
    with few_flushes() if rarely else nullcontext():
        assert [add_row(path) for _ in range(3)] == [level] * 3
        assert log_of(path).exists() is rarely
        assert rows_in(path) == 3
    assert not log_of(path).exists()
    assert rows_in(path) == 3


def test_afterwards_everything_is_as_it_was(tmp_path: Path) -> None:
    with few_flushes():
        pass
    assert add_row(tmp_path / "runs.db") == 2


def test_only_the_last_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES", 2)
    paths = [tmp_path / f"{number}.db" for number in range(4)]
    with few_flushes():
        for path in paths:
            add_row(path)  # makes the file, which has no log before
            add_row(path)
        assert [log_of(path).exists() for path in paths] == [False, False, True, True]


def test_a_kill_loses_no_row_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from flywheel_pipelines_tests.simulation.test_few_flushes import add_row, few_flushes\n"
        "with few_flushes():\n"
        "    for _ in range(50): add_row(Path(sys.argv[1]))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert rows_in(path) == 50
