"""The suite of orchestration on a real PostgreSQL server, and a season of turns whose daemon is killed, on the same.

The server is started here. What runs on it: turns tick by tick, dead runs, alerts, publishing, checks that stop a
close, pulls, corrections. Each test has books of its own there; afterwards PostgreSQL counts what is in them.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from flywheel_pipelines.components.automation import TURN_TAG
from flywheel_pipelines.cycles import Cadence, cycle_range
from flywheel_pipelines.instance import SETTINGS, instance_in
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.components.turning import NAME, START, Wheel, turning_spec
from flywheel_pipelines_tests.components.turning_daemon import prepare
from flywheel_pipelines_tests.instances import STORAGE
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, started_postgres
from flywheel_pipelines_tests.server_books import SERVER_SETTINGS, address, enter, n_rows, new_books

SUITE = (
    "components/test_turn_sensor.py",
    "components/test_alerting.py",
    "components/test_upkeep.py",
    "components/test_pull_job.py",
    "test_run_launcher.py",
    # Of these, what is told of runs and checks; the rest of them is about files and would take minutes.
    "components/test_inbox_sensor.py::test_the_run_closes_the_range_again_and_then_nothing_is_left_to_do",
    "components/test_inbox_sensor.py::test_while_a_run_of_the_flywheel_is_under_way_no_second_one_is_requested",
    "components/test_inbox_sensor.py::test_a_correction_whose_run_failed_is_not_requested_again_and_again",
    "components/test_cycle_checks.py::test_a_floor_that_was_chosen_after_the_fact_stops_the_close_before_it_writes",
    "components/test_feed_checks.py::test_a_broken_rule_fails_the_step_with_its_words_and_without_a_second_try",
)
ONE = "test_a_run_that_failed_is_told_with_cycle_step_words_owners_and_link"
WEEKS, KILLS, SEED = 12, 4, 6
LAST = START + timedelta(weeks=WEEKS)
CYCLES = list(cycle_range(START, LAST, Cadence.WEEKLY))
TURNS = [*((verb, cycle) for cycle in CYCLES[:-1] for verb in ("open", "close")), ("open", LAST)]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One of our own, since a test stops it."""
    with started_postgres() as found:
        yield found


def run_tests(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """The exit code of pytest, and what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *arguments]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), STORAGE: "postgres", **environment},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def modules(*names: str) -> list[str]:
    return [str(Path("flywheel_pipelines_tests", name)) for name in names]


def test_the_suite_passes_and_its_runs_are_in_postgres(server: Postgres) -> None:
    empty = new_books(server)
    code, said = run_tests(dict(address(server, empty)), *modules(*SUITE))
    assert code == 0, said[-4_000:]
    [passed] = re.findall(r"(\d+) passed", said)
    assert int(passed) >= 50
    assert "skipped" not in said
    used = [name for (name,) in server.execute(f"SELECT datname FROM pg_database WHERE datname LIKE '{empty}_of_%'")]
    runs = sum(n_rows(server, name, "runs") for name in used)
    events = sum(n_rows(server, name, "event_logs") for name in used)
    assert len(used) >= 30
    assert runs >= 30
    assert events > 5 * runs
    assert n_rows(server, empty, "runs") == 0


@pytest.fixture(scope="module")
def season(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wheel, str]]:
    """Twelve weeks of turns, the daemon killed four times, half of them in a run; and the name of the database."""
    root = tmp_path_factory.mktemp("turning")
    prepare(root)
    settings = root / "home" / SETTINGS
    told = yaml.safe_load(settings.read_text(encoding="utf-8"))
    told = {name: value for name, value in told.items() if not name.endswith("storage")}
    told["storage"] = yaml.safe_load(SERVER_SETTINGS.read_text(encoding="utf-8"))["storage"]
    settings.write_text(yaml.safe_dump(told), encoding="utf-8")
    database = new_books(server)
    command = [sys.executable, "-m", "flywheel_pipelines_tests.components.turning_daemon", str(root)]
    command += [str(LAST + timedelta(days=1)), str(KILLS), str(SEED)]
    environment = {**os.environ, **address(server, database), "PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.count("killed at") == KILLS
    assert PASSWORD not in done.stdout + done.stderr
    yield Wheel(root, turning_spec()), database


def test_under_kills_no_turn_is_lost_doubled_or_out_of_order(
    server: Postgres, season: tuple[Wheel, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill may have the turn repeated that it hit, right after itself and never later."""
    wheel, database = season
    assert [turn for turn, _ in itertools.groupby(wheel.journal())] == TURNS
    assert wheel.marks("open") == CYCLES
    assert wheel.marks("close") == CYCLES[:-1]
    enter(monkeypatch, server, database)
    with instance_in(wheel.root / "home") as instance:
        runs = list(reversed(instance.get_runs()))
    by_status = {status: [run.tags[TURN_TAG] for run in runs if run.status == status] for status in dg.DagsterRunStatus}
    succeeded = by_status[dg.DagsterRunStatus.SUCCESS]
    assert len(succeeded) == len(set(succeeded))
    assert by_status[dg.DagsterRunStatus.FAILURE], "no kill hit a run, which would prove nothing"
    assert set(succeeded) | set(by_status[dg.DagsterRunStatus.FAILURE]) == {turn_key(*turn) for turn in TURNS}
    assert n_rows(server, database, "runs") == len(runs)
    assert not list((wheel.root / "home").rglob("*.db"))


def turn_key(verb: str, cycle: date) -> str:
    return f"{NAME}:{verb}:{cycle}"


def test_control_with_the_server_stopped_the_suite_fails_in_words(server: Postgres) -> None:
    """The last one: the server is gone afterwards. With it, the same test is one of those that pass above."""
    empty = new_books(server)
    one = f"{modules('components/test_alerting.py')[0]}::{ONE}"
    server.stop()
    code, said = run_tests(dict(address(server, empty)), one)
    assert code == 1
    assert f"{STORAGE}=postgres: no books can be made on the server: connection failed" in said
    assert "1 failed" in said
    assert PASSWORD not in said
