"""From answers to rows of `generated_outputs`: text, content, guardrails' verdict, rank.

Here: the rows of what a language model wrote, in one attempt and over attempts. Not here: what a guardrail checks
(`guardrails`), the prediction (`learning`), what is published (`arms`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.chat import Answer
from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS
from flywheel_pipelines.production.content import (
    in_fields,
    in_schema_order,
    labelled_text,
    readable_text,
    without_fields,
)
from flywheel_pipelines.production.guardrails import SoftScore
from flywheel_pipelines.production.html_text import sanitised, text_of_html
from flywheel_pipelines.production.identity import output_id, uniform
from flywheel_pipelines.production.planning import PlannedRequest
from flywheel_pipelines.spec import Better

PRODUCER = "llm"


def outputs_from_answers(
    planned: Sequence[PlannedRequest],
    answers: Iterable[Answer],
    *,
    html: Collection[str] = (),
    hidden: Collection[str] = (),
    is_labelled: bool = False,
) -> pa.Table:
    """The outputs of one attempt (contract `generated_outputs`), one per answered request, in the order planned.

    Fields named in `html` are sanitised, and the text has what a reader sees of them; those named in `hidden` stay out
    of the text; with `is_labelled` its parts stand behind their names. A request without an answer has no row. Nothing
    is blocked yet, `predicted` is 0 and ranks are draws; `judged` and `ranked` fill them in.

    Raises:
        ContractError: an answer belongs to no planned request.
    """
    by_key = {answer.key: answer for answer in answers}
    unknown = sorted(by_key.keys() - {plan.request.key for plan in planned})
    if unknown:
        raise ContractError(
            f"{len(unknown)} answer(s) belong to no request of this cycle, the first with key {unknown[0]}. "
            "The briefs or the prompts changed after the requests were planned; plan them again."
        )
    rows = [
        _row(plan, by_key[plan.request.key], html, hidden, is_labelled)
        for plan in planned
        if plan.request.key in by_key
    ]
    table = pa.Table.from_pylist(rows, schema=GENERATED_OUTPUTS.schema)
    return ranked(table, [0.0] * len(rows)) if rows else table


def judged(
    outputs: pa.Table, reasons: Sequence[str | None], scores: Sequence[SoftScore | None] | None = None
) -> pa.Table:
    """The outputs with the guardrails' verdict: one reason per row, None where it may go out; and their soft scores."""
    table = _with_column(outputs, "blocked", list(reasons))
    found = scores or [None] * outputs.num_rows
    table = _with_column(table, "soft_score", [one and one.mean for one in found])
    return _with_column(table, "soft_scores", [one and json.dumps(one.by_goal) for one in found])


def in_order_of(predicted: float, better: Better) -> float:
    """What to sort by so that the best prediction comes first; predictions say what value a metric will have."""
    return -predicted if better == "higher" else predicted


def ranked(
    outputs: pa.Table, predicted: Sequence[float], better: Better = "higher", *, goal_weight: float = 0.0
) -> pa.Table:
    """The outputs with a prediction per row, and ranked by it within brief, arm and attempt, the best first.

    A soft score adds `goal_weight` times itself to how good the prediction says the output is; the prediction stands.
    Those that are not blocked come first, equal predictions in the order of a draw; blocked ones are ranked after them.
    """
    rows = [{**row, "predicted": float(score)} for row, score in zip(outputs.to_pylist(), predicted, strict=True)]
    groups: dict[tuple[object, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["brief_id"], row["arm"], row["attempt"]].append(row)
    for group in groups.values():
        group.sort(
            key=lambda row: (
                row["blocked"] is not None,
                in_order_of(row["predicted"], better) - goal_weight * (row["soft_score"] or 0.0),
                uniform("tie", row["output_id"]),
            )
        )
        for rank, row in enumerate(group, start=1):
            row["rank"] = rank
    table = _with_column(outputs, "predicted", [row["predicted"] for row in rows])
    return _with_column(table, "rank", [row["rank"] for row in rows])


def superseded_by(earlier: pa.Table, present: pa.Table, attempt: int) -> pa.Table:
    """The rows of a cycle after another attempt: those of other attempts marked as superseded, then the present ones.

    Args:
        earlier: what the cycle's partition holds, earlier rows of the same attempt included (those are replaced).
        present: rows of `attempt`, all that it has.
        attempt: the attempt that counts.
    """
    kept = earlier.select(GENERATED_OUTPUTS.columns).filter(pc.field("attempt") != attempt)
    kept = _with_column(kept, "is_superseded", [True] * kept.num_rows)
    return pa.concat_tables([kept, present.select(GENERATED_OUTPUTS.columns).cast(GENERATED_OUTPUTS.schema)])


def _row(
    plan: PlannedRequest, answer: Answer, html: Collection[str], hidden: Collection[str], is_labelled: bool
) -> dict[str, object]:
    request = plan.request
    text_of = labelled_text if is_labelled else readable_text
    content = in_schema_order(answer.content, request.schema)
    content = in_fields(content, html, sanitised)
    return {
        "output_id": output_id(request.flywheel, request.cycle, request.brief_id, _variant_key(plan)),
        "brief_id": request.brief_id,
        "segment": plan.segment,
        "arm": request.arm,
        "variant": request.variant,
        "attempt": request.attempt,
        "is_superseded": False,
        "text": text_of(in_fields(without_fields(content, hidden), html, text_of_html)),
        "content": json.dumps(content, ensure_ascii=False),
        "producer": PRODUCER,
        "model": request.model,
        "request_key": request.key,
        "blocked": None,
        "soft_score": None,
        "soft_scores": None,
        "candidate_id": None,
        "prompt_version": request.prompt_version,
        "reference_ids": list(plan.reference_ids),
        "predicted": 0.0,
        "rank": 0,
        "n_references_dropped": plan.n_dropped,
    }


def _variant_key(plan: PlannedRequest) -> str:
    """Names an output within its brief; the first attempt goes unnamed, as wherever nobody asked for another."""
    parts = [plan.request.arm, plan.request.variant]
    return "-".join(str(part) for part in (*parts, *([plan.request.attempt] if plan.request.attempt > 1 else [])))


def _with_column(table: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    if len(values) != table.num_rows:
        raise ValueError(f"{name}: {len(values)} values for {table.num_rows} outputs")
    field = GENERATED_OUTPUTS.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
