"""A Dagster home with the server's own settings, whose books a real PostgreSQL of the test keeps."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from itertools import count
from pathlib import Path

import pytest

from flywheel_pipelines.instance import SETTINGS, instance_in
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.postgres import ADMIN, PASSWORD, Postgres

_numbers = count(1)
SERVER_SETTINGS = PROJECT_ROOT / "deploy" / "server" / SETTINGS


def make_home(home: Path) -> Path:
    """A Dagster home as docs/deployment.md has it made."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(SERVER_SETTINGS, home / SETTINGS)
    return home


def new_books(server: Postgres) -> str:
    """The name of a new database with Dagster's tables, all empty: a copy, which takes a tenth of making them."""
    name = f"{_template(server)}_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {_template(server)}")
    return name


@cache
def _template(server: Postgres) -> str:
    name = server.new_database()
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        enter(patch, server, name)
        with instance_in(make_home(Path(home))):
            return name


def address(server: Postgres, database: str) -> Mapping[str, str]:
    """The variables that the settings are made from."""
    return {
        "FLYWHEEL_PG_HOST": "127.0.0.1",
        "FLYWHEEL_PG_PORT": str(server.port),
        "FLYWHEEL_PG_DATABASE": database,
        "FLYWHEEL_PG_USER": ADMIN,
        "FLYWHEEL_PG_PASSWORD": PASSWORD,
    }


def enter(patch: pytest.MonkeyPatch, server: Postgres, database: str, **changed: str) -> None:
    """Set the variables. What Dagster waits between its five tries at a server is left out."""
    for name, value in {**address(server, database), **changed}.items():
        patch.setenv(name, value)
    patch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0)


def n_rows(server: Postgres, database: str, table: str) -> int:
    """How many rows a table has, as PostgreSQL counts them."""
    [(found,)] = server.execute(f"SELECT count(*) FROM {table}", database=database)
    return int(found)


def tables_of(server: Postgres, database: str) -> set[str]:
    """The names of its tables."""
    found = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=database)
    return {name for (name,) in found}
