"""Writing one file whole or not at all, and removing what killed writes left.

Not here: where files stand and when their rows count (`store`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

TEMPORARY_PREFIX = ".writing-"
ABANDONED_AFTER = 3_600
"""Seconds after which an unfinished file that nobody holds is what a kill left. The longest writes take minutes."""


def write_atomically(path: Path, table: pa.Table, write: Callable[[pa.Table, Any], None] | None = None) -> None:
    """Write a Parquet file so that no reader and no kill ever sees a part of it.

    The bytes depend on the table alone (no clock, no host), so equal tables give equal files. What killed writes left
    in its folder goes.
    """
    remove_abandoned(path.parent)
    replace_atomically(path, lambda handle: (write or _write_parquet)(table, handle))


def replace_atomically(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Put a file in its place that `fill` writes; whole or not at all, and on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as handle:
            # Held until the file has its name, and let go by the system when this process is killed.
            _lock(handle)
            fill(handle)
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    # The rename itself is durable only once the folder is.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_abandoned(folder: Path) -> list[str]:
    """Remove the unfinished files that killed writes left in a folder; their names.

    A file that somebody is writing is locked. Where locks do not reach (another machine, some file systems) its age
    protects it: none goes before ABANDONED_AFTER.
    """
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if entry.name.startswith(TEMPORARY_PREFIX)]
    except FileNotFoundError:
        return []
    removed = []
    for path in found:
        try:
            if not path.is_file() or time.time() - path.stat().st_mtime < ABANDONED_AFTER:
                continue
            with path.open("rb") as handle:
                if not _lock(handle):
                    continue
                path.unlink()
        except FileNotFoundError:
            # Finished, or removed by another process, meanwhile.
            continue
        removed.append(path.name)
    return removed


def _lock(handle: BinaryIO) -> bool:
    """Take the lock on an open file, if it is free; false where another has it or there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Put a file of these bytes in its place; whole or not at all, and on disk when this returns."""
    replace_atomically(path, lambda handle: handle.write(data))


def table_version(data: pa.Table) -> str:
    """The version that a table partition will have once these conformed rows are written."""
    written = pa.BufferOutputStream()
    _write_parquet(data, written)
    return hashlib.sha256(written.getvalue()).hexdigest()[:16]


def _write_parquet(table: pa.Table, where: object) -> None:
    pq.write_table(table, where, compression="zstd")
