"""A small lake of written outputs, by hand: what was asked, paid, blocked, superseded and exported.

Flywheel `mail`: two weeks of two briefs, one in the flywheel arm and one in the control arm. Week one was produced
twice, and its first attempt is superseded; each attempt writes two variants per brief, the second of which a guardrail
blocks. Every request takes 100 prompt and 20 completion tokens and costs a dollar. In week two the flywheel arm's first
request failed once before it was answered, and its prompt shows the winner of week one.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import (
    BRIEF_LEDGER,
    BRIEFS,
    CYCLE_MANIFEST,
    EXPORTS,
    GENERATED_OUTPUTS,
    LLM_BATCHES,
    LLM_REQUESTS,
    PROMPT_VERSIONS,
    PUBLISHED_OUTPUTS,
    SCORED_OUTPUTS,
)
from flywheel_pipelines_tests.lake_samples import RECORDED_AT, WEEKS, rows

WRITTEN = "mail"
ARMS = {"a": "flywheel", "b": "control"}
WINNER = "w1-a-2-0"


def write_written_lake(lake: Lake, price: float | None = 1.0, answers: int = 1) -> None:
    """Write the two weeks.

    Args:
        lake: where to.
        price: dollars per request; None for a model whose price is unknown.
        answers: how often each request of week two was answered; more than once breaks a rule.
    """
    for week, attempts in ((1, (1, 2)), (2, (1,))):
        _open(lake, week, attempts, price, answers if week == 2 else 1)
    scores = [
        {"output_id": out, "decision": decision, "exposure": 100.0, "observed": 0.1, "is_mature": True}
        for out, decision in ((WINNER, "promote"), ("w1-b-2-0", "reject"))
    ]
    lake.write(SCORED_OUTPUTS, rows(SCORED_OUTPUTS, scores), flywheel=WRITTEN, cycle=WEEKS[0])


def _open(lake: Lake, week: int, attempts: tuple[int, ...], price: float | None, answers: int) -> None:
    at = {"flywheel": WRITTEN, "cycle": WEEKS[week - 1]}
    briefs = [{"brief_id": f"w{week}-{brief}", "title": f"Lead {brief}", "fields": "{}"} for brief in ARMS]
    _append(lake, week, BRIEF_LEDGER, briefs)
    lake.write(BRIEFS, rows(BRIEFS, briefs), **at)
    shown = [{"reference_id": WINNER, "segment": "", "text": "Hello", "rank": 1}] if week == 2 else []
    prompt = {"prompt_version": f"prompt-{week}", "author": "references", "shown_references": json.dumps(shown)}
    _append(lake, week, PROMPT_VERSIONS, [prompt], partitioned=False)
    manifest = {"prompt_version": f"prompt-{week}", "control_prompt_version": "prompt-1", "corpus_version": "none"}
    manifest |= {"scoring_model_version": "none", "threshold_version": "floor-1", "config_hash": "config-1"}
    manifest |= {"model": "some-model", "attempt": max(attempts), "is_synthetic": True}
    lake.write(CYCLE_MANIFEST, rows(CYCLE_MANIFEST, [manifest]), **at)
    asked = [(brief, attempt, variant) for brief in ARMS for attempt in attempts for variant in (0, 1)]
    requests = [_request(week, *each, price=price) for each in asked for _ in range(answers)]
    if week == 2:
        failure = {"status": "failed", "answer": None, "error": "timed out", "cost": None}
        uncounted = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"))
        requests.append(requests[0] | failure | uncounted)
    _append(lake, week, LLM_REQUESTS, requests)
    batch = {"provider_batch_id": f"provider-{week}", "event": "submitted", "n_requests": len(asked)}
    _append(lake, week, LLM_BATCHES, [batch | {"request_keys": [_key(week, *each) for each in asked]}])
    generated = [_output(week, *each, superseded=each[1] < max(attempts)) for each in asked]
    lake.write(GENERATED_OUTPUTS, rows(GENERATED_OUTPUTS, generated), **at)
    published = [
        {"output_id": f"w{week}-{brief}-{max(attempts)}-0", "brief_id": f"w{week}-{brief}", "arm": arm, "weight": 1.0}
        | {"probability": 0.95, "choice": "best"}
        for brief, arm in ARMS.items()
    ]
    lake.write(PUBLISHED_OUTPUTS, rows(PUBLISHED_OUTPUTS, published), **at)
    exported = [{"output_id": row["output_id"], "arm": row["arm"], "export": 1} for row in published]
    _append(lake, week, EXPORTS, exported)


def _key(week: int, brief: str, attempt: int, variant: int) -> str:
    return f"key-{week}-{brief}-{attempt}-{variant}"


def _request(week: int, brief: str, attempt: int, variant: int, price: float | None) -> dict[str, Any]:
    return {
        "request_key": _key(week, brief, attempt, variant),
        "brief_id": f"w{week}-{brief}",
        "arm": ARMS[brief],
        "variant": variant,
        "attempt": attempt,
        "model": "some-model",
        "mode": "live",
        "structured_output": "json_schema",
        "status": "answered",
        "answer": "{}",
        "n_tries": 1,
        "prompt_tokens": 100,
        "cached_tokens": 60,
        "completion_tokens": 20,
        "cost": price,
    }


def _output(week: int, brief: str, attempt: int, variant: int, superseded: bool) -> dict[str, Any]:
    return {
        "output_id": f"w{week}-{brief}-{attempt}-{variant}",
        "brief_id": f"w{week}-{brief}",
        "arm": ARMS[brief],
        "variant": variant,
        "attempt": attempt,
        "is_superseded": superseded,
        "text": "Hello\n\nSecond paragraph",
        "content": '{"subject": "Hello"}',
        "producer": "llm",
        "model": "some-model",
        "request_key": _key(week, brief, attempt, variant),
        "blocked": "names a price that the brief lacks" if variant else None,
        "prompt_version": f"prompt-{week}",
        "reference_ids": [WINNER] if week == 2 and brief == "a" else [],
        "rank": variant + 1,
    }


def _append(
    lake: Lake, week: int, contract: TableContract, records: list[dict[str, Any]], *, partitioned: bool = True
) -> None:
    """One batch per table and week, recorded a day apart per row so that no key repeats."""
    batch_id = f"{contract.name}-{week}"
    facts = [
        record | {"batch_id": batch_id, "recorded_at": RECORDED_AT + timedelta(days=row), "source_row": row}
        for row, record in enumerate(records, start=1)
    ]
    table = rows(contract, facts)
    if partitioned:
        table = table.append_column("cycle", pa.array([WEEKS[week - 1]] * len(facts), pa.date32()))
    header = {"batch_id": batch_id, "recorded_at": RECORDED_AT, "source": "sample", "n_rows": len(facts)}
    lake.append_batch(WRITTEN, header | {"n_quarantined": 0}, {contract: table})
