"""The past of a feed, as the plausibility rule wants it: what is known per output and day, one column per measure.

Here: which part of the ledger is the past of a file, and its latest values. Not here: the rule (`plausibility`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.lake.tables import METRIC_LEDGER

LOOKBACK_DAYS = 56
"""Days before the first cycle of a file whose cycles are its past: eight turns of the week."""
_COLUMNS = ("cycle", "output_id", "measure", "measured_on", "value", "feed", "recorded_at", "batch_id", "source_row")


def past_of(lake: Lake, flywheel: str, feed: str, cycles: Collection[date], measures: Sequence[str]) -> pa.Table | None:
    """What the feed said before about the cycles of a file and LOOKBACK_DAYS before them; None when it said nothing.

    Only the partitions of those cycles are opened, so that the cost does not grow with the lake. What an export that
    replaces a range of days left out still is a past here: it was believed when it came.

    Returns:
        Columns output_id, cycle, measured_on and one per measure (null where it was not reported), one row per output
        and day, the latest recorded value of each.
    """
    if not cycles:
        return None
    window = CycleWindow(min(cycles) - timedelta(days=LOOKBACK_DAYS), max(cycles))
    ledger = lake.read(METRIC_LEDGER, flywheel, window, columns=_COLUMNS, in_order=False)
    if not ledger.num_rows:
        return None
    columns = ", ".join(
        f"arg_max(value, (recorded_at, batch_id, source_row)) filter (where measure = '{measure}') as \"{measure}\""
        for measure in measures
    )
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("ledger", ledger)
        return connection.execute(
            f"select output_id, cycle, measured_on, {columns} from ledger where feed = $feed group by all",
            {"feed": feed},
        ).to_arrow_table()
