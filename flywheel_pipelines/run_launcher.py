"""Starts runs as Dagster does by default, and notices when the process of one has died.

Dagster's own launcher for one machine cannot say whether the worker of a run is still there. When the code server dies
together with its workers (a reboot, `kill -9` of everything, out of memory) their runs stay "started" for ever, hold
their places in the queue, and the flywheel they belong to stands still. This one looks for the process that the run has
noted in its log, so that the daemon marks the run failed at its next look (`run_monitoring` in `dagster.yaml`).

Process ids mean nothing in another container or on another machine. Where the code server is there (`grpc_server` in a
workspace file), it is asked whether it still has the run: one that was started anew does not, and its runs ended with
its container.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterEventType, DagsterInstance
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._serdes import ConfigurableClass, deserialize_value
from dagster._time import get_current_timestamp

if TYPE_CHECKING:
    from dagster import DagsterRun
    from dagster._grpc.client import DagsterGrpcClient

PID = "pid"
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
"""Where the code servers are that Dagster starts itself."""
ANSWER_SECONDS = 10


class WatchedRunLauncher(DefaultRunLauncher, ConfigurableClass):
    """`DefaultRunLauncher` whose runs are looked after."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """They can be asked for."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run is there, or, elsewhere, whether its code server has it."""
        if is_elsewhere(run) and (server := self._get_grpc_client_for_termination(run.run_id)) is not None:
            return health_elsewhere(server, run)
        return worker_health(self._instance, run)


def is_elsewhere(run: DagsterRun) -> bool:
    """Whether a run was started by a code server in another container or on another machine."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    return "socket" not in server and server.get("host", THIS_MACHINE[0]) not in THIS_MACHINE


def health_elsewhere(server: DagsterGrpcClient, run: DagsterRun) -> CheckRunHealthResult:
    """RUNNING while its code server has the run, and while that cannot be asked; FAILED once it does not know it."""
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

    try:
        said = server.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=ANSWER_SECONDS)
    except DagsterUserCodeUnreachableError:
        return CheckRunHealthResult(WorkerStatus.RUNNING, f"Its code server at {server.host} does not answer now.")
    if deserialize_value(said, CanCancelExecutionResult).can_cancel:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(
        WorkerStatus.FAILED, f"The code server at {server.host} was started anew, and the run ended with the old one."
    )


def worker_health(instance: DagsterInstance, run: DagsterRun) -> CheckRunHealthResult:
    """RUNNING while the process of a run is there, FAILED once it is gone.

    A run that has not noted its process has as long as one that has not started (`start_timeout_seconds`), and then
    counts as gone: it was killed between the two, and would hold its place for ever.
    """
    noted = noted_process(instance, run.run_id)
    if noted is None:
        return _without_a_note(instance, run)
    pid, noted_at = noted
    if is_alive(pid, noted_at):
        return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))
    return CheckRunHealthResult(
        WorkerStatus.FAILED, f"Its process {pid} is gone: it was killed, or the machine was restarted.", False, str(pid)
    )


def _without_a_note(instance: DagsterInstance, run: DagsterRun) -> CheckRunHealthResult:
    record = instance.get_run_record_by_id(run.run_id)
    patience = instance.run_monitoring_start_timeout_seconds
    since = record.start_time or record.create_timestamp.timestamp() if record else None
    if since is None or get_current_timestamp() - since < patience:
        return CheckRunHealthResult(WorkerStatus.RUNNING, "It has not noted its process yet.")
    return CheckRunHealthResult(
        WorkerStatus.FAILED,
        f"It has not noted its process within {patience} seconds of its start: it was killed.",
        False,
    )


def is_alive(pid: int, since: float) -> bool:
    """Whether a process is there that has had this id since an instant (seconds since 1970), and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_another_or_ended(pid, since)


def _is_another_or_ended(pid: int, since: float) -> bool:
    """Where Linux tells: the process began after the instant, so that the id is another's by now, or is a zombie."""
    try:
        # Fields 3 and 22 of proc(5), counted behind the name, which may hold blanks.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = next(
            float(line.split()[1])
            for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines()
            if line.startswith("btime")
        )
    except (OSError, StopIteration):
        return False
    began = boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    # The time of boot is whole seconds.
    return fields[0] == "Z" or began > since + 2


def noted_process(instance: DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Id of the process of a run, and when it said so: its first note, since steps of their own process note theirs."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        data = entry.dagster_event.event_specific_data if entry.dagster_event else None
        pid = (getattr(data, "metadata", None) or {}).get(PID)
        if pid is not None:
            return int(str(pid.value)), entry.timestamp
    return None
