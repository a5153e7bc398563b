"""The `archive` producer: candidates that people wrote become outputs of a cycle, ranked before any feedback is read.

Not here: reading archives (`feedback.archive`), the prediction itself (`learning`), or what is published (`arms`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa

from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS
from flywheel_pipelines.production.identity import output_id, uniform
from flywheel_pipelines.production.outputs import in_order_of
from flywheel_pipelines.spec import Better


def outputs_from_archive(
    candidates: pa.Table,
    predicted: np.ndarray,
    *,
    flywheel: str,
    cycle: date,
    prompt_version: str,
    reference_ids: Sequence[str],
    better: Better = "higher",
) -> pa.Table:
    """Outputs of one cycle (contract `generated_outputs`).

    `predicted` holds one score per row of `candidates` (contract `archive_candidates`), on the scoring model's scale;
    equal scores are ranked by a draw, so that a model without an opinion chooses at random and not by alphabet.
    """
    by_brief: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row, score in zip(candidates.to_pylist(), predicted, strict=True):
        by_brief[row["brief_id"]].append({**row, "predicted": float(score)})
    outputs = []
    for brief_id, rows in by_brief.items():
        ranked = sorted(rows, key=lambda row: _preference(row, flywheel, cycle, better))
        ranks = {row["candidate_id"]: rank for rank, row in enumerate(ranked, start=1)}
        for variant, row in enumerate(rows):
            outputs.append(
                {
                    "output_id": output_id(flywheel, cycle, brief_id, str(row["candidate_id"])),
                    "brief_id": brief_id,
                    "segment": row["segment"],
                    "arm": None,
                    "variant": variant,
                    "attempt": 1,
                    "is_superseded": False,
                    "text": row["text"],
                    "content": None,
                    "producer": "archive",
                    "model": None,
                    "request_key": None,
                    "blocked": None,
                    "candidate_id": row["candidate_id"],
                    "prompt_version": prompt_version,
                    "reference_ids": list(reference_ids),
                    "predicted": row["predicted"],
                    "rank": ranks[row["candidate_id"]],
                    "n_references_dropped": 0,
                }
            )
    return pa.Table.from_pylist(outputs, schema=GENERATED_OUTPUTS.schema)


def _preference(row: dict[str, object], flywheel: str, cycle: date, better: Better) -> tuple[float, float]:
    draw = uniform("tie", flywheel, cycle, row["brief_id"], row["candidate_id"])
    return in_order_of(float(str(row["predicted"])), better), draw
