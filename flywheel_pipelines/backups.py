"""Backups of a data directory: what belongs in one, making it, and reading its list of contents.

A backup is a folder: `data/` and `dagster_home/` as they were, and `backup.json`, which lists every file with its
SHA-256 and is written last. It is made beside its place under another name and renamed when it is whole and on disk, so
that what a kill leaves behind is no backup and does not look like one.

Consistent means: no run was under way, and no file changed between the first look and the last. Files of the lake are
replaced and never changed, so a second try copies only what is new. Databases (Dagster's book of runs, journals) are
copied by SQLite itself, which takes in what stands in their write-ahead logs.

Here: files. Not here: which runs are under way (`dagster_state`), and putting a backup back (`restoring`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.tables import ALL_TABLES
from flywheel_pipelines.lake.writing import TEMPORARY_PREFIX
from flywheel_pipelines.paths import DataPaths

CONTENTS = "backup.json"
FORMAT = 2
WITHOUT_TABLES = 1
"""The format of backups that say no versions of tables; they are still restored."""
DATA, HOME = "data", "dagster_home"
DUMP = "dagster_books.pgdump"
"""Dagster's books, where a PostgreSQL server keeps them; beside `data/` and `dagster_home/`."""
OF_THE_REPOSITORY = ("README.md", "samples")
"""What the project itself keeps in `data/`."""
TRIES = 3
_SQLITE = b"SQLite format 3\x00"
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")
_CHUNK = 2**20


class BackupError(FlywheelError):
    """A backup cannot be made or cannot be used."""


@dataclass(frozen=True)
class BackedUpFile:
    """One file of a backup; times in nanoseconds since 1970."""

    size: int
    sha256: str
    modified_ns: int


@dataclass(frozen=True)
class Contents:
    """What a backup consists of.

    Attributes:
        created_at: when it was begun, ISO, UTC.
        version: of this package.
        runs_are_elsewhere: Dagster's books are kept by a database server, and are not in here.
        files: by path within the backup.
        tables: by table of the lake, the version of its contract by which this package writes it; none in old backups.
    """

    created_at: str
    version: str
    runs_are_elsewhere: bool
    files: dict[str, BackedUpFile]
    tables: dict[str, int] = field(default_factory=dict)

    @property
    def format(self) -> int:
        """The form of the list."""
        return FORMAT if self.tables else WITHOUT_TABLES

    @property
    def digest(self) -> str:
        """Of everything that is said, so that a list that was cut or edited is noticed."""
        said = {**self._said(), "format": self.format}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def has_books(self) -> bool:
        """Whether a dump of Dagster's books is in it, for a database server to take back."""
        return DUMP in self.files

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def write(self, folder: Path) -> None:
        """Write the list into a folder."""
        document = {"format": self.format, "digest": self.digest, **self._said()}
        (folder / CONTENTS).write_text(json.dumps(document, indent=1), encoding="utf-8")

    def _said(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "tables" or value}


