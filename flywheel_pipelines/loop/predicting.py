"""What the scoring model that a cycle pinned predicts of its candidates.

Not here: the model (`learning.text_model`), or choosing by what it predicts (`production`).
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.model_tables import model_from_tables
from flywheel_pipelines.loop.embedding import CycleVectors
from flywheel_pipelines.loop.writing import Predict
from flywheel_pipelines.production.manifest import NOTHING_LEARNED


def predictor_of(store: Lake, flywheel: str, manifest: dict[str, object], vectors: CycleVectors) -> Predict:
    """What the pinned scoring model predicts; zeros while there is no model. The texts are embedded in either case.

    Raises CycleOrderError when the cycle that it came from was closed again since, with another model.
    """
    pinned, predecessor = manifest["scoring_model_version"], manifest["predecessor"]
    if pinned == NOTHING_LEARNED or not isinstance(predecessor, date):
        return lambda outputs: _zeros(outputs, vectors)
    row = store.read(tables.SCORING_MODEL, flywheel, predecessor).to_pylist()[0]
    if row["model_version"] != pinned:
        raise CycleOrderError(
            f"Cycle {manifest['cycle']} pinned scoring model {pinned}, but cycle {predecessor} has been closed again "
            f"since and now holds {row['model_version']}. What was published stays as it was. To produce the cycle "
            "anew with the present learning, rerun from cycle_manifest on with the run config repin: true."
        )
    model = model_from_tables(row, store.read(tables.SCORING_MODEL_TERMS, flywheel, predecessor))

    def predict(outputs: pa.Table) -> np.ndarray:
        texts = outputs["text"].to_pylist()
        return model.predict(texts, outputs["segment"].to_pylist(), vectors.of(texts))

    return predict


def _zeros(outputs: pa.Table, vectors: CycleVectors) -> np.ndarray:
    """No opinion; what closes the cycle will want the vectors all the same."""
    vectors.of(outputs["text"].to_pylist())
    return np.zeros(outputs.num_rows)
