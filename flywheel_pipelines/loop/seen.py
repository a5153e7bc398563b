"""What is remembered of an inbox, in as many bytes of a cursor however many files lie there.

Here: a list of marks in a file that is named by the hash of its bytes, and that name as the cursor. Not here: what a
mark is (`inbox`), or who keeps the cursor (`components/inbox_sensor.py`).

Decisions:
- The list is on disk before the cursor that names it. A kill in between leaves the cursor before and its list, so that
  the files of that tick are read once more.
- Lists are named by what they say and never changed, so several sensors share a folder. A list that nobody used for an
  hour is removed; the own one stays however long its sensor sleeps, unless another one ticks meanwhile.
- A list that is gone or damaged is an empty one. Every file is read once more then, and what the ledgers hold of it is
  the same batch: nothing lands twice, and nothing is closed for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from flywheel_pipelines.lake.writing import replace_atomically

KEPT_SECONDS = 3_600.0
"""How long a list is kept that no tick has used; between a list and its cursor lies less than a minute."""


@dataclass(frozen=True)
class Recalled:
    """The marks that a cursor stands for; `is_lost` when it stands for some that are no longer to be had."""

    marks: frozenset[str]
    is_lost: bool = False


class SeenFiles:
    """The lists of one flywheel's inbox, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or created yet."""
        self._folder = folder

    def recall(self, cursor: str | None) -> Recalled:
        """What a cursor of `keep` stands for; None stands for nothing. Cursors that are lists themselves are read."""
        if not cursor:
            return Recalled(frozenset())
        path = self._folder / cursor
        try:
            if cursor.startswith("["):
                # A cursor of before there were files for it.
                return Recalled(frozenset(json.loads(cursor)))
            data = path.read_bytes()
        except (OSError, ValueError):
            return Recalled(frozenset(), is_lost=True)
        if _name(data) != cursor:
            return Recalled(frozenset(), is_lost=True)
        _use(path)
        return Recalled(frozenset(data.decode().split()))

    def keep(self, marks: Collection[str]) -> str:
        """Write marks to disk; the cursor that stands for them (64 hex digits)."""
        data = "\n".join(sorted(marks)).encode()
        path = self._folder / _name(data)
        try:
            is_there = path.read_bytes() == data
        except OSError:
            is_there = False
        if is_there:
            _use(path)
        else:
            replace_atomically(path, lambda handle: handle.write(data))
        self._forget(path.name)
        return path.name

    def _forget(self, kept: str) -> None:
        """Remove lists, and what kills left of them, that no tick has used for a while."""
        unused = time.time() - KEPT_SECONDS
        for path in self._folder.iterdir():
            # Another sensor may remove it at the same moment.
            with contextlib.suppress(FileNotFoundError):
                if path.name != kept and path.stat().st_mtime < unused:
                    path.unlink()


def _use(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
