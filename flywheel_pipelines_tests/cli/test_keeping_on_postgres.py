"""`flywheel backup`, `restore` and `health` where a PostgreSQL server keeps Dagster's books."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from flywheel_pipelines.backups import DUMP
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT, DataPaths
from flywheel_pipelines_tests.cli.runner import Ran, Run
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, postgres, started_postgres
from flywheel_pipelines_tests.server_books import enter, make_home, n_rows, new_books

__all__ = ["postgres"]
pytestmark = pytest.mark.slow
LAKE = {"lake/momentum/flywheel=a/cycle=2026-01-05/part.parquet": b"closed", "outbox/a.csv": b"text\n"}


@dg.asset
def one() -> int:
    return 1


@dataclass(frozen=True)
class Kept:
    """A data directory, and a database with the books of one run."""

    paths: DataPaths
    server: Postgres
    database: str
    patch: pytest.MonkeyPatch

    def materialize(self) -> str:
        with open_instance(self.paths) as instance:
            done = dg.materialize([one], instance=instance)
        assert done.success
        return done.run_id

    def runs(self) -> list[str]:
        with open_instance(self.paths) as instance:
            found = [run.run_id for run in instance.get_runs()]
            assert all(instance.all_logs(run_id) for run_id in found)
        return found

    def lose(self, database: str) -> None:
        """No data, and another database."""
        shutil.rmtree(self.paths.root)
        self.patch.setenv("FLYWHEEL_PG_DATABASE", database)


@pytest.fixture
def kept(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    paths = DataPaths(tmp_path / "data")
    for name, content in LAKE.items():
        (paths.root / name).parent.mkdir(parents=True, exist_ok=True)
        (paths.root / name).write_bytes(content)
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(paths.root))
    monkeypatch.setenv("DAGSTER_HOME", str(paths.root / "dagster_home"))
    monkeypatch.setenv("PATH", f"{postgres.programs}{os.pathsep}{os.environ['PATH']}")
    make_home(paths.dagster_home)
    database = new_books(postgres)
    enter(monkeypatch, postgres, database)
    return Kept(paths, postgres, database, monkeypatch)


def lake(paths: DataPaths) -> dict[str, bytes]:
    return {name: (paths.root / name).read_bytes() for name in LAKE}


def programs(folder: Path, server: Postgres, **scripts: str) -> str:
    """A PATH with PostgreSQL's programs, some replaced by a script or (empty) missing, and nothing else of the kind."""
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        if name not in scripts:
            (folder / name).symlink_to(server.programs / name)
        elif scripts[name]:
            (folder / name).write_text(f"#!/bin/sh\n{scripts[name]}\n", encoding="utf-8")
            (folder / name).chmod(0o755)
    (folder / "sh").symlink_to("/bin/sh")
    return str(folder)


def tells_no_secret(ran: Ran) -> bool:
    return PASSWORD not in ran.out + ran.err


def test_after_a_loss_files_and_runs_are_back_and_new_runs_follow(kept: Kept, run: Run, tmp_path: Path) -> None:
    first = kept.materialize()
    kept.server.execute("CREATE TABLE mine (text text)", "INSERT INTO mine VALUES ('x')", database=kept.database)
    backed_up = run("backup", tmp_path / "copy")
    assert "Dagster's runs and events are in it" in backed_up.said
    assert (tmp_path / "copy" / DUMP).stat().st_size > 1_000
    assert PASSWORD.encode() not in b"".join(path.read_bytes() for path in (tmp_path / "copy").rglob("*.yaml"))

    empty = kept.server.new_database()  # without Dagster's tables, too
    kept.lose(empty)
    restored = run("restore", tmp_path / "copy")
    assert "Dagster's runs and events are back in their database" in restored.said
    assert lake(kept.paths) == LAKE
    assert kept.runs() == [first]
    assert set(kept.runs()) < {kept.materialize(), first} == set(kept.runs())
    assert kept.server.execute("SELECT to_regclass('mine')", database=empty) == [(None,)]
    assert tells_no_secret(backed_up)
    assert tells_no_secret(restored)


def test_without_books_files_alone_are_back_and_it_says_so(kept: Kept, run: Run, tmp_path: Path) -> None:
    kept.materialize()
    assert "dump that with pg_dump" in run("backup", tmp_path / "copy", "--without-books").said
    assert not (tmp_path / "copy" / DUMP).exists()
    kept.lose(new_books(kept.server))
    assert "were not restored" in run("restore", tmp_path / "copy").said
    assert lake(kept.paths) == LAKE
    assert kept.runs() == []


def test_a_run_at_work_on_the_server_is_named(kept: Kept, run: Run, tmp_path: Path) -> None:
    job = dg.Definitions(assets=[one], jobs=[dg.define_asset_job("close", "*")]).resolve_job_def("close")
    with open_instance(kept.paths) as instance:
        at_work = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    refused = run("backup", tmp_path / "copy")
    assert refused.code == 2
    assert f"{at_work.run_id[:8]} (close)" in refused.said


@pytest.mark.parametrize(
    ("script", "said"), [("", "pg_dump is not on the PATH"), ("echo disk full >&2; exit 1", "could not: disk full")]
)
def test_without_pg_dump_nothing_is_made_and_the_command_is_named(
    kept: Kept, run: Run, tmp_path: Path, script: str, said: str
) -> None:
    kept.patch.setenv("PATH", programs(tmp_path / "bin", kept.server, pg_dump=script))
    refused = run("backup", tmp_path / "copy")
    assert refused.code == 2
    assert said in refused.said
    command = "pg_dump --format=custom --no-owner --no-privileges --dbname postgresql://flywheel_admin@127.0.0.1:"
    assert command in refused.said
    assert tells_no_secret(refused)
    assert not list(tmp_path.glob("*copy*"))
    assert run("backup", tmp_path / "copy", "--without-books").code == 0


