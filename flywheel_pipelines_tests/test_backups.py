"""A backup is whole or none, is checked before it is put back, and overwrites nothing; killed anywhere in between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel_pipelines import backups
from flywheel_pipelines.backups import CONTENTS, BackupError, Contents, back_up, read_contents
from flywheel_pipelines.lake.tables import TABLES
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.restoring import is_half_restored, restore
from flywheel_pipelines_tests.small_world import fingerprint

NOW = datetime(2026, 1, 5, 6, tzinfo=UTC)
FILES = {
    "lake/momentum/flywheel=a/cycle=2026-01-05/part.parquet": b"closed",
    "lake/batches/flywheel=a/one.parquet": b"batch",
    "outbox/a.csv": b"text\n",
    "flywheel.duckdb": b"published",
}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    """A data directory with a journal and a Dagster home, what a killed write left, and what is the repository's."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    found = DataPaths(tmp_path / "data")
    for name, content in FILES.items():
        (found.root / name).parent.mkdir(parents=True, exist_ok=True)
        (found.root / name).write_bytes(content)
    (found.root / "lake" / ".writing-1").write_bytes(b"torn")
    (found.root / "README.md").write_bytes(b"of the repository")
    for database in (found.journal / "a.sqlite", found.dagster_home / "history" / "runs.db"):
        database.parent.mkdir(parents=True)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.executescript("create table answers (text); insert into answers values ('paid')")
    return found


def make(paths: DataPaths, target: Path, refuse: Callable[[], None] = lambda: None) -> Contents:
    return back_up(paths, target, NOW, "1.0", refuse_while_busy=refuse)


