"""What is remembered of batches: events in the lake, and the intent that is written down before a batch is started.

Here: LLM_BATCHES and the intent file. Not here: the provider (`batch_calls`), and what is done (`batch`).

The intent names the requests of a batch that is about to be started. It is removed once the start stands in the lake;
one that is found later belongs to a run that was killed in between, and its batch may or may not exist.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import LLM_BATCHES, LLM_REQUESTS

SUBMITTED = "submitted"


@dataclass(frozen=True)
class InFlight:
    """A batch that was submitted and not collected."""

    provider_batch_id: str
    input_file_id: str
    model: str
    request_keys: tuple[str, ...]
    submitted_at: datetime


@dataclass(frozen=True)
class Intent:
    """A batch that is about to be started. `at` is in seconds since 1970, by our clock."""

    submission: str
    model: str
    form: str
    request_keys: tuple[str, ...]
    at: float


def submission_of(keys: Sequence[str]) -> str:
    """The name of a set of requests, by which a batch of them is found again."""
    return content_hash("submission", *sorted(keys))


def in_flight(lake: Lake, flywheel: str, cycle: date) -> list[InFlight]:
    """The batches of a cycle that were submitted and not collected, the oldest first."""
    rows = lake.read(LLM_BATCHES, flywheel, cycle).to_pylist()
    ended = {row["provider_batch_id"] for row in rows if row["event"] != SUBMITTED}
    waiting = [
        InFlight(
            provider_batch_id=row["provider_batch_id"],
            input_file_id=row["input_file_id"],
            model=row["model"],
            request_keys=tuple(row["request_keys"]),
            submitted_at=row["recorded_at"],
        )
        for row in rows
        if row["event"] == SUBMITTED and row["provider_batch_id"] not in ended
    ]
    return sorted(waiting, key=lambda one: (one.submitted_at, one.provider_batch_id))


def recorded_batches(lake: Lake, flywheel: str, cycle: date) -> set[str]:
    """The provider's ids of all batches of a cycle that are known."""
    rows = lake.read(LLM_BATCHES, flywheel, cycle, ["provider_batch_id"])
    return set(rows.column("provider_batch_id").to_pylist())


def record_event(
    lake: Lake,
    flywheel: str,
    cycle: date,
    batch: InFlight,
    event: str,
    recorded_at: datetime,
    *,
    n_answered: int = 0,
    results: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Append what became of a batch and the rows of LLM_REQUESTS that came of it, all or nothing; twice is once.

    `results` lack the columns of every fact (batch_id, recorded_at, source_row), which are filled in.
    """
    batch_id = content_hash("llm_batches", batch.provider_batch_id, event)
    row = {
        "provider_batch_id": batch.provider_batch_id,
        "event": event,
        "input_file_id": batch.input_file_id,
        "model": batch.model,
        "n_requests": len(batch.request_keys),
        "n_answered": n_answered,
        "request_keys": list(batch.request_keys),
    }
    facts = {LLM_BATCHES: _table(LLM_BATCHES, cycle, [row], batch_id, recorded_at)}
    if results:
        facts[LLM_REQUESTS] = _table(LLM_REQUESTS, cycle, results, batch_id, recorded_at)
    header = {
        "batch_id": batch_id,
        "source": "llm batch",
        "recorded_at": recorded_at,
        "n_rows": 1 + len(results),
        "n_quarantined": 0,
        "first_cycle": cycle,
        "last_cycle": cycle,
    }
    lake.append_batch(flywheel, header, facts)


def write_intent(folder: Path, flywheel: str, cycle: date, intent: Intent) -> None:
    """Keep an intent; it is on disk when this returns."""
    path = _intent_path(folder, flywheel, cycle)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(asdict(intent), handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)
    parent = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def read_intent(folder: Path, flywheel: str, cycle: date) -> Intent | None:
    """The intent that an earlier run left, if any."""
    try:
        found = json.loads(_intent_path(folder, flywheel, cycle).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Intent(**{**found, "request_keys": tuple(found["request_keys"])})


def remove_intent(folder: Path, flywheel: str, cycle: date) -> None:
    """Forget the intent: its batch stands in the lake, or was never started."""
    _intent_path(folder, flywheel, cycle).unlink(missing_ok=True)


def _intent_path(folder: Path, flywheel: str, cycle: date) -> Path:
    return folder / f"flywheel={flywheel}" / f"{cycle}.batch.json"


def _table(
    table: TableContract, cycle: date, rows: Sequence[Mapping[str, Any]], batch_id: str, recorded_at: datetime
) -> pa.Table:
    schema = pa.schema([pa.field("cycle", pa.date32()), *table.schema])
    facts = [
        {"cycle": cycle, **row, "batch_id": batch_id, "recorded_at": recorded_at, "source_row": number}
        for number, row in enumerate(rows, start=1)
    ]
    return pa.Table.from_pylist(facts, schema=schema)
