"""The past of a feed, as the plausibility rule wants it: what is known per output and day, one column per measure.

Here: which part of the ledger is the past of a file, and its latest values. Not here: the rule (`plausibility`).

Outputs are numbers here, as in the file that is held against the past: joining and grouping millions of rows by text
takes several times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flywheel_pipelines.lake.store import CycleWindow, Lake, LedgerFile
from flywheel_pipelines.lake.tables import METRIC_LEDGER

LOOKBACK_DAYS = 56
"""Days before the first cycle of a file whose cycles are its past: eight turns of the week."""
_TEXTS = ("output_id", "measure")
_COLUMNS = (*_TEXTS, "measured_on", "value", "source_row")
_READERS = 2


def past_of(
    lake: Lake, flywheel: str, feed: str, cycles: Collection[date], measures: Sequence[str], numbers: dict[str, int]
) -> pa.Table | None:
    """What the feed said before about the cycles of a file and LOOKBACK_DAYS before them; None when it said nothing.

    Only the partitions of those cycles are opened, and of these the batches of the feed, so that the cost does not grow
    with the lake. All their outputs are read and not only the file's: what is expected of one rests on all. What an
    export that replaces a range of days left out still is a past here: it was believed when it came.

    Args:
        lake: where from.
        flywheel: whose.
        feed: the feed.
        cycles: those the file is about.
        measures: what is counted.
        numbers: the number of each output; those of the past that it lacks are added, each with the next number.

    Returns:
        Columns output_id (its number), cycle, measured_on and one per measure (null where it was not reported), one row
        per output and day, the latest recorded value of each.
    """
    if not cycles:
        return None
    window = CycleWindow(min(cycles) - timedelta(days=LOOKBACK_DAYS), max(cycles))
    files = lake.ledger_files(METRIC_LEDGER, flywheel, window)
    headers = lake.batches_in(METRIC_LEDGER, flywheel, sorted({file.cycle for file in files}))
    # In the order of their recording, by which the latest value of a day is told.
    rank = {
        batch_id: at for at, batch_id in enumerate(headers.filter(pc.field("feed") == feed)["batch_id"].to_pylist())
    }
    wanted = [file for file in files if file.batch_id in rank]
    if not wanted:
        return None
    with ThreadPoolExecutor(_READERS) as pool:
        read = list(pool.map(_read, wanted))
    rows = [
        _numbered(file, table, rank[file.batch_id], measures, numbers) for file, table in zip(wanted, read, strict=True)
    ]
    columns = ", ".join(
        f'arg_max(value, said) filter (where measure = {at}) as "{measure}"' for at, measure in enumerate(measures)
    )
    with duckdb.connect() as connection:
        connection.register("ledger", pa.concat_tables(rows))
        return connection.execute(
            f"select output_id, cycle, measured_on, {columns} from ledger group by all"
        ).to_arrow_table()


def _read(file: LedgerFile) -> pa.Table:
    # Not by the names of its folders, which are columns already.
    return pq.ParquetFile(file.path, read_dictionary=list(_TEXTS)).read(columns=list(_COLUMNS))


def _numbered(
    file: LedgerFile, table: pa.Table, rank: int, measures: Sequence[str], numbers: dict[str, int]
) -> pa.Table:
    """The rows of one file with numbers for texts; `said` orders them by when they were recorded."""
    place = {measure: at for at, measure in enumerate(measures)}
    output = _coded(table["output_id"], lambda name: numbers.setdefault(name, len(numbers)))
    measure = _coded(table["measure"], lambda name: place.get(name, -1))
    said = np.int64(rank << 40) + table["source_row"].to_numpy()
    return pa.table(
        {
            "output_id": pa.array(output, pa.int32()),
            "cycle": pa.repeat(pa.scalar(file.cycle, pa.date32()), table.num_rows),
            "measured_on": table["measured_on"],
            "measure": pa.array(measure, pa.int32()),
            "value": table["value"],
            "said": pa.array(said, pa.int64()),
        }
    )


def _coded(column: pa.ChunkedArray, number_of: Callable[[str], int]) -> np.ndarray:
    """The number of each text; every distinct one is looked up once."""
    whole = column.unify_dictionaries().combine_chunks()
    codes = np.array([number_of(text) for text in whole.dictionary.to_pylist()], np.int32)
    return codes[whole.indices.to_numpy()] if len(codes) else np.empty(0, np.int32)
