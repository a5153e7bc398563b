"""Write-audit-publish: from the lake to the DuckDB file that analysts open.

Here: a new file is written in a folder beside the published one, audited there by dbt's tests, and renamed into place
only when all of them pass. Not here: the views' SQL (`layer_views.py`), running dbt (`dbt.py`), the models.

The published file is never opened here, so no reader blocks a publish and no publish blocks a reader: a reader that
has the old file open keeps it, a reader that comes later gets the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.lake.dbt import DBT_PROJECT, NodeOutcome, dbt_build
from flywheel_pipelines.lake.layer_views import SCHEMA, create_view, describe_view, files_of
from flywheel_pipelines.lake.tables import ALL_TABLES, BATCHES
from flywheel_pipelines.paths import DataPaths

BUILDING_PREFIX = ".building-"
LOCK_NAME = ".publish.lock"
MART_SCHEMA = "main"
# A batch counts once it stands in `batches`, which is written last; read first, it vouches only for rows that exist.
_BATCHES_FIRST = sorted(ALL_TABLES, key=lambda table: table.name != BATCHES.name)


@dataclass(frozen=True)
class PublishReport:
    """What was published: the file, its size, the rows of each mart, and the outcome of every model and test."""

    path: Path
    n_bytes: int
    mart_rows: dict[str, int]
    outcomes: tuple[NodeOutcome, ...]
    seconds: float

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


def publish(paths: DataPaths, project: Path = DBT_PROJECT) -> PublishReport:
    """Build the DuckDB file anew from the lake, audit it, and put it in place of the published one.

    Publishes of one data folder wait for each other, so that an older state never replaces a newer one.

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
            _snapshot(paths.lake, folder / "lake")
            _create_layer_views(build, folder / "lake")
            outcomes = dbt_build(project, build, folder / "dbt", share=(lock,))
            if not all(outcome.is_good for outcome in outcomes):
                raise AuditError(paths.published_file, outcomes)
            _create_layer_views(build, paths.lake)
            mart_rows = _finish(build)
            n_bytes = build.stat().st_size
            _put_in_place(build, paths.published_file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return PublishReport(paths.published_file, n_bytes, mart_rows, tuple(outcomes), time.monotonic() - started)


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


def _snapshot(lake: Path, snapshot: Path) -> None:
    """Pin the files that the lake consists of now, by hard links where the file system has them.

    Runs go on writing while dbt reads. Files are replaced and never changed, so a link keeps what was there: tests and
    marts see the same rows, and no reader meets a file that is replaced between its footer and its rows.
    """
    for contract in _BATCHES_FIRST:
        for path in lake.glob(files_of(contract)):
            pinned = snapshot / path.relative_to(lake)
            pinned.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, pinned)
            except OSError:
                shutil.copyfile(path, pinned)


def _create_layer_views(build: Path, lake: Path) -> None:
    with contextlib.closing(duckdb.connect(str(build))) as connection:
        connection.execute(f"create schema if not exists {SCHEMA}")
        for contract in _BATCHES_FIRST:
            try:
                connection.execute(create_view(contract, lake))
            except duckdb.Error as error:
                raise PublishError(
                    f"Table {contract.name}: the files below {lake / contract.name} cannot be read as the contract in "
                    f"lake/tables/ declares them: {error}. Materialize that table again."
                ) from error
            for statement in describe_view(contract):
                connection.execute(statement)


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


def _put_in_place(build: Path, published: Path) -> None:
    """Rename the file over the published one, durably."""
    _flush(build)
    # Somebody who opened the old file for writing may have left its log; read with the new file it would not fit.
    published.with_name(f"{published.name}.wal").unlink(missing_ok=True)
    os.replace(build, published)
    _flush(published.parent)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
