"""Runs whose process is killed, and what a person does then in the UI: re-execute from failure, until it is done.

`python -m flywheel_pipelines_tests.components.killed_runs FOLDER SEED` plays three flywheels that lie in FOLDER. They
ask the server that the environment names. Every run is queued, taken from the queue and executed as Dagster does it
under the project's `dagster.yaml`, in a process of its own. The three differ in how much is killed:

    kept: nothing in three cycles. The twin.
    killed: the same cycles; every step of every run (SIGKILL), at one of PLACES in turn, and its re-execution at the
        next step.
    careless: one run, while it asks, with a ledger that says that things are on disk before they are. The control.

The file `ended` of each says what became of every run. Processes are forked from this one, since importing everything
anew takes longer than a run. The daemon's loops are called one by one, so that their looks can be counted.
"""

import dataclasses
import importlib
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.api import execute_run_iterator
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster_graphql.test.utils import execute_dagster_graphql

from flywheel_pipelines.cycles import cycle_end, cycle_start
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.paths import DATA_DIR_VARIABLE
from flywheel_pipelines.run_launcher import WatchedRunLauncher
from flywheel_pipelines_tests.llm.asking_process import make_careless
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WRITING, WrittenWorld

MODULE, ROOT = "flywheel_pipelines_tests.components.killed_runs", "KILLED_RUNS_ROOT"
PLANS = ("kept", "killed", "careless")
CYCLES = WEEKS[:3]
OPENING = ("briefs", "cycle_manifest", *WRITING)
CLOSING = (
    "performance_metrics", "prompt_gate", "scored_outputs", "reference_corpus", "scoring_model", "refreshed_prompt",
    "momentum",
)  # fmt: skip
STEPS = {"open": OPENING, "close": CLOSING}
PLACES = ("start", "middle", "end")
"""When Dagster has noted that the step starts; at a random moment of it; when its work is done and nothing noted."""
CONCURRENCY, N_BRIEFS, FEWEST_REQUESTS = 3, 12, 17
"""Of a cycle."""
ARRIVED, ENDED = "arrived", "ended"
"""Files of a data directory: a byte for each request that has arrived at the server, a line for each run."""
PROBE = f"{NAME}__probe"
"""A job that does nothing and shares the flywheel's pool."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
IMPORTED_FIRST = ("great_expectations", "openai", "httpx2", "matplotlib.pyplot", "scipy.optimize", "duckdb")


@dataclasses.dataclass(frozen=True)
class Kill:
    """Where a run is to be killed: in which step, at which of PLACES or while it asks.

    In the middle it happens `after` so many seconds, while it asks after so many requests.
    """

    step: str
    place: str
    after: float = 0.0


@dataclasses.dataclass
class Ended:
    """What became of one run."""

    verb: str
    cycle: str
    run_id: str
    kill: Kill | None
    status: str
    started: list[str]
    """Steps that had started and, of these, those that were done."""
    done: list[str]
    seconds: dict[str, float]
    was_held: bool | None = None
    """Of a killed run: whether its place in the pool was taken until the daemon had looked."""
    is_freed: bool | None = None
    """And whether it was free after one look."""


class ForkedLauncher(WatchedRunLauncher):
    """Runs in processes that are forked from this one; the last of them can be killed."""

    kill: Kill | None = None
    is_careless = False
    worker: int
    at_place: int
    """A pipe in which the worker says that it has come to the place where it is to be killed."""

    def launch_run(self, context: Any) -> None:
        """Fork; the child executes the run and ends."""
        run, kill = context.dagster_run, None if context.dagster_run.job_name == PROBE else self.kill
        self.at_place, said = os.pipe()
        self.worker = fork(lambda: self._work(run, context.job_code_origin, kill, said))
        os.close(said)

    def bury(self) -> None:
        """Wait for the end of the last one."""
        os.waitpid(self.worker, 0)
        os.close(self.at_place)

    def _work(self, run: dg.DagsterRun, origin: Any, kill: Kill | None, said: int) -> None:
        with dg.DagsterInstance.get() as instance:
            # As Dagster's own launcher does.
            instance.report_engine_event("Started process for run.", run, EngineEventData.in_process(os.getpid()))
            if self.is_careless:
                make_careless()
            for event in execute_run_iterator(recon_job_from_origin(origin), run, instance):
                if kill is not None and event.step_key == f"{NAME}__{kill.step}":
                    wait_to_be_killed(kill, event, said)


def wait_to_be_killed(kill: Kill, event: DagsterEvent, said: int) -> None:
    """Say so and wait, when a run has come to its place. It is its middle's random moment that ends earlier."""
    is_start, is_end = event.is_step_start, event.is_step_success or event.event_type_value == "STEP_OUTPUT"
    if is_start and kill.place != "end":
        os.write(said, b"s")
    if is_end and kill.place == "end":
        os.write(said, b"e")
    if (is_start and kill.place == "start") or is_end:
        time.sleep(90)
        raise AssertionError(f"nobody has killed the run at {kill}")


