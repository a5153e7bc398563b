"""How many generations an output is away from human text.

A model that is shown its own outputs for ever drifts from what people wrote (I. Shumailov et al., AI models collapse
when trained on recursively generated data, Nature 631, 2024). Depth counts how far: text that a person wrote, or left
behind as an edit, is generation 0; what a model writes without references is 1; else one more than its references.

Not here: which depths are too deep (`collapse`).
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import ANCESTRY

FIRST = 1
"""Depth of what a model writes without references."""
ARCHIVE = "archive"


def ancestry(
    generated: pa.Table, known: Mapping[str, Mapping[str, object]], shown: Mapping[str, Mapping[str, str]]
) -> pa.Table:
    """The depth of every output of a cycle.

    Args:
        generated: rows of GENERATED_OUTPUTS with output_id, producer, prompt_version, reference_ids and text.
        known: rows of ANCESTRY of earlier cycles by output_id, at least of the references.
        shown: per prompt_version, the text of each reference as that prompt showed it. A text that is not the one that
            the reference was produced with was edited by a person.

    Returns:
        ANCESTRY without partition columns.
    """
    rows = []
    for row in generated.to_pylist():
        depths = [
            _depth_of(known.get(one), shown.get(row["prompt_version"], {}).get(one)) for one in row["reference_ids"]
        ]
        largest = max((depth for depth, _ in depths), default=0)
        mean = sum(mean for _, mean in depths) / len(depths) if depths else 0.0
        by_hand = row["producer"] == ARCHIVE
        rows.append(
            {
                "output_id": row["output_id"],
                "depth": 0 if by_hand else 1 + largest,
                "mean_depth": 0.0 if by_hand else 1.0 + mean,
                "n_references": len(depths),
                "n_unknown": sum(known.get(one) is None for one in row["reference_ids"]),
                "text_hash": content_hash(row["text"]),
            }
        )
    return ANCESTRY.conform(pa.Table.from_pylist(rows, schema=ANCESTRY.schema))


def _depth_of(row: Mapping[str, object] | None, text: str | None) -> tuple[int, float]:
    """Depth and mean depth of a reference as it was shown."""
    if row is None:
        return FIRST, float(FIRST)
    if text is not None and content_hash(text) != row["text_hash"]:
        return 0, 0.0
    return int(str(row["depth"])), float(str(row["mean_depth"]))
