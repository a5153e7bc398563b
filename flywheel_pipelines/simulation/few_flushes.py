"""Dagster's SQLite files, flushed to the disk now and then instead of at every event.

A simulated season is some ten thousand events in a row, and Dagster opens a connection for each: at every close SQLite
empties its log into the file and waits for the disk three times. On a busy disk that was two fifths of a demo. Here one
more connection stays open to each file, so that the log is kept until it is long, and a commit does not wait for it.
The files stay whole whatever happens; a power failure can take the last events of a season, which is then played again.
Real cycles keep Dagster's own way.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

FILES = 24
"""How many files stay open: each run has one of its own, and only the last few are written."""


@contextmanager
def few_flushes() -> Iterator[None]:
    """As long as this lasts, SQLite files that this process opens through SQLAlchemy are flushed rarely."""
    kept: OrderedDict[str, sqlite3.Connection] = OrderedDict()
    lock = Lock()

    def connected(connection: Any, _record: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        connection.execute("PRAGMA synchronous=NORMAL")
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        if not path:  # in memory
            return
        with lock:
            if path not in kept:
                kept[path] = sqlite3.connect(path, check_same_thread=False)
            kept.move_to_end(path)
            # A connection has to have read to count as one that uses the log.
            kept[path].execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
            while len(kept) > FILES:
                kept.popitem(last=False)[1].close()

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)
        for connection in kept.values():
            connection.close()
