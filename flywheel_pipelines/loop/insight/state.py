"""What the steps of an insight flywheel read from the lake: tickets, the library as it was left, rulings, labels.

Not here: the steps (`sorting`, `following`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.feedback.reviews.latest import EDITED, REJECTED, standing_reviews
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.themes.clustering import rank_of
from flywheel_pipelines.learning.themes.records import Example, Ruling, Theme, ThemeSettings, Ticket
from flywheel_pipelines.learning.themes.vectors import Vectorise, WordVectors
from flywheel_pipelines.loop.insight.embedding import embedded_texts
from flywheel_pipelines.spec import InsightSpec

BACKGROUND = 1_000
"""Tickets of a cycle that say how rare a word is, those whose ids hash lowest."""
_MERGE = re.compile(r"^\s*merge[d]? (?:into|with) (th-[0-9a-f]{10})\s*$", re.IGNORECASE)


def settings_of(spec: InsightSpec) -> ThemeSettings:
    """The levels that the YAML sets."""
    return ThemeSettings(
        confidence=spec.themes.confidence,
        min_tickets=spec.themes.min_tickets,
        min_coherence=spec.themes.min_coherence,
        min_similarity=spec.themes.lightly_edited,
        optional_review=spec.review == "optional",
    )


def tickets_of(store: Lake, spec: InsightSpec, cycle: date) -> list[Ticket]:
    """The tickets of a cycle as they are known: the latest of each id, and of equal ones of a day and segment one."""
    latest = {}
    rows = store.read(tables.TICKETS, spec.name, cycle).to_pylist()
    for row in sorted(rows, key=lambda row: (row["recorded_at"], row["source_row"])):
        first = latest.get(row["ticket_id"])
        latest[row["ticket_id"]] = {**row, "first": first["first"] if first else row["recorded_at"]}
    tickets, said = [], set[tuple[object, ...]]()
    for row in sorted(latest.values(), key=lambda row: (row["first"], rank_of(row["ticket_id"]))):
        text = f"{row['subject']}\n{row['text']}" if row["subject"] else row["text"]
        day = row["created_at"].date()
        same = (" ".join(text.casefold().split()), row["segment"], day)
        if same not in said:
            said.add(same)
            tickets.append(Ticket(row["ticket_id"], text, day, cycle, row["first"].isoformat(), row["segment"]))
    return sorted(tickets, key=lambda one: one.ticket_id)


def earlier(spec: InsightSpec, cycle: date, length: int) -> CycleWindow:
    """The `length` cycles before a cycle, not before the first one."""
    return CycleWindow(max(spec.start, shift_cycle(cycle, spec.cadence, -length)), cycle - timedelta(days=1))


def cycles_in(store: Lake, spec: InsightSpec, window: CycleWindow) -> list[date]:
    """The cycles of a window that have tickets."""
    return [cycle for cycle in store.cycles(tables.TICKETS, spec.name) if cycle in window]


def vectors_for(store: Lake, spec: InsightSpec, cycle: date) -> Vectorise:
    """What tickets of a cycle are likened by: embeddings when it was opened with some, else words.

    Rarity of words, and what all embeddings share, are as the cycles before have it, so that no vector depends on its
    neighbours; in the first cycle they are its own.
    """
    window = earlier(spec, cycle, spec.themes.background)
    texts: list[str] = []
    for before in cycles_in(store, spec, window):
        texts += _some(tickets_of(store, spec, before))
    background = texts or _some(tickets_of(store, spec, cycle))
    reach = earlier(spec, cycle, max(spec.themes.background, spec.themes.pool))
    return embedded_texts(spec, store, cycle, reach, background) or WordVectors.of_background(background)


def _some(tickets: Iterable[Ticket]) -> list[str]:
    return [one.text for one in sorted(tickets, key=lambda one: rank_of(one.ticket_id))[:BACKGROUND]]


def themes_in(store: Lake, spec: InsightSpec, cycle: date) -> list[Theme]:
    """The library as a cycle left it; empty when it was not closed."""
    return [
        Theme(
            row["theme_id"], row["founded"], row["status"], row["name"], row["summary"],
            tuple(Example(*pair) for pair in zip(row["example_ids"], row["examples"], strict=True)),
            row["coherence"], row["n_tickets"], row["merged_into"], row["parent_id"], row["last_seen"],
        )
        for row in store.read(tables.THEME_LIBRARY, spec.name, cycle).to_pylist()
    ]  # fmt: skip


def rulings_up_to(store: Lake, spec: InsightSpec, cycle: date) -> list[Ruling]:
    """What people said of the themes that were founded up to a cycle, in the order in which it became known."""
    reviews = store.read(tables.REVIEWS, spec.name, CycleWindow(last=cycle)).to_pylist()
    standing = sorted(standing_reviews(reviews).values(), key=lambda row: (row["recorded_at"], row["source_row"]))
    rulings = []
    for row in standing:
        if row["decision"] == REJECTED:
            rulings.append(Ruling(row["output_id"], "rejected"))
            continue
        left = row["final_text"] if row["decision"] == EDITED else None
        merge = _MERGE.match(left or "")
        name = left.strip().splitlines()[0].strip() if left and not merge else None
        into = merge[1].lower() if merge else None
        # A new name is no other theme: similarity counts where people rewrote the words and did not merge.
        similarity = 1.0 if merge or row["edit_similarity"] is None else row["edit_similarity"]
        rulings.append(Ruling(row["output_id"], "accepted", name, into, similarity))
    return rulings