def answers(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [text for (text,) in connection.execute("select text from answers")]


def killed(work: str, *arguments: Path) -> None:
    """Run some lines in a process of its own, which they kill."""
    lines = (
        "import os, signal, sys, shutil; from pathlib import Path; from datetime import datetime, UTC\n"
        "from flywheel_pipelines import backups, restoring; from flywheel_pipelines.paths import DataPaths\n"
        "def dying(function, after):\n"
        "    left = [after]\n"
        "    def one(*arguments):\n"
        "        left[0] -= 1\n"
        "        if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return function(*arguments)\n"
        "    return one\n"
        "data, folder = DataPaths(Path(sys.argv[1])), Path(sys.argv[2]); now = datetime(2026, 1, 6, tzinfo=UTC)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    done = subprocess.run([sys.executable, "-c", lines + work, *arguments], timeout=120, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL


def test_what_was_lost_is_back_byte_by_byte(paths: DataPaths, tmp_path: Path) -> None:
    make(paths, tmp_path / "copy")
    shutil.rmtree(paths.root)
    assert restore(paths, tmp_path / "copy", NOW).set_aside is None
    assert {name: (paths.root / name).read_bytes() for name in FILES} == FILES
    assert not is_half_restored(paths)
    assert answers(paths.journal / "a.sqlite") == answers(paths.dagster_home / "history" / "runs.db") == ["paid"]


def test_work_in_progress_and_what_is_the_repositorys_stay_out(paths: DataPaths, tmp_path: Path) -> None:
    names = make(paths, tmp_path / "copy").files
    assert {f"data/{name}" for name in FILES} < set(names)
    assert not [name for name in names if ".writing-" in name or "README" in name]


def test_an_answer_that_only_the_write_ahead_log_has_is_in_it(paths: DataPaths, tmp_path: Path) -> None:
    journal = paths.journal / "a.sqlite"
    with closing(sqlite3.connect(journal)) as writing:
        writing.execute("pragma journal_mode = wal")
        writing.execute("insert into answers values ('newer')")
        writing.commit()
        assert journal.with_name("a.sqlite-wal").stat().st_size > 0
        make(paths, tmp_path / "copy")
    assert answers(tmp_path / "copy" / "data" / "journal" / "a.sqlite") == ["paid", "newer"]


def test_a_write_between_the_looks_is_taken_in(paths: DataPaths, tmp_path: Path) -> None:
    asked = []

    def write_once() -> None:
        asked.append(1)
        if len(asked) == 2:
            (paths.root / "outbox" / "b.csv").write_bytes(b"new")

    assert "data/outbox/b.csv" in make(paths, tmp_path / "copy", write_once).files
    assert len(asked) == 4


def test_what_never_rests_is_refused_and_nothing_is_left(paths: DataPaths, tmp_path: Path) -> None:
    def write() -> None:
        with (paths.root / "outbox" / "a.csv").open("ab") as handle:
            handle.write(b"more")

    with pytest.raises(BackupError, match="files changed while they were copied, 3 times"):
        make(paths, tmp_path / "copy", write)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_target_with_something_in_it_is_refused(paths: DataPaths, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    make(paths, tmp_path / "copy")
    with pytest.raises(BackupError, match="overwrites nothing"):
        make(paths, tmp_path / "copy")
    with pytest.raises(BackupError, match="lies inside"):
        make(paths, paths.root / "copy")


@pytest.mark.parametrize("after", [0, 3])
def test_a_killed_backup_is_none_and_the_next_one_is_whole(paths: DataPaths, tmp_path: Path, after: int) -> None:
    work = f"backups._copy_one = dying(backups._copy_one, {after})\nbackups.back_up(data, folder, now, '1')"
    killed(work, paths.root, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    [left] = tmp_path.glob(".copy*")
    with pytest.raises(BackupError, match="cut off"):
        restore(DataPaths(tmp_path / "elsewhere"), left, NOW)
    make(paths, tmp_path / "copy")
    assert not list(tmp_path.glob(".copy*"))
    assert read_contents(tmp_path / "copy").files


def test_nothing_is_overwritten_unasked_and_then_set_aside(paths: DataPaths, tmp_path: Path) -> None:
    make(paths, tmp_path / "copy")
    (paths.root / "outbox" / "a.csv").write_bytes(b"mine")
    (paths.root / "newer").mkdir()
    before = fingerprint(paths.root)
    with pytest.raises(BackupError, match=r"not empty \(flywheel.duckdb.*--replace"):
        restore(paths, tmp_path / "copy", NOW)
    assert fingerprint(paths.root) == before
    aside = restore(paths, tmp_path / "copy", NOW, replace=True).set_aside
    assert aside is not None
    assert (aside / "data" / "outbox" / "a.csv").read_bytes() == b"mine"
    assert (paths.root / "outbox" / "a.csv").read_bytes() == FILES["outbox/a.csv"]
    assert not (paths.root / "newer").exists()
    assert (paths.root / "README.md").exists()


def damage(copy: Path) -> None:
    (copy / "data" / "outbox" / "a.csv").write_bytes(b"text!")


def lose(copy: Path) -> None:
    (copy / "data" / "outbox" / "a.csv").unlink()


def edit(copy: Path) -> None:
    listed = (copy / CONTENTS).read_text(encoding="utf-8")
    (copy / CONTENTS).write_text(listed.replace("outbox/a.csv", "outbox/b.csv"), encoding="utf-8")


def cut(copy: Path) -> None:
    (copy / CONTENTS).write_bytes((copy / CONTENTS).read_bytes()[:100])


@pytest.mark.parametrize(
    ("harm", "said"),
    [(damage, "is damaged"), (lose, "is missing"), (edit, "was changed after"), (cut, "cannot be read")],
)
def test_a_damaged_backup_changes_nothing(
    paths: DataPaths, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    make(paths, tmp_path / "copy")
    harm(tmp_path / "copy")
    before = fingerprint(paths.root)
    with pytest.raises(BackupError, match=said):
        restore(paths, tmp_path / "copy", NOW, replace=True)
    assert fingerprint(paths.root) == before


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_a_restore_killed_over_its_renames_says_so_and_goes_on(paths: DataPaths, tmp_path: Path, after: int) -> None:
    make(paths, tmp_path / "copy")
    whole = fingerprint(paths.root, "README.md", "lake/.writing-1")
    (paths.root / "outbox" / "a.csv").write_bytes(b"mine")
    move = f"shutil.move = dying(shutil.move, {after})\nrestoring.restore(data, folder, now, replace=True)"
    killed(move, paths.root, tmp_path / "copy")
    assert is_half_restored(paths)
    restore(paths, tmp_path / "copy", NOW)
    assert not is_half_restored(paths)
    found = {name: digest for name, digest in fingerprint(paths.root).items() if not name.startswith(".replaced")}
    assert {name: found.get(name) for name in FILES} == {name: whole[name] for name in FILES}
    [mine] = paths.root.glob(".replaced*/data/outbox/a.csv")
    assert mine.read_bytes() == b"mine"


def test_a_restore_killed_while_it_copies_has_changed_nothing(paths: DataPaths, tmp_path: Path) -> None:
    make(paths, tmp_path / "copy")
    before = fingerprint(paths.root, ".restoring")
    copying = "restoring.copy_with_digest = dying(restoring.copy_with_digest, 2)\n"
    killed(copying + "restoring.restore(data, folder, now, replace=True)", paths.root, tmp_path / "copy")
    assert fingerprint(paths.root, ".restoring") == before
    assert not is_half_restored(paths)


def test_a_restore_that_was_cut_off_is_finished_before_another(paths: DataPaths, tmp_path: Path) -> None:
    make(paths, tmp_path / "copy")
    back_up(paths, tmp_path / "other", NOW, "2.0")
    dying = "shutil.move = dying(shutil.move, 1)\nrestoring.restore(data, folder, now, replace=True)"
    killed(dying, paths.root, tmp_path / "copy")
    with pytest.raises(BackupError, match="another backup"):
        restore(paths, tmp_path / "other", NOW, replace=True)


def test_control_the_digest_alone_tells_the_damaged_file(paths: DataPaths, tmp_path: Path) -> None:
    make(paths, tmp_path / "copy")
    damage(tmp_path / "copy")
    listed = read_contents(tmp_path / "copy")
    sums = {name: backups.digest_of(tmp_path / "copy" / name) for name in listed.files}
    assert [name for name, (digest, _) in sums.items() if digest != listed.files[name].sha256] == ["data/outbox/a.csv"]


# -- versions of tables ------------------------------------------------------------------------------------------------
def test_a_backup_says_the_versions_of_the_tables(paths: DataPaths, tmp_path: Path) -> None:
    made = make(paths, tmp_path / "copy")
    assert made.tables["cycle_manifest"] == TABLES["cycle_manifest"].version > 0
    assert read_contents(tmp_path / "copy") == made


@pytest.mark.parametrize("tables", [{"cycle_manifest": 99}, {"a_table_of_tomorrow": 0}], ids=["version", "table"])
def test_a_backup_of_a_newer_version_is_not_restored(paths: DataPaths, tmp_path: Path, tables: dict[str, int]) -> None:
    made = make(paths, tmp_path / "copy")
    replace(made, version="9.0", tables=tables).write(tmp_path / "copy")
    before = fingerprint(paths.root)
    [(name, version)] = tables.items()
    with pytest.raises(BackupError, match=rf"flywheel-pipelines 9.0 made it, .*\({name} {version}\).*upgrade this one"):
        restore(paths, tmp_path / "copy", NOW, replace=True)
    assert fingerprint(paths.root) == before


def test_a_backup_of_before_that_says_no_versions_is_restored(paths: DataPaths, tmp_path: Path) -> None:
    made = make(paths, tmp_path / "copy")
    replace(made, tables={}).write(tmp_path / "copy")
    listed = json.loads((tmp_path / "copy" / CONTENTS).read_text(encoding="utf-8"))
    assert listed["format"] == 1
    assert "tables" not in listed
    # As that version worked it out.
    said = {name: value for name, value in listed.items() if name != "digest"}
    assert listed["digest"] == hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    shutil.rmtree(paths.root / "lake")
    restore(paths, tmp_path / "copy", NOW, replace=True)
    for name, content in FILES.items():
        assert (paths.root / name).read_bytes() == content
