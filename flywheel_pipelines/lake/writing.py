"""Writing one file whole or not at all.

Not here: where files stand and when their rows count (`store`).
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

TEMPORARY_PREFIX = ".writing-"


def write_atomically(path: Path, table: pa.Table, write: Callable[[pa.Table, Any], None] | None = None) -> None:
    """Write a Parquet file so that no reader and no kill ever sees a part of it.

    The bytes depend on the table alone (no clock, no host), so equal tables give equal files.
    """
    replace_atomically(path, lambda handle: (write or _write_parquet)(table, handle))


def replace_atomically(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Put a file in its place that `fill` writes; whole or not at all, and on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as handle:
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


def table_version(data: pa.Table) -> str:
    """The version that a table partition will have once these conformed rows are written."""
    written = pa.BufferOutputStream()
    _write_parquet(data, written)
    return hashlib.sha256(written.getvalue()).hexdigest()[:16]


def _write_parquet(table: pa.Table, where: object) -> None:
    pq.write_table(table, where, compression="zstd")
