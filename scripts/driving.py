"""Driving a Dagster UI: starting one, asking and telling it by GraphQL, and looking at it in a headless browser.

For `screenshots.py` and for the tests of a running `dagster dev`. Here: how. Not here: what is looked at.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROJECT = Path(__file__).resolve().parent.parent
CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
THEME_KEY = "dagster-theme"
SENSOR_TAG = "dagster/sensor_name"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shot:
    """One picture: a page, what to wait for, what to click, and the part that matters (left, top, width, height)."""

    name: str
    url: str
    size: tuple[int, int]
    wait_for: str
    click: tuple[str, ...] = ()
    clip: Box | None = None
    theme: str = "Light"


class Page:
    """One tab of the browser, driven over the Chrome DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        """An open connection to the tab."""
        self._connection = connection
        self._numbers = itertools.count(1)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result. Raises RuntimeError when the browser refuses it."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def wait_until(self, condition: str, what: str, seconds: float = 60) -> None:
        """Wait for a JavaScript condition. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not appear within {seconds:.0f} s")
            time.sleep(0.3)

    def wait_for_text(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.wait_until(f"document.body && document.body.innerText.includes({json.dumps(text)})", repr(text))

    def click_text(self, text: str) -> None:
        """Click the last element that shows exactly this text."""
        self.wait_for_text(text)
        script = f"""(() => {{
            const found = [...document.querySelectorAll('a, button, span, div, h1, h2, h3')]
                .filter(e => e.innerText && e.innerText.trim() === {json.dumps(text)});
            const last = found[found.length - 1];
            if (last) last.click();
            return Boolean(last);
        }})()"""
        if not self.evaluate(script):
            raise LookupError(f"nothing on the page says exactly {text!r}")

    def picture(self, clip: Box | None) -> bytes:
        """The page, or a part of it, as PNG."""
        parameters: dict[str, Any] = {"format": "png"}
        if clip is not None:
            parameters["clip"] = dict(zip(("x", "y", "width", "height"), clip, strict=True)) | {"scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"])


@contextlib.contextmanager
def browser(executable: str) -> Iterator[Page]:
    """A tab of a fresh headless browser, ended with the block."""
    profile = Path(tempfile.mkdtemp(prefix="screenshots-"))
    command = [executable, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = profile / "DevToolsActivePort"
        _wait(lambda: port_file.exists() and port_file.read_text(encoding="utf-8").count("\n") > 0, "the browser")
        port = port_file.read_text(encoding="utf-8").split("\n")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as answer:
            tab = next(target for target in json.load(answer) if target["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(timeout=20)
        shutil.rmtree(profile, ignore_errors=True)


@contextlib.contextmanager
def user_interface(data: Path, port: int, definitions: Path | None = None, log: Path | None = None) -> Iterator[str]:
    """The Dagster UI and daemon on a data directory, ended with the block; they show the project, as `flywheel dev`.

    With `definitions`, they show what that Python file defines instead. What they say goes to the file `log`.
    """
    command = [sys.executable, "-m", "flywheel_pipelines.cli", "dev", "--port", str(port)]
    if definitions is not None:
        command = [sys.executable, "-m", "dagster", "dev", "-f", str(definitions), "-h", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {"FLYWHEEL_DATA_DIR": str(data), "PYTHONPATH": str(PROJECT)}
    url = f"http://127.0.0.1:{port}"
    if _answers(url):
        raise SystemExit(f"Something answers on {url} already: choose another --port.")
    with (log or Path(os.devnull)).open("wb") as said:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        _wait(lambda: _answers(url) or process.poll() is not None, "the Dagster UI", seconds=180)
        if process.poll() is not None:
            raise SystemExit(f"The UI ended at once. Try it by hand: {' '.join(command)}")
        yield url
    finally:
        # It has children (code server, daemon, web server): its whole session goes.
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        # What a busy machine has not ended by then; the lake and Dagster's storage survive a kill.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def graphql(base: str, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The data that the UI's own interface answers a query with. Raises RuntimeError with what it objects to."""
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(f"{base}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
    if found.get("errors"):
        raise RuntimeError(f"{query}: {found['errors'][0]['message']}")
    return found["data"]


def runs_of(base: str, job: str) -> list[dict[str, Any]]:
    """The runs of a job, the newest first: runId, status, tags by key."""
    query = (
        f'{{ runsOrError(filter: {{pipelineName: "{job}"}}) {{ ... on Runs {{ results '
        "{ runId status tags { key value } } } } }"
    )
    runs = graphql(base, query)["runsOrError"]["results"]
    return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in runs]


