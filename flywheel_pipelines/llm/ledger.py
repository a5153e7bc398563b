"""The request ledger of a cycle: which answers are known, what was paid, and how the journal becomes rows of the lake.

Here: reading and landing LLM_REQUESTS. Not here: the journal itself (`journal`), sending (`asking`, `batch`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.chat import Answer, Usage
from flywheel_pipelines.lake.store import CycleWindow, Lake, content_hash
from flywheel_pipelines.lake.tables import EMBEDDING_REQUESTS, LLM_REQUESTS
from flywheel_pipelines.llm.journal import Journal
from flywheel_pipelines.llm.journal_entries import JournalRequest, JournalTry
from flywheel_pipelines.llm.pricing import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, Experience

INTERRUPTED = "interrupted"
UNPAID_EMBEDDER = "endpoint/offline-writer"
"""Nobody pays for what the offline writer embeds; int_cycle_costs passes over the same rows."""
INTERRUPTED_WORDS = "The run ended while it was under way; it is asked again when it is wanted."


def known_answers(lake: Lake, flywheel: str, cycle: date) -> dict[str, Answer]:
    """Every answer of a cycle that the lake holds, by request key."""
    columns = ["request_key", "answer", "prompt_tokens", "completion_tokens", "cached_tokens", "cost"]
    rows = lake.read(LLM_REQUESTS, flywheel, cycle, columns, where="status = 'answered'")
    return {
        row["request_key"]: Answer(
            key=row["request_key"],
            content=json.loads(row["answer"]),
            usage=usage_of(row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]),
            cost=row["cost"],
        )
        for row in rows.to_pylist()
    }


def spent(lake: Lake, flywheel: str, cycle: date) -> float | None:
    """US dollars a cycle has cost so far, over all its attempts and with its embeddings; None when some is unknown.

    Requests whose tokens nobody counted (a server that broke off, say) have no known cost and are passed over; counted
    tokens without a price make the sum unknown.
    """
    columns = ["cost", "prompt_tokens"]
    paid = f"not starts_with(embedding_model, '{UNPAID_EMBEDDER}')"
    rows = [
        *lake.read(LLM_REQUESTS, flywheel, cycle, columns).to_pylist(),
        *lake.read(EMBEDDING_REQUESTS, flywheel, cycle, columns, where=paid).to_pylist(),
    ]
    counted = [row["cost"] for row in rows if row["prompt_tokens"] is not None]
    return None if None in counted else sum(counted)


def experience_of(lake: Lake, flywheel: str, cycle: date, model: str, cycles: int = 4) -> Experience:
    """How long prompts and answers of a model turned out, over the newest of the cycles up to this one."""
    newest = [found for found in lake.cycles(LLM_REQUESTS, flywheel) if found <= cycle][-cycles:]
    if not newest:
        return Experience()
    rows = lake.read(
        LLM_REQUESTS,
        flywheel,
        CycleWindow(newest[0], newest[-1]),
        ["model", "messages", "prompt_tokens", "completion_tokens", "tries", "status"],
        where="status = 'answered' and prompt_tokens is not null",
    )
    estimated, prompts, answers, tries = 0.0, 0, 0, 0
    for row in rows.to_pylist():
        if row["model"] != model:
            continue
        counted = sum(1 for one in json.loads(row["tries"]) if one.get("prompt_tokens") is not None)
        messages = json.loads(row["messages"])
        length = sum(len(message["content"].encode()) for message in messages)
        estimated += counted * (length / BYTES_PER_TOKEN + TOKENS_PER_MESSAGE * len(messages))
        prompts, answers, tries = prompts + row["prompt_tokens"], answers + row["completion_tokens"], tries + counted
    if not tries or not estimated:
        return Experience()
    return Experience(prompts / estimated, answers / tries)


def land(journal: Journal, lake: Lake, flywheel: str, cycle: date, recorded_at: datetime) -> int:
    """Move everything in the journal into the lake, as one batch; returns the number of rows.

    The batch is named after the journal and how much is in it: a kill between landing and clearing lands nothing twice.
    Requests that a killed run left under way become failed rows: their tries were sent and are counted.
    """
    entries = [entry for entry in journal.requests() if entry.tries or entry.ended]
    if not entries:
        return 0
    batch_id = content_hash("llm_requests", journal.batch_name, journal.n_groups)
    rows = [row_of(entry, batch_id, recorded_at, number) for number, entry in enumerate(entries, start=1)]
    header = {
        "batch_id": batch_id,
        "source": "llm",
        "recorded_at": recorded_at,
        "n_rows": len(rows),
        "n_quarantined": 0,
        "first_cycle": cycle,
        "last_cycle": cycle,
    }
    schema = pa.schema([pa.field("cycle", pa.date32()), *LLM_REQUESTS.schema])
    table = pa.Table.from_pylist([{"cycle": cycle, **row} for row in rows], schema=schema)
    lake.append_batch(flywheel, header, {LLM_REQUESTS: table})
    journal.clear()
    return len(rows)


def row_of(entry: JournalRequest, batch_id: str, recorded_at: datetime, number: int) -> dict[str, Any]:
    """One row of LLM_REQUESTS."""
    ended = entry.ended
    totals = total_usage(entry.tries)
    return {
        "request_key": entry.key,
        **entry.asked,
        "structured_output": entry.tries[-1].form if entry.tries else "prompt",
        "status": ended.status if ended else "failed",
        "answer": ended.answer if ended else None,
        "error": ended.error if ended else INTERRUPTED_WORDS,
        "n_tries": len(entry.tries),
        "tries": json.dumps([_try_shown(one) for one in entry.tries], ensure_ascii=False),
        "prompt_tokens": totals.prompt if totals else None,
        "cached_tokens": totals.cached if totals else None,
        "completion_tokens": totals.completion if totals else None,
        "cost": total_cost(entry.tries),
        "latency": ended.latency if ended else 0.0,
        "batch_id": batch_id,
        "recorded_at": recorded_at,
        "source_row": number,
    }


def total_usage(tries: Sequence[JournalTry]) -> Usage | None:
    """Tokens of all tries that were counted; None when none was."""
    counted = [one.outcome for one in tries if one.outcome and one.outcome.prompt_tokens is not None]
    if not counted:
        return None
    return Usage(
        prompt=sum(one.prompt_tokens or 0 for one in counted),
        completion=sum(one.completion_tokens or 0 for one in counted),
        cached=sum(one.cached_tokens or 0 for one in counted),
    )


def total_cost(tries: Sequence[JournalTry]) -> float | None:
    """US dollars of all tries whose tokens were counted; None when there are none, or one has no price."""
    counted = [one.outcome.cost for one in tries if one.outcome and one.outcome.prompt_tokens is not None]
    known = [cost for cost in counted if cost is not None]
    return sum(known) if counted and len(known) == len(counted) else None


def usage_of(prompt: int | None, completion: int | None, cached: int | None) -> Usage | None:
    """Usage from nullable columns."""
    return None if prompt is None or completion is None else Usage(prompt, completion, cached or 0)


def _try_shown(one: JournalTry) -> dict[str, Any]:
    shown: dict[str, Any] = {"number": one.number, "form": one.form, "sent_at": one.sent_at}
    if one.outcome is None:
        return {**shown, "result": INTERRUPTED}
    return {**shown, **{name: value for name, value in vars(one.outcome).items() if value not in (None, "")}}
