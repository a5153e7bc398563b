"""The settings for a server are those for one machine, but for where the books are; and say what they lack."""

from __future__ import annotations

import importlib.util
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.run_coordinator import QueuedRunCoordinator

from flywheel_pipelines.instance import SETTINGS, BooksError, instance_in
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.run_launcher import WatchedRunLauncher
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, postgres
from flywheel_pipelines_tests.server_books import SERVER_SETTINGS, enter, make_home, n_rows

__all__ = ["postgres"]


def settings(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_they_are_those_of_one_machine_in_everything_but_storage() -> None:
    server = settings(SERVER_SETTINGS)
    assert list(server.pop("storage")) == ["postgres"]
    assert server == settings(PROJECT_ROOT / SETTINGS)


def test_control_one_limit_more_is_noticed() -> None:
    server = settings(SERVER_SETTINGS)
    del server["storage"]
    server["concurrency"]["runs"]["max_concurrent_runs"] += 1
    assert server != settings(PROJECT_ROOT / SETTINGS)


def test_every_value_of_the_storage_comes_from_the_environment() -> None:
    storage = settings(SERVER_SETTINGS)["storage"]["postgres"]["postgres_db"]
    assert storage.pop("scheme") == "postgresql+psycopg2"
    assert storage == {
        "hostname": {"env": "FLYWHEEL_PG_HOST"},
        "port": {"env": "FLYWHEEL_PG_PORT"},
        "db_name": {"env": "FLYWHEEL_PG_DATABASE"},
        "username": {"env": "FLYWHEEL_PG_USER"},
        "password": {"env": "FLYWHEEL_PG_PASSWORD"},
    }


def test_the_extra_brings_the_storage_that_was_made_for_our_dagster() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [extra] = project["optional-dependencies"]["server"]
    assert extra.startswith("dagster-postgres")
    assert f"dagster=={dg.__version__}" in (requires("dagster-postgres") or [])
    assert "dagster-postgres==" in (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_runs_are_kept_by_the_server(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = postgres.new_database()
    enter(monkeypatch, postgres, database)

    @dg.asset
    def one() -> int:
        return 1

    with instance_in(make_home(tmp_path / "home")) as instance:
        assert isinstance(instance.run_launcher, WatchedRunLauncher)
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert dg.materialize([one], instance=instance).success
    assert n_rows(postgres, database, "runs") == 1
    assert n_rows(postgres, database, "event_logs") > 5
    assert not list((tmp_path / "home").rglob("*.db"))


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FLYWHEEL_PG_PASSWORD", "not-it", "password authentication failed"),
        ("FLYWHEEL_PG_DATABASE", "nowhere", 'database "nowhere" does not exist'),
        ("FLYWHEEL_PG_USER", "", "takes FLYWHEEL_PG_USER from the environment, where it is not set"),
    ],
)
def test_a_server_that_does_not_let_us_in_is_told_of_in_one_sentence(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    enter(monkeypatch, postgres, "postgres", **{variable: value})
    with pytest.raises(BooksError) as caught:
        instance_in(make_home(tmp_path))
    assert said in str(caught.value)
    assert str(tmp_path / SETTINGS) in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_variable_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "DATABASE", "USER", "PASSWORD"):
        monkeypatch.delenv(f"FLYWHEEL_PG_{name}", raising=False)
    with pytest.raises(BooksError, match=r"FLYWHEEL_PG_DATABASE, FLYWHEEL_PG_HOST, FLYWHEEL_PG_PASSWORD, .* not set"):
        instance_in(make_home(tmp_path))


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "DATABASE", "USER", "PASSWORD"):
        monkeypatch.setenv(f"FLYWHEEL_PG_{name}", "1")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dagster_postgres" else found(name))
    with pytest.raises(BooksError, match=r"pip install 'flywheel-pipelines\[server\]'"):
        instance_in(make_home(tmp_path))


def test_settings_that_are_no_yaml_are_named(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text("storage: [unclosed", encoding="utf-8")
    with pytest.raises(BooksError, match=r"dagster\.yaml: it cannot be read"):
        instance_in(tmp_path)
