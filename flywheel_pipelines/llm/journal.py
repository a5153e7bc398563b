"""The write-ahead log of one cycle's requests: what was sent, before it is sent; what came back, before it is used.

Here: durable storage, the lock that keeps two runs off one cycle, and what a killed run left. Not here: what the
entries mean for the lake (`ledger`), and sending (`asking`, `batch`).

One SQLite file per cycle, in WAL mode with synchronous=FULL: a commit is on disk when it returns (SQLite's words on the
pragma). A single thread writes, and takes everything that is waiting into one row, so that many requests share one
flush: a flush per entry would cost 4 ms each on the disk this was measured on. One row, and not one per entry: each
call into SQLite gives up Python's lock and waits up to 5 ms to have it back from a busy event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import queue
import sqlite3
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.errors import FlywheelError

SCHEMA = """
create table if not exists about (name text primary key, value text not null);
create table if not exists groups (number integer primary key, entries text not null);
"""


class JournalError(FlywheelError):
    """The journal of a cycle cannot be used now."""


@dataclass(frozen=True)
class Asked:
    """A request is about to be sent for the first time in this run. Saying it twice does nothing."""

    request: ChatRequest
    mode: Literal["live", "batch"] = "live"


@dataclass(frozen=True)
class Sent:
    """A try is about to be sent: recorded first, so that no request goes out unrecorded. Tries count from 1."""

    key: str
    number: int
    form: str
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """What became of a try. `result` is one word (answered, rate_limited, timeout, ...), `detail` says more.

    Tokens are None where the endpoint did not count them; `cost` (US dollars) is None without them or without a price.
    """

    result: str
    detail: str = ""
    status: int | None = None
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Returned:
    """A try came to an end."""

    key: str
    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Withdrawn:
    """A try that was recorded, and then not sent after all."""

    key: str
    number: int


@dataclass(frozen=True)
class Ended:
    """A request came to an end in this run. `answer` is the valid answer as JSON text, `error` why there is none."""

    key: str
    status: Literal["answered", "failed"]
    answer: str | None = None
    error: str | None = None
    latency: float = 0.0


Entry = Asked | Sent | Returned | Withdrawn | Ended


@dataclass(frozen=True)
class JournalTry:
    """One try as the journal holds it; no outcome means that the run ended while it was under way."""

    number: int
    form: str
    sent_at: str
    outcome: Outcome | None


@dataclass(frozen=True)
class JournalRequest:
    """One request as the journal holds it. `asked` has the fields that `describe` gives."""

    key: str
    asked: dict[str, Any]
    tries: tuple[JournalTry, ...] = ()
    ended: Ended | None = None


@dataclass
class _Waiting:
    """Entries as JSON, and who waits for them to be on disk: a thread, or a task of an event loop."""

    entries: list[str]
    done: Future[None] | asyncio.Future[None]
    loop: asyncio.AbstractEventLoop | None = None


class Journal:
    """The journal of one cycle. Made by `Journal.open`, which takes the lock; `close` gives it back."""

    def __init__(self, path: Path, lock: int) -> None:
        """Open the file whose lock is held; use `Journal.open`."""
        self.path = path
        self._lock = lock
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.executescript(SCHEMA)
        self._connection.execute("insert or ignore into about values ('id', ?)", (uuid.uuid4().hex,))
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_groups, name=f"journal {path.stem}", daemon=True)
        self._writer.start()
        self.n_flushes = 0

    @classmethod
    def open(cls, folder: Path, flywheel: str, cycle: date) -> Self:
        """Take the cycle's lock and open its journal. A lock of a killed process is free at once.

        Raises:
            JournalError: another run holds the cycle, or the file is not a journal.
        """
        path = folder / f"flywheel={flywheel}" / f"{cycle}.sqlite"
        lock = _locked(path.with_suffix(".lock"))
        if lock is None:
            raise JournalError(
                f"Cycle {cycle} of {flywheel} is being asked for by another run, which holds "
                f"{path.with_suffix('.lock')}. Wait until it ends, or stop it; a run that was killed holds nothing."
            )
        try:
            return cls(path, lock)
        except sqlite3.DatabaseError as error:
            os.close(lock)
            raise JournalError(
                f"{path}: cannot be read as a journal ({error}). It holds answers that are paid for and not yet in the "
                "lake: free disk space if it is full, or put the file aside and run again to ask anew."
            ) from error

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # -- writing ----------------------------------------------------------------------------------------------------
    def write(self, *entries: Entry) -> None:
        """Store entries, together; they are on disk when this returns."""
        done: Future[None] = Future()
        self._waiting.put(_Waiting([_encoded(entry) for entry in entries], done))
        done.result()

    async def store(self, *entries: Entry) -> None:
        """Store entries, together, without blocking the event loop; they are on disk when this returns."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.put(_Waiting([_encoded(entry) for entry in entries], done, loop))
        await done

    def clear(self) -> None:
        """Forget everything: it is in the lake. What comes next is another batch, even if it says the same."""
        self._connection.execute("begin immediate")
        self._connection.execute("delete from groups")
        self._connection.execute("update about set value = ? where name = 'id'", (uuid.uuid4().hex,))
        self._connection.execute("commit")

    def close(self) -> None:
        """Finish writing and give the lock back; a journal with nothing in it leaves no file."""
        self._waiting.put(None)
        self._writer.join()
        is_empty = not self._connection.execute("select exists (select 1 from groups)").fetchone()[0]
        self._connection.close()
        if is_empty:
            for suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock"):
                self.path.with_suffix(suffix).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()
        os.close(self._lock)

    def _write_groups(self) -> None:
        """The writer thread: everything that waits goes to disk together."""
        closing = False
        while not closing:
            group: list[_Waiting] = []
            first = self._waiting.get()
            while True:
                if first is None:
                    closing = True
                else:
                    group.append(first)
                try:
                    first = self._waiting.get_nowait()
                except queue.Empty:
                    break
            if group:
                _tell(group, self._write_group(group))

    def _write_group(self, group: Sequence[_Waiting]) -> JournalError | None:
        entries = ",".join(entry for waiting in group for entry in waiting.entries)
        try:
            self._connection.execute("insert into groups (entries) values (?)", (f"[{entries}]",))
        except sqlite3.Error as error:
            return JournalError(
                f"{self.path}: cannot be written ({error}). Free disk space and run again; what was answered is kept."
            )
        self.n_flushes += 1
        return None

    # -- reading ----------------------------------------------------------------------------------------------------
    @property
    def batch_name(self) -> str:
        """What sets this journal's content apart from all others, before and after."""
        return self._connection.execute("select value from about where name = 'id'").fetchone()[0]

    @property
    def n_groups(self) -> int:
        """How much is in it: groups are only ever added, until it is cleared."""
        return self._connection.execute("select count(*) from groups").fetchone()[0]

    def requests(self) -> list[JournalRequest]:
        """Everything in the journal, by key."""
        asked: dict[str, dict[str, Any]] = {}
        tries: dict[str, dict[int, JournalTry]] = {}
        ends: dict[str, Ended] = {}
        for (group,) in self._connection.execute("select entries from groups order by number"):
            for kind, body in json.loads(group):
                key = body["key"]
                if kind == "asked":
                    asked.setdefault(key, body["asked"])
                elif kind == "sent":
                    one = JournalTry(body["number"], body["form"], body["at"], None)
                    tries.setdefault(key, {})[one.number] = one
                elif kind == "returned":
                    one = tries[key][body["number"]]
                    tries[key][one.number] = replace(one, outcome=Outcome(**body["outcome"]))
                elif kind == "withdrawn":
                    del tries[key][body["number"]]
                else:
                    ends[key] = Ended(**body)
        return [
            JournalRequest(key, asked[key], tuple(tries.get(key, {}).values()), ends.get(key)) for key in sorted(asked)
        ]


