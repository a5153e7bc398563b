"""The unit files name programs, files and variables that exist."""

from __future__ import annotations

import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
import typer.main

from flywheel_pipelines.cli import app
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT

PROJECT = "/opt/flywheel-pipelines/"
STATE = "/var/lib/flywheel/"
UNITS = sorted((PROJECT_ROOT / "deploy").glob("flywheel-*"))
SERVICES = [path for path in UNITS if path.suffix == ".service"]
ENTRIES = {"dagster-webserver", "dagster-daemon", "flywheel"}
DEPLOYMENT = (PROJECT_ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def unit(path: Path) -> RawConfigParser:
    # A unit may say Environment= twice; the values are read by `values`.
    found = RawConfigParser(strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(path.read_text(encoding="utf-8"))
    return found


def values(path: Path, key: str) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def unknown_words(command: str) -> list[str]:
    """Programs, commands and files of the project that a command line names and that do not exist."""
    program, *rest = command.split()
    name = program.removeprefix(f"{PROJECT}.venv/bin/")
    wrong = [] if name in ENTRIES else [program]
    if name == "flywheel" and rest[0] not in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        wrong.append(rest[0])
    files = [word.removeprefix(PROJECT) for word in rest if word.startswith(PROJECT)]
    return wrong + [file for file in files if not (PROJECT_ROOT / file).exists()]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_services_start_what_exists_on_the_documented_folders(path: Path) -> None:
    [command] = values(path, "ExecStart")
    assert unknown_words(command) == []
    variables = dict(pair.split("=") for line in values(path, "Environment") for pair in line.split())
    assert variables[DATA_DIR_VARIABLE] == f"{STATE}data"
    assert variables["DAGSTER_HOME"] == f"{STATE}dagster_home"
    assert unit(path)["Service"]["User"] == "flywheel"


def test_the_ui_is_for_this_machine_alone() -> None:
    [command] = values(PROJECT_ROOT / "deploy" / "flywheel-webserver.service", "ExecStart")
    assert "--host 127.0.0.1 " in command


def test_each_unit_is_documented() -> None:
    assert len(UNITS) == 4
    assert [path.name for path in UNITS if path.name not in DEPLOYMENT] == []


def test_control_unknown_words_are_found() -> None:
    bin = f"{PROJECT}.venv/bin/"
    assert unknown_words(f"{bin}dagster-demon run") == [f"{bin}dagster-demon"]
    assert unknown_words(f"{bin}flywheel helth {PROJECT}workspaces.yaml") == ["helth", "workspaces.yaml"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("User=flywheel", "User=root")
        # What is verified is the unit; the programs are where the machine of the deployment has them.
        lines = [f"ExecStart={shutil.which('true')}" if ln.startswith("ExecStart=") else ln for ln in text.splitlines()]
        (tmp_path / path.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
