"""Exports without dates whose days overlap those of an earlier one, so that what is in both would count twice.

Such a file counts on the last of its days. The numbers of 1 to 7 and of 5 to 11 stand on two days, and nothing in them
tells how much of 5 to 7 is in both. The second one is therefore refused, with what to do, unless it takes the place of
the first: the same days again, or with `corrections: replace_range` days that hold all of the earlier ones.

Here: finding the earlier export. Files of one feed about different outputs do not meet, and are let in. Rows that leave
quarantine belong to a file that was let in.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds.batch import Days
from flywheel_pipelines.feedback.feeds.metric_facts import MetricFacts
from flywheel_pipelines.lake.files import read_file
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import BATCHES, METRIC_LEDGER
from flywheel_pipelines.spec import FeedSpec


def refuse_overlap(
    lake: Lake, flywheel: str, feed_name: str, feed: FeedSpec, path: Path, days: Days, facts: MetricFacts
) -> None:
    """Raises InputFileError when an earlier export of the feed has some of the days, and an output, in common."""
    headers = lake.read(BATCHES, flywheel)
    overlaps = (pc.field("first_day") <= days[1]) & (pc.field("last_day") >= days[0])
    for row in headers.filter((pc.field("feed") == feed_name) & (pc.field("n_rows") > 0) & overlaps).to_pylist():
        earlier: Days = (row["first_day"], row["last_day"])
        takes_its_place = days == earlier or (
            feed.corrections == "replace_range" and days[0] <= earlier[0] and earlier[1] <= days[1]
        )
        if takes_its_place:
            continue
        if common := _in_common(lake, flywheel, row["batch_id"], facts):
            raise InputFileError(
                f"{path}: its rows say no day, and it is about {days[0]} to {days[1]}; {row['source']} was about "
                f"{earlier[0]} to {earlier[1]}, so that what is in both, of {common} for example, would count twice. "
                "Do one of three: export with a column of dates; export days that do not overlap; or write "
                "corrections: replace_range into the feed and export days that hold all of the earlier ones."
            )


def _in_common(lake: Lake, flywheel: str, batch_id: str, facts: MetricFacts) -> str | None:
    """An output that the batch and the file both measured; None when there is none."""
    mine = {facts.outputs[place].output_id for column in facts.columns for place in set(column.output.tolist())}
    for cycle, path in lake.files_of_batch(METRIC_LEDGER, flywheel, batch_id).items():
        if cycle in facts.cycles:
            theirs = set(read_file(METRIC_LEDGER, path, ["output_id"])["output_id"].unique().to_pylist())
            if common := mine & theirs:
                return min(common)
    return None
