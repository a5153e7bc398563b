"""A PostgreSQL with a table of measurements, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines_tests.feedback.sources.samples import Puller
from flywheel_pipelines_tests.postgres import Postgres, postgres

__all__ = ["postgres"]
MAILER = "CREATE TABLE mailer (output_id text, day date, sends integer, replies integer)"


@pytest.fixture(scope="module")
def shared_database(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def database(postgres: Postgres, shared_database: str) -> str:
    """The same one for every test, emptied: a database of its own costs each of them half a second and 7 MB."""
    postgres.execute(
        "DROP SCHEMA public CASCADE",
        "CREATE SCHEMA public",
        "GRANT USAGE ON SCHEMA public TO public",
        database=shared_database,
    )
    return shared_database


@pytest.fixture
def puller(postgres: Postgres, database: str, tmp_path: Path) -> Puller:
    postgres.execute(MAILER, "INSERT INTO mailer VALUES ('a', '2026-01-06', 40, 3)", database=database)
    return Puller(postgres.url(database), tmp_path)
