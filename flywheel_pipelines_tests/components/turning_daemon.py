"""A Dagster daemon that is killed: its real loops over sensors, dead runs and retries, under a simulated clock.

`python -m flywheel_pipelines_tests.components.turning_daemon ROOT LAST KILLS SEED` turns the wheel of `turning.py` up
to the day LAST and kills the daemon (SIGKILL) a number of times at random; each time up to three weeks pass before it
is started again. Every other kill waits for a run at one of three places; the others come at random. Runs are executed
in the daemon's own process, so that a kill takes both. Simulated are the clock that says which cycle is running, and
the daemon's own, by which a minute passes from one look to the next; the storage, the ticks, the run keys, the timeouts
and the retries are Dagster's.

Nothing is swallowed: the season ends with status 1 when a tick fails, or when nothing happens any more.
"""

import faulthandler
import logging
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorTick, TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._serdes import ConfigurableClass

from flywheel_pipelines.components.runs import under_way
from flywheel_pipelines.loop.turns import running_cycle
from flywheel_pipelines.run_launcher import worker_health
from flywheel_pipelines_tests.components import turning
from flywheel_pipelines_tests.components.turning import PLACES, read_clock

STEP = timedelta(hours=84)
MOST_IDLE = 20
"""Looks in a row, a minute each, in which neither a run nor the clock moves; a run that does not start has three."""
SETTINGS = """
telemetry: {enabled: false}
run_launcher: {module: flywheel_pipelines_tests.components.turning_daemon, class: InDaemon}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
run_monitoring: {enabled: true, start_timeout_seconds: 180}
# All runs in one file: a file for each takes a second of its own.
event_log_storage:
  module: dagster._core.storage.event_log
  class: ConsolidatedSqliteEventLogStorage
  config: {base_dir: HOME}
run_retries: {enabled: true, max_retries: 9, retry_on_asset_or_op_failure: false}
"""


class InDaemon(SyncInMemoryRunLauncher, ConfigurableClass):
    """Runs in the daemon's process, looked after as those of `WatchedRunLauncher` are."""

    def launch_run(self, context: Any) -> None:
        """Run it here; its process is noted before it starts, as Dagster's own launcher does."""
        turning.wait_to_be_killed(Path(os.environ[turning.DATA]), "launched")
        self._instance.report_engine_event(
            "Started process for run.", context.dagster_run, EngineEventData.in_process(os.getpid())
        )
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> Any:
        return worker_health(self._instance, run)


class InProcessTarget(WorkspaceLoadTarget):
    """The file `turning.py` as a code location without a server of its own."""

    def create_origins(self) -> Sequence[Any]:
        target = LoadableTargetOrigin(
            executable_path=sys.executable, python_file=str(Path(turning.__file__)), attribute="defs"
        )
        return [InProcessCodeLocationOrigin(target, location_name="turning")]


def turn(root: Path, last: date) -> None:
    """The daemon: turn until the clock has reached a day.

    Raises:
        AssertionError: a loop of the daemon met an error, or nothing happens any more; with Dagster's words.
    """
    n_idle = 0
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(InProcessTarget(), instance) as workspace,
    ):
        sensor = switch_on(instance, workspace)
        retries = EventLogConsumerDaemon()
        while True:
            n_runs = instance.get_runs_count()
            tick = look(root, sensor, workspace, retries)
            has_moved = instance.get_runs_count() != n_runs
            if not has_moved and is_settled(root, instance):
                if read_clock(root).date() >= last:
                    return
                set_clock(root, read_clock(root) + STEP)
                has_moved = True
            n_idle = 0 if has_moved else n_idle + 1
            assert n_idle < MOST_IDLE, f"nothing happens any more: {tick.tick_data.skip_reason}"


def look(root: Path, sensor: Any, workspace: Any, retries: EventLogConsumerDaemon) -> InstigatorTick:
    """One look of each of the daemon's loops; returns the sensor's tick.

    The daemon spaces its looks, and gives runs time to start, by a clock of its own: it goes on a minute from one look
    to the next, for all loops. (When only the sensor's went on, a run that was killed while it started had started in
    the future of the loop that looks for such runs, so that the wheel stood still.)
    """
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.CRITICAL)
    with freeze_time(time.time() + advance(root / "looks")):
        errors = list(execute_run_monitoring_iteration(workspace, logger))
        list(retries.run_iteration(workspace))
        errors += execute_sensor_iteration(workspace, logger, None, None)
    for error in filter(None, errors):
        raise AssertionError(f"the daemon met an error: {error.to_string()}")
    [tick] = workspace.instance.get_ticks(sensor.get_remote_origin_id(), sensor.selector_id, limit=1)
    assert tick.status in {TickStatus.SKIPPED, TickStatus.SUCCESS}, f"the tick ended as {tick.status}: {tick.error}"
    return tick


