"""Which closed cycles a correction touches, and the range of cycles that is to be closed again.

Here: the question, asked of the lake and not of whoever landed something, so that nothing is lost between landing and
closing. Not here: landing (`inbox`), closing (`closing`), or showing what would change (`restating`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal

from flywheel_pipelines.cycles import cycle_end, cycle_range, shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.versions import changed_inputs
from flywheel_pipelines.overview import RESTATED
from flywheel_pipelines.spec import FlywheelSpec


@dataclass(frozen=True)
class Correction:
    """Closed cycles to close again, in one run.

    Attributes:
        touched: the cycles that were computed from something that has changed since.
        ripened: the cycles that were closed as provisional, whose measurement window has passed since.
        first, last: the range to close: prompts, momentum and priors carry over, so it goes up to the newest closed
            cycle, or to the one before a cycle that was never closed.
        key: names what changed and what it is now; the same correction has the same key.
        verb: the job that does it.
    """

    touched: tuple[date, ...]
    ripened: tuple[date, ...]
    first: date
    last: date
    key: str
    verb: Literal["close", "catch_up"] = "close"

    @property
    def words(self) -> str:
        """What is closed again, and why."""
        cycles = (
            f"Cycle {self.first} closes" if self.first == self.last else f"Cycles {self.first} to {self.last} close"
        )
        reasons = []
        if self.touched:
            reasons.append(f"what {_listed(self.touched)} was computed from has changed")
        if self.ripened:
            reasons.append(f"the measurement window of {_listed(self.ripened)} has passed")
        return f"{cycles} again: {', and '.join(reasons)}."


def correction_due(store: Lake, spec: FlywheelSpec) -> Correction | None:
    """The correction that waits for a flywheel; None when every closed cycle knows what there is to know.

    A cycle that was never closed is not touched by it, and one that was is closed again only in an unbroken range:
    what lies behind a cycle that was never closed is due when the range before it has been closed.
    """
    closed = set(store.cycles(tables.MOMENTUM, spec.name))
    changed = [one for one in changed_inputs(store, spec.name, RESTATED) if one.cycle in closed]
    ripened = _ripened(store, spec, closed)
    if not changed and not ripened:
        return None
    first = min([*ripened, *(one.cycle for one in changed)])
    last = first
    while (following := shift_cycle(last, spec.cadence, 1)) in closed:
        last = following
    within = [one for one in changed if one.cycle <= last]
    ripe = tuple(cycle for cycle in ripened if cycle <= last)
    key = content_hash("correction", spec.name, first, last, *sorted(within), *ripe)
    return Correction(tuple(sorted({one.cycle for one in within})), ripe, first, last, key)


def _ripened(store: Lake, spec: FlywheelSpec, closed: Collection[date]) -> list[date]:
    """The closed cycles whose metrics are called provisional although their window has passed, in order.

    Time passes for a cycle by what the ledgers know, and not by the clock: see `feedback.performance`.
    """
    newest = store.latest_batch(spec.name)
    if newest is None:
        return []
    return [
        cycle
        for cycle in sorted(closed)
        if cycle_end(shift_cycle(cycle, spec.cadence, spec.measurement_window - 1), spec.cadence) <= newest
        and _is_provisional(store.root, spec.name, cycle, store.version(tables.PERFORMANCE_METRICS, spec.name, cycle))
    ]


@lru_cache(maxsize=10_000)
def _is_provisional(root: Path, flywheel: str, cycle: date, version: str) -> bool:
    # The version is a part of the key, so that a partition that was replaced is read again, and only then.
    return not all(Lake(root).values(tables.PERFORMANCE_METRICS, flywheel, cycle, "is_mature").to_pylist())


def _listed(cycles: Sequence[date]) -> str:
    return ", ".join(str(cycle) for cycle in cycles[:5]) + (", ..." if len(cycles) > 5 else "")


def cycles_of(spec: FlywheelSpec, first: date, last: date) -> list[date]:
    """Every cycle of a range, in order."""
    return list(cycle_range(first, last, spec.cadence))
