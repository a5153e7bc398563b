"""One folder, one server with the Batch API, and the calls that the tests of batches make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from flywheel_pipelines.chat import ChatRequest, Message
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import LLM_BATCHES, LLM_REQUESTS
from flywheel_pipelines.llm.batch import Collection, Submission, batch_states, collect_ended, submit_missing
from flywheel_pipelines.llm.offline.answering import MODEL
from flywheel_pipelines.llm.offline.batches import BatchOptions
from flywheel_pipelines.llm.offline.server import OfflineServer
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines.spec.producers import PriceSpec
from flywheel_pipelines_tests.llm.offline.prompts import ARTICLE, BRIEF, SYSTEM

FLYWHEEL, CYCLE = "content", date(2026, 1, 5)
KEY = "sk-secret-of-the-test"
PRICE = PriceSpec(input=1.0, output=10.0, batch_discount=0.5)


def requests(n: int, **more: Any) -> list[ChatRequest]:
    asked: dict[str, Any] = {"attempt": 1, "schema": ARTICLE, "model": MODEL, **more}
    return [
        ChatRequest(
            flywheel=FLYWHEEL,
            cycle=CYCLE,
            brief_id=f"b{number}",
            arm="flywheel",
            variant=0,
            messages=(Message("system", SYSTEM), Message("user", f"```brief\n{BRIEF}\n```")),
            **asked,
        )
        for number in range(n)
    ]


class Desk:
    """One lake, one folder for journals, one server, and a clock that goes on by itself."""

    def __init__(self, root: Path, server: OfflineServer, settings: AskSettings) -> None:
        self.lake, self.folder, self.server = Lake(root / "lake"), root / "journal", server
        self.provider = Provider(server.base_url, KEY, "the offline writer")
        self.settings = settings
        self.moment = datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment

    def _with(self, step: Callable[..., Any], asked: list[ChatRequest]) -> Any:
        return step(
            asked,
            lake=self.lake,
            journal_folder=self.folder,
            provider=self.provider,
            settings=self.settings,
            now=self.now,
        )

    def submit(self, asked: list[ChatRequest]) -> Submission:
        return self._with(submit_missing, asked)

    def collect(self, asked: list[ChatRequest]) -> Collection:
        return self._with(collect_ended, asked)

    def states(self) -> list[str]:
        return [state.status for state in batch_states(self.lake, FLYWHEEL, CYCLE, self.provider, self.settings)]

    def rows(self) -> list[dict[str, Any]]:
        return self.lake.read(LLM_REQUESTS, FLYWHEEL, CYCLE).to_pylist()

    def events(self) -> list[tuple[str, int]]:
        rows = self.lake.read(LLM_BATCHES, FLYWHEEL, CYCLE).to_pylist()
        return [(row["event"], row["n_answered"]) for row in sorted(rows, key=lambda row: row["recorded_at"])]

    def n_batches(self) -> int:
        return len(self.server.store.batches(None, 100)["data"])


@contextmanager
def desk(root: Path, batch: BatchOptions | None = None, **settings: Any) -> Iterator[Desk]:
    known: dict[str, Any] = {"first_wait": 0.005, "max_wait": 0.02, "prices": {MODEL: PRICE}, **settings}
    with OfflineServer(batch=batch) as server:
        yield Desk(root, server, AskSettings(**known))
