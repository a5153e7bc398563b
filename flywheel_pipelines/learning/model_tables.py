"""The scoring model as rows of the lake, and back.

Here: `TextModel` to the contracts `scoring_model` (one row) and `scoring_model_terms` (one row a term), without loss: a
model read back predicts bit-identically; and to `scoring_model_skill`, its account of itself (one row a family of
features). Not here: fitting and predicting (`text_model`).
"""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.lake.tables import SCORING_MODEL, SCORING_MODEL_SKILL, SCORING_MODEL_TERMS
from flywheel_pipelines.learning.embedding_features import TextVectors
from flywheel_pipelines.learning.text_features import STYLE_FEATURES
from flywheel_pipelines.learning.text_model import TextModel, fit_text_model

STYLE, EMBEDDING = "style", "embedding"


def fit_scoring_model(
    scored: pa.Table, published: pa.Table, *, as_of: date, window: int, vectors: TextVectors | None = None
) -> TextModel:
    """Fit on judged outputs.

    Args:
        scored: rows of `scored_outputs` with `cycle`, over the window.
        published: rows of `published_outputs` with `cycle`, over the same window; they hold the texts.
        as_of: the cycle the model is for; only cycles before it count.
        window: how many cycles back it looks.
        vectors: sentence embeddings of the texts, as stored; None learns from words and style alone.
    """
    texts = published.select(["output_id", "text"]).to_pandas().drop_duplicates("output_id")
    columns = ["output_id", "brief_id", "segment", "cycle", "exposure", "observed", "sampling_variance"]
    judged = scored.select(columns).to_pandas()
    training = judged[judged["exposure"] > 0].merge(texts, on="output_id", validate="one_to_one")
    return fit_text_model(_with_variance(training), as_of=as_of, window_cycles=window, vectors=vectors)


def _with_variance(training: pd.DataFrame) -> pd.DataFrame:
    """Adds value and variance: as judged, or for shares p (1 - p) / exposure with p pooled over the brief.

    With its own p an output without a single success would look exactly known. A brief without any success at all is
    given half of one, the usual continuity correction; one of which not even one was to be expected, such as a lead
    that buys or does not, the share of the whole window.
    """
    brief = [training["cycle"], training["brief_id"]]
    exposure = training["exposure"].groupby(brief).transform("sum")
    successes = (training["observed"] * training["exposure"]).groupby(brief).transform("sum")
    pooled = successes.clip(lower=0.5, upper=exposure - 0.5) / exposure
    usual = min((training["observed"] * training["exposure"]).sum() / max(training["exposure"].sum(), 1), 1.0)
    pooled = pooled.where((usual <= 0) | (usual >= 1) | (exposure * min(usual, 1 - usual) >= 1), usual)
    binomial = pooled * (1 - pooled) / training["exposure"]
    return training.assign(
        value=training["observed"], variance=training["sampling_variance"].astype(float).fillna(binomial)
    )


def model_to_tables(model: TextModel, known_at: datetime | None) -> tuple[pa.Table, pa.Table]:
    """The rows of `scoring_model` and `scoring_model_terms`; `known_at` is the latest feedback that it learned from."""
    record = model.to_record()
    scalars = {key: value for key, value in record.items() if not isinstance(value, list)}
    row = {
        "model_version": model.version,
        "as_of": model.as_of,
        "window_first": model.window_first,
        "window_last": model.window_last,
        "n_outputs": model.n_outputs,
        "n_briefs": model.n_briefs,
        "is_skilled": model.skilled,
        "reason": model.reason,
        "known_at": known_at,
        "holdout_correlation": model.holdout_correlation,
        "holdout_hit_rate": model.holdout_hit_rate,
        "holdout_chance": model.holdout_chance,
        "holdout_briefs": model.holdout_briefs,
        "embedding_model": model.embedding_model or None,
        "n_without_vector": model.n_without_vector,
        "settings": json.dumps(scalars, sort_keys=True),
    }
    return pa.Table.from_pylist([row], schema=SCORING_MODEL.schema), _terms(record)


def _terms(record: dict[str, Any]) -> pa.Table:
    parts = []
    schema = SCORING_MODEL_TERMS.schema
    for name in record:
        if not name.endswith("_terms"):
            continue
        kind = name.removesuffix("_terms")
        terms = record[name]
        values = {
            "kind": [kind] * len(terms),
            "term": terms,
            "coefficient": record[f"{kind}_coefficients"],
            "idf": record[f"{kind}_idf"],
            "centre": [None] * len(terms),
            "scale": [None] * len(terms),
        }
        parts.append(pa.table(values, schema=schema))
    if record["style_coefficients"]:
        style = {
            "kind": [STYLE] * len(STYLE_FEATURES),
            "term": list(STYLE_FEATURES),
            "coefficient": record["style_coefficients"],
            "idf": [None] * len(STYLE_FEATURES),
            "centre": record["style_centre"],
            "scale": record["style_scale"],
        }
        parts.append(pa.table(style, schema=schema))
    if record.get("embedding_coefficients"):
        size = len(record["embedding_coefficients"])
        embedding = {
            "kind": [EMBEDDING] * size,
            # Padded, so that they sort as they count.
            "term": [f"{number:05d}" for number in range(size)],
            "coefficient": record["embedding_coefficients"],
            "idf": [None] * size,
            "centre": record["embedding_centre"],
            "scale": [None] * size,
        }
        parts.append(pa.table(embedding, schema=schema))
    return pa.concat_tables(parts) if parts else schema.empty_table()


def skill_rows(model: TextModel) -> pa.Table:
    """The rows of `scoring_model_skill`; none where nothing could be held out."""
    rows = [
        {
            "block": skill.block,
            "model_version": model.version,
            "holdout_first": model.holdout_first,
            "holdout_briefs": model.holdout_briefs,
            "correlation": skill.correlation,
            "z": skill.z,
            "hit_rate": skill.hit_rate,
            "chance": skill.chance,
        }
        for skill in model.skills
    ]
    return pa.Table.from_pylist(rows, schema=SCORING_MODEL_SKILL.schema)


def model_from_tables(row: dict[str, Any], terms: pa.Table) -> TextModel:
    """The model of one row of `scoring_model` and its terms. Raises ValueError when they do not match its hash."""
    record: dict[str, Any] = json.loads(row["settings"])
    for kind in terms.column("kind").unique().to_pylist():
        part = terms.filter(pc.field("kind") == kind)
        if kind == STYLE:
            frame = part.to_pandas().set_index("term").loc[list(STYLE_FEATURES)]
            for name, source in (("coefficients", "coefficient"), ("centre", "centre"), ("scale", "scale")):
                record[f"style_{name}"] = frame[source].to_numpy(np.float32)
            continue
        if kind == EMBEDDING:
            ordered = part.sort_by("term")
            for name, source in (("coefficients", "coefficient"), ("centre", "centre")):
                record[f"embedding_{name}"] = ordered.column(source).to_numpy().astype(np.float32)
            continue
        # Terms are kept sorted, in the file as in the model.
        ordered = part.sort_by("term")
        record[f"{kind}_terms"] = ordered.column("term").to_pylist()
        record[f"{kind}_idf"] = ordered.column("idf").to_numpy()
        record[f"{kind}_coefficients"] = ordered.column("coefficient").to_numpy()
    for name in ("coefficients", "centre", "scale"):
        record.setdefault(f"style_{name}", [])
    return TextModel.from_record(record)
