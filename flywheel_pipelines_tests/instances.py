"""The instances that tests of orchestration run on: in memory, or on a PostgreSQL server.

`FLYWHEEL_TEST_STORAGE=postgres` takes the server that the variables of `deploy/server/dagster.yaml` name. The database
they name must hold Dagster's tables, all empty: each instance gets a copy of it. `components/test_on_postgres.py`
starts such a server and runs the suite on it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.instance import SETTINGS, instance_in
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.server_books import SERVER_SETTINGS

STORAGE = "FLYWHEEL_TEST_STORAGE"
DATABASE = "FLYWHEEL_PG_DATABASE"
_numbers = count(1)


def on_postgres() -> bool:
    """Whether this test process keeps runs on a server."""
    found = os.environ.get(STORAGE, "memory")
    assert found in ("memory", "postgres"), f"{STORAGE}: found {found!r}; memory and postgres are known"
    return found == "postgres"


@contextmanager
def new_instance() -> Iterator[dg.DagsterInstance]:
    """An instance that has seen nothing, with its own books."""
    if not on_postgres():
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
        return
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        prepare_settings(Path(home), patch)
        with instance_in(Path(home)) as instance:
            yield instance


def prepare_settings(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Give a Dagster home the project's settings; those for a server, with new books, if that is what is tested."""
    home.mkdir(parents=True, exist_ok=True)
    if on_postgres():
        patch.setenv(DATABASE, _copy_books())
    shutil.copy(SERVER_SETTINGS if on_postgres() else PROJECT_ROOT / SETTINGS, home)


def _copy_books() -> str:
    import psycopg

    empty = os.environ[DATABASE].partition("_of_")[0]
    name = f"{empty}_of_{os.getpid()}_{next(_numbers)}"
    variables = {key: os.environ[f"FLYWHEEL_PG_{key}"] for key in ("HOST", "PORT", "USER", "PASSWORD")}
    address = {"host": variables["HOST"], "port": int(variables["PORT"]), "dbname": "postgres"}
    try:
        with psycopg.connect(
            **address, user=variables["USER"], password=variables["PASSWORD"], autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {empty}")  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        pytest.fail(f"{STORAGE}=postgres: no books can be made on the server: {error}", pytrace=False)
    return name
