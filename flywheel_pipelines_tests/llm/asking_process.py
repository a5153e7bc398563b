"""A process that asks until everything is answered, to be killed: `... FOLDER URL N HOW [SETTINGS]`.

It prints `asking` once the first reply is in, and `done` at the end. A quota that is used up ends a run; here the next
one is started at once. HOW is durable or careless. Careless is the control: what is stored is said to be on disk at
once, and gets there only when the journal is closed. SETTINGS of asking are JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.asking import answer_requests
from flywheel_pipelines.llm.journal import Journal
from flywheel_pipelines.llm.journal_entries import Entry
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.running import EndpointError
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines_tests.llm.asking_samples import PATIENCE, SHORT, now, requests

CONCURRENCY = 40
MOST_RUNS = 5_000


def main(folder: Path, url: str, n: int, how: str, settings: str = "{}") -> None:
    """Ask, and ask again for what failed."""
    if how == "careless":
        make_careless()
    said = False

    def on_progress(done: int, total: int) -> None:
        nonlocal said
        if not said:
            sys.stdout.write("asking\n")
            sys.stdout.flush()
        said = True

    said_last = ""
    for _ in range(MOST_RUNS):
        try:
            report = answer_requests(
                requests(n),
                lake=Lake(folder / "lake"),
                journal_folder=folder / "journal",
                provider=Provider(url, None, "the test's server"),
                settings=AskSettings(
                    **{**PATIENCE, "concurrency": CONCURRENCY, "timeout": SHORT, **json.loads(settings)}
                ),
                now=now,
                on_progress=on_progress,
            )
        except EndpointError as error:
            said_last = str(error)
            if "quota" not in said_last:
                break
            continue
        said_last = report.words
        if not report.failures:
            said_last = "done\n"
            break
    sys.stdout.write(said_last)


def make_careless() -> None:
    held: list[Entry] = []
    write, close = Journal.write, Journal.close

    async def store(self: Journal, *entries: Entry) -> None:
        held.extend(entries)
        await asyncio.sleep(0)

    def store_and_close(self: Journal) -> None:
        if held:
            write(self, *held)
            held.clear()
        close(self)

    Journal.store, Journal.close = store, store_and_close


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
