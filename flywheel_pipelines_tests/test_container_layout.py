"""The layout for containers names what exists, copies what it needs, and installs as `make install` does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from flywheel_pipelines.cli import app
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT
from flywheel_pipelines_tests.container_layout import (
    COMPOSE,
    DOCKERFILE,
    INSTALLED,
    STATE,
    compose,
    copied,
    copy_project,
    instructions,
    is_left_out,
    unknown_words,
    variables,
)
from flywheel_pipelines_tests.server_books import SERVER_SETTINGS

TEXT = DOCKERFILE.read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "postgres"}
PASSWORD = "${FLYWHEEL_PG_PASSWORD:?"


def test_each_service_starts_what_exists() -> None:
    assert [word for service in OURS.values() for word in unknown_words(service["command"])] == []
    assert set(SERVICES) == {"postgres", "settings", "tables", "code", "daemon", "webserver"}


def test_control_unknown_words_are_found() -> None:
    assert unknown_words(["dagster-demon", "run", f"{INSTALLED}/deploy/none.yaml"]) == [
        "dagster-demon", f"{PROJECT_ROOT}/deploy/none.yaml",
    ]  # fmt: skip


def test_each_service_looks_after_itself_and_the_daemon_by_flywheel_health() -> None:
    checks = {name: service["healthcheck"]["test"] for name, service in SERVICES.items() if "healthcheck" in service}
    assert set(checks) == set(SERVICES) - {"settings", "tables"}
    assert checks["daemon"] == ["CMD", "flywheel", "health", "--json"]
    assert "health" in typer.main.get_command(app).commands  # type: ignore[attr-defined]
    ours = [check[1:] for name, check in checks.items() if name in OURS]
    assert [unknown_words(check) for check in ours] == [[], [], []]


def test_every_variable_of_the_settings_is_set_and_the_password_stands_nowhere() -> None:
    environment = OURS["daemon"]["environment"]
    assert variables(SERVER_SETTINGS.read_text(encoding="utf-8")) < set(environment)
    assert environment["FLYWHEEL_PG_PASSWORD"].startswith(PASSWORD)
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith(PASSWORD)
    assert all(service["environment"] == environment for service in OURS.values())
    assert environment["FLYWHEEL_PG_HOST"] in SERVICES
    assert (environment["FLYWHEEL_PG_USER"], environment["FLYWHEEL_PG_DATABASE"]) == (
        SERVICES["postgres"]["environment"]["POSTGRES_USER"],
        SERVICES["postgres"]["environment"]["POSTGRES_DB"],
    )


def test_data_and_home_are_in_one_volume_that_all_of_ours_share() -> None:
    environment = OURS["daemon"]["environment"]
    assert environment[DATA_DIR_VARIABLE] == f"{STATE}/data"
    assert environment["DAGSTER_HOME"] == f"{STATE}/dagster_home"
    assert {tuple(service["volumes"]) for service in OURS.values()} == {(f"state:{STATE}",)}
    named = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert named == set(compose()["volumes"])


def test_only_this_machine_reaches_the_ui_and_nothing_else_is_reached() -> None:
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert ports.pop("webserver") == ["127.0.0.1:3000:3000"]
    assert not any(ports.values())


def test_services_wait_for_what_they_need() -> None:
    waits = {name: set(service.get("depends_on", ())) for name, service in SERVICES.items()}
    assert waits["tables"] == {"postgres", "settings"}
    # One process makes Dagster's tables. Several at once stop one another at a name that exists already.
    assert waits["code"] == {"postgres", "settings", "tables"}
    assert SERVICES["code"]["depends_on"]["tables"] == {"condition": "service_completed_successfully"}
    assert waits["daemon"] == waits["webserver"] == {"postgres", "settings", "tables", "code"}
    workspace = (PROJECT_ROOT / "deploy" / "server" / "workspace.yaml").read_text(encoding="utf-8")
    assert re.findall(r"(?:host|port): (\w+)", workspace) == ["code", OURS["code"]["command"][-1]]


def test_what_is_copied_exists_and_is_not_left_out() -> None:
    sources = [source for source, _ in copied(TEXT)]
    assert "flywheel_pipelines" in sources
    assert [source for source in sources if not (PROJECT_ROOT / source).exists()] == []
    assert [source for source in sources if is_left_out(source)] == []


@pytest.mark.parametrize("path", ["data", "data/lake", ".venv", "dbt_project/target", "flywheel_pipelines/__pycache__"])
def test_what_runs_have_written_is_left_out(path: str) -> None:
    assert is_left_out(path)
    assert not is_left_out("flywheel_pipelines/cli/keeping.py")


def test_it_installs_as_make_does() -> None:
    """So that what CI does in a fresh environment holds here, too."""

    def installs(text: str) -> list[str]:
        words = (re.search(r"python -m (pip install .*)", line) for line in text.splitlines())
        return [found[1].replace("--no-cache-dir ", "").removesuffix(" \\") for found in words if found]

    make = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8").partition("$(STAMP): ")[2].partition("demo:")[0]
    assert installs(TEXT) == installs(make) != []
    assert "flywheel_pipelines.lake.dbt_project" in TEXT


def test_it_does_not_run_as_root_and_has_the_programs_of_the_servers_version() -> None:
    said = dict(instructions(TEXT))
    assert said["USER"] not in ("0", "root")
    version = SERVICES["postgres"]["image"].partition(":")[2]
    assert f"postgresql-client-{version}" in TEXT
    assert "python:3.11-" in said["FROM"]


@pytest.mark.slow
def test_what_is_copied_is_all_that_it_needs(tmp_path: Path) -> None:
    """The commands of the image on its files alone, before the home and the books are there."""
    project = copy_project(tmp_path / "project")
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),
        DATA_DIR_VARIABLE: str(tmp_path / "data"),
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    script = (
        "import flywheel_pipelines; from flywheel_pipelines.definitions import defs\n"
        "from flywheel_pipelines.paths import PROJECT_ROOT\n"
        "print(PROJECT_ROOT, len(defs().resolve_all_asset_specs()))"
    )
    for arguments in (["-m", "flywheel_pipelines.lake.dbt_project"], ["-c", script]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    where, n_assets = done.stdout.split()
    assert where == str(project)
    assert int(n_assets) > 20
    health = [sys.executable, "-m", "flywheel_pipelines.cli", "health", "--json"]
    done = subprocess.run(health, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, '"daemon"' in done.stdout) == (1, True), done.stderr
    # The control: without one of the folders the same ends in an error.
    shutil.rmtree(project / "dbt_project")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode != 0


def composer() -> list[str] | None:
    """Docker's own reader of compose files, where there is one."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            said = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            if said.returncode == 0 and not said.stdout.startswith("1."):
                return command
    return None


@pytest.mark.skipif(composer() is None, reason="Docker Compose 2 is not installed; the file is read as YAML above")
def test_docker_compose_takes_the_file_and_wants_the_password() -> None:
    command = [*(composer() or ()), "-f", str(COMPOSE), "config", "--quiet"]
    without = {name: value for name, value in os.environ.items() if name != "FLYWHEEL_PG_PASSWORD"}
    environments = {**without, "FLYWHEEL_PG_PASSWORD": "x"}, without
    given, refused = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        for environment in environments
    )
    assert (given.returncode, given.stderr) == (0, "")
    assert "FLYWHEEL_PG_PASSWORD is missing a value: set it in the environment" in refused.stderr
