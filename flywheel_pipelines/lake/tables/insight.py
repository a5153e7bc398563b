"""What the insight flywheel makes of tickets: themes, their library, trends, and effects of fixes.

Not here: the tickets themselves (`feedback.py`), nor reviews of themes, which stand among all other reviews.
"""

import pyarrow as pa

from flywheel_pipelines.lake.changes import Added
from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import DAY, FLAG, REAL, TEXT, WHOLE

TICKET_THEMES = TableContract(
    name="ticket_themes",
    layer="production",
    description="The theme of each ticket, decided in this cycle: its own tickets, and earlier ones that were unknown.",
    key=("ticket_id",),
    schema=pa.schema(
        [
            column("ticket_id", TEXT, "The ticket."),
            column("ticket_cycle", DAY, "The cycle in which it was written; earlier ones were unknown until now."),
            column("written_on", DAY, "The day it was written, UTC."),
            column("segment", TEXT, "Brand, product or queue."),
            column("theme_id", TEXT, "Its theme as it was then, merges not followed; null: unknown.", nullable=True),
            column("how", TEXT, "library (matched, no model asked), group (with others like it), or unknown."),
            column("probability", REAL, "That the nearest theme of the library is the right one."),
            column("nearest_id", TEXT, "That theme; null without one.", nullable=True),
        ]
    ),
)


THEME_CANDIDATES = TableContract(
    name="theme_candidates",
    layer="production",
    description="The themes that a cycle founded, as the model named them; what people review.",
    key=("theme_id",),
    schema=pa.schema(
        [
            column("theme_id", TEXT, "Id for good, from its founding ticket."),
            column("name", TEXT, "What the model calls it."),
            column("summary", TEXT, "What customers say, in the model's words."),
            column("quotes", pa.list_(TEXT), "Words of tickets of the theme, letter by letter."),
            column("quoted_ids", pa.list_(TEXT), "The ticket of each quote."),
            column("n_refused", WHOLE, "Quotes that stood in no ticket as they were given, and were left out."),
            column("member_ids", pa.list_(TEXT), "The tickets that founded it."),
            column("coherence", REAL, "Mean cosine of a founding ticket with the centre of the others."),
            column("parent_id", TEXT, "The theme that most of them were nearest to.", nullable=True),
            column("request_key", TEXT, "The request to the model; null when it failed.", nullable=True),
        ]
    ),
)


THEME_LEARNING = TableContract(
    name="theme_learning",
    layer="learning",
    description="What a cycle took with the library and for a control without one, and what people made of its themes.",
    key=("arm",),
    schema=pa.schema(
        [
            column("arm", TEXT, "flywheel, or control: the same tickets without a library; it asks no model."),
            column("n_tickets", WHOLE, "Tickets of the cycle."),
            column("n_by_library", WHOLE, "Tickets placed without a model being asked."),
            column("n_unknown", WHOLE, "Tickets in no theme."),
            column("n_new", WHOLE, "Themes that had to be named."),
            column("tokens", WHOLE, "Tokens of the questions for naming them, at four bytes each."),
            column("n_accepted", WHOLE, "Of the new themes, those people accepted, renamed or not.", nullable=True),
            column("n_merged", WHOLE, "Those people merged into another.", nullable=True),
            column("n_rejected", WHOLE, "Those people said are none.", nullable=True),
            column("is_synthetic", FLAG, "Whether its tickets are declared simulated.", nullable=True),
        ]
    ),
    changes=(Added("n_accepted"), Added("n_merged"), Added("n_rejected"), Added("is_synthetic")),
)