def read_contents(folder: Path) -> Contents:
    """The list of a backup.

    Raises:
        BackupError: there is none, as after a backup that was cut off, or it is not what was written.
    """
    path = folder / CONTENTS
    if not path.is_file():
        raise BackupError(f"{folder}: there is no {CONTENTS} in it, so it is no backup, or one that was cut off.")
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") not in (FORMAT, WITHOUT_TABLES):
            raise BackupError(f"{path}: it was made by another version of this project; restore it with that one.")
        digest = document.pop("digest")
        files = {name: BackedUpFile(**file) for name, file in document.pop("files").items()}
        contents = Contents(**document, files=files)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(f"{path}: it cannot be read ({error}). Use another backup.") from error
    outside = [name for name in files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if contents.digest != digest or outside:
        raise BackupError(f"{path}: it was changed after the backup was made. Use another backup.")
    return contents


def back_up(
    paths: DataPaths,
    target: Path,
    created_at: datetime,
    version: str,
    *,
    runs_are_elsewhere: bool = False,
    dump_books: Callable[[Path], None] | None = None,
    refuse_while_busy: Callable[[], None] = lambda: None,
) -> Contents:
    """Copy a data directory and its Dagster home to a new folder, all or nothing.

    Args:
        paths: what is backed up.
        target: the folder to make; it may be there when it is empty.
        created_at: the present, UTC.
        version: of this package.
        runs_are_elsewhere: recorded in the list of contents.
        dump_books: writes Dagster's books into a file, where a server keeps them; called in each try.
        refuse_while_busy: raises when something is at work that writes; asked before each try and after it.

    Raises:
        BackupError: the target is not empty or lies inside what is backed up, or files changed in every try.
    """
    target = target.expanduser().resolve()
    _refuse_target(paths, target)
    unfinished = target.with_name(f".{target.name}.unfinished")
    # What an earlier attempt was killed over.
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for _ in range(TRIES):
            refuse_while_busy()
            before = _listing(paths)
            files = _copy(paths, before, unfinished)
            if files is not None and dump_books is not None:
                dump_books(unfinished / DUMP)
                files[DUMP] = _listed(unfinished / DUMP)
            refuse_while_busy()
            if files is not None and _still(before, _listing(paths)):
                break
        else:
            raise BackupError(
                f"{paths.root}: files changed while they were copied, {TRIES} times. Something is writing: wait until "
                "it is done, or stop it, and back up again. Nothing was written."
            )
        tables = {table.name: table.version for table in ALL_TABLES}
        contents = Contents(created_at.isoformat(), version, runs_are_elsewhere, files, tables)
        contents.write(unfinished)
        os.sync()
        if target.exists():
            target.rmdir()
        os.replace(unfinished, target)
        os.sync()
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return contents


def _refuse_target(paths: DataPaths, target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target}: it is not empty, and a backup overwrites nothing. Name a new folder.")
    for folder in (paths.root, paths.dagster_home.resolve()):
        if target.is_relative_to(folder):
            raise BackupError(f"{target}: it lies inside {folder}, which is what is backed up. Name one outside.")
    if not parts_of(paths.root):
        raise BackupError(f"{paths.root}: there is nothing to back up. FLYWHEEL_DATA_DIR says which folder it is.")
    target.parent.mkdir(parents=True, exist_ok=True)


def parts_of(root: Path) -> list[Path]:
    """What counts below a data directory, by name; hidden folders are work in progress, which starts anew."""
    if not root.is_dir():
        return []
    return sorted(
        path for path in root.iterdir() if not path.name.startswith(".") and path.name not in OF_THE_REPOSITORY
    )


@dataclass(frozen=True)
class _Source:
    path: Path
    state: tuple[int, int, int]
    """Size, time of the last change, inode."""


def _listing(paths: DataPaths) -> dict[str, _Source]:
    home = paths.dagster_home.resolve()
    found: dict[str, _Source] = {}
    for part in parts_of(paths.root):
        if part.resolve() != home:
            found |= _files(part, f"{DATA}/{part.name}", leave_out=home)
    return found | (_files(home, HOME) if home.is_dir() else {})


def _files(path: Path, name: str, leave_out: Path | None = None) -> dict[str, _Source]:
    """Every file at or below a path."""
    found = {}
    for one in [path] if path.is_file() else _walk(path, leave_out):
        with contextlib.suppress(FileNotFoundError):
            stat = one.stat()
            inside = "" if one == path else f"/{one.relative_to(path).as_posix()}"
            found[name + inside] = _Source(one, (stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return found


def _walk(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(here, name) != leave_out]
        for name in names:
            path = Path(here, name)
            if path.is_file() and not name.startswith(TEMPORARY_PREFIX) and not name.endswith(_BESIDE_SQLITE):
                yield path


def _still(before: dict[str, _Source], after: dict[str, _Source]) -> bool:
    """Whether nothing changed but Dagster's own books, which SQLite copies whole and the daemon writes all the time."""

    def of_data(listing: dict[str, _Source]) -> dict[str, _Source]:
        return {name: source for name, source in listing.items() if name.startswith(f"{DATA}/")}

    return of_data(before) == of_data(after)


def _copy(paths: DataPaths, listing: dict[str, _Source], folder: Path) -> dict[str, BackedUpFile] | None:
    """Copy what is listed; None when a file of the data went meanwhile. What an earlier try copied is copied again."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = {}
    for name, source in listing.items():
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            found[name] = _copy_one(source.path, to)
        except FileNotFoundError:
            # The daemon clears files of its own; of the data, none may go.
            if name.startswith(f"{DATA}/"):
                return None
    return found


def _copy_one(source: Path, to: Path) -> BackedUpFile:
    modified = source.stat().st_mtime_ns
    with source.open("rb") as handle:
        is_database = handle.read(len(_SQLITE)) == _SQLITE
    if is_database:
        _copy_database(source, to)
        digest, size = digest_of(to)
    else:
        digest, size = copy_with_digest(source, to)
    os.utime(to, ns=(modified, modified))
    return BackedUpFile(size, digest, modified)


def _listed(path: Path) -> BackedUpFile:
    digest, size = digest_of(path)
    return BackedUpFile(size, digest, path.stat().st_mtime_ns)


def _copy_database(source: Path, to: Path) -> None:
    # Read-only, so that looking at it does not fold its write-ahead log into it.
    with (
        contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=30)) as old,
        contextlib.closing(sqlite3.connect(to)) as new,
    ):
        old.backup(new)


def copy_with_digest(source: Path, to: Path) -> tuple[str, int]:
    """Copy a file; returns the SHA-256 of what was written, and how many bytes it is."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reading, to.open("wb") as writing:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def digest_of(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file and its bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest(), path.stat().st_size
