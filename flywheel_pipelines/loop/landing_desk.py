"""Landing files in a thread of its own, for a caller that cannot wait as long as a large file takes.

Here: one desk per flywheel and process; it lands one file after the other, and whoever asked may come back for the
result. Not here: which files (`inbox`), or who asks (`components/inbox_sensor.py`).

A batch is in the lake whole or not at all, so nothing is lost when the process ends in between; the file is then read
again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from flywheel_pipelines.loop.inbox import InboxFile, Landed

Work = Callable[[InboxFile, Landed], str | None]
"""Lands one file, adds to what was landed, and says what to remember of it."""


@dataclass
class Progress:
    """How far the files got: what was landed, what to remember, what is being read, and how many are left."""

    landed: Landed = field(default_factory=Landed)
    marks: set[str] = field(default_factory=set)
    reading: InboxFile | None = None
    n_left: int = 0


class LandingDesk:
    """Lands the files of one flywheel, one at a time."""

    def __init__(self) -> None:
        """Nothing is being landed yet."""
        self._lock = threading.Lock()
        self._running: tuple[InboxFile, Future[tuple[str | None, Landed]]] | None = None

    def land(self, files: Sequence[InboxFile], work: Work, seconds: float) -> Progress:
        """Land files in their order until the time is over; a file that takes longer goes on behind the scenes.

        At least one file is begun, so that files get on however little time there is.
        """
        progress = Progress()
        deadline = time.monotonic() + seconds
        with self._lock:
            waiting = deque(files)
            if self._running is not None:
                # Begun by an earlier call; its file is among those asked for unless it has changed.
                begun = self._running[0].mark()
                waiting = deque(one for one in files if one.mark() != begun)
            while self._running is not None or waiting:
                if self._running is None:
                    if progress.marks and time.monotonic() > deadline:
                        break
                    file = waiting.popleft()
                    self._running = (file, _in_a_thread(work, file))
                file, future = self._running
                try:
                    mark, landed = future.result(timeout=max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    if not future.done():
                        progress.reading = file
                        break
                    raise
                finally:
                    if future.done():
                        self._running = None
                progress.landed.add(landed)
                progress.marks |= {mark} if mark is not None else set()
        progress.n_left = len(waiting)
        return progress


_DESKS: dict[tuple[str, str], LandingDesk] = {}
_DESKS_LOCK = threading.Lock()


def desk_of(lake: str, flywheel: str) -> LandingDesk:
    """The desk of a flywheel's lake in this process."""
    with _DESKS_LOCK:
        return _DESKS.setdefault((lake, flywheel), LandingDesk())


def _in_a_thread(work: Work, file: InboxFile) -> Future[tuple[str | None, Landed]]:
    future: Future[tuple[str | None, Landed]] = Future()

    def run() -> None:
        landed = Landed()
        try:
            future.set_result((work(file, landed), landed))
        except BaseException as error:
            # Whoever asks for the result gets the error, and nobody else could.
            future.set_exception(error)

    # A daemon: the process may end without waiting for a file that is read again anyway.
    threading.Thread(target=run, daemon=True, name=f"landing {file.name}").start()
    return future
