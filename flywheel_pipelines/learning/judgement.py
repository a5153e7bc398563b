"""Judging the outputs of one cycle with what the cycles before it taught.

Here: from published outputs and metrics over a window to rows of `scored_outputs`. Not here: the statistics (`scoring`,
`posterior`).
"""

from __future__ import annotations

from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.lake.tables import SCORED_OUTPUTS
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.posterior import FAMILIES
from flywheel_pipelines.learning.scoring import join_metrics, score_outputs


def judge_cycle(
    cycle: date, published: pa.Table, performance: pa.Table, floor: FloorRule, *, threshold_version: str
) -> pa.Table:
    """Rows of `scored_outputs` for one cycle.

    `published` and `performance` follow their contracts, with `cycle`, over the window that ends with `cycle`. The
    prior is fitted on the mature measurements of the cycles before. Outputs that were never measured are judged too:
    they are on hold.
    """
    # Sums depend on their order in the last bits, so rows are put in the lake's order whoever brings them.
    outputs = one_row_per_output(published.sort_by([(name, "ascending") for name in ("cycle", "output_id", "arm")]))
    metrics = performance.filter(pc.field("metric") == floor.metric).to_pandas()
    past = join_metrics(outputs[outputs["cycle"] < cycle], metrics[metrics["is_mature"]], floor.metric)
    current = metrics[metrics["cycle"] == cycle]
    scored = score_outputs(
        outputs[outputs["cycle"] == cycle], current, FAMILIES["rate"].fit(past[past["exposure"] > 0]), floor
    )
    mature = scored["output_id"].map(current.set_index("output_id")["is_mature"])
    scored = scored.assign(
        is_mature=mature.astype("boolean").fillna(False).astype(bool),
        threshold_version=threshold_version,
    )
    arrays = [pa.array(scored[field.name], type=field.type, from_pandas=True) for field in SCORED_OUTPUTS.schema]
    return pa.table(arrays, schema=SCORED_OUTPUTS.schema)


def one_row_per_output(published: pa.Table) -> pd.DataFrame:
    """Published outputs once each, with `control_weight`: their weight in the control arm, 0 when not part of it."""
    rows = published.to_pandas()
    control = rows[rows["arm"] == "control"].set_index("output_id")["weight"]
    outputs = rows.drop_duplicates("output_id").drop(columns=["arm", "weight", "probability"])
    return outputs.assign(control_weight=outputs["output_id"].map(control).fillna(0.0)).reset_index(drop=True)
