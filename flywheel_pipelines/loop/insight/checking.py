"""What must hold of a sorted cycle: no personal data anywhere, and no quote that nobody wrote.

Here: findings in words, which name where and never what. Not here: how the UI shows them (`components`).
"""

from __future__ import annotations

from datetime import date

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.themes.naming import is_verbatim
from flywheel_pipelines.loop.insight.state import cycles_in, earlier, tickets_of
from flywheel_pipelines.personal_data import personal_data_in
from flywheel_pipelines.spec import InsightSpec

LOCALE = "en"


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
