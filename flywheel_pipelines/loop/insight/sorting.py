"""Opening a cycle of an insight flywheel: its tickets are sorted into themes, and what is new gets a name.

Here: `ticket_themes` and `theme_candidates`. Not here: how (`learning.themes`), or what comes after (`following`,
`measuring`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa

from flywheel_pipelines.chat import Answer, ChatRequest
from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.errors import CycleOrderError, FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.themes.library import first_examples, ruled, take_turn
from flywheel_pipelines.learning.themes.naming import (
    SCHEMA,
    VERSION,
    Named,
    checked_naming,
    naming_messages,
)
from flywheel_pipelines.learning.themes.records import EXAMPLES, Found, Placed, Theme, Ticket, Turn
from flywheel_pipelines.loop.insight.embedding import embed_texts
from flywheel_pipelines.loop.insight.state import (
    cycles_in,
    earlier,
    rulings_up_to,
    settings_of,
    themes_in,
    tickets_of,
    vectors_for,
)
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.loop.writing import Writers
from flywheel_pipelines.spec import InsightSpec

NAMING = "naming"


def sort_tickets(
    spec: InsightSpec, recorder: Recorder, cycles: Sequence[date], writers: Writers, now: datetime | None = None
) -> Shown:
    """`ticket_themes`, with the themes that the cycle founded; `now` is recorded for embeddings instead of the clock.

    Raises:
        CycleOrderError: a cycle was left out.
        FlywheelError: too many requests failed, or embeddings are wanted and nobody can compute them.
    """
    shown: Shown = {}
    for cycle in cycles:
        store = recorder.store
        before = shift_cycle(cycle, spec.cadence, -1)
        if cycle > spec.start and not store.has(tables.THEME_LIBRARY, spec.name, before):
            raise CycleOrderError(
                f"Cycle {cycle} of {spec.name} cannot be sorted: cycle {before} has no theme library. Run the job "
                f"{spec.name}__catch_up for {before} first."
            )
        settings, tickets = settings_of(spec), tickets_of(store, spec, cycle)
        library, _ = ruled(themes_in(store, spec, before), rulings_up_to(store, spec, before), settings)
        embedded = _embedded(spec, store, cycle, tickets, library, writers, now)
        vectorise = vectors_for(store, spec, cycle)
        turn = take_turn(
            tickets, _pool(store, spec, cycle), library, vectorise, settings, flywheel=spec.name, cycle=cycle
        )
        named, keys = _named(spec, store, cycle, turn.found, writers)
        candidates = _candidates(turn.found, named, keys)
        read = [(tables.THEME_LIBRARY, before)] if cycle > spec.start else []
        read += [(tables.TICKETS, one) for one in (*cycles_in(store, spec, _reach(spec, cycle)), cycle)]
        recorder.write(tables.THEME_CANDIDATES, candidates, cycle, read)
        recorder.write(tables.TICKET_THEMES, _ticket_themes(turn), cycle, read)
        shown = {
            "tickets": len(tickets),
            "share_placed_without_a_model": round(turn.share_by_library, 4),
            "new_themes": len(turn.found),
            "earlier_tickets_placed": len(turn.adopted),
            "quotes_refused": sum(one.n_refused for one in named),
            **embedded,
        }
    return shown


def _embedded(
    spec: InsightSpec,
    store: Lake,
    cycle: date,
    tickets: Sequence[Ticket],
    library: Sequence[Theme],
    writers: Writers,
    now: datetime | None,
) -> Shown:
    """Have the texts of a cycle embedded, where the YAML wants it."""
    if spec.themes.embeddings == "none":
        return {}
    texts = [one.text for one in (*tickets, *_pool(store, spec, cycle))]
    texts += [example.text for theme in library for example in theme.examples]
    return embed_texts(spec, store, cycle, _reach(spec, cycle), texts, writers, now or datetime.now(UTC))


def _reach(spec: InsightSpec, cycle: date) -> CycleWindow:
    return earlier(spec, cycle, max(spec.themes.pool, spec.themes.background))


def _pool(store: Lake, spec: InsightSpec, cycle: date) -> list[Ticket]:
    """Tickets of the cycles before that no theme has taken."""
    window = earlier(spec, cycle, spec.themes.pool)
    rows = store.read(tables.TICKET_THEMES, spec.name, window).to_pylist()
    taken = {row["ticket_id"] for row in rows if row["theme_id"] is not None}
    unknown = {row["ticket_id"] for row in rows} - taken
    return [
        ticket
        for before in cycles_in(store, spec, window)
        for ticket in tickets_of(store, spec, before)
        if ticket.ticket_id in unknown
    ]


def _named(
    spec: InsightSpec, store: Lake, cycle: date, found: Sequence[Found], writers: Writers
) -> tuple[list[Named], list[str | None]]:
    """What the model calls each new theme. Raises FlywheelError when too many requests failed."""
    requests = [_request(spec, cycle, one, writers) for one in found]
    if not requests:
        return [], []
    report = writers.answer(requests, spec.producer, store)
    if refusal := report.too_many_failed(spec.producer.max_failed):
        raise FlywheelError(refusal)
    answers: list[Answer | None] = [report.answers.get(request.key) for request in requests]
    named = [
        checked_naming(answer.content, one.members)
        if answer is not None
        else Named(one.theme.theme_id, "It could not be named.", (), 0)
        for one, answer in zip(found, answers, strict=True)
    ]
    return named, [answer.key if answer else None for answer in answers]


def _request(spec: InsightSpec, cycle: date, found: Found, writers: Writers) -> ChatRequest:
    return ChatRequest(
        flywheel=spec.name,
        cycle=cycle,
        brief_id=found.theme.theme_id,
        arm=NAMING,
        variant=0,
        attempt=1,
        model=writers.model_of(spec.producer),
        messages=naming_messages(found.members),
        schema=SCHEMA,
        parameters=spec.producer.parameters,
        max_output_tokens=spec.producer.max_output_tokens,
        prompt_version=VERSION,
    )


def _ticket_themes(turn: Turn) -> pa.Table:
    rows = [
        {
            "ticket_id": one.ticket.ticket_id, "ticket_cycle": one.ticket.cycle, "written_on": one.ticket.day,
            "segment": one.ticket.segment, "theme_id": one.theme_id, "how": one.how,
            "probability": one.probability, "nearest_id": one.nearest_id,
        }
        for one in (*turn.placed, *turn.adopted)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=tables.TICKET_THEMES.schema)


def _candidates(found: Sequence[Found], named: Sequence[Named], keys: Sequence[str | None]) -> pa.Table:
    rows = [
        {
            "theme_id": one.theme.theme_id, "name": name.name, "summary": name.summary,
            "quotes": [quote.quote for quote in name.quotes], "quoted_ids": [quote.ticket_id for quote in name.quotes],
            "n_refused": name.n_refused, "member_ids": sorted(ticket.ticket_id for ticket in one.members),
            "coherence": one.theme.coherence, "parent_id": one.theme.parent_id, "request_key": key,
        }
        for one, name, key in zip(found, named, keys, strict=True)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=tables.THEME_CANDIDATES.schema)


def turn_of(store: Lake, spec: InsightSpec, cycle: date) -> Turn:
    """The turn of a cycle as it was written; the founding tickets of its candidates with it."""
    rows = store.read(tables.TICKET_THEMES, spec.name, cycle).to_pylist()
    window = earlier(spec, cycle, spec.themes.pool)
    texts = {
        ticket.ticket_id: ticket
        for one in (*cycles_in(store, spec, window), cycle)
        for ticket in tickets_of(store, spec, one)
    }
    placed = [
        Placed(texts[row["ticket_id"]], row["theme_id"], row["how"], row["probability"], row["nearest_id"])
        for row in rows
        if row["ticket_id"] in texts
    ]
    found = []
    for row in store.read(tables.THEME_CANDIDATES, spec.name, cycle).to_pylist():
        members = tuple(texts[one] for one in row["member_ids"] if one in texts)
        theme = Theme(
            row["theme_id"], cycle, "candidate", row["name"], row["summary"],
            first_examples(members, EXAMPLES), row["coherence"], 0, parent_id=row["parent_id"],
        )  # fmt: skip
        found.append(Found(theme, members))
    return Turn(
        [one for one in placed if one.ticket.cycle == cycle],
        [one for one in placed if one.ticket.cycle != cycle],
        found,
    )