class Loops:
    """The loops of the daemon that runs depend on, and the UI's mutations."""

    def __init__(self, root: Path, instance: dg.DagsterInstance, workspace: Any) -> None:
        """A data directory, its instance and a workspace of its one code location."""
        self.root, self.instance, self.workspace = root, instance, workspace
        self.queue = QueuedRunCoordinatorDaemon(interval_seconds=5)
        assert isinstance(instance.run_launcher, ForkedLauncher)
        self.launcher = instance.run_launcher

    def ask(self, mutation: str, kind: str, parameters: dict[str, Any]) -> str:
        """Launch by GraphQL, as the UI does; returns the run's id."""
        query = f"""mutation($parameters: {kind}!) {{ {mutation} {{
            __typename ... on LaunchRunSuccess {{ run {{ runId }} }} ... on PythonError {{ message }}
            ... on RunConfigValidationInvalid {{ errors {{ message }} }} }} }}"""
        answer = execute_dagster_graphql(self.workspace.create_request_context(), query, {"parameters": parameters})
        found = answer.data[mutation.split("(")[0]]
        assert found["__typename"] == "LaunchRunSuccess", found
        return found["run"]["runId"]

    def launch(self, job: str, config: dict[str, Any], tags: dict[str, str]) -> str:
        """Launch a job."""
        [location] = self.workspace.create_request_context().code_locations
        [repository] = location.get_repositories().values()
        selector = {
            "repositoryName": repository.name, "repositoryLocationName": location.name, "pipelineName": job,
        }  # fmt: skip
        parameters = {
            "selector": selector,
            "mode": "default",
            "runConfigData": config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        return self.ask("launchRun(executionParams: $parameters)", "ExecutionParams", parameters)

    def resume(self, run_id: str) -> str:
        """Re-execute from failure."""
        parameters = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        return self.ask("launchRunReexecution(reexecutionParams: $parameters)", "ReexecutionParams", parameters)

    def dequeue(self) -> None:
        """One look of the loop that takes runs from the queue."""
        list(self.queue.run_iteration(self.workspace))

    def monitor(self) -> None:
        """One look of the loop that looks for dead runs."""
        list(execute_run_monitoring_iteration(self.workspace, logging.getLogger("quiet")))

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """Where a run is."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def kill(self, kill: Kill, arrived: int) -> None:
        """Wait until the worker is where it is to be killed, and kill it; so many requests had arrived before."""
        assert os.read(self.launcher.at_place, 1), f"the run ended before it could be killed: {kill}"
        if kill.place == "asking":
            wait_until(lambda: self.n_arrived >= arrived + kill.after)
        elif kill.place == "middle":
            time.sleep(kill.after)
        os.kill(self.launcher.worker, signal.SIGKILL)

    @property
    def n_arrived(self) -> int:
        path = self.root / ARRIVED
        return path.stat().st_size if path.exists() else 0

    def probe(self) -> tuple[bool, bool]:
        """Whether the place of a run that was killed is taken, and whether it is free after one look of the daemon."""
        run_id = self.launch(PROBE, QUIET, {})
        self.dequeue()
        was_held = self.status(run_id) == dg.DagsterRunStatus.QUEUED
        self.monitor()
        self.dequeue()
        is_freed = self.status(run_id) != dg.DagsterRunStatus.QUEUED
        self.launcher.bury()
        assert self.status(run_id) == dg.DagsterRunStatus.SUCCESS
        return was_held, is_freed

    def run(self, verb: str, cycles: Sequence[date], kills: Sequence[Kill]) -> None:
        """Launch a job and see it to its end: every kill is followed by a re-execution, which meets the next kill."""
        run_id = self.launch(f"{NAME}__{verb}", *what_is_asked(verb, cycles))
        for kill in kills:
            self.execute(verb, cycles[-1], run_id, kill)
            run_id = self.resume(run_id)
        self.execute(verb, cycles[-1], run_id, None)

    def execute(self, verb: str, cycle: date, run_id: str, kill: Kill | None) -> None:
        """Take a run from the queue and see it end, or be killed and be noticed; writes down what became of it."""
        self.launcher.kill, n_arrived = kill, self.n_arrived
        self.dequeue()
        assert self.status(run_id) != dg.DagsterRunStatus.QUEUED
        if kill is not None:
            self.kill(kill, n_arrived)
        self.launcher.bury()
        was_held, is_freed = self.probe() if kill is not None else (None, None)
        by_start = sorted(self.instance.get_run_step_stats(run_id), key=lambda one: one.start_time or 0)
        stats = {one.step_key.removeprefix(f"{NAME}__"): one for one in by_start}
        done = [step for step, one in stats.items() if one.status and one.status.value == "SUCCESS"]
        seconds = {step: (stats[step].end_time or 0) - (stats[step].start_time or 0) for step in done}
        status = self.status(run_id).value
        ended = Ended(verb, cycle.isoformat(), run_id, kill, status, list(stats), done, seconds, was_held, is_freed)
        with (self.root / ENDED).open("a", encoding="utf-8") as book:
            book.write(json.dumps(dataclasses.asdict(ended)) + "\n")


def ended_in(root: Path) -> list[Ended]:
    """What became of the runs of a data directory, in order."""
    found = [json.loads(line) for line in (root / ENDED).read_text(encoding="utf-8").splitlines()]
    return [Ended(**{**one, "kill": Kill(**one["kill"]) if one["kill"] else None}) for one in found]


def what_is_asked(verb: str, cycles: Sequence[date]) -> tuple[dict[str, Any], dict[str, str]]:
    """Run config and tags of a job; the instant at which things are recorded is given, so that a twin has the same."""
    dated = OPENING[1:] if verb == "open" else ()
    ops = {f"{NAME}__{step}": {"config": {"recorded_at": cycle_start(cycles[-1]).isoformat()}} for step in dated}
    tags = {"dagster/partition": cycles[-1].isoformat()}
    if len(cycles) > 1:
        first, last = cycles[0].isoformat(), cycles[-1].isoformat()
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return {"ops": ops, **QUIET}, tags


def kills_of(number: int, seconds: dict[str, float], chance: random.Random) -> list[Kill]:
    """Every step of a job is killed; where, goes round with the number of the cycle.

    Args:
        number: of the cycle, from 0.
        seconds: that each step took when nothing was killed, in the order in which they run.
        chance: draws the moments.
    """
    kills = []
    for index, step in enumerate(seconds):
        place = PLACES[(index + number) % len(PLACES)]
        if step == "generated_outputs":
            # Some are answered, some under way, some not sent.
            kills.append(Kill(step, "asking", chance.randint(CONCURRENCY + 1, FEWEST_REQUESTS - 1)))
        kills.append(Kill(step, place, chance.uniform(0, seconds[step]) if place == "middle" else 0.0))
    return kills


def play(root: Path, kills: Callable[[str, int], list[Kill]], cycles: Sequence[date] = CYCLES) -> None:
    """Open every cycle, let its numbers arrive, and close it again with the one before, whose numbers are corrected."""
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(InProcessTarget(), instance) as workspace,
    ):
        loops = Loops(root, instance, workspace)
        for number, cycle in enumerate(cycles):
            loops.run("open", [cycle], kills("open", number))
            if cycles is CYCLES:
                wait_for(fork(lambda cycle=cycle: deliver_numbers(WrittenWorld(root), cycle)))
                loops.run("close", CYCLES[max(0, number - 1) : number + 1], kills("close", number))


def deliver_numbers(world: WrittenWorld, cycle: date) -> None:
    """What a cycle's outputs did, and the numbers of the cycle before once more, a little higher."""
    lines = ["output_id,day,sends,replies"]
    for age, of in enumerate((cycle, cycle - timedelta(weeks=1))):
        for row in world.rows(tables.PUBLISHED_OUTPUTS, of):
            drawn = random.Random(row["output_id"]).randint(20, 120)
            lines.append(f"{row['output_id']},{of},{500},{drawn + age}")
    path = world.root / f"numbers-{cycle}.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    recorded_at = cycle_end(cycle, world.spec.cadence)
    batch, _ = land_file(world.lake, world.spec, "mailer", path, recorded_at=recorded_at, source=path.name)
    assert not batch.n_quarantined


def main(folder: Path, seed: int) -> None:
    """Play the three, each in a process of its own: definitions and instances are kept for the life of a process."""
    for name in IMPORTED_FIRST:
        importlib.import_module(name)
    for plan in PLANS:
        wait_for(fork(lambda plan=plan: play_plan(folder, plan, random.Random(seed))))


def play_plan(folder: Path, plan: str, chance: random.Random) -> None:
    """Play one of the three in its own data directory."""
    root = folder / plan
    os.environ |= {ROOT: str(root), "DAGSTER_HOME": str(root / "home"), "OPENAI_API_KEY": plan}
    os.environ[DATA_DIR_VARIABLE] = str(WrittenWorld(root).paths.root)
    if plan == "kept":
        play(root, lambda *_: [])
    elif plan == "killed":
        seconds = {ended.verb: ended.seconds for ended in ended_in(folder / "kept")}
        play(root, lambda verb, number: kills_of(number, seconds[verb], chance))
    else:
        ForkedLauncher.is_careless = True
        play(root, lambda *_: [Kill("generated_outputs", "asking", CONCURRENCY + 1)], CYCLES[:1])


def wait_for(child: int) -> None:
    """Wait for a process. Raises AssertionError when it failed; it has said why."""
    _, status = os.waitpid(child, 0)
    assert not status, "see above"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


def fork(work: Callable[[], None]) -> int:
    """A process that does the work and ends."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def defs() -> dg.Definitions:
    """What the code location shows: the flywheel, and a job that wants the same place."""

    @dg.op(pool=NAME)
    def nothing() -> None: ...

    @dg.job(name=PROBE, executor_def=dg.in_process_executor)
    def probe() -> None:
        nothing()

    return dg.Definitions.merge(WrittenWorld(Path(os.environ[ROOT])).definitions(), dg.Definitions(jobs=[probe]))


class InProcessTarget(WorkspaceLoadTarget):
    """This module as a code location without a server of its own."""

    def create_origins(self) -> Sequence[Any]:
        target = LoadableTargetOrigin(executable_path=sys.executable, module_name=MODULE, attribute="defs")
        return [InProcessCodeLocationOrigin(target, location_name="killed")]


if __name__ == "__main__":
    # By its name: Dagster imports the launcher by it, and that is to be the same class.
    importlib.import_module(MODULE).main(Path(sys.argv[1]), int(sys.argv[2]))
