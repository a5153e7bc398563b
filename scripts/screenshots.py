"""Pictures of the Dagster UI for the documentation: `python scripts/screenshots.py --data DIR [--out docs/img]`.

DIR is a data directory on which `flywheel demo` has run. The command starts the UI on it, takes the pictures in
headless Chromium and stops both again. `momentum.png` is the plot that the demo left in `DIR/reports`. For the last two
a simulated correction is dropped into the inbox, which the sensor finds and closes again, so DIR is changed by it.

Here: driving a browser, and which page each picture shows. Not here: what the pages say (`components/`).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
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
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from flywheel_pipelines.cli.shared import spec_named
from flywheel_pipelines.feedback.landing import measures_of
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake

PROJECT = Path(__file__).resolve().parent.parent
CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
THEME_KEY = "dagster-theme"
SENSOR_TAG = "dagster/sensor_name"
LOCATION = "flywheel-pipelines"
MAX_BYTES = 300_000
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


def graphql(base: str, query: str) -> dict[str, Any]:
    """The data that the UI's own interface answers a query with. Raises RuntimeError with what it objects to."""
    body = json.dumps({"query": query}).encode()
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
        if requested and requested[0]["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            return requested[0]
        time.sleep(1)
    raise TimeoutError(f"No run of {job} that a sensor requested ended within {seconds:.0f} s.")


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


def shots(data: Path, flywheel: str) -> list[Shot]:
    """The pictures of one flywheel; the asset is shown at the last cycle that was closed."""
    cycles = Lake(data / "lake").cycles(tables.MOMENTUM, flywheel)
    if not cycles:
        raise SystemExit(f"{flywheel} has no closed cycle in {data}. Run `flywheel demo` on it first.")
    graph = urllib.parse.quote(f'group:"{flywheel}"')
    momentum, generated = (
        f"/assets/{flywheel}/{asset}?view=partitions&partition={cycles[-1]}"
        for asset in ("momentum", "generated_outputs")
    )
    return [
        Shot("asset_graph", f"/asset-groups~{graph}", (2200, 800), "refreshed_prompt", clip=(560, 330, 1597, 195)),
        Shot("momentum_asset", momentum, (1500, 1100), "lift_cumulative", clip=(240, 0, 1260, 1100)),
        Shot("generated_outputs", generated, (1500, 1000), "requests", clip=(240, 0, 1260, 1000), theme="Dark"),
    ]


def shots_of_correction(flywheel: str, last: str) -> list[Shot]:
    """The pictures that show what became of a correction; `last` is the last cycle that was closed again."""
    scores = f"/assets/{flywheel}/scored_outputs?view=partitions&partition={last}"
    sensor = f"/locations/__repository__@{LOCATION}/sensors/{flywheel}__inbox"
    return [
        Shot("inbox_sensor", sensor, (1500, 900), f"{flywheel}__inbox", clip=(240, 0, 1260, 900)),
        Shot("restatement", scores, (1500, 1100), "decisions_flipped", clip=(240, 0, 1260, 1100)),
    ]


def drop_correction(data: Path, flywheel: str) -> None:
    """Put a simulated correction into the inbox: half of what promoted outputs of a cycle achieved is taken back."""
    lake, spec = Lake(data / "lake"), spec_named(flywheel)
    name, feed = next((name, feed) for name, feed in spec.feeds.items() if feed.kind == "metrics")
    cycle = lake.cycles(tables.MOMENTUM, flywheel)[-3]
    scored = lake.read(tables.SCORED_OUTPUTS, flywheel, cycle).to_pylist()
    promoted = [row["output_id"] for row in scored if row["decision"] == "promote"][:3]
    days: dict[tuple[str, Any], dict[str, float]] = {}
    for row in sorted(lake.read(tables.METRIC_LEDGER, flywheel, cycle).to_pylist(), key=lambda row: row["recorded_at"]):
        if row["output_id"] in promoted:
            days.setdefault((row["output_id"], row["measured_on"]), {})[row["measure"]] = row["value"]
    measures = measures_of(spec)
    header = [feed.columns.get(column, column) for column in ("output_id", "date", *measures)]
    path = next((data / "inbox").glob(str(feed.path))).with_name("simulated-correction.csv")
    partial = path.with_name(f"{path.name}.part")
    with partial.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        for (output, day), counts in sorted(days.items()):
            halved = {**counts, spec.metric.successes: counts[spec.metric.successes] // 2}
            writer.writerow([output, day, *(int(halved[measure]) for measure in measures)])
    partial.rename(path)
    sys.stdout.write(f"{path} ({len(promoted)} outputs of {cycle}, feed {name})\n")


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data directory on which `flywheel demo` has run")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "img", help="folder for the pictures")
    parser.add_argument("--flywheel", default="outreach", help="flywheel to show")
    parser.add_argument("--port", type=int, default=3123, help="free port for the UI")
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium", help="Chromium or Chrome")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = arguments.data.resolve()
    pictures = {"momentum": (data / "reports" / f"{arguments.flywheel}_momentum.png").read_bytes()}
    with user_interface(data, arguments.port) as base, browser(arguments.browser) as page:
        for shot in shots(data, arguments.flywheel):
            pictures[shot.name] = take(page, base, shot)
        known = {run["runId"] for run in runs_of(base, f"{arguments.flywheel}__close")}
        drop_correction(data, arguments.flywheel)
        run = wait_for_correction(base, f"{arguments.flywheel}__close", known)
        for shot in shots_of_correction(arguments.flywheel, run["tags"]["dagster/asset_partition_range_end"]):
            pictures[shot.name] = take(page, base, shot)
    for name, png in pictures.items():
        path = arguments.out / f"{name}.png"
        path.write_bytes(png)
        too_large = f", more than {MAX_BYTES // 1000} kB: crop it" if len(png) > MAX_BYTES else ""
        sys.stdout.write(f"{path} ({len(png) // 1000} kB{too_large})\n")


if __name__ == "__main__":
    main()
