"""A small lake, written by hand, whose every figure can be worked out in the head.

Flywheel `news`: three weeks of two briefs with two candidates each. Weeks one and two are closed, week three is only
opened. The flywheel arm publishes candidate 0, the control arm publishes both at half weight. Candidate 0 gets 30
clicks of 100 and candidate 1 gets 10 of 100, so the lift is 0.3 / 0.2 - 1 = 0.5. Each close promotes candidate 0 of
brief `a`, which is a reference from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import (
    AUDIT,
    BRIEF_OUTCOMES,
    BRIEFS,
    COLLAPSE_SIGNS,
    CYCLE_MANIFEST,
    GENERATED_OUTPUTS,
    INPUT_VERSIONS,
    METRIC_LEDGER,
    MOMENTUM,
    PERFORMANCE_METRICS,
    PUBLISHED_OUTPUTS,
    REFERENCE_CHANGES,
    REFERENCE_CORPUS,
    REFRESHED_PROMPT,
    SCORED_OUTPUTS,
    SCORING_MODEL,
)

FLYWHEEL = "news"
WEEKS = (date(2026, 1, 5), date(2026, 1, 12), date(2026, 1, 19))
RECORDED_AT = datetime(2026, 1, 31, tzinfo=UTC)
CLICKS = (30.0, 10.0)


def rows(contract: TableContract, records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Records as a table of the contract; what a record does not mention is null, or a zero of its type."""
    filled = [{field.name: record.get(field.name, _blank(field)) for field in contract.schema} for record in records]
    return pa.Table.from_pylist(filled, schema=contract.schema)


def output_id(week: int, brief: str, variant: int) -> str:
    """Id of a candidate: week 1 to 3, brief `a` or `b`, variant 0 or 1."""
    return f"w{week}-{brief}-{variant}"


def write_sample_lake(lake: Lake, flywheel: str = FLYWHEEL) -> None:
    """Write the three weeks."""
    for week in (1, 2, 3):
        _open(lake, flywheel, week)
    for week in (1, 2):
        _close(lake, flywheel, week)


def published_rows(week: int, control_weights: tuple[float, float] = (0.5, 0.5)) -> pa.Table:
    """What went out in a week; other control weights make the lake break a rule."""
    records = []
    for brief, variant in _candidates():
        out = {"output_id": output_id(week, brief, variant), "brief_id": f"w{week}-{brief}", "probability": 1.0}
        if variant == 0:
            records.append(out | {"arm": "flywheel", "weight": 1.0, "choice": "best"})
        records.append(out | {"arm": "control", "weight": control_weights[variant], "choice": "all"})
    return rows(PUBLISHED_OUTPUTS, records)


def _candidates() -> list[tuple[str, int]]:
    return [(brief, variant) for brief in ("a", "b") for variant in (0, 1)]


def _winners(week: int) -> list[str]:
    """The references after the close of a week, best first."""
    return [output_id(past, "a", 0) for past in range(week, 0, -1)]


def _open(lake: Lake, flywheel: str, week: int) -> None:
    at = {"flywheel": flywheel, "cycle": WEEKS[week - 1]}
    briefs = [{"brief_id": f"w{week}-{brief}", "title": f"Brief {brief}", "n_candidates": 2} for brief in ("a", "b")]
    lake.write(BRIEFS, rows(BRIEFS, briefs), **at)
    manifest = {
        "predecessor": WEEKS[week - 2] if week > 1 else None,
        "prompt_version": f"prompt-{week - 1}",
        "control_prompt_version": "prompt-0",
        "corpus_version": f"corpus-{week - 1}" if week > 1 else "none",
        "scoring_model_version": f"model-{week - 1}" if week > 1 else "none",
        "threshold_version": "floor-1",
        "config_hash": "config-1",
        "attempt": 1,
        "gap_allowed": week == 3,
    }
    lake.write(CYCLE_MANIFEST, rows(CYCLE_MANIFEST, [manifest]), **at)
    generated = [
        {
            "output_id": output_id(week, brief, variant),
            "brief_id": f"w{week}-{brief}",
            "segment": "politics",
            "variant": variant,
            "attempt": 1,
            "text": f"Headline {variant} of {brief} in week {week}",
            "producer": "archive",
            "prompt_version": f"prompt-{week - 1}",
            "reference_ids": _winners(week - 1),
            "rank": variant + 1,
        }
        for brief, variant in _candidates()
    ]
    lake.write(GENERATED_OUTPUTS, rows(GENERATED_OUTPUTS, generated), **at)
    lake.write(PUBLISHED_OUTPUTS, published_rows(week), **at)


