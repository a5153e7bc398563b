"""What must hold of a sorted cycle: no personal data anywhere, and no quote that nobody wrote.

Besides, whether what it learns is worth it. Here: findings in words, which name where and never what. Not here: how the
UI shows them (`components`).
"""

from __future__ import annotations

from datetime import date
from typing import Any

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.themes.naming import is_verbatim
from flywheel_pipelines.loop.insight.state import cycles_in, earlier, tickets_of
from flywheel_pipelines.loop.inspecting import Finding
from flywheel_pipelines.personal_data import personal_data_in
from flywheel_pipelines.spec import InsightSpec

LOCALE = "en"
LOOKED_BACK = 4
"""Cycles that the checks of what was learned are about."""
FEWEST_DECIDED = 5
"""New themes that people must have decided about before their rejections say anything."""


def personal_data_left(spec: InsightSpec, store: Lake, cycle: date) -> list[str]:
    """Places that hold an address or a number: tickets, requests, and what the model said of themes."""
    texts: dict[str, str] = {}
    for row in store.read(tables.TICKETS, spec.name, cycle).to_pylist():
        texts[f"ticket {row['ticket_id']}"] = f"{row['subject'] or ''}\n{row['text']}"
    for row in store.read(tables.LLM_REQUESTS, spec.name, cycle).to_pylist():
        texts[f"request {row['request_key'][:12]}"] = f"{row['messages']}\n{row['answer'] or ''}"
    for row in store.read(tables.THEME_CANDIDATES, spec.name, cycle).to_pylist():
        texts[f"theme {row['theme_id']}"] = "\n".join([row["name"], row["summary"], *row["quotes"]])
    return [f"{where}: {found.data.kind}" for where, text in texts.items() for found in personal_data_in(text, LOCALE)]


def quotes_not_verbatim(spec: InsightSpec, store: Lake, cycle: date) -> list[str]:
    """Quotes that do not stand in the ticket they name, or whose ticket is none of the theme's."""
    rows = store.read(tables.THEME_CANDIDATES, spec.name, cycle).to_pylist()
    if not rows:
        return []
    window = earlier(spec, cycle, spec.themes.pool)
    texts = {
        ticket.ticket_id: ticket.text
        for one in (*cycles_in(store, spec, window), cycle)
        for ticket in tickets_of(store, spec, one)
    }
    return [
        f"theme {row['theme_id']}: a quote is not in ticket {ticket_id}"
        for row in rows
        for quote, ticket_id in zip(row["quotes"], row["quoted_ids"], strict=True)
        if ticket_id not in row["member_ids"] or not is_verbatim(quote, texts.get(ticket_id, ""))
    ]


def library_pays(spec: InsightSpec, store: Lake, cycle: date) -> Finding:
    """Whether the last cycles took fewer tokens than without a library; warns when they did not."""
    rows = _learned(spec, store, cycle)
    tokens = {arm: sum(row["tokens"] for row in rows if row["arm"] == arm) for arm in ("flywheel", "control")}
    numbers = {f"tokens_{arm}": count for arm, count in tokens.items()}
    words = (
        f"The last {LOOKED_BACK} cycles took {tokens['flywheel']:,} tokens of questions; without a library it would "
        f"have been {tokens['control']:,}."
    )
    # The first cycle has no library yet.
    pays = tokens["flywheel"] < tokens["control"] or cycle == spec.start or not tokens["control"]
    return Finding("passed" if pays else "warned", words, numbers)


def themes_accepted(spec: InsightSpec, store: Lake, cycle: date) -> Finding:
    """Whether people accepted at least half of the new themes of the last cycles; warns when they did not."""
    rows = [row for row in _learned(spec, store, cycle) if row["arm"] == "flywheel"]
    said = {word: sum(row[f"n_{word}"] or 0 for row in rows) for word in ("accepted", "merged", "rejected")}
    decided, new = sum(said.values()), sum(row["n_new"] for row in rows)
    if not decided:
        return Finding("passed", f"Nobody has decided yet about the {new} new themes of the last cycles.", said)
    rate = said["accepted"] / decided
    words = (
        f"Of {new} new themes of the last {LOOKED_BACK} cycles people decided {decided}: {said['accepted']} accepted, "
        f"{said['merged']} merged, {said['rejected']} rejected."
    )
    is_fine = rate >= 0.5 or decided < FEWEST_DECIDED
    return Finding("passed" if is_fine else "warned", words, {**said, "acceptance_rate": round(rate, 3)})


def _learned(spec: InsightSpec, store: Lake, cycle: date) -> list[dict[str, Any]]:
    first = max(spec.start, shift_cycle(cycle, spec.cadence, 1 - LOOKED_BACK))
    return store.read(tables.THEME_LEARNING, spec.name, CycleWindow(first, cycle)).to_pylist()
