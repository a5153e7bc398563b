"""Write-audit-publish: from the lake to the DuckDB file that analysts open.

Here: a new file is written in a folder beside the published one, audited there by dbt's tests, and put in its place
only when all of them pass. Not here: what dbt reads (`snapshot.py`), running dbt (`dbt.py`), the models.

The published file is never opened here, so no reader blocks a publish and no publish blocks a reader: a reader that
has the old file open keeps it, a reader that comes later gets the new one. Its name is a link to the newest version,
and each version lies in a folder of its own. DuckDB puts the log of whoever writes beside the file that the link leads
to; were the file itself replaced, somebody who opened the old one and writes now would leave a log that every reader of
the new one takes for its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.lake.dbt import DBT_PROJECT, NodeOutcome, dbt_build, dbt_manifest
from flywheel_pipelines.lake.dbt_docs import write_dbt_docs
from flywheel_pipelines.lake.increment import (
    COPIES,
    Cycle,
    Increment,
    LakeState,
    copy_base,
    find_increment,
    slices_of,
    write_record,
)
from flywheel_pipelines.lake.snapshot import (
    create_audited_views,
    create_layer_views,
    create_touched_views,
    drop_touched_views,
    pin,
    refuse_unknown_files,
)
from flywheel_pipelines.paths import DataPaths

BUILDING_PREFIX = ".building-"
VERSIONS = ".published"
GRACE = 10.0
"""Seconds that a version stays after the next one is there: for readers that have followed the link, but not opened."""
LOCK_NAME = ".publish.lock"
MART_SCHEMA = "main"


@dataclass(frozen=True)
class PublishReport:
    """What was published: the file, its size, the rows of each mart, and the outcome of every model and test."""

    path: Path
    n_bytes: int
    mart_rows: dict[str, int]
    outcomes: tuple[NodeOutcome, ...]
    seconds: float
    n_cycles: int | None
    """How many cycles were made anew; None when all were."""
    docs: Path
    """The page that describes every model."""

    @property
    def warnings(self) -> tuple[NodeOutcome, ...]:
        """Tests that object without standing in the way."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "warn")


class AuditError(PublishError):
    """Models or tests failed on the new file. `outcomes` holds all of them, the good ones too."""

    def __init__(self, published: Path, outcomes: list[NodeOutcome]) -> None:
        """Put the failures into words; what was skipped because of them is counted only."""
        self.outcomes = tuple(outcomes)
        failed = [outcome for outcome in outcomes if outcome.status in {"fail", "error"}]
        n_skipped = sum(outcome.status == "skipped" for outcome in outcomes)
        kept = "stays as it was" if published.exists() else "was not created"
        lines = [f"{len(failed)} check(s) failed on the new DuckDB file, so {published} {kept}."]
        lines += [outcome.explain() for outcome in failed]
        if n_skipped:
            lines.append(f"{n_skipped} model(s) and test(s) that depend on them were skipped.")
        lines.append("Correct the rows at their source and materialize the table again, then publish again.")
        super().__init__("\n".join(lines))


