"""Putting a backup back: checked against its digests before anything is touched, and never over what is there unasked.

First every file is copied into a hidden folder beside its place and compared with its digest; a kill until then has
changed nothing. Then whole folders are renamed into place, which takes no time; a kill in between is noticed, and the
same restore, started again, does the rest. Dagster's books on a server come last, in one transaction of that server.

Not here: making backups (`backups`), and talking to that server (`books`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flywheel_pipelines.backups import CONTENTS, DATA, DUMP, HOME, BackupError, Contents, copy_with_digest, parts_of
from flywheel_pipelines.backups import read_contents as read_backup
from flywheel_pipelines.instance import SETTINGS
from flywheel_pipelines.lake.tables import TABLES
from flywheel_pipelines.paths import DataPaths

STAGING = ".restoring"
REPLACED = f"replaced_{DUMP}"
"""What is staged of the books that a restore is about to replace."""


@dataclass(frozen=True)
class Restored:
    """What was put back, and where what was there before has gone (None when nothing was there)."""

    contents: Contents
    set_aside: Path | None


def is_half_restored(paths: DataPaths) -> bool:
    """Whether a restore was killed over its renames, so that old and new may lie side by side."""
    return (paths.root / STAGING / CONTENTS).exists()


def restore(
    paths: DataPaths, source: Path, now: datetime, *, replace: bool = False, with_books: bool = True
) -> Restored:
    """Put a backup into a data directory and its Dagster home.

    Args:
        paths: where it goes; with a Dagster home of its own (DAGSTER_HOME), that part goes there.
        source: the folder of the backup.
        now: the present, UTC; names the folder for what was there.
        replace: set what is there aside, instead of refusing.
        with_books: put the dump of Dagster's books back, too, if there is one: to the server that the backup's own
            settings name.

    Raises:
        BackupError: it is no whole backup, a file of it is damaged, a newer version of this project made it, or
            something is there and `replace` was not said.
        BooksError: the server of the books is not there, or will not take them.
    """
    source = source.expanduser().resolve()
    contents = read_backup(source)
    _refuse_newer(source, contents)
    staging = paths.root / STAGING
    going_on = is_half_restored(paths)
    if going_on and read_backup(staging).digest != contents.digest:
        raise BackupError(
            f"{paths.root}: a restore of another backup ({read_backup(staging).created_at}) was cut off here. Finish "
            "that one first: restore the same backup again."
        )
    if not going_on:
        _refuse_to_overwrite(paths, replace=replace)
        _stage(source, contents, staging)
        if with_books and contents.has_books:
            _ready_books(staging, now, replace=replace)
        contents.write(staging)
        os.sync()
    set_aside = _move_in(paths, staging, contents, paths.root / f".replaced-{now:%Y%m%dT%H%M%S}")
    if with_books and contents.has_books:
        _put_books_back(staging / DUMP, paths.dagster_home / SETTINGS)
    # Gone last: until then a restore that is started again goes on here.
    (staging / CONTENTS).unlink()
    shutil.rmtree(staging, ignore_errors=True)
    return Restored(contents, set_aside)


def _present(paths: DataPaths) -> dict[str, Path]:
    """What is there now, by its place in a backup."""
    home = paths.dagster_home.resolve()
    found = {f"{DATA}/{part.name}": part for part in parts_of(paths.root) if part.resolve() != home}
    if home.is_dir() and any(home.iterdir()):
        found[HOME] = home
    return found


def _refuse_newer(source: Path, contents: Contents) -> None:
    """Raises BackupError when tables in the backup have versions that this project does not know yet."""
    newer = {
        name: version
        for name, version in contents.tables.items()
        if name not in TABLES or version > TABLES[name].version
    }
    if newer:
        said = ", ".join(f"{name} {version}" for name, version in sorted(newer.items()))
        raise BackupError(
            f"{source}: flywheel-pipelines {contents.version} made it, with tables of newer versions ({said}). Restore "
            "it with that version of the project, or upgrade this one first. Nothing was changed."
        )


def _refuse_to_overwrite(paths: DataPaths, *, replace: bool) -> None:
    there = _present(paths)
    if there and not replace:
        raise BackupError(
            f"{paths.root}: it is not empty ({', '.join(path.name for path in there.values())}). Restore into an empty "
            "folder (FLYWHEEL_DATA_DIR, DAGSTER_HOME), or say --replace: what is there is then set aside, not deleted."
        )


def _stage(source: Path, contents: Contents, staging: Path) -> None:
    """Copy everything and compare it. Raises BackupError, with nothing left behind, for the first file that differs."""
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for name, file in contents.files.items():
            to = staging / name
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                digest, size = copy_with_digest(source / name, to)
            except FileNotFoundError:
                raise BackupError(f"{source / name}: it is missing from the backup. Use another backup.") from None
            if (digest, size) != (file.sha256, file.size):
                raise BackupError(
                    f"{source / name}: found {size:,} bytes with SHA-256 {digest}; the backup lists {file.size:,} "
                    f"bytes with {file.sha256}. The file is damaged: use another backup. Nothing was changed."
                )
            os.utime(to, ns=(file.modified_ns, file.modified_ns))
        os.sync()
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _move_in(paths: DataPaths, staging: Path, contents: Contents, aside: Path) -> Path | None:
    """Rename what is in the way aside, and what is staged into place."""
    files = [name for name in contents.files if name != DUMP]
    restored = {"/".join(Path(name).parts[: 1 if name.startswith(f"{HOME}/") else 2]) for name in files}
    waiting = sorted(name for name in restored if (staging / name).exists())
    moved = False
    for name, path in _present(paths).items():
        # What an earlier attempt has put into place already stays there.
        if name in waiting or name not in restored:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, aside / name)
            moved = True
    for name in waiting:
        place = paths.dagster_home.resolve() if name == HOME else paths.root / name.removeprefix(f"{DATA}/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            place.rmdir()
        shutil.move(staging / name, place)
    if (staging / REPLACED).exists():
        aside.mkdir(parents=True, exist_ok=True)
        shutil.move(staging / REPLACED, aside / DUMP)
        moved = True
    os.sync()
    return aside if moved else None


def _ready_books(staging: Path, now: datetime, *, replace: bool) -> None:
    """See to it that the server can take the books; those that it has are dumped beside. Nothing staged is left else.

    Raises:
        BackupError: there are books and `replace` was not said, or a daemon works on them.
        BooksError: the server or its programs are not there.
    """
    from flywheel_pipelines.books import books_of, instance_of_settings
    from flywheel_pipelines.dagster_state import is_unused, refuse_beside_a_daemon

    try:
        with instance_of_settings(staging / HOME / SETTINGS) as instance:
            books = books_of(instance)
            if books is None:
                raise BackupError(f"{DUMP} is in the backup, but no server in its {SETTINGS}. Use another backup.")
            books.refuse_without("pg_dump", "pg_restore")
            refuse_beside_a_daemon(instance, books.address, now)
            if is_unused(instance):
                return
            if not replace:
                raise BackupError(
                    f"{books.address}: there are Dagster's books in it ({instance.get_runs_count():,} runs). Restore "
                    "into an empty database, or say --replace: they are then dumped and set aside, not deleted."
                )
            books.dump(staging / REPLACED)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _put_books_back(dump: Path, settings: Path) -> None:
    from flywheel_pipelines.books import books_of, instance_of_settings

    with instance_of_settings(settings) as instance:
        books = books_of(instance)
    if books is not None:
        books.put_back(dump)
