"""A flywheel whose runs are killed at every step and re-executed from the UI comes out as one that was left alone.

Thirty-six kills: each step of an open and of a close at its start, in its middle and at its end, and each open once
more while it asks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.writing import TEMPORARY_PREFIX
from flywheel_pipelines.llm.ledger import INTERRUPTED
from flywheel_pipelines.llm.offline import application
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.components.killed_runs import (
    ARRIVED,
    CONCURRENCY,
    CYCLES,
    N_BRIEFS,
    PLACES,
    PLANS,
    STEPS,
    Ended,
    ended_in,
)
from flywheel_pipelines_tests.small_world import changed_files
from flywheel_pipelines_tests.written_world import NAME, WrittenWorld, counted_server

POINTER = ("input_table", "llm_requests")
SEED, LATENCY = 6, 0.03
LAUNCHER = {"module": "flywheel_pipelines_tests.components.killed_runs", "class": "ForkedLauncher"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]


class Counting:
    """The offline writer's application; it counts what arrives by who asks (the API key) and by idempotency key."""

    def __init__(self, app: Any, folder: Path) -> None:
        self.app, self.folder = app, folder
        self.arrived: dict[str, Counter[str]] = {plan: Counter() for plan in PLANS}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/chat/completions"):
            headers = dict(scope["headers"])
            who = headers[b"authorization"].decode().removeprefix("Bearer ")
            self.arrived[who][headers[b"idempotency-key"].decode().split("-")[0]] += 1
            with (self.folder / who / ARRIVED).open("ab") as file:
                file.write(b".")
        await self.app(scope, receive, send)


@contextmanager
def counting_writer(folder: Path) -> Iterator[tuple[str, Counting]]:
    """The offline writer on loopback, its address and its counts."""
    made: list[Counting] = []
    plain = application.application

    def counting(*arguments: Any) -> Counting:
        made.append(Counting(plain(*arguments), folder))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "application", counting)
        with counted_server(latency=LATENCY) as server:
            yield server.environment["OPENAI_BASE_URL"], made[0]