def is_settled(root: Path, instance: dg.DagsterInstance) -> bool:
    """Whether nothing is left to do at this hour, so that time may go on: the running cycle is open, and no run is."""
    wheel = turning.Wheel(root, turning.turning_spec())
    running = running_cycle(wheel.spec, read_clock(root))
    is_open = running < turning.START or running in wheel.marks("open")
    return is_open and under_way(instance, turning.NAME) is None


def main(root: Path, last: date, kills: int, seed: int) -> None:
    """Start the daemon again and again; it is killed in each part of the season once, every other time in a run."""
    chance = random.Random(seed)
    first = read_clock(root)
    part = (datetime.combine(last, datetime.min.time(), UTC) - first) / (kills + 1)
    assert part > timedelta(weeks=2), "too many kills: each needs a turn that it can hit"
    for number in range(kills):
        moment = first + part * (number + chance.random())
        place = PLACES[number // 2 % len(PLACES)] if number % 2 else None
        if place:
            write(root / turning.HOLD, f"{moment.isoformat()} {place}")
        daemon = fork(lambda: turn(root, last))
        if place:
            wait_for((root / turning.HELD).exists, daemon)
        else:
            wait_for(lambda moment=moment: read_clock(root) >= moment, daemon)
            time.sleep(chance.random() * 1.5)
        os.kill(daemon, signal.SIGKILL)
        os.waitpid(daemon, 0)
        for name in (turning.HOLD, turning.HELD):
            (root / name).unlink(missing_ok=True)
        set_clock(root, read_clock(root) + timedelta(weeks=chance.randrange(4)))
        sys.stdout.write(f"killed at {read_clock(root):%Y-%m-%d}, {place or 'anywhere'}\n")
    _, status = os.waitpid(fork(lambda: turn(root, last)), 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def fork(work: Callable[[], None]) -> int:
    """A process that does the work and ends; forked, since importing Dagster anew takes longer than ten weeks."""
    child = os.fork()
    if child:
        return child
    faulthandler.register(signal.SIGUSR1)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait_for(condition: Callable[[], bool], daemon: int) -> None:
    """Wait for a condition; if it does not come about, stderr says where the daemon is or how it ended."""
    deadline = time.monotonic() + 300
    while not condition():
        ended, status = os.waitpid(daemon, os.WNOHANG)
        assert not ended, f"the daemon ended by itself, with status {status}"
        if time.monotonic() > deadline:
            os.kill(daemon, signal.SIGUSR1)
            time.sleep(2)
            raise AssertionError("the daemon makes no progress; it is where the stack above says")
        time.sleep(0.005)


def advance(path: Path) -> float:
    """Seconds by which the daemon's clock is ahead: a minute more at every look, also over kills."""
    ahead = (float(path.read_text(encoding="utf-8")) if path.exists() else 0.0) + 60
    write(path, str(ahead))
    return ahead


def set_clock(root: Path, now: datetime) -> None:
    write(root / "clock", now.isoformat())


def write(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def switch_on(instance: dg.DagsterInstance, workspace: Any) -> Any:
    """Switch the sensor on, as a click in the UI does; returns it."""
    context = workspace.create_request_context()
    [location] = context.code_locations
    [repository] = location.get_repositories().values()
    [sensor] = repository.get_sensors()
    if sensor.get_current_instigator_state(None).status != InstigatorStatus.RUNNING:
        instance.start_sensor(sensor)
    return sensor


def prepare(root: Path) -> None:
    """A data directory and a Dagster home; the clock stands at the first cycle's first instant."""
    (root / "home").mkdir(parents=True)
    (root / "home" / "dagster.yaml").write_text(SETTINGS.replace("HOME", str(root / "home")), encoding="utf-8")
    set_clock(root, datetime.combine(turning.START, datetime.min.time(), UTC))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    os.environ[turning.DATA], os.environ["DAGSTER_HOME"] = str(folder), str(folder / "home")
    main(folder, date.fromisoformat(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
