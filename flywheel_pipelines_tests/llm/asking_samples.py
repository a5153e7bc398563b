"""Requests, a server and a run for the tests of asking."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flywheel_pipelines.chat import ChatRequest, Message
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import LLM_REQUESTS
from flywheel_pipelines.llm.asking import AskReport, answer_requests
from flywheel_pipelines.llm.ledger import INTERRUPTED
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines.spec.producers import PriceSpec
from flywheel_pipelines_tests.llm.faulty_server import LOG

FLYWHEEL, CYCLE = "content", date(2026, 1, 5)
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string", "minLength": 1}},
    "required": ["title"],
    "additionalProperties": False,
}
KEY = "sk-secret-of-the-test"
PRICE = PriceSpec(input=1.0, output=10.0)
SHORT = 0.3
"""Seconds for a server that hangs or drips. From others a busy machine needs more to bring a reply."""
PATIENCE: dict[str, Any] = {
    "concurrency": 20,
    "timeout": 60,
    "first_wait": 0.005,
    "max_wait": 0.1,
    "max_tries": 40,
    "grace": 1.0,
}


def requests(n: int, *, attempt: int = 1, schema: dict[str, Any] | None = SCHEMA, **more: Any) -> list[ChatRequest]:
    return [
        ChatRequest(
            flywheel=FLYWHEEL,
            cycle=CYCLE,
            brief_id=f"b{number:05d}",
            arm="flywheel",
            variant=0,
            attempt=attempt,
            model="m",
            messages=(Message("system", "Write a title."), Message("user", f"Brief {number}")),
            schema=schema,
            **{"max_output_tokens": 100, **more},
        )
        for number in range(n)
    ]


@contextmanager
def server(folder: Path, mode: str = "clean", latency: float = 0.0) -> Iterator[str]:
    """The faulty server in a process of its own; gives its address."""
    command = [sys.executable, "-m", "flywheel_pipelines_tests.llm.faulty_server", str(folder), mode, str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def arrivals(folder: Path) -> list[list[str]]:
    """What the server counted: key, form and fault of each request."""
    path = folder / LOG
    return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []


def by_key(folder: Path) -> Counter[str]:
    """How often the server saw each request; a re-ask's key has a suffix."""
    return Counter(key.split("-")[0] for key, _, _ in arrivals(folder))


def now() -> datetime:
    return datetime.now(UTC)


def ask(
    folder: Path,
    url: str,
    asked: list[ChatRequest],
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> AskReport:
    return answer_requests(
        asked,
        lake=Lake(folder / "lake"),
        journal_folder=folder / "journal",
        provider=Provider(url, KEY, "the test's server"),
        settings=AskSettings(**{**PATIENCE, **settings}),
        now=now,
        on_progress=on_progress,
    )


@dataclass
class Account:
    """What the ledger says of each request, beside what arrived at the server."""

    answered: Counter[str]
    tries: Counter[str]
    replied: Counter[str]
    interrupted: Counter[str]
    arrived: Counter[str]

    def check_counts(self) -> None:
        """Every request at the server is a try in the ledger, and every try that was replied to arrived.

        A try that a kill cut off may have arrived or not. So may one that timed out or lost its connection: on a busy
        machine some time out before the server has read them.
        """
        for key in self.tries.keys() | self.arrived.keys():
            assert self.replied[key] <= self.arrived[key] <= self.tries[key]


def account(folder: Path) -> Account:
    found = Account(Counter(), Counter(), Counter(), Counter(), by_key(folder))
    for row in rows(folder):
        key, tries = row["request_key"], json.loads(row["tries"])
        assert row["n_tries"] == len(tries)
        found.answered[key] += row["status"] == "answered"
        found.tries[key] += len(tries)
        found.replied[key] += sum("status" in one for one in tries)
        found.interrupted[key] += sum(one["result"] == INTERRUPTED for one in tries)
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    """What the ledger holds."""
    return Lake(folder / "lake").read(LLM_REQUESTS, FLYWHEEL, CYCLE).to_pylist()
