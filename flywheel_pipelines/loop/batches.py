"""Exchanging a cycle's requests with a provider's Batch API: collect what ended, hand over what is left.

Here: the two steps for one cycle, from what its manifest pins, and which cycles are waiting. Not here: the calls and
the ledger (`llm/batch.py`), assets and sensors (`components/batch_assets.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import chain

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.batch import Collection, batch_states, collect_ended, submit_missing
from flywheel_pipelines.llm.batch_records import in_flight
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.opening import opened_with
from flywheel_pipelines.loop.prompts import pinned_prompts
from flywheel_pipelines.loop.writing import ProviderWriters, planned

MAX_REJECTED = 3
"""Batches in a row that may be rejected as a whole."""


@dataclass(frozen=True)
class Exchanged:
    """How a cycle stands with its provider; complete when there is nothing left to wait for."""

    is_complete: bool
    words: str
    counts: dict[str, int]


def exchange_batches(flywheel: Flywheel, store: Lake, cycle: date, writers: ProviderWriters) -> Exchanged:
    """Collect every batch of a cycle that has ended, then hand over what has no answer and is not under way.

    Raises:
        FlywheelError: the budget does not allow it, or the provider refuses or cannot be reached.
    """
    manifest = store.read(tables.CYCLE_MANIFEST, flywheel.name, cycle).to_pylist()[0]
    opened = opened_with(flywheel, manifest)
    assert opened.writer is not None
    prompts = pinned_prompts(store, opened.name, manifest)
    # A batch of an earlier attempt may still be under way: it is paid for, so its answers are kept.
    *earlier, requests = (
        [plan.request for plan in planned(opened, store, cycle, manifest | {"attempt": attempt}, prompts)]
        for attempt in range(1, manifest["attempt"] + 1)
    )
    if not requests:
        return Exchanged(is_complete=True, words="The cycle has no briefs, so nothing is asked.", counts={})
    provider = writers.provider_of(str(manifest["model"]))
    how = AskSettings.of_producer(opened.writer)
    collected = collect_ended(
        [*requests, *chain(*earlier)],
        lake=store,
        journal_folder=writers.journal,
        provider=provider,
        settings=how,
        now=writers.now,
    )
    _refuse_endless_rejection(collected, store, opened.name, cycle)
    submitted = submit_missing(
        requests, lake=store, journal_folder=writers.journal, provider=provider, settings=how, now=writers.now
    )
    return Exchanged(
        is_complete=submitted.is_complete,
        words=f"{collected.words} {submitted.words}",
        counts={
            "collected": len(collected.answers),
            "submitted": submitted.n_submitted,
            "answered_before": submitted.n_answered,
            "under_way": submitted.n_in_flight,
            "given_up": len(submitted.given_up),
        },
    )


def _refuse_endless_rejection(collected: Collection, store: Lake, flywheel: str, cycle: date) -> None:
    """A batch that is rejected as a whole is rejected the next time, too: after some in a row a person has to look."""
    ended = [row for row in store.read(tables.LLM_BATCHES, flywheel, cycle).to_pylist() if row["event"] != "submitted"]
    latest = sorted(ended, key=lambda row: row["recorded_at"])[-MAX_REJECTED:]
    rejected = [row for row in latest if row["event"] == "failed" and not row["n_answered"]]
    if collected.batches and len(rejected) == MAX_REJECTED:
        raise FlywheelError(
            f"The last {MAX_REJECTED} batches of cycle {cycle} of {flywheel} were rejected as a whole. "
            f"{collected.words} Put right what the provider names, then run the job {flywheel}__open for this cycle "
            "again: it submits anew."
        )


def waiting_cycles(store: Lake, flywheel: str) -> list[date]:
    """The cycles with a batch that was handed over and not collected, in order."""
    return [cycle for cycle in store.cycles(tables.LLM_BATCHES, flywheel) if in_flight(store, flywheel, cycle)]


def ended_batches(store: Lake, flywheel: str, cycle: date, writers: ProviderWriters) -> list[str]:
    """The provider's ids of the batches of a cycle that have ended and wait to be collected."""
    manifest = store.read(tables.CYCLE_MANIFEST, flywheel, cycle, columns=["model"]).to_pylist()[0]
    states = batch_states(store, flywheel, cycle, writers.provider_of(str(manifest["model"])))
    return [state.provider_batch_id for state in states if state.is_ended]
