"""What people rule about references: pins and bans, recorded as facts.

Here: recording a ruling, and which rulings stand at the close of a cycle. Not here: what a pin or a ban does to the
corpus (`learning.corpus`).

A ruling counts from a cycle on, so that ruling today leaves the corpora of past cycles as they were. In the ledger it
stands under that cycle; a close reads its own cycle's rulings and carries the others on from the close before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.reviews.reviewers import pseudonym_of, without_addresses
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import (
    CORPUS_RULINGS,
    PUBLISHED_OUTPUTS,
    REFERENCE_CORPUS,
    REVIEWED_OUTPUTS,
    RULED_OUTPUTS,
    SCORED_OUTPUTS,
)

PIN, BAN, LIFT = "pin", "ban", "lift"
RULINGS = (PIN, BAN, LIFT)


def standing_rulings(rulings: pa.Table, before: pa.Table, *, knowledge_cutoff: datetime | None) -> pa.Table:
    """The rulings that stand at the close of a cycle (contract `ruled_outputs`).

    Args:
        rulings: rows of `corpus_rulings`, with `cycle`, that count since the close before.
        before: `ruled_outputs` of the close before.
        knowledge_cutoff: keep what was recorded up to here; None keeps everything.
    """

    def known(table: pa.Table, column: str) -> list[dict[str, Any]]:
        return (table if knowledge_cutoff is None else table.filter(pc.field(column) <= knowledge_cutoff)).to_pylist()

    standing = {row["output_id"]: row for row in known(before, "known_at")}
    order = ("cycle", "recorded_at", "batch_id", "source_row")
    for row in sorted(known(rulings, "recorded_at"), key=lambda row: tuple(row[name] for name in order)):
        standing[row["output_id"]] = {**row, "effective_from": row["cycle"], "known_at": row["recorded_at"]}
    kept = [
        {name: row[name] for name in RULED_OUTPUTS.columns}
        for _, row in sorted(standing.items())
        if row["ruling"] != LIFT
    ]
    return pa.Table.from_pylist(kept, schema=RULED_OUTPUTS.schema)


def rule(
    store: Lake,
    flywheel: str,
    output_ids: Sequence[str],
    ruling: str,
    *,
    person: str,
    reason: str,
    recorded_at: datetime,
    effective_from: date | None = None,
) -> date:
    """Record a ruling about some outputs as one batch; returns the first cycle whose close counts it.

    Args:
        store: the lake.
        flywheel: whose outputs.
        output_ids: published outputs.
        ruling: pin, ban or lift.
        person: who rules; what could be a name is replaced by a pseudonym.
        reason: why.
        recorded_at: instant to record.
        effective_from: that cycle; None: the newest that has a corpus, so that the next opening knows of it.

    Raises:
        FlywheelError: an output is unknown, a reason is missing, no cycle was closed, or the ruling changes nothing.
    """
    if not reason.strip():
        raise FlywheelError(
            f"--reason: found nothing; say in a few words why, so that whoever lifts the {ruling} knows."
        )
    # A close that the guard stopped has a corpus, and ruling about it is how it goes on.
    cycles = store.cycles(REFERENCE_CORPUS, flywheel)
    if not cycles:
        raise FlywheelError(f"{flywheel}: no cycle was closed yet, so there is no corpus to rule about.")
    start = effective_from or cycles[-1]
    sources = {one: source_of(store, flywheel, one) for one in dict.fromkeys(output_ids)}
    standing = {row["output_id"]: row for row in rulings_now(store, flywheel)}
    for one, source in sources.items():
        if source > start:
            raise FlywheelError(
                f"--from: found {start}, but output {one} was published in cycle {source}. Name that cycle or a later "
                "one."
            )
        now = standing.get(one)
        if now is not None and start < now["effective_from"]:
            raise FlywheelError(
                f"--from: found {start}, but output {one} has a ruling ({now['ruling']}) that counts from cycle "
                f"{now['effective_from']} on. Name that cycle or a later one."
            )
        if (LIFT if now is None else now["ruling"]) == ruling:
            said = "has no pin and no ban to lift" if ruling == LIFT else f"has this ruling ({ruling}) already"
            raise FlywheelError(
                f"Output {one} of {flywheel} {said}. flywheel corpus list --flywheel {flywheel} shows them."
            )
        if ruling == PIN:
            _refuse_hopeless_pin(store, flywheel, one, source)
    name, _ = pseudonym_of(person)
    words = without_addresses(reason.strip())
    batch_id = f"ruling-{content_hash(ruling, *sources, name, words, start, recorded_at.isoformat())}"
    facts = [
        {
            "cycle": start, "output_id": one, "ruling": ruling, "person": name, "reason": words, "source_cycle": source,
            "batch_id": batch_id, "recorded_at": recorded_at, "source_row": number,
        }
        for number, (one, source) in enumerate(sources.items(), start=1)
    ]  # fmt: skip
    rows = pa.Table.from_pylist(facts, schema=CORPUS_RULINGS.schema.insert(0, pa.field("cycle", pa.date32())))
    header: Mapping[str, object] = {
        "batch_id": batch_id, "source": "corpus ruling", "recorded_at": recorded_at, "n_rows": len(facts),
        "n_quarantined": 0, "first_cycle": start, "last_cycle": start,
    }  # fmt: skip
    store.append_batch(flywheel, header, {CORPUS_RULINGS: rows})
    return start


def rulings_now(store: Lake, flywheel: str) -> list[dict[str, Any]]:
    """Every ruling that stands now, closed over or not, as rows of `ruled_outputs`."""
    everything = store.read(CORPUS_RULINGS, flywheel)
    return standing_rulings(everything, RULED_OUTPUTS.empty(), knowledge_cutoff=None).to_pylist()


def source_of(store: Lake, flywheel: str, output_id: str) -> date:
    """The cycle that published an output, newest first looked at. Raises FlywheelError when none did."""
    for cycle in reversed(store.cycles(PUBLISHED_OUTPUTS, flywheel)):
        if output_id in store.values(PUBLISHED_OUTPUTS, flywheel, cycle, "output_id").to_pylist():
            return cycle
    raise FlywheelError(
        f"Output {output_id!r} was never published by {flywheel}. Ids stand in the files of the outbox, and in "
        f"flywheel sql -c \"select output_id, text from outputs where flywheel = '{flywheel}'\"."
    )


def _refuse_hopeless_pin(store: Lake, flywheel: str, output_id: str, source: date) -> None:
    """A pin that could not keep its output in is refused with the reason instead of doing nothing."""
    about = f"Output {output_id} of {flywheel} cannot be pinned:"
    for row in store.read(REVIEWED_OUTPUTS, flywheel, source).to_pylist():
        if row["output_id"] == output_id and row["decision"] == "rejected":
            raise FlywheelError(f"{about} {row['reviewer']} rejected it in review. Have the review corrected first.")
    for row in store.read(SCORED_OUTPUTS, flywheel, source).to_pylist():
        if row["output_id"] == output_id and row["decision"] == "reject":
            raise FlywheelError(
                f"{about} its metrics say that it does not beat the floor ({row['reason']}). A pin outlasts too little "
                "evidence, not evidence against. Where the metrics are wrong, correct them."
            )
