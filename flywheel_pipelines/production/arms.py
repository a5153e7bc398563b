"""Which of the generated outputs go out, and for which arm.

Here: assignment of briefs to arms and the rows of `published_outputs`. Not here: making or ranking the outputs.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import pyarrow as pa

from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS
from flywheel_pipelines.production.identity import uniform
from flywheel_pipelines.spec import ArmsSpec

FLYWHEEL, CONTROL = "flywheel", "control"


def arms_of(brief_id: str, arms: ArmsSpec, *, flywheel: str, cycle: date) -> tuple[str, ...]:
    """The arms that answer a brief: by hash of (flywheel, cycle, brief), so a rerun never reassigns."""
    if arms.control == "off":
        return (FLYWHEEL,)
    is_control = uniform("arm", flywheel, cycle, brief_id) < arms.control
    if arms.comparison == "within_brief":
        return (FLYWHEEL, CONTROL) if is_control else (FLYWHEEL,)
    return (CONTROL,) if is_control else (FLYWHEEL,)


def publish(generated: pa.Table, arms: ArmsSpec, *, publish_all: bool, flywheel: str, cycle: date) -> pa.Table:
    """Rows of `published_outputs` for one cycle, from rows of `generated_outputs`.

    The flywheel arm publishes the best-ranked output of a brief. The control arm draws one of the brief's outputs at
    random, each with probability 1/K; with `publish_all` all K go out, each with weight 1/K, which measures the
    expected value of that draw without its noise.
    """
    by_brief: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in generated.to_pylist():
        by_brief[row["brief_id"]].append(row)
    published: list[dict[str, object]] = []
    for brief_id, outputs in by_brief.items():
        share = 1 / len(outputs)
        assigned = arms_of(brief_id, arms, flywheel=flywheel, cycle=cycle)
        if FLYWHEEL in assigned:
            best = min(outputs, key=lambda row: int(str(row["rank"])))
            published.append(_row(best, FLYWHEEL, weight=1.0, probability=1.0))
        if CONTROL not in assigned:
            continue
        if publish_all:
            published.extend(_row(output, CONTROL, weight=share, probability=share) for output in outputs)
        else:
            drawn = outputs[int(uniform("control", flywheel, cycle, brief_id) * len(outputs))]
            published.append(_row(drawn, CONTROL, weight=1.0, probability=share))
    return pa.Table.from_pylist(published, schema=PUBLISHED_OUTPUTS.schema)


def _row(output: dict[str, object], arm: str, *, weight: float, probability: float) -> dict[str, object]:
    kept = {name: output[name] for name in ("output_id", "brief_id", "segment", "text", "predicted")}
    return {**kept, "arm": arm, "weight": weight, "probability": probability}
