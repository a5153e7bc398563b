"""How much a feed said of each cycle, and when: the frame of cycles that freshness and volume are held against.

Here: counts from the footers of the ledger's files, so that looking back costs milliseconds whatever the feed's size.
Time is counted in published cycles and not by the clock, so that the same lake gives the same verdict at any time.

Not here: the facts themselves (`evidence`), or the bounds (`rules`).

A cycle's size is the number of facts that files brought about it. The same file corrected and handed in again under its
name counts once, with the larger of its numbers, since it restates what it said.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd
import pyarrow as pa

from flywheel_pipelines.feedback.contracts.feed_contract import FeedContract
from flywheel_pipelines.feedback.contracts.rules import HISTORY, LEAST_SPREAD, MIN_HISTORY
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS

COLUMNS = ("cycle", "n_rows", "n_later", "cycles_silent", "usual_rows", "volume_deviation", "schema_problems")


@dataclass(frozen=True)
class CycleFrame:
    """The cycles of a run and those shortly before it.

    Attributes:
        rows: per cycle its rows, how many cycles were published since, and what the rules about cycles look at.
        unreadable: cycles with a file that is no file of the ledger; their facts cannot be judged.
        sizes: facts per cycle, as received.
    """

    rows: pd.DataFrame
    unreadable: frozenset[date]
    sizes: tuple[tuple[date, int], ...]


def read_history(
    lake: Lake, contract: FeedContract, cycles: Sequence[date], batches: pa.Table, mature_after: int
) -> CycleFrame:
    """The frame of cycles for closing some cycles.

    Args:
        lake: where from.
        contract: the feed's contract.
        cycles: those that are closed, in order.
        batches: the rows of `batches` that count.
        mature_after: cycles published later, from which on a cycle has had its measurement window.
    """
    published = lake.cycles(PUBLISHED_OUTPUTS, contract.flywheel)
    n_later = {cycle: len(published) - number for number, cycle in enumerate(published, start=1)}
    shown = _shown(published, cycles, HISTORY + mature_after)
    if not contract.has_cycles or not shown:
        rows = pd.DataFrame([{"cycle": cycle} for cycle in shown], columns=list(COLUMNS))
        return CycleFrame(rows, frozenset(), ())
    sources = dict(zip(batches["batch_id"].to_pylist(), batches["source"].to_pylist(), strict=True))
    files = lake.batch_files(contract.ledger, contract.flywheel, CycleWindow(shown[0], shown[-1]))
    ours = [file for file in files if file.batch_id in sources]
    sizes = _sizes((file.cycle, sources[file.batch_id], file.n_rows) for file in ours)
    problems = {
        file.cycle: problem
        for file in reversed(ours)
        if (problem := _schema_problem(file.batch_id, file.schema, contract.ledger.schema))
    }
    first = min(batches["first_cycle"].drop_null().to_pylist(), default=None)
    reporting = [cycle for cycle in shown if first is not None and cycle >= first]
    judged = next((cycle for cycle in reversed(reporting) if n_later[cycle] >= mature_after), None)
    usual, deviation = _volume(judged, sizes, shown)
    records = [
        {
            "cycle": cycle,
            "n_rows": sizes.get(cycle, 0),
            "n_later": n_later[cycle],
            "cycles_silent": n_later[cycle] if cycle in reporting and not sizes.get(cycle) else None,
            "usual_rows": usual if cycle == judged else None,
            "volume_deviation": deviation if cycle == judged else None,
            "schema_problems": problems.get(cycle),
        }
        for cycle in shown
    ]
    rows = pd.DataFrame.from_records(records, columns=list(COLUMNS))
    numbers = dict.fromkeys(("cycles_silent", "usual_rows", "volume_deviation"), float)
    return CycleFrame(rows.astype(numbers), frozenset(problems), tuple(sorted(sizes.items())))


def _shown(published: Sequence[date], cycles: Sequence[date], before: int) -> list[date]:
    """The published cycles among those that are closed, and up to `before` before the last of them."""
    known = [cycle for cycle in published if cycle <= cycles[-1]]
    return [cycle for cycle in known if cycle >= cycles[0] or cycle in known[-1 - before :]]


def _sizes(files: Iterable[tuple[date, str, int]]) -> dict[date, int]:
    by_source: dict[tuple[date, str], int] = {}
    for cycle, source, n_rows in files:
        by_source[cycle, source] = max(n_rows, by_source.get((cycle, source), 0))
    sizes: dict[date, int] = {}
    for (cycle, _), n_rows in by_source.items():
        sizes[cycle] = sizes.get(cycle, 0) + n_rows
    return sizes


def _volume(judged: date | None, sizes: Mapping[date, int], shown: Sequence[date]) -> tuple[float | None, float | None]:
    """The usual size, and how many robust standard deviations the judged cycle lies from it; None with little history.

    The median, and the median absolute deviation times 1.4826, which estimates the standard deviation of a normal
    distribution and ignores outliers (Hampel 1974).
    """
    if judged is None:
        return None, None
    before = [cycle for cycle in shown if cycle < judged][-HISTORY:]
    history = [sizes[cycle] for cycle in before if sizes.get(cycle)]
    if len(history) < MIN_HISTORY:
        return None, None
    usual = statistics.median(history)
    spread = 1.4826 * statistics.median(abs(size - usual) for size in history)
    return usual, (sizes.get(judged, 0) - usual) / max(spread, LEAST_SPREAD * usual)


def _schema_problem(batch_id: str, found: pa.Schema, expected: pa.Schema) -> str | None:
    """How the columns of a file differ from the ledger's; None when they do not."""
    missing = [name for name in expected.names if name not in found.names]
    unknown = [name for name in found.names if name not in expected.names]
    other = [
        f"{field.name} is {found.field(field.name).type} and not {field.type}"
        for field in expected
        if field.name in found.names and found.field(field.name).type != field.type
    ]
    parts = [f"no column {', '.join(missing)}"] if missing else []
    parts += [f"unknown column {', '.join(unknown)}"] if unknown else []
    return f"batch {batch_id}: {'; '.join([*parts, *other])}" if parts or other else None
