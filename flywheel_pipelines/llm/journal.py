"""The write-ahead log of one cycle's requests: what was sent, before it is sent; what came back, before it is used.

Here: durable storage, the lock that keeps two runs off one cycle, and what a killed run left. Not here: what the
entries mean for the lake (`ledger`), and sending (`asking`, `batch`).

One SQLite file per cycle, in WAL mode with synchronous=FULL: a commit is on disk when it returns (SQLite's words on the
pragma). A single thread writes, and takes everything that is waiting into one transaction, so that hundreds of requests
share one flush: a flush per entry would cost 4 ms each on the disk this was measured on.
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
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.errors import FlywheelError

SCHEMA = """
create table if not exists about (name text primary key, value text not null);
create table if not exists requests (request_key text primary key, asked text not null);
create table if not exists tries (
    request_key text not null, number integer not null, form text not null, sent_at text not null, outcome text,
    primary key (request_key, number)
);
create table if not exists ends (request_key text primary key, ended text not null);
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
    entries: Sequence[Entry]
    done: Future[None] = field(default_factory=Future)


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
        path.parent.mkdir(parents=True, exist_ok=True)
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
    def submit(self, *entries: Entry) -> Future[None]:
        """Hand entries to the writer; the future is done once they are on disk. They are kept together."""
        waiting = _Waiting(entries)
        self._waiting.put(waiting)
        return waiting.done

    def write(self, *entries: Entry) -> None:
        """Store entries; they are on disk when this returns."""
        self.submit(*entries).result()

    async def store(self, *entries: Entry) -> None:
        """Store entries without blocking the event loop; they are on disk when this returns."""
        await asyncio.wrap_future(self.submit(*entries))

    def clear(self) -> None:
        """Forget everything: it is in the lake. What comes next is another batch, even if it says the same."""
        with self._transaction():
            for table in ("requests", "tries", "ends"):
                self._connection.execute(f"delete from {table}")
            self._connection.execute("update about set value = ? where name = 'id'", (uuid.uuid4().hex,))

    def close(self) -> None:
        """Finish writing and give the lock back; a journal with nothing in it leaves no file."""
        self._waiting.put(None)
        self._writer.join()
        is_empty = not self._connection.execute("select exists (select 1 from requests)").fetchone()[0]
        self._connection.close()
        if is_empty:
            for suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock"):
                self.path.with_suffix(suffix).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()
        os.close(self._lock)

    def _write_groups(self) -> None:
        """The writer thread: everything that waits goes into one transaction."""
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
                self._write_group(group)

    def _write_group(self, group: Iterable[_Waiting]) -> None:
        # Nobody may be waiting any more: the entries are true all the same.
        waited_for = [waiting for waiting in group if waiting.done.set_running_or_notify_cancel()]
        try:
            with self._transaction():
                for waiting in group:
                    for entry in waiting.entries:
                        self._write_entry(entry)
        except Exception as error:
            # Whoever waits must hear of it: an answer that is not stored must not be used.
            for waiting in waited_for:
                waiting.done.set_exception(JournalError(f"{self.path}: cannot be written ({error}). Free disk space?"))
            return
        self.n_flushes += 1
        for waiting in waited_for:
            waiting.done.set_result(None)

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def _write_entry(self, entry: Entry) -> None:
        run = self._connection.execute
        if isinstance(entry, Asked):
            run(
                "insert or ignore into requests values (?, ?)",
                (entry.request.key, _json(describe(entry.request, entry.mode))),
            )
        elif isinstance(entry, Sent):
            run(
                "insert into tries values (?, ?, ?, ?, null)",
                (entry.key, entry.number, entry.form, entry.at.isoformat()),
            )
        elif isinstance(entry, Returned):
            run(
                "update tries set outcome = ? where request_key = ? and number = ?",
                (_json(asdict(entry.outcome)), entry.key, entry.number),
            )
        elif isinstance(entry, Withdrawn):
            run("delete from tries where request_key = ? and number = ?", (entry.key, entry.number))
        else:
            run("insert or replace into ends values (?, ?)", (entry.key, _json(asdict(entry))))

    # -- reading ----------------------------------------------------------------------------------------------------
    @property
    def batch_name(self) -> str:
        """What sets this journal's content apart from all others, before and after."""
        return self._connection.execute("select value from about where name = 'id'").fetchone()[0]

    def requests(self) -> list[JournalRequest]:
        """Everything in the journal, by key."""
        tries: dict[str, list[JournalTry]] = {}
        for key, number, form, sent_at, outcome in self._connection.execute(
            "select request_key, number, form, sent_at, outcome from tries order by request_key, number"
        ):
            found = Outcome(**json.loads(outcome)) if outcome else None
            tries.setdefault(key, []).append(JournalTry(number, form, sent_at, found))
        ends = {
            key: Ended(**json.loads(ended))
            for key, ended in self._connection.execute("select request_key, ended from ends")
        }
        return [
            JournalRequest(key, json.loads(asked), tuple(tries.get(key, ())), ends.get(key))
            for key, asked in self._connection.execute("select request_key, asked from requests order by request_key")
        ]


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
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _locked(path: Path) -> int | None:
    """An open file with its exclusive lock, or None when another process holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
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