def publish(paths: DataPaths, project: Path = DBT_PROJECT, *, full: bool = False) -> PublishReport:
    """Build the DuckDB file from the lake, audit it, and put it in place of the published one.

    Where the published file was made by the same rules, a copy of it is the start and only the rows of cycles that the
    lake has changed since are made anew and audited; `full` asks for all of them. Publishes of one data folder wait for
    each other, so that an older state never replaces a newer one.

    Raises:
        AuditError: a model or test failed; the message names it, how many rows object, and the first of them. The
            published file is untouched and nothing of the attempt is left.
        PublishError: the lake cannot be read, or dbt broke; the same holds.
    """
    started = time.monotonic()
    paths.root.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(paths.root) as lock:
        _sweep(paths.root)
        folder = paths.root / f"{BUILDING_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            # The name within the folder is the final one, because DuckDB names the catalog after the file.
            build = folder / paths.published_file.name
            pin(paths.lake, folder / "lake")
            state = LakeState.of(folder / "lake", project)
            increment = None if full else find_increment(paths.published_file, state)
            if increment and not copy_base(increment, build):
                increment = None
                build.unlink()
            refuse_unknown_files(folder / "lake", increment.cycles if increment else None)
            copies = create_audited_views(build, folder / "lake", folder / COPIES, increment)
            outcomes = _build(project, folder, build, increment, [] if increment else slices_of(state), lock)
            if not all(outcome.is_good for outcome in outcomes):
                raise AuditError(paths.published_file, outcomes)
            drop_touched_views(build)
            create_layer_views(build, paths.lake)
            mart_rows = _finish(build)
            n_bytes = build.stat().st_size
            _put_in_place(build, write_record(build, state, copies), paths.published_file)
            docs = write_dbt_docs(paths, dbt_manifest(project), mart_rows)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    n_cycles = len(increment.cycles) if increment else None
    return PublishReport(
        paths.published_file, n_bytes, mart_rows, tuple(outcomes), time.monotonic() - started, n_cycles, docs
    )


def _build(
    project: Path,
    folder: Path,
    build: Path,
    increment: Increment | None,
    slices: Sequence[frozenset[Cycle]],
    lock: int,
) -> list[NodeOutcome]:
    """Run dbt on what it is to read: the whole lake and, beside it, touched cycles or slices of them."""
    if increment:
        create_touched_views(build, folder / "lake", increment.cycles)
    for number, cycles in enumerate(slices, start=1):
        create_touched_views(build, folder / "lake", cycles, number)
    return dbt_build(
        project,
        build,
        folder / "dbt",
        share=(lock,),
        incremental=increment is not None,
        n_slices=len(slices),
    )


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[int]:
    """Wait until no other process publishes; gives the lock's descriptor.

    The kernel frees the lock when every process that shares the descriptor is gone. dbt shares it, so that after a kill
    the next publish does not sweep the folder from under a dbt that outlived its publish.
    """
    with (root / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _sweep(root: Path) -> None:
    """Remove what killed publishes left. Under the lock, every build folder found is one of those."""
    for leftover in root.glob(f"{BUILDING_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _finish(build: Path) -> dict[str, int]:
    """Count the marts' rows and fold the write-ahead log into the file."""
    with contextlib.closing(duckdb.connect(str(build))) as connection:
        marts = connection.execute(
            "select table_name from duckdb_tables() where schema_name = $schema order by table_name",
            {"schema": MART_SCHEMA},
        ).fetchall()
        rows = {name: _count(connection, name) for (name,) in marts}
        connection.execute("checkpoint")
    return rows


def _count(connection: duckdb.DuckDBPyConnection, mart: str) -> int:
    found = connection.execute(f'select count(*) from {MART_SCHEMA}."{mart}"').fetchone()
    return int(found[0]) if found else 0


def _put_in_place(build: Path, record: Path, published: Path) -> None:
    """Lead the published name to the new file, durably and at once, and let go of versions that nobody needs."""
    version = published.parent / VERSIONS / uuid.uuid4().hex / build.name
    version.parent.mkdir(parents=True)
    os.replace(build, version)
    os.replace(record, version.with_name(record.name))
    os.replace(build.with_name(COPIES), version.with_name(COPIES))
    link = build.with_name("link")
    link.symlink_to(version.relative_to(published.parent))
    for written in (version, version.parent, version.parent.parent):
        _flush(written)
    os.replace(link, published)
    # Of a file that stood here itself before, or was copied here: it belongs to no version.
    published.with_name(f"{published.name}.wal").unlink(missing_ok=True)
    _flush(published.parent)
    _forget_versions(version.parent)


def _forget_versions(newest: Path) -> None:
    """Remove the versions whose successor is older than the grace period; open files outlive their names."""
    versions = sorted(newest.parent.iterdir(), key=lambda version: (version == newest, version.stat().st_mtime_ns))
    for version, successor in itertools.pairwise(versions):
        if newest.stat().st_mtime - successor.stat().st_mtime > GRACE:
            shutil.rmtree(version, ignore_errors=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
