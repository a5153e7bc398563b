"""The steps between what a cycle measured and the next prompt: outcomes per brief, and the gate for frames.

compare -> gate

Not here: who is better (`learning/gate.py`), and rendering the champion (`loop/prompts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.cycles import cycle_end, shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.gate import CycleRun, decide
from flywheel_pipelines.learning.gate_state import (
    CHALLENGER,
    CHAMPION,
    CONTROL,
    PREDECESSOR,
    RETIRED,
    WITHHELD,
    GateRules,
)
from flywheel_pipelines.loop.choosing import carried_from, last_before
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Markdown, Recorder, Shown
from flywheel_pipelines.momentum.intervals import percent
from flywheel_pipelines.momentum.lift import brief_outcomes

PINNED = {
    "flywheel": "prompt_version",
    "control": "control_prompt_version",
    "challenger": "challenger_prompt_version",
}
"""Columns of the manifest that say which prompt an arm was produced with."""
ROLES = (CHAMPION, CHALLENGER, PREDECESSOR, CONTROL, WITHHELD, RETIRED)
"""In the order in which people are shown them."""


def compare(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> None:
    """`brief_outcomes`: what each arm achieved on each brief."""
    spec, store = flywheel.spec, recorder.store
    for cycle in cycles:
        published = store.read(tables.PUBLISHED_OUTPUTS, spec.name, cycle)
        performance = store.read(tables.PERFORMANCE_METRICS, spec.name, cycle)
        outcomes = brief_outcomes(published, performance, spec.floor.metric, spec.metric.better)
        read = [(tables.PUBLISHED_OUTPUTS, cycle), (tables.PERFORMANCE_METRICS, cycle)]
        recorder.write(tables.BRIEF_OUTCOMES, outcomes, cycle, read)


def gate(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`prompt_gate`: the champion of the next cycle, and who is on trial."""
    spec, store = flywheel.spec, recorder.store
    rows = tables.PROMPT_GATE.empty()
    rules = GateRules(
        metric=spec.floor.metric,
        better=spec.metric.better,
        max_wrong=spec.gate.max_wrong,
        trial=spec.gate.trial,
        probation=spec.gate.probation,
        has_trials=spec.arms.challenger > 0,
    )
    for cycle in cycles:
        before = last_before(flywheel, store, tables.PROMPT_GATE, cycle)
        known = flywheel.previous(cycle) if before is None else before
        rows = decide(
            store.read(tables.PROMPT_GATE, spec.name, known, columns=tables.PROMPT_GATE.columns),
            CycleRun(cycle, frames_run(store, spec.name, cycle), store.read(tables.BRIEF_OUTCOMES, spec.name, cycle)),
            _queue(flywheel, store, cycle),
            rules,
        )
        read = [(tables.BRIEF_OUTCOMES, cycle), (tables.CYCLE_MANIFEST, cycle)]
        recorder.write(
            tables.PROMPT_GATE, rows, cycle, [*read, *carried_from(flywheel, tables.PROMPT_GATE, before, cycle)]
        )
    return {"decisions": Markdown(_frames_in_play(rows) if rows.num_rows else "no frames are in play")}


def frames_run(store: Lake, flywheel: str, cycle: date) -> dict[str, str]:
    """The frame that each arm of a cycle was produced with; empty where no model wrote."""
    manifest = store.read(tables.CYCLE_MANIFEST, flywheel, cycle).to_pylist()[0]
    registered = store.read(tables.PROMPT_VERSIONS, flywheel, columns=["prompt_version", "frame_version"])
    frame_of = dict(zip(registered["prompt_version"].to_pylist(), registered["frame_version"].to_pylist(), strict=True))
    pinned = {arm: frame_of.get(manifest[column]) for arm, column in PINNED.items()}
    return {arm: frame for arm, frame in pinned.items() if frame is not None} if manifest["model"] else {}


def _queue(flywheel: Flywheel, store: Lake, cycle: date) -> list[str]:
    """Frames that may go on trial in the next cycle, in the order in which they were put forward.

    Only those recorded before the cycle's end: what the next opening registers must not change this close when it is
    done again.
    """
    cadence = flywheel.spec.cadence
    known = store.read(tables.PROMPT_FRAMES, flywheel.name).filter(
        (pc.field("recorded_at") < pa.scalar(cycle_end(cycle, cadence)))
        & (pc.field("proposed_for") <= pa.scalar(shift_cycle(cycle, cadence, 1)))
    )
    order = [(name, "ascending") for name in ("proposed_for", "recorded_at", "frame_version")]
    return list(known.sort_by(order)["frame_version"].to_pylist())


def _frames_in_play(rows: pa.Table) -> str:
    """A line per frame as a Markdown table; the champion first."""
    head = ["| role | frame | decision | briefs | over the champion | interval, at all looks | why |", "|---" * 7 + "|"]
    ordered = sorted(rows.to_pylist(), key=lambda row: (ROLES.index(row["role"]), row["frame_version"]))
    return "\n".join([*head, *(_frame_line(row) for row in ordered)])


def _frame_line(row: dict[str, Any]) -> str:
    has_interval = row["lower"] is not None and row["upper"] is not None
    cells = [
        f"**{row['role']}**",
        f"`{row['frame_version']}`",
        row["decision"],
        f"{row['n_briefs']} against {row['n_briefs_other']}" if row["compared_with"] else "",
        percent(row["estimate"]) if row["estimate"] is not None else "",
        f"{percent(row['lower'])} to {percent(row['upper'])}" if has_interval else "",
        " ".join(row["reason"].split()).replace("|", "\\|"),
    ]
    return f"| {' | '.join(cells)} |"