@dataclass(frozen=True)
class Played:
    """The three flywheels after their cycles."""

    folder: Path
    arrived: dict[str, Counter[str]]

    def world(self, plan: str) -> WrittenWorld:
        return WrittenWorld(self.folder / plan)

    def ended(self, plan: str) -> list[Ended]:
        return ended_in(self.folder / plan)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("killed")
    settings = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8")) | {"run_launcher": LAUNCHER}
    WrittenWorld.make(folder / PLANS[0], n_briefs=N_BRIEFS, producer={"concurrency": CONCURRENCY})
    (folder / PLANS[0] / "home").mkdir()
    (folder / PLANS[0] / "home" / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for plan in PLANS[1:]:
        shutil.copytree(folder / PLANS[0], folder / plan)
    command = [sys.executable, "-m", "flywheel_pipelines_tests.components.killed_runs", str(folder), str(SEED)]
    with counting_writer(folder) as (url, counting):
        environment = os.environ | {"OPENAI_BASE_URL": url, "PYTHONPATH": str(PROJECT_ROOT)}
        environment |= {"DAGSTER_DISABLE_TELEMETRY": "1", "DAGSTER_HOME": str(folder)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-6_000:]
    return Played(folder, counting.arrived)


# -- what was killed -------------------------------------------------------------------------------------------------
def check_kills(ended: list[Ended]) -> None:
    """Every step of both jobs was killed at each place, and each open while it asked; every kill hit its step."""
    met = Counter((one.kill.step, one.kill.place) for one in ended if one.kill)
    steps = [*STEPS["open"], *STEPS["close"]]
    wanted = {(step, place): 1 for step in steps for place in PLACES}
    assert met == wanted | {("generated_outputs", "asking"): len(CYCLES)}
    assert met.total() >= 30
    for one in ended:
        if one.kill:
            assert one.status == "FAILURE"
            assert one.kill.step in one.started
            assert one.kill.step not in one.done


def test_every_step_was_killed_at_its_start_in_its_middle_and_at_its_end(played: Played) -> None:
    check_kills(played.ended("killed"))


def test_control_a_season_without_kills_is_noticed(played: Played) -> None:
    assert {one.status for one in played.ended("kept")} == {"SUCCESS"}
    with pytest.raises(AssertionError):
        check_kills(played.ended("kept"))


# -- what came of it -------------------------------------------------------------------------------------------------
def test_re_executing_from_failure_completes_and_redoes_nothing_that_was_done(played: Played) -> None:
    done: dict[tuple[str, str], list[str]] = {}
    for one in played.ended("killed"):
        before = done.setdefault((one.verb, one.cycle), [])
        assert not set(before) & set(one.started)
        before += one.done
    assert len(done) == 2 * len(CYCLES)
    for (verb, _), steps in done.items():
        assert sorted(steps) == sorted(STEPS[verb])
    last = {(one.verb, one.cycle): one for one in played.ended("killed")}
    assert {one.status for one in last.values()} == {"SUCCESS"}


def test_every_table_and_file_is_as_that_of_the_twin_that_was_left_alone(played: Played) -> None:
    """Byte by byte, but for the ledger of requests, which tells of tries that were cut off, and who points to it."""
    kept, killed = played.world("kept"), played.world("killed")
    changed = changed_files(kept.bytes_of(), killed.bytes_of())
    left = [path for path in changed if Path(path).name.startswith(TEMPORARY_PREFIX)]
    assert len(left) <= sum(one.kill is not None for one in played.ended("killed"))
    tables_changed = {Path(path).parts[0] for path in changed if path not in left}
    assert tables_changed == {"llm_requests", "batches", "input_versions"}
    for table, column, ledger in ((tables.BATCHES, "source", "llm"), (tables.INPUT_VERSIONS, *POINTER)):
        rows = [[row for row in world.rows(table) if row[column] != ledger] for world in (kept, killed)]
        assert sorted(rows[0], key=str) == sorted(rows[1], key=str) != []


def test_the_answers_in_the_ledger_are_those_of_the_twin(played: Played) -> None:
    def answers(plan: str) -> dict[str, str]:
        rows = played.world(plan).rows(tables.LLM_REQUESTS)
        return {row["request_key"]: row["answer"] for row in rows if row["status"] == "answered"}

    assert answers("killed") == answers("kept") != {}


# -- what was paid ---------------------------------------------------------------------------------------------------
def check_paid_once(world: WrittenWorld, arrived: Counter[str]) -> None:
    """Each request has one answer; it arrived once, and once more for each try that a kill cut off."""
    answered, tries, cut_off = Counter[str](), Counter[str](), Counter[str]()
    for row in world.rows(tables.LLM_REQUESTS):
        key = row["request_key"]
        answered[key] += row["status"] == "answered"
        tries[key] += row["n_tries"]
        cut_off[key] += sum(one["result"] == INTERRUPTED for one in json.loads(row["tries"]))
    assert arrived.keys() == answered.keys()
    assert set(answered.values()) == {1}
    for key, times in arrived.items():
        assert 1 <= times <= tries[key]
        assert tries[key] == 1 + cut_off[key]


def test_no_request_that_was_answered_is_paid_twice(played: Played) -> None:
    check_paid_once(played.world("kept"), played.arrived["kept"])
    check_paid_once(played.world("killed"), played.arrived["killed"])
    assert set(played.arrived["kept"].values()) == {1}
    assert played.arrived["kept"].keys() == played.arrived["killed"].keys()
    assert len(played.arrived["kept"]) == len(played.world("kept").rows(tables.GENERATED_OUTPUTS))


def test_what_a_kill_cut_off_is_no_more_than_was_under_way(played: Played) -> None:
    twice = played.arrived["killed"].total() - len(played.arrived["killed"])
    n_kills = sum(one.kill.step == "generated_outputs" for one in played.ended("killed") if one.kill)
    assert 0 < twice <= n_kills * CONCURRENCY


def test_control_a_ledger_that_is_not_on_disk_pays_twice(played: Played) -> None:
    with pytest.raises(AssertionError):
        check_paid_once(played.world("careless"), played.arrived["careless"])
    twice = played.arrived["careless"].total() - len(played.arrived["careless"])
    assert twice > CONCURRENCY


# -- the places in the queue -----------------------------------------------------------------------------------------
def test_the_place_of_a_killed_run_is_free_within_a_minute(played: Played) -> None:
    """It is taken until the daemon has looked for dead runs, and free after one look; these are half a minute apart."""
    killed = [one for one in played.ended("killed") if one.kill]
    assert {(one.was_held, one.is_freed) for one in killed} == {(True, True)}
    settings = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    queue_looks_every = 5  # Dagster's own, and the project leaves it
    assert settings["run_monitoring"]["poll_interval_seconds"] + queue_looks_every <= 60
    assert settings["concurrency"]["pools"]["default_limit"] == 1


def test_no_place_is_taken_at_the_end(played: Played) -> None:
    with dg.DagsterInstance.from_config(str(played.folder / "killed" / "home")) as instance:
        assert instance.event_log_storage.get_concurrency_info(NAME).claimed_slots == []
        assert {run.status.value for run in instance.get_runs()} == {"SUCCESS", "FAILURE"}
