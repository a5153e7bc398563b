"""What a correction would change, before anything is written: land and close in a snapshot, then compare.

The snapshot holds hard links to the files of one flywheel's lake. Files of the lake are replaced by renaming and never
changed in place, so what is written in the snapshot leaves the lake as it is. It stands beside the lake, on the same
file system, and is removed afterwards; what a kill leaves is removed by the next preview.

Here: the snapshot, and the comparison. Not here: landing (`feedback.landing`), which cycles are closed again
(`corrections`), closing (`closing`), or how the result looks (`terminal`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.lake.writing import TEMPORARY_PREFIX
from flywheel_pipelines.loop.closing import close_cycles
from flywheel_pipelines.loop.corrections import correction_due, cycles_of
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.momentum.restatements import decision_flips, metric_changes
from flywheel_pipelines.paths import DataPaths

SNAPSHOT_PREFIX = ".restating-"
LOCK_NAME = "lock"
Rows = list[dict[str, Any]]
Land = Callable[[Lake], Sequence[date] | None]
"""Lands something in the lake it is given; may say which cycles are to be closed again for it."""


@dataclass(frozen=True)
class Preview:
    """What a correction changes.

    Attributes:
        flywheel: whose.
        first, last: the range of cycles that closes again; None when no closed cycle is touched.
        touched: the cycles in it that were computed from something that changes.
        metrics: rows of `momentum.restatements.metric_changes`, with `cycle`.
        decisions: rows of `momentum.restatements.decision_flips`, with `cycle` and `text`.
        corpus_in, corpus_out: references that come into or leave the corpus that the newest cycle hands over.
        prompts: cycles whose refreshed prompt changes.
        lift_before, lift_after: cumulative lift as of the newest cycle of the range; None while there is none.
    """

    flywheel: str
    first: date | None = None
    last: date | None = None
    touched: tuple[date, ...] = ()
    metrics: Rows = field(default_factory=list)
    decisions: Rows = field(default_factory=list)
    corpus_in: Rows = field(default_factory=list)
    corpus_out: Rows = field(default_factory=list)
    prompts: tuple[date, ...] = ()
    lift_before: float | None = None
    lift_after: float | None = None

    @property
    def promotions(self) -> Rows:
        """Outputs that are promoted now and were not before."""
        return [row for row in self.decisions if row["new_decision"] == "promote"]

    @property
    def demotions(self) -> Rows:
        """Outputs that were promoted and no longer are."""
        return [row for row in self.decisions if row["old_decision"] == "promote"]


def preview(flywheel: Flywheel, paths: DataPaths, land: Land, cycles: Sequence[date] = ()) -> Preview:
    """Land and close in a snapshot, and say what differs from the lake; nothing is written to the lake.

    Args:
        flywheel: whose lake.
        paths: the data directory; the snapshot stands in it while it is needed.
        land: lands the correction, or records a wish.
        cycles: the cycles to close again; none: those that the correction touches.

    Raises:
        FlywheelError: the correction cannot be landed, or a cycle cannot be closed.
    """
    lake = Lake(paths.lake)
    with snapshot(lake, flywheel.name, paths.root) as copy:
        wanted = land(copy)
        due = correction_due(copy, flywheel.spec)
        cycles = cycles or wanted or ()
        if not cycles and (due is None or wanted is not None):
            return Preview(flywheel.name)
        chosen = list(cycles) or cycles_of(flywheel.spec, due.first, due.last)  # type: ignore[union-attr]
        close_cycles(flywheel, Recorder(copy, flywheel.name), chosen)
        touched = tuple(cycle for cycle in due.touched if cycle in chosen) if due else ()
        return _compared(flywheel.name, lake, copy, chosen, touched)


@contextlib.contextmanager
def snapshot(lake: Lake, flywheel: str, root: Path) -> Iterator[Lake]:
    """A lake of hard links to the files of one flywheel, removed with the block."""
    folder, lock = _new_folder(root)
    try:
        # Batches first: a batch vouches for rows that were written before it.
        for table in (tables.BATCHES, *(table for table in tables.ALL_TABLES if table is not tables.BATCHES)):
            _link(lake.root / table.name / f"flywheel={flywheel}", folder / "lake" / table.name)
        yield Lake(folder / "lake")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _new_folder(root: Path) -> tuple[Path, int]:
    """A folder of our own and the lock on it, which the kernel frees when this process ends, however it ends.

    Leftovers of previews that were killed are removed first: nobody holds their lock any more.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{SNAPSHOT_PREFIX}lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        for leftover in (path for path in root.glob(f"{SNAPSHOT_PREFIX}*") if path.is_dir()):
            if not _is_in_use(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
        folder = root / f"{SNAPSHOT_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def _is_in_use(folder: Path) -> bool:
    try:
        with (folder / LOCK_NAME).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _link(source: Path, target: Path) -> None:
    """Hard links to every file below a folder, or copies where there are none; files being written are left out."""
    for folder, _, names in os.walk(source):
        into = target / source.name / Path(folder).relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name.startswith(TEMPORARY_PREFIX):
                continue
            try:
                os.link(Path(folder) / name, into / name)
            except OSError:
                shutil.copyfile(Path(folder) / name, into / name)


def _compared(flywheel: str, lake: Lake, copy: Lake, cycles: Sequence[date], touched: tuple[date, ...]) -> Preview:
    first, last = cycles[0], cycles[-1]
    metrics, decisions = [], []
    for cycle in cycles:
        metrics += _changes(lake, copy, flywheel, tables.PERFORMANCE_METRICS, cycle, metric_changes)
        flips = _changes(lake, copy, flywheel, tables.SCORED_OUTPUTS, cycle, decision_flips)
        decisions += _with_text(lake, flywheel, cycle, flips)
    before, after = (_corpus(one, flywheel, last) for one in (lake, copy))
    lifts = [_lift(one, flywheel, last) for one in (lake, copy)]
    return Preview(
        flywheel=flywheel,
        first=first,
        last=last,
        touched=touched,
        metrics=metrics,
        decisions=decisions,
        corpus_in=[row for key, row in after.items() if key not in before],
        corpus_out=[row for key, row in before.items() if key not in after],
        prompts=tuple(cycle for cycle in cycles if _prompt(lake, flywheel, cycle) != _prompt(copy, flywheel, cycle)),
        lift_before=lifts[0],
        lift_after=lifts[1],
    )


def _changes(
    lake: Lake,
    copy: Lake,
    flywheel: str,
    table: TableContract,
    cycle: date,
    compare: Callable[[pa.Table, pa.Table], pa.Table],
) -> Rows:
    old, new = (one.read(table, flywheel, cycle) for one in (lake, copy))
    return [{"cycle": cycle, **row} for row in compare(old, new).to_pylist()]


def _with_text(lake: Lake, flywheel: str, cycle: date, rows: Rows) -> Rows:
    if not rows:
        return []
    published = lake.read(tables.PUBLISHED_OUTPUTS, flywheel, CycleWindow(cycle, cycle), columns=["output_id", "text"])
    wanted = [row["output_id"] for row in rows]
    texts = {row["output_id"]: row["text"] for row in published.filter(pc.field("output_id").isin(wanted)).to_pylist()}
    return [{**row, "text": texts.get(row["output_id"])} for row in rows]


def _corpus(lake: Lake, flywheel: str, cycle: date) -> dict[str, dict[str, Any]]:
    columns = ["reference_id", "source_cycle", "segment", "rank", "quality", "text"]
    rows = lake.read(tables.REFERENCE_CORPUS, flywheel, cycle, columns=columns).to_pylist()
    return {row["reference_id"]: row for row in sorted(rows, key=lambda row: row["rank"])}


def _prompt(lake: Lake, flywheel: str, cycle: date) -> list[str]:
    return lake.read(tables.REFRESHED_PROMPT, flywheel, cycle, columns=["prompt_version"])["prompt_version"].to_pylist()


def _lift(lake: Lake, flywheel: str, cycle: date) -> float | None:
    rows = lake.read(tables.MOMENTUM, flywheel, cycle, columns=["scope", "lift"]).to_pylist()
    return next((row["lift"] for row in rows if row["scope"] == "cumulative"), None)
