"""Partitions that were read before and hashes of them, kept while they are unchanged.

A close looks back over a window of cycles and a restatement closes many cycles in a row, so the same small files would
be opened and hashed again and again. Here: bounded caches, one of each per process. Not here: which files are read
(`store.py`).

A partition is replaced by renaming a new file into its place, so the identity of the open file (inode, size, time of
change) says whether it is the one that was read; nothing needs to be invalidated.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MAX_BYTES = 256 * 2**20
LARGEST_KEPT = MAX_BYTES // 8
MAX_FILES = 200_000
"""Files whose hash is remembered: a few tens of megabytes."""

Identity = tuple[int, int, int, int]


class PartitionCache:
    """Whole small partitions by file identity, the least recently used dropped first."""

    def __init__(self, max_bytes: int = MAX_BYTES, largest_kept: int = LARGEST_KEPT) -> None:
        """Keep at most `max_bytes` in all, and no partition larger than `largest_kept` bytes."""
        self._max_bytes, self._largest_kept = max_bytes, largest_kept
        self._kept: OrderedDict[Identity, pa.Table] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def read(self, path: Path) -> pa.Table:
        """The whole partition, read through one file handle. Raises FileNotFoundError when it is gone."""
        with path.open("rb") as handle:
            identity = identity_of(os.fstat(handle.fileno()))
            with self._lock:
                known = self._kept.get(identity)
                if known is not None:
                    self._kept.move_to_end(identity)
                    return known
            table = pq.ParquetFile(handle).read()
        if table.nbytes <= self._largest_kept:
            self._keep(identity, table)
        return table

    def _keep(self, identity: Identity, table: pa.Table) -> None:
        with self._lock:
            if identity in self._kept:
                return
            self._kept[identity] = table
            self._bytes += table.nbytes
            while self._bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.nbytes


PROCESS_CACHE = PartitionCache()
"""Shared by all lakes of this process: file identities do not collide."""


class DigestCache:
    """Hashes of whole files by file identity; the oldest are dropped first."""

    def __init__(self, max_files: int = MAX_FILES) -> None:
        """Remember at most `max_files` files."""
        self._max_files = max_files
        self._kept: OrderedDict[Identity, str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        """The hash of a file's bytes (16 hex digits). Raises FileNotFoundError when it is gone."""
        status = path.stat()
        with self._lock:
            known = self._kept.get(identity_of(status))
        if known is not None:
            return known
        with path.open("rb") as handle:
            identity = identity_of(os.fstat(handle.fileno()))
            digest = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
        with self._lock:
            self._kept[identity] = digest
            while len(self._kept) > self._max_files:
                self._kept.popitem(last=False)
        return digest


def identity_of(status: os.stat_result) -> Identity:
    """What tells one state of a file from another: a replaced partition is another inode."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


PROCESS_DIGESTS = DigestCache()
"""Shared by all lakes of this process, as above."""
