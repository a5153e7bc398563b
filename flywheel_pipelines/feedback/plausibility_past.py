"""The past of a feed, as the plausibility rule wants it: what is known per output and day, by measure.

Here: which part of the ledger is the past of a file, and its latest values. Not here: the rule (`plausibility`).

Outputs are numbers here, as in the file that is held against the past: joining and grouping millions of rows by text
takes several times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.feedback.feeds.metric_facts import Column, Rows, last_rows, side_by_side
from flywheel_pipelines.feedback.plausibility_days import OutputDays
from flywheel_pipelines.lake.files import read_file
from flywheel_pipelines.lake.store import CycleWindow, Lake, LedgerFile
from flywheel_pipelines.lake.tables import METRIC_LEDGER

LOOKBACK_DAYS = 56
"""Days before the first cycle of a file whose cycles are its past: eight turns of the week."""
_TEXTS = ("output_id", "measure")
_COLUMNS = (*_TEXTS, "measured_on", "value", "source_row")
_READERS = 2


def past_of(
    lake: Lake, flywheel: str, feed: str, cycles: Collection[date], measures: Sequence[str], numbers: dict[str, int]
) -> tuple[OutputDays, list[date]] | None:
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
        The latest recorded value of each output, day and measure; and the cycles of the outputs that were added to
        `numbers`, in the order of their numbers.
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
    wanted = sorted((file for file in files if file.batch_id in rank), key=lambda file: rank[file.batch_id])
    if not wanted:
        return None
    with ThreadPoolExecutor(_READERS) as pool:
        read = list(pool.map(_read, wanted))
    known, added = len(numbers), []
    parts = []
    for file, table in zip(wanted, read, strict=True):
        parts.append(_arrays(table, measures, numbers))
        added += [file.cycle] * (len(numbers) - known - len(added))
    return _latest(parts, measures), added


def _read(file: LedgerFile) -> pa.Table:
    return read_file(METRIC_LEDGER, file.path, _COLUMNS, dictionaries=_TEXTS)


def _arrays(table: pa.Table, measures: Sequence[str], numbers: dict[str, int]) -> dict[str, np.ndarray]:
    """The rows of one file in the order of the file that they came from, with numbers for texts."""
    place = {measure: at for at, measure in enumerate(measures)}
    arrays = {
        "output": _coded(table["output_id"], lambda name: numbers.setdefault(name, len(numbers))),
        "measure": _coded(table["measure"], lambda name: place.get(name, -1)),
        "day": table["measured_on"].cast(pa.int32()).to_numpy(),
        "value": table["value"].to_numpy(),
    }
    said = table["source_row"].to_numpy()
    of = arrays["measure"]
    if ((np.diff(said) < 0) & (np.diff(of) == 0)).any():
        order = np.argsort(said, kind="stable")
        arrays = {name: array[order] for name, array in arrays.items()}
    return arrays


def _latest(parts: Sequence[dict[str, np.ndarray]], measures: Sequence[str]) -> OutputDays:
    """Of rows in the order of their recording, the last of each output, day and measure."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    output, day = whole["output"], whole["day"]
    first_day = int(day.min())
    n_days = int(day.max()) - first_day + 1
    keys = output.astype(np.int64) * n_days + (day - first_day)
    n_keys = (int(output.max()) + 1) * n_days
    columns = []
    for number, measure in enumerate(measures):
        mine = np.flatnonzero(whole["measure"] == number)
        at = mine[last_rows(keys[mine], n_keys)]
        columns.append(Column(measure, Rows(at, output, day, at), whole["value"]))
    return side_by_side(columns)


def _coded(column: pa.ChunkedArray, number_of: Callable[[str], int]) -> np.ndarray:
    """The number of each text; every distinct one is looked up once."""
    whole = column.unify_dictionaries().combine_chunks()
    codes = np.array([number_of(text) for text in whole.dictionary.to_pylist()], np.int32)
    return codes[whole.indices.to_numpy()] if len(codes) else np.empty(0, np.int32)
