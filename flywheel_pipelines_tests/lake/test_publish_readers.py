"""Readers of the published file while it is published 200 times.

A publish is timed by dbt and by the views of all tables, and readers meet only its last step; so these publishes make a
small file by SQL in the place of dbt, over a lake of two tables. All else is as always: the snapshot, the verdict of
the audit, the swap. `test_publish.py` has a reader beside publishes by dbt. What a generation is stands in each table
of the file, so a reader that saw two of them at once would say so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from flywheel_pipelines.lake import publish as publishing
from flywheel_pipelines.lake import snapshot
from flywheel_pipelines.lake.dbt import NodeOutcome
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.tables import BATCHES, BRIEFS
from flywheel_pipelines.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PUBLISHES = 200
COMMAND_LINE = Path(sys.executable).with_name("duckdb")
ROWS = 20_000
QUESTION = "select (select min(g) from left_side), (select max(g) from right_side), (select count(*) from left_side)"
"""Asked in one statement: the generation by two tables, and how many rows there are."""
OPENING = {
    "native": f"""
import duckdb
def ask(path):
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute("{QUESTION}").fetchone()
""",
    "adbc": f"""
import adbc_driver_duckdb, adbc_driver_manager, adbc_driver_manager.dbapi
from adbc_driver_duckdb import driver_path
def ask(path):
    options = {{"driver": driver_path(), "entrypoint": "duckdb_adbc_init", "path": path, "access_mode": "read_only"}}
    database = adbc_driver_manager.AdbcDatabase(**options)
    connection = adbc_driver_manager.dbapi.Connection(database, adbc_driver_manager.AdbcConnection(database))
    with connection, connection.cursor() as cursor:
        cursor.execute("{QUESTION}")
        return cursor.fetchone()
""",
    "command line": f"""