def wait_for_correction(base: str, job: str, known: Collection[str] = (), seconds: float = 300) -> dict[str, Any]:
    """The run that the inbox sensor has requested, once it is over; not one of the `known`. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        requested = [run for run in runs_of(base, job) if SENSOR_TAG in run["tags"] and run["runId"] not in known]
        if requested and requested[0]["status"] in ENDED:
            return requested[0]
        time.sleep(1)
    raise TimeoutError(f"No run of {job} that a sensor requested ended within {seconds:.0f} s.")


def repository(base: str) -> dict[str, str]:
    """The one code location and repository that the UI shows, as its selectors want them."""
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
    [node] = graphql(base, query)["repositoriesOrError"]["nodes"]
    return {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"]}


def launch_run(base: str, job: str, partition: str) -> str:
    """Launch a job for one cycle, as the button of the UI does; returns the run's id."""
    selector = repository(base) | {"pipelineName": job}
    parameters = {
        "selector": selector,
        "mode": "default",
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
    }
    query = """mutation($parameters: ExecutionParams!) { launchPipelineExecution(executionParams: $parameters) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
        ... on RunConfigValidationInvalid { errors { message } } } }"""
    answer = graphql(base, query, {"parameters": parameters})["launchPipelineExecution"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(f"{job} was not launched: {answer}")
    return answer["run"]["runId"]


def launch_backfill(base: str, assets: Sequence[Sequence[str]], partitions: Sequence[str]) -> str:
    """Launch a backfill of some assets over some cycles, as the UI does; returns its id."""
    parameters = {
        "assetSelection": [{"path": list(asset)} for asset in assets],
        "partitionNames": list(partitions),
        "fromFailure": False,
    }
    query = """mutation($parameters: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $parameters) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    answer = graphql(base, query, {"parameters": parameters})["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise RuntimeError(f"The backfill was not launched: {answer}")
    return answer["backfillId"]


def resume_run(base: str, run_id: str) -> str:
    """Re-execute a run from where it failed, as the UI does; returns the new run's id."""
    query = """mutation($parameters: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $parameters) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
    parameters = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
    answer = graphql(base, query, {"parameters": parameters})["launchRunReexecution"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(f"Run {run_id} was not re-executed: {answer}")
    return answer["run"]["runId"]


def wait_for_run(base: str, run_id: str, seconds: float = 600) -> dict[str, Any]:
    """A run once it is over: runId, status, tags by key, and its steps with their status."""
    query = (
        f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ runId status tags {{ key value }} '
        "stepStats { stepKey status } } } }"
    )

    def ended() -> dict[str, Any] | None:
        run = graphql(base, query)["runOrError"]
        return run if run.get("status") in ENDED else None

    run = wait_until(ended, f"the end of run {run_id}", seconds)
    return {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}


def wait_for_backfill(base: str, backfill_id: str, seconds: float = 600) -> list[dict[str, Any]]:
    """The runs of a backfill once it is over: runId, status, tags by key. Raises RuntimeError when it failed."""
    query = (
        f'{{ partitionBackfillOrError(backfillId: "{backfill_id}") {{ ... on PartitionBackfill {{ status '
        "error { message } runs(limit: 500) { runId status tags { key value } } } } }"
    )

    def ended() -> dict[str, Any] | None:
        backfill = graphql(base, query)["partitionBackfillOrError"]
        return backfill if backfill["status"].startswith(("COMPLETED", "FAILED", "CANCELED")) else None

    backfill = wait_until(ended, f"the end of backfill {backfill_id}", seconds)
    if backfill["error"]:
        raise RuntimeError(f"Backfill {backfill_id}: {backfill['error']['message']}")
    return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in backfill["runs"]]


def wait_until(found: Callable[[], Any], what: str, seconds: float) -> Any:
    """What a question gives once it gives something. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s.")
        time.sleep(1)
    return answer


def take(page: Page, base: str, shot: Shot) -> bytes:
    """One picture."""
    width, height = shot.size
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    # The storage belongs to the address, so that a page of it must be open before the theme can be set.
    page.call("Page.navigate", url=f"{base}/server_info")
    page.wait_until(f"location.href.startsWith({json.dumps(base)})", base)
    page.evaluate(f"localStorage.setItem({json.dumps(THEME_KEY)}, {json.dumps(json.dumps(shot.theme))})")
    page.call("Page.navigate", url=base + shot.url)
    page.wait_for_text(shot.wait_for)
    for text in shot.click:
        page.click_text(text)
        time.sleep(1.5)
    # Layout, transitions and lazily loaded parts settle after the text is there.
    time.sleep(4)
    return page.picture(shot.clip)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _wait(condition: Any, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not start within {seconds:.0f} s.")
        time.sleep(0.2)
