"""Exports that replace what their feed said of a range of days before, also by leaving it out.

Here: the rows of `metric_replacements` that a batch brings. Not here: what they do to the latest-known view
(`performance`), which needs only those of one cycle.

- The range is the one the file is about (its period, or what its comments or name say), else from the first to the last
  day of its accepted rows. Rows that were put aside do not widen it: a mistyped year would delete a year.
- There is a row for every cycle that has earlier measurements of the feed in the range, so that cycles are touched that
  the file does not mention any more, and one for every cycle the file is about, so that it can be found again.
- Batches may land in another order than they were recorded in. One that is recorded before a replacement that is there
  already brings that replacement along into the cycles it touches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.feedback.feeds.batch import Days
from flywheel_pipelines.lake.files import LakeFile
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import BATCHES, METRIC_LEDGER, METRIC_REPLACEMENTS

SCHEMA = pa.schema([pa.field("cycle", pa.date32()), *METRIC_REPLACEMENTS.schema])
Order = tuple[datetime, str]


def replacements_of(
    lake: Lake, flywheel: str, feed_name: str, batch: Order, days: Days | None, cycles: Collection[date]
) -> pa.Table:
    """The rows of `metric_replacements` that a batch of a feed with `corrections: replace_range` brings.

    Args:
        lake: what is known so far.
        flywheel: whose it is.
        feed_name: the feed.
        batch: when the batch was recorded, and its id.
        days: first and last day that it replaces; None: it replaces nothing, as rows that leave quarantine do.
        cycles: the cycles that the batch has measurements of.
    """
    others = [order for order in _batches_of(lake, flywheel, feed_name) if order[1] != batch[1]]
    rows = list(_later(lake, flywheel, feed_name, batch, others, cycles))
    if days is not None:
        earlier = {cycle for order in others for cycle in _cycles_with(lake, flywheel, order[1], days)}
        fact = {"feed": feed_name, "first_day": days[0], "last_day": days[1], "source_row": 1}
        rows += [
            {"cycle": cycle, **fact, "recorded_at": batch[0], "batch_id": batch[1]}
            for cycle in sorted(earlier.union(cycles))
        ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _batches_of(lake: Lake, flywheel: str, feed_name: str) -> list[Order]:
    headers = lake.read(BATCHES, flywheel, columns=["batch_id", "recorded_at", "feed"])
    of_feed = headers.filter(pc.field("feed") == feed_name)
    return sorted(zip(of_feed["recorded_at"].to_pylist(), of_feed["batch_id"].to_pylist(), strict=True))


def _later(
    lake: Lake, flywheel: str, feed_name: str, batch: Order, others: Iterable[Order], cycles: Collection[date]
) -> Iterator[dict[str, object]]:
    """Replacements that are recorded after the batch, for those of its cycles that they do not know yet."""
    if not cycles or not any(order > batch for order in others):
        return
    known = [
        row
        for row in lake.read(METRIC_REPLACEMENTS, flywheel).to_pylist()
        if row["feed"] == feed_name and (row["recorded_at"], row["batch_id"]) > batch
    ]
    there = {(row["cycle"], row["batch_id"]) for row in known}
    for of_batch in {row["batch_id"]: row for row in known}.values():
        for cycle in sorted(cycles):
            if (cycle, of_batch["batch_id"]) not in there:
                yield {**of_batch, "cycle": cycle}


def _cycles_with(lake: Lake, flywheel: str, batch_id: str, days: Days) -> Iterator[date]:
    """The cycles of which a batch has measurements in a range of days; most are told by the statistics of its files."""
    for cycle, path in lake.files_of_batch(METRIC_LEDGER, flywheel, batch_id).items():
        if _has_day_in(path, days):
            yield cycle


def _has_day_in(path: Path, days: Days) -> bool:
    with LakeFile(METRIC_LEDGER, path) as file:
        ranges = file.ranges("measured_on")
        if ranges is not None and not any(first <= days[1] and last >= days[0] for first, last in ranges):
            return False
        rows = file.read(["measured_on"])
    return rows.filter((pc.field("measured_on") >= days[0]) & (pc.field("measured_on") <= days[1])).num_rows > 0
