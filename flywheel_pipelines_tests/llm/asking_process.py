"""A process that asks until everything is answered, to be killed: `asking_process.py FOLDER URL N durable|careless`.

It prints `asking` once the first reply is in, and `done` at the end. Careless is the control: what is stored is said to
be on disk at once, and gets there only when the journal is closed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.asking import answer_requests
from flywheel_pipelines.llm.journal import Entry, Journal
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines_tests.llm.asking_samples import PATIENCE, now, requests

CONCURRENCY = 40
FEWEST_RUNS, MOST_RUNS = 1, 40


def main(folder: Path, url: str, n: int, how: str) -> None:
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

    for _ in range(MOST_RUNS):
        report = answer_requests(
            requests(n),
            lake=Lake(folder / "lake"),
            journal_folder=folder / "journal",
            provider=Provider(url, None, "the test's server"),
            settings=AskSettings(**{**PATIENCE, "concurrency": CONCURRENCY}),
            now=now,
            on_progress=on_progress,
        )
        if not report.failures:
            break
    sys.stdout.write("done\n" if not report.failures else report.words)


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
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
