"""Which share of a file's rows is still in quarantine, and whether that is more than the feed allows.

Here: per file that touches some cycles, its rows, those in quarantine that nobody has decided about, and why.
Not here: putting rows aside (`feedback.landing`), or releasing and discarding them (`feedback.quarantine`).

Decisions:
- A row counts while it is open. Released, matched and discarded ones do not; what was released and is wrong again
  counts for the file that it first came with.
- A file takes the place of an earlier one of the same name when it is about the same cycles or more, or when nothing of
  the earlier one could be used. So a corrected file, handed in again under its name, settles the matter.
- The same name: the inbox records the path below it, a command that is handed a file from elsewhere only its name. The
  name alone means the file in the inbox that ends in it, as long as the feed has only one such.
- A file without a single usable row is about no cycle that anybody could tell; it counts for the newest cycle that was
  out when it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.contracts.feed_contract import FeedContract
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS, QUARANTINE, QUARANTINE_EVENTS

SAMPLES = 3
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class FileShare:
    """One file of a feed, and what of it is still in quarantine.

    Attributes:
        batch_id: its batch.
        source: its name.
        n_rows: its rows.
        n_open: those that nobody has decided about.
        reasons: kind of problem to how many of the open rows have it.
        limit: the share that the feed allows.
        samples: the first open rows, as they stand in `quarantine`.
    """

    batch_id: str
    source: str
    n_rows: int
    n_open: int
    reasons: tuple[tuple[str, int], ...]
    limit: float
    samples: tuple[dict[str, Any], ...]

    @property
    def share(self) -> float:
        """Open rows per row of the file."""
        return self.n_open / self.n_rows if self.n_rows else 0.0

    @property
    def is_too_much(self) -> bool:
        """Whether it exceeds what the feed allows."""
        return self.share > self.limit


def file_shares(
    lake: Lake,
    contract: FeedContract,
    cycles: Sequence[date],
    batches: pa.Table,
    knowledge_cutoff: datetime | None = None,
) -> list[FileShare]:
    """The files of the feed that touch the cycles, in the order in which they came.

    Args:
        lake: where from.
        contract: the feed's contract.
        cycles: those that are closed, in order.
        batches: the rows of `batches` that count.
        knowledge_cutoff: decisions made later do not count.
    """
    by_id: dict[str, dict[str, Any]] = {
        row["batch_id"]: row
        for row in sorted(batches.to_pylist(), key=lambda row: (row["recorded_at"], row["batch_id"]))
    }
    published = lake.cycles(PUBLISHED_OUTPUTS, contract.flywheel)
    events = _known(lake.read(QUARANTINE_EVENTS, contract.flywheel), knowledge_cutoff)
    # A decision is a batch of its own, and no file that could take another's place.
    origin = {row["batch_id"]: row["quarantined_batch"] for row in events}
    files = [row for batch_id, row in by_id.items() if batch_id not in origin]
    names = _full_names({row["source"] for row in files})
    touching = [
        row
        for number, row in enumerate(files)
        if _touches(row, cycles, published) and not any(_replaces(later, row, names) for later in files[number + 1 :])
    ]
    if not touching:
        return []
    has_open = any(row["n_quarantined"] for row in by_id.values())
    open_rows = _open_rows(lake, contract, by_id, origin, events) if has_open else {}
    return [_share(row, open_rows.get(row["batch_id"], []), contract.spec.max_quarantined) for row in touching]


def _touches(row: dict[str, Any], cycles: Sequence[date], published: Sequence[date]) -> bool:
    if row["first_cycle"] is None:
        newest = max((one for one in published if cycle_start(one) <= row["recorded_at"]), default=None)
        return newest in cycles
    return any(row["first_cycle"] <= cycle <= row["last_cycle"] for cycle in cycles)


def _full_names(sources: Set[str]) -> dict[str, str]:
    """Each source by the longest name that means the same file."""
    paths: dict[str, set[str]] = {}
    for source in sources:
        if "/" in source:
            paths.setdefault(source.rsplit("/", 1)[1], set()).add(source)
    return {source: next(iter(full)) if len(full := paths.get(source, set())) == 1 else source for source in sources}


def _replaces(later: dict[str, Any], row: dict[str, Any], names: Mapping[str, str]) -> bool:
    if names[later["source"]] != names[row["source"]] or later["first_cycle"] is None:
        return False
    return row["first_cycle"] is None or (
        later["first_cycle"] <= row["first_cycle"] and later["last_cycle"] >= row["last_cycle"]
    )


def _open_rows(
    lake: Lake, contract: FeedContract, by_id: dict[str, dict[str, Any]], origin: dict[str, str], events: Rows
) -> dict[str, Rows]:
    """Per file, its open rows: one entry per row, with the first problem of each."""
    decided = {(row["quarantined_batch"], row["quarantined_row"]) for row in events}
    found = lake.read(
        QUARANTINE,
        contract.flywheel,
        columns=["batch_id", "source_row", "source", "field", "found", "reason", "problem"],
    )
    kept: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
    for row in found.filter(pc.field("batch_id").isin(list(by_id))).to_pylist():
        key = (row["batch_id"], row["source_row"])
        if key not in decided:
            kept.setdefault(_first(row["batch_id"], origin), {}).setdefault(key, row)
    return {batch_id: list(rows.values()) for batch_id, rows in kept.items()}


def _first(batch_id: str, origin: dict[str, str]) -> str:
    """The batch that a row first came with, behind any number of releases."""
    while batch_id in origin:
        batch_id = origin[batch_id]
    return batch_id


def _share(row: dict[str, Any], open_rows: Rows, limit: float) -> FileShare:
    reasons = Counter(one["problem"] or "invalid" for one in open_rows)
    return FileShare(
        batch_id=row["batch_id"],
        source=row["source"],
        n_rows=row["n_rows"] + row["n_quarantined"],
        n_open=len(open_rows),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        limit=limit,
        samples=tuple(open_rows[:SAMPLES]),
    )


def _known(events: pa.Table, knowledge_cutoff: datetime | None) -> Rows:
    rows = events.to_pylist()
    return [row for row in rows if knowledge_cutoff is None or row["recorded_at"] <= knowledge_cutoff]
