"""Having leads ranked by the scoring model: which of them are new, and what is kept of those that are not.

Not here: the order of a list (`production.scoring`), the model (`learning`), other producers (`writing`, `opening`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Shown
from flywheel_pipelines.loop.writing import Predict
from flywheel_pipelines.production.outputs import superseded_by
from flywheel_pipelines.production.scoring import score_leads


def rank_leads(
    flywheel: Flywheel, store: Lake, cycle: date, manifest: dict[str, Any], predictor: Callable[[], Predict]
) -> tuple[pa.Table, Shown]:
    """Rows of `generated_outputs` for one cycle, earlier attempts included, and what to tell people.

    What is published stays as it was: leads that came in since are a list of their own.
    """
    producer, attempt = flywheel.lead_scorer, manifest["attempt"]
    assert producer is not None
    before = store.read(tables.GENERATED_OUTPUTS, flywheel.name, cycle).select(tables.GENERATED_OUTPUTS.columns)
    is_published = store.has(tables.PUBLISHED_OUTPUTS, flywheel.name, cycle)
    settled = before.filter(pc.field("attempt") == attempt) if is_published else before.slice(0, 0)
    briefs = store.read(tables.BRIEFS, flywheel.name, cycle)
    new = briefs.filter(~pc.field("brief_id").isin(settled["brief_id"].combine_chunks()))
    if not new.num_rows:
        # The pinned model may be gone by now, and nothing asks for it.
        return superseded_by(before, settled, attempt), {"leads": settled.num_rows, "new_leads": 0}
    ranked = score_leads(
        new,
        predictor(),
        producer,
        flywheel.spec.arms,
        flywheel=flywheel.name,
        cycle=cycle,
        prompt_version=manifest["prompt_version"],
        attempt=attempt,
        number=1 + max((json.loads(content)["list"] for content in settled["content"].to_pylist()), default=0),
        better=flywheel.spec.metric.better,
    )
    present = pa.concat_tables([settled.cast(ranked.schema), ranked]).sort_by("output_id")
    return superseded_by(before, present, attempt), {"leads": present.num_rows, "new_leads": new.num_rows}