def _encoded(entry: Entry) -> str:
    """One entry as JSON. ASCII, since what endpoints say in errors need not be valid text."""
    if isinstance(entry, Asked):
        return json.dumps(["asked", {"key": entry.request.key, "asked": describe(entry.request, entry.mode)}])
    if isinstance(entry, Sent):
        body = {"key": entry.key, "number": entry.number, "form": entry.form, "at": entry.at.isoformat()}
        return json.dumps(["sent", body])
    if isinstance(entry, Returned):
        return json.dumps(["returned", {"key": entry.key, "number": entry.number, "outcome": vars(entry.outcome)}])
    return json.dumps(["withdrawn" if isinstance(entry, Withdrawn) else "ended", vars(entry)])


def _tell(group: Sequence[_Waiting], error: JournalError | None) -> None:
    """Wake whoever waits; one call per event loop, however many of its tasks wait."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for waiting in group:
        if waiting.loop is None:
            _resolve([waiting], error)
        else:
            by_loop.setdefault(waiting.loop, []).append(waiting)
    for loop, waiters in by_loop.items():
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, waiters, error)


def _resolve(waiters: Sequence[_Waiting], error: JournalError | None) -> None:
    for waiting in waiters:
        if waiting.done.done():
            continue
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)


def describe(request: ChatRequest, mode: str = "live") -> dict[str, Any]:
    """What the ledger keeps of a request, besides its key."""
    return {
        "brief_id": request.brief_id,
        "arm": request.arm,
        "variant": request.variant,
        "attempt": request.attempt,
        "model": request.model,
        "prompt_version": request.prompt_version,
        "mode": mode,
        "messages": json.dumps(
            [{"role": message.role, "content": message.content} for message in request.messages], ensure_ascii=False
        ),
    }


def _locked(path: Path) -> int | None:
    """An open file with its exclusive lock, or None when another process holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            # The last holder removed the empty folder just now.
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        # The last holder removes the file before it lets go; a lock on a removed file locks nobody out.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)
