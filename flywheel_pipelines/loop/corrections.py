"""Which closed cycles a correction touches, and the range of cycles that is to be closed again.

Here: the question, asked of the lake and not of whoever landed something, so that nothing is lost between landing and
closing. Not here: landing (`inbox`), closing (`closing`), or showing what would change (`restating`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from flywheel_pipelines.cycles import cycle_range, shift_cycle
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
        first, last: the range to close: prompts, momentum and priors carry over, so it goes up to the newest closed
            cycle, or to the one before a cycle that was never closed.
        key: names what changed and what it is now; the same correction has the same key.
    """

    touched: tuple[date, ...]
    first: date
    last: date
    key: str

    @property
    def words(self) -> str:
        """What is closed again, and why."""
        cycles = (
            f"cycle {self.first} closes" if self.first == self.last else f"cycles {self.first} to {self.last} close"
        )
        listed = ", ".join(str(cycle) for cycle in self.touched[:5]) + (", ..." if len(self.touched) > 5 else "")
        return f"{cycles} again: what {listed} was computed from has changed."


def correction_due(store: Lake, spec: FlywheelSpec) -> Correction | None:
    """The correction that waits for a flywheel; None when every closed cycle knows what there is to know.

    A cycle that was never closed is not touched by it, and one that was is closed again only in an unbroken range:
    what lies behind a cycle that was never closed is due when the range before it has been closed.
    """
    closed = set(store.cycles(tables.MOMENTUM, spec.name))
    changed = [one for one in changed_inputs(store, spec.name, RESTATED) if one.cycle in closed]
    if not changed:
        return None
    first = min(one.cycle for one in changed)
    last = first
    while (following := shift_cycle(last, spec.cadence, 1)) in closed:
        last = following
    within = [one for one in changed if one.cycle <= last]
    key = content_hash("correction", spec.name, first, last, *sorted(within))
    return Correction(tuple(sorted({one.cycle for one in within})), first, last, key)


def cycles_of(spec: FlywheelSpec, first: date, last: date) -> list[date]:
    """Every cycle of a range, in order."""
    return list(cycle_range(first, last, spec.cadence))
