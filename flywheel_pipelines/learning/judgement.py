"""Judging the outputs of one cycle with what the cycles before it taught.

Here: from published outputs and metrics over a window to rows of `scored_outputs` and `guardrail_scores`. Not here: the
statistics (`scoring`, `guardrails`, `posterior`).

Before its measurement window has passed, a cycle is judged with what is known, and marked: `is_mature` is false and the
reason says provisional. Such a judgement may promote, so that a winner is shown a cycle earlier; it is made again when
the window has passed. Priors rest on mature measurements alone. A count per output still grows until then, and what is
held against grown ones would be rejected for its youth: it is on hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.lake.tables import GUARDRAIL_SCORES, SCORED_OUTPUTS, TableContract
from flywheel_pipelines.learning.embedding_features import TextVectors
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.guardrails import guard
from flywheel_pipelines.learning.posterior import FAMILIES
from flywheel_pipelines.learning.scoring import join_metrics, score_outputs
from flywheel_pipelines.metric_words import MetricWords
from flywheel_pipelines.spec import CountMetric, Metric


class Judgement(NamedTuple):
    """Rows of `scored_outputs` and of `guardrail_scores` for one cycle."""

    scored: pa.Table
    guardrails: pa.Table


def judge_cycle(
    cycle: date,
    published: pa.Table,
    performance: pa.Table,
    floor: FloorRule,
    *,
    metrics: Mapping[str, Metric],
    threshold_version: str,
    vectors: TextVectors | None = None,
) -> Judgement:
    """Judge one cycle.

    Args:
        cycle: the cycle.
        published: PUBLISHED_OUTPUTS with `cycle`, over the window that ends with `cycle`.
        performance: PERFORMANCE_METRICS with `cycle`, over the same window. The priors are fitted on the mature
            measurements of the cycles before. Outputs that were never measured are judged too: they are on hold.
        floor: the rule.
        metrics: what the floor's metric and its guardrails are, by name.
        threshold_version: the version of the rule.
        vectors: sentence embeddings of the texts, as stored; None: texts are as alike as their letters.
    """
    # Sums depend on their order in the last bits, so rows are put in the lake's order whoever brings them.
    outputs = one_row_per_output(published.sort_by([(name, "ascending") for name in ("cycle", "output_id", "arm")]))
    if vectors is not None:
        outputs = outputs.assign(vector=list(vectors.of(outputs["text"].tolist())))
    known = performance.filter(pc.field("metric").isin([floor.metric, *floor.veto])).to_pandas()
    earlier, present = outputs[outputs["cycle"] < cycle], outputs[outputs["cycle"] == cycle]
    current, mature = known[known["cycle"] == cycle], known[known["is_mature"] & (known["cycle"] < cycle)]
    kinds = {name: metrics[name].kind for name in (floor.metric, *floor.veto)}
    words = {name: MetricWords.of(name, metrics[name]) for name in kinds}
    past = join_metrics(earlier, mature, floor.metric)
    scored = score_outputs(
        present,
        current,
        FAMILIES[kinds[floor.metric]].fit(past[past["exposure"] > 0]),
        floor,
        kind=kinds[floor.metric],
        words=words[floor.metric],
    )
    is_mature = _is_mature(scored, current[current["metric"] == floor.metric])
    growing = frozenset(
        name
        for name in kinds
        if _counts_per_output(metrics[name]) and not current.loc[current["metric"] == name, "is_mature"].all()
    )
    if floor.metric in growing:
        scored = _held_while_it_grows(scored, is_mature)
    rows = pd.concat([mature, current])
    scored, guarded = guard(present, earlier, rows, scored, floor, kinds=kinds, words=words, still_counted=growing)
    provisional = ~is_mature & (scored["exposure"] > 0)
    reason = _noted(scored, provisional, "provisional")
    scored = scored.assign(reason=reason, is_mature=is_mature, threshold_version=threshold_version)
    by_output = guarded["output_id"].map(scored.set_index("output_id")["is_mature"])
    guarded = guarded.assign(is_mature=by_output, threshold_version=threshold_version)
    return Judgement(_table(scored, SCORED_OUTPUTS), _table(guarded, GUARDRAIL_SCORES))


def _is_mature(scored: pd.DataFrame, current: pd.DataFrame) -> pd.Series:
    """Whether each output's measurement is mature; one without any is not."""
    mature = scored["output_id"].map(current.set_index("output_id")["is_mature"])
    return mature.astype("boolean").fillna(False).astype(bool)


def _counts_per_output(metric: Metric) -> bool:
    return isinstance(metric, CountMetric) and metric.exposure is None


def _held_while_it_grows(scored: pd.DataFrame, is_mature: pd.Series) -> pd.DataFrame:
    waits = ~is_mature & (scored["exposure"] > 0)
    reason = _noted(scored, waits, "counted until its window has passed")
    return scored.assign(decision=scored["decision"].where(~waits, "hold"), reason=reason)


def _noted(scored: pd.DataFrame, where: pd.Series, note: str) -> list[str]:
    """The reasons, with a note behind some of them."""
    return [
        f"{reason}; {note}" if is_noted else reason for reason, is_noted in zip(scored["reason"], where, strict=True)
    ]


def _table(frame: pd.DataFrame, contract: TableContract) -> pa.Table:
    arrays = [pa.array(frame[field.name], type=field.type, from_pandas=True) for field in contract.schema]
    return pa.table(arrays, schema=contract.schema)


def one_row_per_output(published: pa.Table) -> pd.DataFrame:
    """Published outputs once each, with `control_weight`: their weight in the control arm, 0 when not part of it."""
    rows = published.to_pandas()
    control = rows[rows["arm"] == "control"].set_index("output_id")["weight"]
    outputs = rows.drop_duplicates("output_id").drop(columns=["arm", "weight", "probability"])
    return outputs.assign(control_weight=outputs["output_id"].map(control).fillna(0.0)).reset_index(drop=True)
