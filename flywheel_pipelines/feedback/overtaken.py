"""Rows that waited in quarantine until a later report of the same output and day had landed.

Here: finding them. Not here: what is done about them (`releasing`). The latest recorded value counts, and a row that
leaves quarantine is recorded when it leaves: without this, an old number would win over the newer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow.compute as pc

from flywheel_pipelines.feedback.feeds import FeedBatch
from flywheel_pipelines.feedback.quarantine import QuarantinedRow
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import BATCHES, METRIC_LEDGER, METRIC_REPLACEMENTS, QUARANTINE_EVENTS


def overtaken(lake: Lake, flywheel: str, feed: str, rows: Sequence[QuarantinedRow], batch: FeedBatch) -> dict[int, str]:
    """Which of the rows say something that the feed has said anew since, and in which batch, by number from 1.

    Args:
        lake: what is known.
        flywheel: whose rows they are.
        feed: the feed they came by.
        rows: the rows, in the order of the file that `batch` was read from.
        batch: what they say, as it would land.
    """
    said_at = _instants(lake, flywheel)
    replaced = [row for row in lake.read(METRIC_REPLACEMENTS, flywheel).to_pylist() if row["feed"] == feed]
    found: dict[int, str] = {}
    for part in batch.parts.get(METRIC_LEDGER, ()):
        ledger = lake.read(METRIC_LEDGER, flywheel, part.cycle).filter(pc.field("feed") == feed)
        latest: dict[tuple[str, str, object], tuple[datetime, str]] = {}
        for row in ledger.to_pylist():
            key = (row["output_id"], row["measure"], row["measured_on"])
            at: datetime = said_at.get(row["batch_id"]) or row["recorded_at"]
            said = (at, str(row["batch_id"]))
            latest[key] = max(latest.get(key, said), said)
        for fact in part.make().to_pylist():
            waited_since = rows[fact["source_row"] - 1].recorded_at
            said = latest.get((fact["output_id"], fact["measure"], fact["measured_on"]))
            if said is not None and said[0] > waited_since:
                found[fact["source_row"]] = said[1]
            for row in replaced:
                is_of_the_day = row["first_day"] <= fact["measured_on"] <= row["last_day"]
                if is_of_the_day and row["recorded_at"] > waited_since:
                    found[fact["source_row"]] = row["batch_id"]
    return found


def _instants(lake: Lake, flywheel: str) -> dict[str, datetime]:
    """When each batch that came out of quarantine had been said first: when its last row was put aside."""
    recorded = lake.read(BATCHES, flywheel, columns=["batch_id", "recorded_at"]).to_pylist()
    at: dict[str, datetime] = {row["batch_id"]: row["recorded_at"] for row in recorded}
    found: dict[str, datetime] = {}
    for event in lake.read(QUARANTINE_EVENTS, flywheel).to_pylist():
        said = at.get(event["quarantined_batch"])
        if said is not None:
            found[event["batch_id"]] = max(found.get(event["batch_id"], said), said)
    return found
