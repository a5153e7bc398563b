"""What an insight flywheel learns, per cycle, against a control that starts every cycle without a library.

Here: `theme_learning`, and its picture's numbers. Not here: the turn itself (`sorting`), or drawing (`report`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow
from flywheel_pipelines.learning.themes.library import take_turn
from flywheel_pipelines.learning.themes.naming import naming_messages, tokens_of
from flywheel_pipelines.learning.themes.records import Ruling, Turn
from flywheel_pipelines.loop.insight.sorting import turn_of
from flywheel_pipelines.loop.insight.state import cycles_in, rulings_up_to, settings_of, tickets_of, vectors_for
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.spec import InsightSpec


def measure_learning(spec: InsightSpec, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`theme_learning`: what each cycle took in both arms, and how many of its new themes people accepted."""
    store = recorder.store
    shown: Shown = {}
    for cycle in cycles:
        turn, tickets = turn_of(store, spec, cycle), tickets_of(store, spec, cycle)
        control = take_turn(
            tickets, [], [], vectors_for(store, spec, cycle), settings_of(spec), flywheel=spec.name, cycle=cycle
        )
        rulings = rulings_up_to(store, spec, cycle)
        ruled = _ruled(turn, rulings)
        rows = [
            {**_effort(arm, one), **said, "is_synthetic": spec.is_synthetic}
            for arm, one, said in (("control", control, {}), ("flywheel", turn, ruled))
        ]
        read = [(tables.TICKET_THEMES, cycle), (tables.THEME_CANDIDATES, cycle), (tables.REVIEWS, cycle)]
        read += [(tables.TICKETS, one) for one in cycles_in(store, spec, CycleWindow(cycle, cycle))]
        table = pa.Table.from_pylist(rows, schema=tables.THEME_LEARNING.schema)
        recorder.write(tables.THEME_LEARNING, table, cycle, read)
        shown = {
            "share_placed_without_a_model": round(turn.share_by_library, 4),
            "tokens_per_ticket": round(rows[1]["tokens"] / max(len(tickets), 1), 2),
            "tokens_per_ticket_without_a_library": round(rows[0]["tokens"] / max(len(tickets), 1), 2),
            "new_themes": len(turn.found),
            **ruled,
        }
    return shown


def _effort(arm: str, turn: Turn) -> dict[str, int | str]:
    return {
        "arm": arm,
        "n_tickets": len(turn.placed),
        "n_by_library": sum(one.how == "library" for one in turn.placed),
        "n_unknown": sum(one.theme_id is None for one in turn.placed),
        "n_new": len(turn.found),
        "tokens": sum(tokens_of(naming_messages(one.members)) for one in turn.found),
    }


def _ruled(turn: Turn, rulings: Sequence[Ruling]) -> dict[str, int]:
    """How many of the themes that a cycle founded people accepted, merged and rejected so far."""
    founded = {one.theme.theme_id for one in turn.found}
    said = Counter("merged" if ruling.into else ruling.decision for ruling in rulings if ruling.theme_id in founded)
    return {f"n_{word}": said[word] for word in ("accepted", "merged", "rejected")}
