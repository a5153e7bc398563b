"""Which closed cycles of an insight flywheel a correction touches, and what has to be run again.

Tickets that came late, or were corrected, have their cycle sorted again: the model is asked about what is new alone.
A ruling of a person or a fix changes no ticket's place in the past, so that closing is enough; it goes up to the newest
closed cycle, since the library carries over. Not here: what other flywheels wait for (`loop.corrections`).
"""

from __future__ import annotations

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.versions import changed_inputs
from flywheel_pipelines.loop.corrections import Correction
from flywheel_pipelines.spec import InsightSpec

CLOSED = (
    tables.THEME_LIBRARY, tables.THEME_EVENTS, tables.THEME_TRENDS, tables.FIX_EFFECTS, tables.THEME_LEARNING,
)  # fmt: skip


def insight_correction_due(store: Lake, spec: InsightSpec) -> Correction | None:
    """The correction that waits for an insight flywheel; None when every closed cycle knows what there is to know.

    Cycles are sorted again one by one, the oldest first; what they teach the later ones is due when that is done.
    """
    closed = set(store.cycles(tables.THEME_LEARNING, spec.name))
    late = [
        one
        for one in changed_inputs(store, spec.name, [tables.TICKET_THEMES])
        if one.cycle in closed and (one.input.table, one.input.cycle) == (tables.TICKETS.name, one.cycle)
    ]
    if late:
        oldest = min(late, key=lambda one: one.cycle)
        key = content_hash("tickets", spec.name, *oldest)
        return Correction((oldest.cycle,), (), oldest.cycle, oldest.cycle, key, "catch_up")
    changed = [one for one in changed_inputs(store, spec.name, CLOSED) if one.cycle in closed]
    if not changed:
        return None
    first = last = min(one.cycle for one in changed)
    while (following := shift_cycle(last, spec.cadence, 1)) in closed:
        last = following
    within = sorted(one for one in changed if one.cycle <= last)
    key = content_hash("correction", spec.name, first, last, *within)
    return Correction(tuple(sorted({one.cycle for one in within})), (), first, last, key)