def test_books_that_are_there_are_overwritten_only_when_asked_and_set_aside(
    kept: Kept, run: Run, tmp_path: Path
) -> None:
    first = kept.materialize()
    assert run("backup", tmp_path / "copy").code == 0
    second = kept.materialize()
    kept.server.execute("CREATE TABLE mine (text text)", "INSERT INTO mine VALUES ('x')", database=kept.database)
    shutil.rmtree(kept.paths.root)
    refused = run("restore", tmp_path / "copy")
    assert refused.code == 2
    assert "there are Dagster's books in it (2 runs)" in refused.said
    assert not lake_is_there(kept.paths)

    assert run("restore", tmp_path / "copy", "--replace").code == 0
    assert kept.runs() == [first]
    assert n_rows(kept.server, kept.database, "mine") == 1
    [aside] = kept.paths.root.glob(f".replaced-*/{DUMP}")
    other = new_books(kept.server)
    kept.patch.setenv("FLYWHEEL_PG_DATABASE", other)
    assert kept.runs() == []
    address = f"postgresql://flywheel_admin@127.0.0.1:{kept.server.port}/{other}"
    subprocess.run(
        ["pg_restore", "--clean", "--if-exists", "--no-owner", "--dbname", address, str(aside)],
        check=True, capture_output=True, env={**os.environ, "PGPASSWORD": PASSWORD},
    )  # fmt: skip
    assert set(kept.runs()) == {first, second}


def lake_is_there(paths: DataPaths) -> bool:
    return any((paths.root / name).exists() for name in LAKE)


def test_a_restore_that_the_server_refused_says_so_and_is_finished_by_the_same_again(
    kept: Kept, run: Run, tmp_path: Path
) -> None:
    """The files are renamed by then, so that `flywheel health` must know."""
    first = kept.materialize()
    assert run("backup", tmp_path / "copy").code == 0
    kept.lose(new_books(kept.server))
    path = os.environ["PATH"]
    kept.patch.setenv("PATH", programs(tmp_path / "bin", kept.server, pg_restore="echo no room >&2; exit 1"))
    failed = run("restore", tmp_path / "copy")
    assert failed.code == 2
    assert "were not restored: pg_restore could not: no room" in failed.said
    assert kept.runs() == []
    assert [one["name"] for one in run("health", "--json").json["findings"] if not one["is_well"]][-1] == "restore"
    kept.patch.setenv("PATH", path)
    assert run("restore", tmp_path / "copy").code == 0
    assert kept.runs() == [first]
    assert lake(kept.paths) == LAKE


def test_a_restore_killed_at_its_last_step_is_finished_by_the_same_again(kept: Kept, run: Run, tmp_path: Path) -> None:
    first = kept.materialize()
    assert run("backup", tmp_path / "copy").code == 0
    kept.lose(new_books(kept.server))
    deadly = programs(tmp_path / "bin", kept.server, pg_restore="kill -9 $PPID")
    killed = subprocess.run(
        [sys.executable, "-m", "flywheel_pipelines.cli", "restore", tmp_path / "copy"],
        env={**os.environ, "PATH": deadly, "PYTHONPATH": str(PROJECT_ROOT)}, capture_output=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert kept.runs() == []
    assert run("restore", tmp_path / "copy").code == 0
    assert kept.runs() == [first]


def test_no_restore_beside_a_daemon_elsewhere(kept: Kept, run: Run, tmp_path: Path) -> None:
    """The home is lost, and a daemon on another machine works on the same database."""
    kept.materialize()
    assert run("backup", tmp_path / "copy").code == 0
    with open_instance(kept.paths) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), "SENSOR", "elsewhere", []))
    shutil.rmtree(kept.paths.root)
    refused = run("restore", tmp_path / "copy", "--replace")
    assert refused.code == 2
    assert "Stop the daemon" in refused.said
    assert not lake_is_there(kept.paths)


@pytest.fixture
def stopped(kept: Kept, tmp_path: Path) -> Iterator[Kept]:
    """The server of the books has gone."""
    with started_postgres() as server:
        for name, value in {"PORT": str(server.port), "DATABASE": "postgres"}.items():
            kept.patch.setenv(f"FLYWHEEL_PG_{name}", value)
        with open_instance(kept.paths) as instance:
            for kind in instance.get_required_daemon_types():
                instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), kind, "a-daemon", []))
        yield Kept(kept.paths, server, "postgres", kept.patch)


def test_health_is_red_without_the_server_and_well_with_it(stopped: Kept, run: Run, tmp_path: Path) -> None:
    shutil.rmtree(stopped.paths.lake)
    well = run("health", "--json", "--min-free", "0")
    assert (well.code, well.json["is_well"]) == (0, True)
    stopped.server.stop()
    ill = run("health", "--json", "--min-free", "0")
    assert ill.code == 1
    [red] = [one for one in ill.json["findings"] if not one["is_well"]]
    assert red["name"] == "books"
    assert "Connection refused" in red["words"]
    assert tells_no_secret(ill)
    refused = run("backup", tmp_path / "copy")
    assert refused.code == 2
    assert "Dagster's books cannot be used" in refused.said
    assert not list(tmp_path.glob("*copy*"))
