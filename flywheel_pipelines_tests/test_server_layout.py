"""The server's layout at work, without containers: the commands of `deploy/compose.yaml` with a real PostgreSQL.

As a container does, the code server has process ids of its own (a PID namespace), and all its processes end with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from flywheel_pipelines.instance import SETTINGS, instance_in
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT
from flywheel_pipelines.run_launcher import noted_process
from flywheel_pipelines_tests.components.running_dagster import free_port, load_driving
from flywheel_pipelines_tests.container_layout import compose, words_of
from flywheel_pipelines_tests.layout_definitions import BEGAN, FOLDER, GO
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, postgres
from flywheel_pipelines_tests.server_books import address, make_home, n_rows, tables_of

__all__ = ["postgres"]
CODE_HOST = "127.0.0.2"
"""Of loopback, and none of the names of this machine that the launcher knows."""
OWN_IDS = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
LOOK_SECONDS = 5
"""Between two looks of the daemon at runs, which are 30 s in the settings."""


def namespaces_are_allowed() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*OWN_IDS, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not namespaces_are_allowed(), reason="processes may not have a PID namespace of their own here"),
]


@dataclass
class Layout:
    """The processes of the services, by name."""

    root: Path
    server: Postgres
    database: str
    driving: ModuleType
    code_port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    """Of the database, before the processes that work with them were started."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
            **address(self.server, self.database),
            DATA_DIR_VARIABLE: str(self.root / "data"),
            "DAGSTER_HOME": str(self.root / "dagster_home"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(PROJECT_ROOT),
            FOLDER: str(self.root),
        }

    def command(self, service: str) -> list[str]:
        """What compose.yaml has a container run, with ports, workspace and definitions of this test."""
        told = words_of(compose()["services"][service]["command"])
        told = [word.replace(str(PROJECT_ROOT / "deploy/server"), str(self.root)) for word in told]
        host, port = (CODE_HOST, self.code_port) if service == "code" else ("127.0.0.1", self.ui_port)
        changed = {
            "0.0.0.0": host, "4000": str(port), "3000": str(port),
            "flywheel_pipelines.definitions": "flywheel_pipelines_tests.layout_definitions",
        }  # fmt: skip
        return [changed.get(word, word) for word in told]

    def run_to_its_end(self, service: str) -> None:
        told = self.command(service)
        done = subprocess.run(told, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def code_is_healthy(self) -> bool:
        check = words_of(compose()["services"]["code"]["healthcheck"]["test"][1:-1])
        asked = [*check, str(self.code_port), "--host", CODE_HOST]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def start(self, service: str) -> None:
        before = OWN_IDS if service == "code" else []
        with (self.root / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                [*before, *self.command(service)],
                cwd=self.root, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def end(self, service: str) -> None:
        """As when a container is killed: whatever runs in it ends."""
        process = self.processes.pop(service)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)

    def health(self) -> dict[str, Any]:
        """What the daemon's container is asked, by name of the finding."""
        command = words_of(compose()["services"]["daemon"]["healthcheck"]["test"][1:])
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return {one["name"]: one["is_well"] for one in json.loads(done.stdout)["findings"]}

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-3000:]}" for path in self.root.glob("*.log"))

    def wait(self, found: Any, what: str, seconds: float = 120) -> Any:
        try:
            return self.driving.wait_until(found, what, seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None


@pytest.fixture(scope="module")
def layout(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    root = tmp_path_factory.mktemp("layout")
    made = Layout(root, postgres, postgres.new_database(), load_driving())
    settings = make_home(root / "dagster_home") / SETTINGS
    quick = settings.read_text().replace("poll_interval_seconds: 30", f"poll_interval_seconds: {LOOK_SECONDS}")
    settings.write_text(quick)
    workspace = (PROJECT_ROOT / "deploy" / "server" / "workspace.yaml").read_text()
    workspace = workspace.replace("host: code", f"host: {CODE_HOST}").replace("port: 4000", f"port: {made.code_port}")
    (root / "workspace.yaml").write_text(workspace)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        # In the order of `depends_on`: tables, then code, then what asks code.
        made.run_to_its_end("tables")
        made.tables = tables_of(made.server, made.database)
        for service in ("code", "daemon", "webserver"):
            made.start(service)
            stack.callback(lambda service=service: made.end(service) if service in made.processes else None)
            if service == "code":
                made.wait(made.code_is_healthy, "the code server")
        made.wait(lambda: made.driving._answers(made.base), "the UI")
        yield made


def command_of(pid: int) -> str:
    """The command of a process as it is seen from here; empty when there is none."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.status


def test_a_run_of_the_ui_is_made_by_the_code_server_and_kept_by_the_database(layout: Layout) -> None:
    run = layout.driving.wait_for_run(layout.base, layout.driving.launch_run(layout.base, "quick_job", "one"))
    assert run["status"] == "SUCCESS"
    assert n_rows(layout.server, layout.database, "runs") == 1
    assert not list((layout.root / "dagster_home").rglob("*.db"))


def test_no_process_makes_tables_of_its_own(layout: Layout) -> None:
    """Three that make them in an empty database at once stop one another."""
    assert layout.tables >= {"runs", "event_logs", "jobs", "job_ticks"}
    assert tables_of(layout.server, layout.database) == layout.tables


def test_health_is_well_while_the_daemon_is_there(layout: Layout) -> None:
    found = layout.wait(lambda: (health := layout.health())["daemon"] and health, "every daemon's heartbeat")
    assert found["books"]
    assert found["runs"]


def test_a_run_in_another_container_is_not_taken_for_dead_and_goes_on_after_a_restart(layout: Layout) -> None:
    run_id = layout.driving.launch_run(layout.base, "waits_job", "one")
    layout.wait((layout.root / BEGAN).exists, "the run's step")
    with instance_in(layout.root / "dagster_home") as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        noted = noted_process(instance, run_id)
        assert noted is not None
        # The control: the run's process has another id out here, so that to look for the noted one tells nothing.
        assert "dagster" not in command_of(noted[0])
        assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        time.sleep(2 * LOOK_SECONDS)
        assert status(instance, run_id) == dg.DagsterRunStatus.STARTED

        layout.end("code")
        (layout.root / BEGAN).unlink()
        health = instance.run_launcher.check_run_worker_health(run)
        assert (health.status, "does not answer" in str(health.msg)) == (WorkerStatus.RUNNING, True)
        layout.start("code")
        layout.wait(lambda: status(instance, run_id) == dg.DagsterRunStatus.FAILURE, "the end of the run")

        def retry() -> str | None:
            found = instance.get_run_by_id(run_id)
            return found.tags.get("dagster/auto_retry_run_id") if found else None

        again = layout.wait(retry, "the retry")
        layout.wait((layout.root / BEGAN).exists, "the step of the retry")
        (layout.root / GO).touch()
    assert layout.driving.wait_for_run(layout.base, again)["status"] == "SUCCESS"


def test_no_log_and_no_file_tells_the_password(layout: Layout) -> None:
    files = [path for path in layout.root.rglob("*") if path.is_file()]
    assert any(path.name == "daemon.log" and path.stat().st_size for path in files)
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []
