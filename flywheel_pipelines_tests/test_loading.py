"""Many flywheels, and broken ones among them: each names itself and takes nothing else down."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.core.component_tree import ComponentTree, ComponentTreeException
from dagster.components.testing import create_defs_folder_sandbox

from flywheel_pipelines.loading import REFUSE, load_project
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.starter import starter_yaml
from flywheel_pipelines_tests.container_layout import copy_project

START = date(2026, 1, 5)
RESOURCES = """import dagster as dg
from dagster_duckdb import DuckDBResource
from flywheel_pipelines.components.resources import LakeResource, LlmResource

duckdb = DuckDBResource(database=":memory:")
defs = dg.Definitions(resources={"duckdb": duckdb, "lake": LakeResource(duckdb=duckdb), "llm": LlmResource()})
"""
N_ASSETS = 11


@contextmanager
def project(yamls: dict[str, str]) -> Iterator[ComponentTree]:
    """A project with a folder for each YAML, and resources."""
    with create_defs_folder_sandbox() as sandbox:
        (sandbox.defs_folder_path / "resources.py").write_text(RESOURCES)
        for name, text in yamls.items():
            folder = sandbox.defs_folder_path / name
            folder.mkdir()
            (folder / "defs.yaml").write_text(text)
        with sandbox.build_component_tree() as tree:
            yield tree


def good(name: str) -> str:
    return starter_yaml(name, START)


def groups(found: dg.Definitions) -> dict[str, int]:
    counts: dict[str, int] = {}
    for spec in found.resolve_all_asset_specs():
        counts[str(spec.group_name)] = counts.get(str(spec.group_name), 0) + 1
    return counts


BREAKAGES = {
    "a key that is none": (good("bad") + "\n  colour: green\n", "colour"),
    "a value that cannot be": (good("bad").replace("confidence: 0.9", "confidence: 7"), "confidence"),
    "no YAML": ("type: [unclosed\n  - x: {", "while parsing a flow"),
    "a type that is none": (good("bad").replace("FlywheelComponent", "FlywheelKomponent"), "FlywheelKomponent"),
    "no mapping": ("just words", "defs.yaml"),
}


@pytest.mark.parametrize(("text", "said"), BREAKAGES.values(), ids=BREAKAGES)
def test_a_broken_yaml_names_itself_and_the_others_are_there(text: str, said: str) -> None:
    with project({"first": good("first"), "bad": text, "last": good("last")}) as tree:
        found = load_project(tree)
        assert groups(found) == {"first": N_ASSETS, "last": N_ASSETS, "broken": 1}
        [sign] = [spec for spec in found.resolve_all_asset_specs() if spec.group_name == "broken"]
        assert sign.key == dg.AssetKey(["broken", "bad"])
        assert "defs/bad was not loaded" in (sign.description or "")
        assert said in (sign.description or "")
        jobs = {job.name for job in found.resolve_all_job_defs()}
        assert {"first__close", "last__open"} <= jobs
        assert "bad__open" not in jobs
        assert {"first__turn", "last__turn"} == {sensor.name for sensor in found.get_repository_def().sensor_defs}


def test_who_checks_a_project_has_it_refused_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with project({"first": good("first"), "bad": BREAKAGES["a key that is none"][0]}) as tree:
        monkeypatch.setenv(REFUSE, "1")
        with pytest.raises(ComponentTreeException) as caught:
            load_project(tree)
    assert "bad/defs.yaml" in words(caught.value)
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\t{REFUSE}=1 $(BIN)/dg check defs\n" in makefile


def words(error: BaseException | None) -> str:
    """What an error and its causes say."""
    return "" if error is None else f"{error}\n{words(error.__cause__)}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "breakage", "said"),
    [("defs", "a key that is none", "colour"), ("yaml", "a type that is none", "FlywheelKomponent")],
)
def test_dg_check_names_a_broken_yaml_of_the_project(tmp_path: Path, check: str, breakage: str, said: str) -> None:
    copy_project(tmp_path)
    folder = tmp_path / "flywheel_pipelines" / "defs" / "bad"
    dg_check = [str(Path(sys.executable).with_name("dg")), "check", check]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), REFUSE: "1", "DAGSTER_DISABLE_TELEMETRY": "1"}

    def run() -> tuple[int, str]:
        done = subprocess.run(dg_check, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    folder.mkdir()
    (folder / "defs.yaml").write_text(BREAKAGES[breakage][0], encoding="utf-8")
    code, text = run()
    assert code != 0
    assert said in text
    assert str(folder / "defs.yaml") in text
    # The control: without it the same project is fine.
    (folder / "defs.yaml").unlink()
    folder.rmdir()
    assert run()[0] == 0


def test_two_broken_ones_both_name_themselves() -> None:
    with project({"bad": "type: [", "good": good("good"), "worse": good("worse") + "\n  colour: green\n"}) as tree:
        found = load_project(tree)
        assert groups(found) == {"good": N_ASSETS, "broken": 2}


def test_control_dagsters_own_loader_gives_up_as_a_whole() -> None:
    yamls = {"first": good("first"), "bad": BREAKAGES["a key that is none"][0]}
    with project(yamls) as tree, pytest.raises(ComponentTreeException):
        tree.build_defs()


def test_control_without_a_broken_one_nothing_is_shown_as_broken() -> None:
    with project({"first": good("first"), "last": good("last")}) as tree:
        assert groups(load_project(tree)) == {"first": N_ASSETS, "last": N_ASSETS}


def test_thirty_flywheels_load_and_touch_neither_network_nor_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In CPU time, since the machine may be busy; what it takes is in docs/operations.md."""
    monkeypatch.setenv("FLYWHEEL_DATA_DIR", str(tmp_path / "data"))

    def no_network(*_: object) -> None:
        raise AssertionError("loading definitions opened a connection")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    with project({f"wheel{number}": good(f"wheel{number}") for number in range(30)}) as tree:
        started = time.process_time()
        found = load_project(tree)
        found.get_repository_def().load_all_definitions()
        took = time.process_time() - started
    assert len(found.resolve_all_asset_specs()) == 30 * N_ASSETS
    assert not (tmp_path / "data").exists()
    assert took < 30


def test_loading_prints_nothing() -> None:
    """In a process of its own, with Python's own filters: what pytest filters would not be missed here."""
    code = "from flywheel_pipelines.definitions import defs; print(len(defs().resolve_all_asset_specs()) > 20)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    assert (done.stdout.strip(), done.stderr) == ("True", "")
