"""The write-ahead log of one cycle's requests: what was sent, before it is sent; what came back, before it is used.

Here: durable storage, the lock that keeps two runs off one cycle, and what a killed run left. Not here: the entries and
their form (`journal_entries`), what they mean for the lake (`ledger`), and sending (`asking`, `batch`).

One SQLite file per cycle, in WAL mode with synchronous=FULL: a commit is on disk when it returns (SQLite's words on the
pragma). A single thread writes, and takes everything that is waiting into one row, so that many requests share one
flush: a flush per entry would cost 4 ms each on the disk this was measured on. One row, and not one per entry: each
call into SQLite gives up Python's lock and waits up to 5 ms to have it back from a busy event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.llm.journal_entries import Entry, JournalRequest, Reading, Writing

SCHEMA = """
create table if not exists about (name text primary key, value text not null);
create table if not exists groups (number integer primary key, entries text not null);
"""


class JournalError(FlywheelError):
    """The journal of a cycle cannot be used now."""


@dataclass
class _Waiting:
    """Entries, and who waits for them to be on disk: a thread, or a task of an event loop."""

    entries: Sequence[Entry]
    done: Future[None] | asyncio.Future[None]
    loop: asyncio.AbstractEventLoop | None = None


class Journal:
    """The journal of one cycle. Made by `Journal.open`, which takes the lock; `close` gives it back."""

    def __init__(self, path: Path, lock: int) -> None:
        """Open the file whose lock is held; use `Journal.open`."""
        self.path = path
        self._lock = lock
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # Rows are long, of several requests each: small pages would be long chains, slow to write and to clear.
        self._connection.execute("pragma page_size = 32768")
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.executescript(SCHEMA)
        self._connection.execute("insert or ignore into about values ('id', ?)", (uuid.uuid4().hex,))
        self._writing = Writing()
        self._reading, self._n_read = Reading(), 0
        self._reader: threading.Thread | None = None
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
        self._waiting.put(_Waiting(entries, done))
        done.result()

    async def store(self, *entries: Entry) -> None:
        """Store entries, together, without blocking the event loop; they are on disk when this returns."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.put(_Waiting(entries, done, loop))
        await done

    def clear(self) -> None:
        """Forget everything: it is in the lake. What comes next is another batch, even if it says the same."""
        self._wait_for_reader()
        self._writing, self._reading, self._n_read = Writing(), Reading(), 0
        # Not flushed by itself, which takes as long as a hundred answers: if a power cut undid it, the same batch would
        # be landed again, and the lake knows it by its name. The next entry that is written flushes this, too.
        self._connection.execute("pragma synchronous = off")
        self._connection.execute("begin immediate")
        self._connection.execute("delete from groups")
        self._connection.execute("update about set value = ? where name = 'id'", (uuid.uuid4().hex,))
        self._connection.execute("commit")
        self._connection.execute("pragma synchronous = full")

    def close(self) -> None:
        """Finish writing and give the lock back; a journal with nothing in it leaves no file."""
        self._waiting.put(None)
        self._writer.join()
        self._wait_for_reader()
        is_empty = not self._connection.execute("select exists (select 1 from groups)").fetchone()[0]
        if is_empty:
            # Closing moves what was written into a file that is removed next: there is nothing to be flushed.
            self._connection.execute("pragma synchronous = off")
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

    def _write_group(self, group: Sequence[_Waiting]) -> Exception | None:
        """Why the group is not on disk, or None. Whatever goes wrong here is told to those who wait for it."""
        try:
            entries = self._writing.group(entry for waiting in group for entry in waiting.entries)
            self._connection.execute("insert into groups (entries) values (?)", (entries,))
        except Exception as error:
            self._writing = Writing()
            if not isinstance(error, sqlite3.Error):
                return error
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

    def read_ahead(self) -> None:
        """Read what is there so far, in a thread; `requests` goes on from there.

        For the moments in which the last answers are waited for: the reading of a large run takes as long as some.
        """
        self._wait_for_reader()
        self._reader = threading.Thread(target=self._read_on, name=f"read {self.path.stem}", daemon=True)
        self._reader.start()

    def requests(self) -> list[JournalRequest]:
        """Everything in the journal, by key."""
        self._wait_for_reader()
        self._read_on()
        return self._reading.requests()

    def _wait_for_reader(self) -> None:
        if self._reader is not None:
            self._reader.join()
            self._reader = None

    def _read_on(self) -> None:
        # One at a time, since the writer may be at work meanwhile.
        following = "select number, entries from groups where number > ? order by number limit 1"
        while (found := self._connection.execute(following, (self._n_read,)).fetchone()) is not None:
            self._reading.add(found[1])
            self._n_read = found[0]


def _tell(group: Sequence[_Waiting], error: Exception | None) -> None:
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


def _resolve(waiters: Sequence[_Waiting], error: Exception | None) -> None:
    for waiting in waiters:
        if waiting.done.done():
            continue
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)


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