def _close(lake: Lake, flywheel: str, week: int) -> None:
    at = {"flywheel": flywheel, "cycle": WEEKS[week - 1]}
    _append_clicks(lake, flywheel, week)
    measured = [(output_id(week, brief, variant), CLICKS[variant]) for brief, variant in _candidates()]
    metrics = [
        {"output_id": out, "metric": "ctr", "numerator": clicks, "exposure": 100.0, "value": clicks / 100}
        for out, clicks in measured
    ]
    lake.write(PERFORMANCE_METRICS, rows(PERFORMANCE_METRICS, metrics), **at)
    decisions = ("promote", "reject", "hold", "reject")
    scores = [
        {"output_id": out, "metric": "ctr", "exposure": 100.0, "observed": clicks / 100, "floor_level": 0.2}
        | {"decision": decision, "reason": f"{decision}, because the sample says so", "is_mature": True}
        for (out, clicks), decision in zip(measured, decisions, strict=True)
    ]
    lake.write(SCORED_OUTPUTS, rows(SCORED_OUTPUTS, scores), **at)
    _learn(lake, week, at)
    _measure_momentum(lake, week, at)


def _append_clicks(lake: Lake, flywheel: str, week: int) -> None:
    cycle = WEEKS[week - 1]
    batch = {"batch_id": f"batch-{week}", "recorded_at": RECORDED_AT}
    facts = [
        {"output_id": output_id(week, brief, variant), "measure": "clicks", "measured_on": cycle, "source_row": row}
        | {"value": CLICKS[variant]}
        | batch
        for row, (brief, variant) in enumerate(_candidates(), start=1)
    ]
    table = rows(METRIC_LEDGER, facts).append_column("cycle", pa.array([cycle] * len(facts), pa.date32()))
    header = batch | {"source": "sample", "n_rows": len(facts), "n_quarantined": 0}
    lake.append_batch(flywheel, header, {METRIC_LEDGER: table})


def _learn(lake: Lake, week: int, at: dict[str, Any]) -> None:
    lake.write(SCORING_MODEL, rows(SCORING_MODEL, [{"model_version": f"model-{week}"}]), **at)
    corpus = [
        {"reference_id": winner, "text": f"Text of {winner}", "rank": rank, "corpus_version": f"corpus-{week}"}
        | {"source_cycle": WEEKS[week - rank], "quality": 0.5, "p_above": 0.95}
        | {"reason": "promoted", "by_people": "none", "depth": 1, "mean_depth": 1.0}
        for rank, winner in enumerate(_winners(week), start=1)
    ]
    lake.write(REFERENCE_CORPUS, rows(REFERENCE_CORPUS, corpus), **at)
    changes = [
        {"reference_id": winner, "change": "entered" if rank == 1 else "kept", "rank": rank}
        | {"reason": "promoted" if rank == 1 else None, "text": f"Text of {winner}", "words": "as the sample says"}
        | {"since": WEEKS[week - rank], "source_cycle": WEEKS[week - rank]}
        for rank, winner in enumerate(_winners(week), start=1)
    ]
    lake.write(REFERENCE_CHANGES, rows(REFERENCE_CHANGES, changes), **at)
    signs = [{"scope": scope, "n_texts": week} for scope in ("corpus", "outputs")]
    lake.write(COLLAPSE_SIGNS, rows(COLLAPSE_SIGNS, signs), **at)
    prompt = {"prompt_version": f"prompt-{week}", "parent_version": f"prompt-{week - 1}", "is_changed": True}
    prompt |= {"corpus_version": f"corpus-{week}", "author": "references"}
    lake.write(REFRESHED_PROMPT, rows(REFRESHED_PROMPT, [prompt]), **at)


def _measure_momentum(lake: Lake, week: int, at: dict[str, Any]) -> None:
    outcomes = [{"brief_id": f"w{week}-{brief}", "flywheel_value": 0.3, "control_value": 0.2} for brief in ("a", "b")]
    lake.write(BRIEF_OUTCOMES, rows(BRIEF_OUTCOMES, outcomes), **at)
    figures = {"metric": "ctr", "flywheel_mean": 0.3, "control_mean": 0.2, "lift": 0.5, "lower": 0.4, "upper": 0.6}
    scopes = [{"scope": "cycle", "n_briefs": 2}, {"scope": "cumulative", "n_briefs": 2 * week}]
    lake.write(MOMENTUM, rows(MOMENTUM, [figures | scope for scope in scopes]), **at)
    items = [{"item": item, "question": f"Question {item}?", "passed": True} for item in range(1, 8)]
    lake.write(AUDIT, rows(AUDIT, items), **at)
    versions = [{"input_table": "performance_metrics", "input_cycle": at["cycle"], "input_version": "version"}]
    lake.write(INPUT_VERSIONS, rows(INPUT_VERSIONS, versions), consumer="scored_outputs", **at)


def _blank(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_date(field.type):
        return WEEKS[0]
    if pa.types.is_timestamp(field.type):
        return RECORDED_AT
    return {"string": "", "double": 0.0, "int64": 0, "bool": False}[str(field.type)]
