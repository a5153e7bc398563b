"""Dagster's books on a PostgreSQL server, dumped and put back by PostgreSQL's own programs.

A dump holds Dagster's tables and no others, as they were at one instant; putting one back happens in one transaction,
so that after a kill or an error the books are the old ones or the new ones. The password goes by the environment and
stands in no command line.

Here: that. Not here: what else a backup consists of (`backups`, `restoring`), and books that are files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flywheel_pipelines.instance import SETTINGS, BooksError, instance_in

if TYPE_CHECKING:
    import dagster as dg

LOCK_TIMEOUT = "30s"
WAY_ROUND = "Or say --without-books, and have the database {} by other means: {}"


@dataclass(frozen=True)
class PostgresBooks:
    """The books of an instance.

    Attributes:
        address: libpq's URI of their database, without a password.
        password: of its user; None leaves it to libpq (PGPASSWORD, ~/.pgpass).
    """

    address: str
    password: str | None

    def dump(self, to: Path) -> None:
        """Write Dagster's tables into a file.

        Raises:
            BooksError: `pg_dump` is not there, or could not.
        """
        tables = [word for table in dagster_tables() for word in ("--table", table)]
        self._run("pg_dump", [*OPTIONS["pg_dump"], "--file", str(to), *tables], self.by_hand("pg_dump", to), "dumped")

    def put_back(self, dump: Path) -> None:
        """Put the tables of a dump in the place of those that are there, all or none.

        Raises:
            BooksError: `pg_restore` is not there, or could not, also since somebody holds on to the tables.
        """
        self._run("pg_restore", [*OPTIONS["pg_restore"], str(dump)], self.by_hand("pg_restore", dump), "restored")

    def refuse_without(self, *programs: str) -> None:
        """Raises BooksError when one of PostgreSQL's programs is not on the PATH."""
        for program in programs:
            if shutil.which(program) is None:
                done = "dumped" if program == "pg_dump" else "restored"
                self._refuse(f"{program} is not on the PATH", self.by_hand(program, Path("books.pgdump")), done)

    def by_hand(self, program: str, file: Path) -> str:
        """The command that does the same."""
        options = " ".join(OPTIONS[program])
        return f"{program} {options} --dbname {self.address} {'--file ' if program == 'pg_dump' else ''}{file}"

    def _run(self, program: str, arguments: list[str], by_hand: str, done: str) -> None:
        self.refuse_without(program)
        environment = {**os.environ, "PGOPTIONS": f"-c lock_timeout={LOCK_TIMEOUT}", "LC_ALL": "C"}
        if self.password is not None:
            environment["PGPASSWORD"] = self.password
        ran = subprocess.run(
            [program, "--no-password", "--dbname", self.address, *arguments],
            capture_output=True, text=True, errors="replace", check=False, env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if ran.returncode != 0:
            said = " ".join(ran.stderr.split()) or f"it ended with {ran.returncode}"
            self._refuse(f"{program} could not: {said}", by_hand, done)

    def _refuse(self, why: str, by_hand: str, done: str) -> None:
        raise BooksError(
            f"{self.address}: Dagster's books were not {done}: {why}. It takes PostgreSQL's client programs, of the "
            f"server's version or newer. {WAY_ROUND.format(done, by_hand)}"
        )


OPTIONS = {
    "pg_dump": ("--format=custom", "--no-owner", "--no-privileges"),
    "pg_restore": (
        "--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error",
    ),
}  # fmt: skip


def dagster_tables() -> list[str]:
    """The names of all tables that Dagster makes."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
    from dagster._core.storage.runs.schema import RunStorageSqlMetadata
    from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata

    parts = (RunStorageSqlMetadata, SqlEventLogStorageMetadata, ScheduleStorageSqlMetadata)
    return sorted({name for part in parts for name in part.tables} | {"alembic_version"})


def books_of(instance: dg.DagsterInstance) -> PostgresBooks | None:
    """The books of an instance; None when they are files below its home.

    Raises:
        BooksError: another database than PostgreSQL keeps them.
    """
    from sqlalchemy import URL, make_url

    from flywheel_pipelines.dagster_state import books_are_elsewhere

    if not books_are_elsewhere(instance):
        return None
    url = getattr(instance.run_storage, "postgres_url", None)
    if url is None:
        raise BooksError(
            f"Dagster's books are kept by {type(instance.run_storage).__name__}, and only those on PostgreSQL are "
            "backed up here. Say --without-books, and have that database backed up at the same time."
        )
    parts = make_url(url)
    address = URL.create(
        "postgresql", username=parts.username, host=parts.host, port=parts.port, database=parts.database,
        query=parts.query,
    )  # fmt: skip
    return PostgresBooks(address.render_as_string(), parts.password)


@contextmanager
def instance_of_settings(settings: Path) -> Iterator[dg.DagsterInstance]:
    """The instance that a Dagster home with these settings would have, of which nothing is made but Dagster's tables.

    Raises:
        BooksError: it cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="flywheel-home-") as home:
        shutil.copy(settings, Path(home, SETTINGS))
        with instance_in(Path(home), settings) as instance:
            yield instance