import json, subprocess
def ask(path):
    done = subprocess.run(["{COMMAND_LINE}", "-readonly", "-json", path, "{QUESTION}"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return tuple(json.loads(done.stdout)[0].values())
""",
    "kept open": f"""
import duckdb
kept = []
def ask(path):
    kept or kept.append(duckdb.connect(path, read_only=True))
    return kept[0].execute("{QUESTION}").fetchone()
""",
}
"""Ways to open and ask; each program defines `ask(path)`, which gives the answer or raises."""
LOOP = """
import json, sys, pathlib, time
path, stop = sys.argv[1:]
answers, errors = [], []
print("reading", flush=True)
while True:
    last = pathlib.Path(stop).exists()
    try:
        answers.append([int(value) for value in ask(path)])
    except Exception as error:
        errors.append(str(error))
    if len(answers) + len(errors) == 1:
        print("asked", flush=True)
    if last or len(errors) > 20:
        break
    time.sleep(0.1)
print(json.dumps([answers, errors]))
"""
WRITER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
connection.execute("insert into left_side select -1 from range(5)")
connection.execute("create table scribbled as select 1 as g")
print("written", flush=True)
sys.stdin.readline()
"""


class SmallBuild:
    """Stands in for dbt: two tables that hold the number of the publish, and one model that was built."""

    def __init__(self) -> None:
        self.generation = 0

    def __call__(self, _project: Path, build_file: Path, _target: Path, **_options: object) -> list[NodeOutcome]:
        """Make the tables of the next generation."""
        self.generation += 1
        with contextlib.closing(duckdb.connect(str(build_file))) as connection:
            for name in ("left_side", "right_side"):
                connection.execute(f"create table {name} as select {self.generation} as g from range({ROWS})")
        return [NodeOutcome("left_side", "model", "pass", (), 0, "")]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    """A data folder whose publishes are small, with the first generation published."""
    monkeypatch.setattr(publishing, "dbt_build", SmallBuild())
    # Every one from the beginning: its tables are not made by cycle.
    monkeypatch.setattr(publishing, "find_increment", lambda _published, _state: None)
    monkeypatch.setattr(snapshot, "_BATCHES_FIRST", [BATCHES, BRIEFS])
    made = DataPaths(tmp_path)
    publish(made)
    return made


@contextlib.contextmanager
def reading(way: str, paths: DataPaths) -> Iterator[subprocess.Popen[str]]:
    """A reader in a loop, in a process of its own, that has asked once."""
    command = [sys.executable, "-c", OPENING[way] + LOOP, str(paths.published_file), str(paths.root / "stop")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as reader:
        assert reader.stdout is not None
        try:
            assert [reader.stdout.readline().strip(), reader.stdout.readline().strip()] == ["reading", "asked"]
            yield reader
        finally:
            # Whatever went wrong, nobody waits for a reader that goes on.
            (paths.root / "stop").touch()


def heard(reader: subprocess.Popen[str]) -> tuple[list[list[int]], list[str]]:
    """All that a reader was answered, and its errors."""
    said, _ = reader.communicate(timeout=60)
    answers, errors = json.loads(said.splitlines()[-1])
    return answers, errors


def ways() -> list[str]:
    """The ways to read that this machine has."""
    has_adbc = importlib.util.find_spec("adbc_driver_manager") and importlib.util.find_spec("adbc_driver_duckdb")
    absent = {"adbc": not has_adbc, "command line": not COMMAND_LINE.exists()}
    return [way for way in OPENING if not absent.get(way)]


def test_readers_in_a_loop_never_fail_and_never_see_two_generations(paths: DataPaths) -> None:
    with contextlib.ExitStack() as stack:
        readers = {way: stack.enter_context(reading(way, paths)) for way in ways()}
        for _ in range(PUBLISHES):
            publish(paths)
        (paths.root / "stop").touch()
        said = {way: heard(reader) for way, reader in readers.items()}
    assert {way: errors for way, (_, errors) in said.items() if errors} == {}
    for way, (answers, _) in said.items():
        assert all(left == right and rows == ROWS for left, right, rows in answers), way
        generations = [left for left, _, _ in answers]
        assert generations == sorted(generations), way
        # Each looked again after the last publish; who kept the first file open has it still.
        assert generations[-1] == (1 if way == "kept open" else PUBLISHES + 1), way
    # Control: the readers did see the file change under them.
    assert len({left for left, _, _ in said["native"][0]}) > 10


@pytest.mark.parametrize("writes_first", [False, True], ids=["writes after the publish", "wrote before it"])
def test_whoever_writes_into_an_old_version_reaches_no_reader_of_the_new_one(
    paths: DataPaths, writes_first: bool
) -> None:
    command = [sys.executable, "-c", WRITER, str(paths.published_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == "open"
        for step in ("write", "publish") if writes_first else ("publish", "write"):
            if step == "publish":
                publish(paths)
            else:
                writer.stdin.write("\n")
                writer.stdin.flush()
                assert writer.stdout.readline().strip() == "written"
        assert seen(paths) == (["left_side", "right_side"], (2, 2, ROWS))
        writer.communicate("\n", timeout=30)
    assert seen(paths) == (["left_side", "right_side"], (2, 2, ROWS))
    publish(paths)
    assert seen(paths) == (["left_side", "right_side"], (3, 3, ROWS))


def seen(paths: DataPaths) -> tuple[list[str], tuple[int, ...]]:
    """The tables that a reader finds now, and what it is answered."""
    with contextlib.closing(duckdb.connect(str(paths.published_file), read_only=True)) as connection:
        tables = connection.execute("select table_name from duckdb_tables() order by 1").fetchall()
        return [name for (name,) in tables], connection.execute(QUESTION).fetchall()[0]


def test_control_a_file_replaced_in_its_place_takes_over_what_is_written_into_the_old_one(tmp_path: Path) -> None:
    """Why the name is a link: were the file itself replaced, a client's log would be taken for the new file's."""
    first, second = tmp_path / "flywheel.duckdb", tmp_path / "next.duckdb"
    for generation, path in enumerate((first, second), start=1):
        with contextlib.closing(duckdb.connect(str(path))) as connection:
            connection.execute(f"create table left_side as select {generation} as g from range(3)")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(first)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        second.replace(first)
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert writer.stdout.readline().strip() == "written"
        with contextlib.closing(duckdb.connect(str(first), read_only=True)) as connection:
            assert connection.execute("select count(*) filter (g = -1), max(g) from left_side").fetchall() == [(5, 2)]
        writer.communicate("\n", timeout=30)


def test_versions_go_once_their_successor_has_been_there_for_a_while(
    paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = paths.root / publishing.VERSIONS
    publish(paths)
    publish(paths)
    assert len(list(versions.iterdir())) == 3
    monkeypatch.setattr(publishing, "GRACE", 0.0)
    time.sleep(0.01)
    publish(paths)
    kept = {version.name for version in versions.iterdir()}
    assert len(kept) == 2
    assert paths.published_file.resolve().parent.name in kept