THEME_LIBRARY = TableContract(
    name="theme_library",
    layer="learning",
    description="Every theme as a cycle leaves it, with what it is recognised by.",
    key=("theme_id",),
    schema=pa.schema(
        [
            column("theme_id", TEXT, "The theme."),
            column("founded", DAY, "The cycle that founded it."),
            column("status", TEXT, "candidate, accepted, rejected or merged; only accepted ones are references."),
            column("name", TEXT, "Its name; people may have changed it."),
            column("summary", TEXT, "What customers say."),
            column("coherence", REAL, "Mean cosine of a reference ticket with the centre of the others."),
            column("n_tickets", WHOLE, "Tickets it was given so far."),
            column("merged_into", TEXT, "The theme that it is part of now.", nullable=True),
            column("parent_id", TEXT, "The theme that most founding tickets were nearest to.", nullable=True),
            column("last_seen", DAY, "Last cycle with a ticket; null before the first.", nullable=True),
            column("example_ids", pa.list_(TEXT), "Its reference tickets, newest first."),
            column("examples", pa.list_(TEXT), "Their texts."),
        ]
    ),
)


THEME_EVENTS = TableContract(
    name="theme_events",
    layer="learning",
    description="What happened to the identity of themes in a cycle.",
    key=("event_number",),
    schema=pa.schema(
        [
            column("event_number", WHOLE, "From 1, in order."),
            column("event", TEXT, "founded, accepted, renamed, merged, split, rejected, drifted, or merge_suggested."),
            column("theme_id", TEXT, "The theme."),
            column("other_id", TEXT, "The other theme of a merge or split.", nullable=True),
            column("detail", TEXT, "In words; empty where there is nothing to add."),
        ]
    ),
)


THEME_TRENDS = TableContract(
    name="theme_trends",
    layer="learning",
    description="Volume and share of each theme in a cycle, and whether it moves.",
    key=("theme_id",),
    schema=pa.schema(
        [
            column("theme_id", TEXT, "The theme, merges followed."),
            column("name", TEXT, "Its name."),
            column("status", TEXT, "candidate or accepted."),
            column("n_tickets", WHOLE, "Tickets of the cycle."),
            column("n_all", WHOLE, "Tickets of the cycle in all."),
            column("share", REAL, "n_tickets over n_all; 0 without any."),
            column("share_low", REAL, "Lower end of its 95% interval."),
            column("share_high", REAL, "Upper end."),
            column("expected", REAL, "Tickets at its share of the cycles before, weekday by weekday."),
            column("ratio", REAL, "n_tickets over expected; null without expectation.", nullable=True),
            column("p_value", REAL, "Of no movement; null when there was too little to test.", nullable=True),
            column("q_value", REAL, "By Benjamini and Hochberg over the themes of the cycle.", nullable=True),
            column("movement", TEXT, "emerging, growing, steady, shrinking or gone."),
            column("is_new", FLAG, "Whether the cycle founded it."),
        ]
    ),
)


SHIPPED_FIXES = TableContract(
    name="shipped_fixes",
    layer="feedback",
    description="Fixes that shipped, in the cycle in which they did.",
    key=("fix_id", "recorded_at", "source_row"),
    kind="ledger",
    schema=pa.schema(
        [
            column("fix_id", TEXT, "Id of the fix where it came from."),
            column("shipped_on", DAY, "The day it shipped."),
            column("theme", TEXT, "Id or name of the theme that it is about."),
            column("what", TEXT, "What was changed."),
            *FACT,
        ]
    ),
)


FIX_EFFECTS = TableContract(
    name="fix_effects",
    layer="learning",
    description="What each fix did to its theme, as it is known in a cycle.",
    key=("fix_id",),
    schema=pa.schema(
        [
            column("fix_id", TEXT, "The fix."),
            column("shipped_on", DAY, "The day it shipped."),
            column("theme_id", TEXT, "The theme; null when no theme has that id or name.", nullable=True),
            column("theme", TEXT, "As the feed names it."),
            column("what", TEXT, "What was changed."),
            column("verdict", TEXT, "worked, no evidence or worse."),
            column("ratio", REAL, "Share after over before, relative to comparable themes.", nullable=True),
            column("low", REAL, "Lower end of its interval, valid at all looks together.", nullable=True),
            column("high", REAL, "Upper end.", nullable=True),
            column("n_before", WHOLE, "Tickets in the cycles before."),
            column("n_after", WHOLE, "Tickets in the cycles since."),
            column("n_controls", WHOLE, "Comparable themes."),
            column("cycles_after", WHOLE, "Full cycles since."),
            column("reason", TEXT, "What the verdict rests on, in words."),
        ]
    ),
)
