"""Ledgers of the feedback layer: what was measured, said, written, put aside, and decided about what was put aside.

Not here: the latest-known views of them, which a close writes (`learning.py`).
"""

import pyarrow as pa

from flywheel_pipelines.lake.changes import Added
from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import DAY, INSTANT, REAL, TEXT, WHOLE

QUARANTINE = TableContract(
    name="quarantine",
    layer="feedback",
    description="Rows that could not be used, each with the reason and what to do.",
    key=("batch_id", "source_row", "field"),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            *FACT,
            column("source", TEXT, "File the row came from."),
            column("field", TEXT, "Column that was wrong."),
            column("found", TEXT, "What stood there, shortened to 200 characters."),
            column("reason", TEXT, "Why the row was put aside, what was expected, and what to do."),
            column("feed", TEXT, "Feed it came by; null for archives.", nullable=True),
            column(
                "problem",
                TEXT,
                "unreadable, invalid, unmatched, ambiguous, held, conflict or stale; null for archives.",
                nullable=True,
            ),
            column(
                "cells",
                TEXT,
                "The row's cells by their headers, as JSON; null when it could not be split.",
                nullable=True,
            ),
        ]
    ),
)


QUARANTINE_EVENTS = TableContract(
    name="quarantine_events",
    layer="feedback",
    description="What became of rows in quarantine; a row without an event is still there.",
    key=("quarantined_batch", "quarantined_row", "batch_id"),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            column("quarantined_batch", TEXT, "Batch of the row in quarantine."),
            column("quarantined_row", WHOLE, "source_row of the row in quarantine."),
            column(
                "event",
                TEXT,
                "released (a person handed it in again), matched (its output became known), or discarded.",
            ),
            column("decided_by", TEXT, "Who decided; the pipeline itself for matched."),
            column("note", TEXT, "Why, in their words.", nullable=True),
            *FACT,
        ]
    ),
)


METRIC_LEDGER = TableContract(
    name="metric_ledger",
    layer="feedback",
    description="Every measurement ever received, append-only; the latest recorded value of a key is the one known.",
    key=("output_id", "measure", "measured_on", "recorded_at", "source_row"),
    kind="ledger",
    schema=pa.schema(
        [
            column("output_id", TEXT, "The published output that was measured."),
            column("measure", TEXT, "What was counted, e.g. clicks."),
            column("measured_on", DAY, "The day the measurement is about."),
            column("value", REAL, "The count or amount."),
            column("feed", TEXT, "Feed it came by; null for archives.", nullable=True),
            *FACT,
        ]
    ),
)


METRIC_REPLACEMENTS = TableContract(
    name="metric_replacements",
    layer="feedback",
    description="Exports that replace all that their feed said of a range of days before, also by leaving it out. One "
    "row per cycle that had such measurements, and one per cycle that the export itself is about.",
    key=("feed", "batch_id"),
    kind="ledger",
    schema=pa.schema(
        [
            column("feed", TEXT, "The feed whose earlier measurements are replaced."),
            column("first_day", DAY, "First day that is replaced."),
            column("last_day", DAY, "Last day that is replaced."),
            *FACT,
        ]
    ),
)


OUTPUT_LINKS = TableContract(
    name="output_links",
    layer="feedback",
    description="Ids and addresses that platforms gave to published outputs.",
    key=("external_id", "output_id", "batch_id"),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            column("external_id", TEXT, "The campaign, variant or other id, or the address."),
            column("output_id", TEXT, "The published output."),
            column("output_cycle", DAY, "The cycle that published it."),
            *FACT,
        ]
    ),
)


REVIEWS = TableContract(
    name="reviews",
    layer="feedback",
    description="What people said of outputs: every review ever received, append-only.",
    key=("output_id", "reviewer", "recorded_at", "source_row"),
    kind="ledger",
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that was reviewed."),
            column("reviewer", TEXT, "Pseudonym of the reviewer."),
            column("decision", TEXT, "accepted, edited or rejected."),
            column("final_text", TEXT, "The text as the reviewer left it; null unless edited.", nullable=True),
            column("comment", TEXT, "What the reviewer said.", nullable=True),
            column(
                "edit_similarity",
                REAL,
                "How much of the draft is left, token by token: 1 untouched, 0 nothing; null when rejected.",
                nullable=True,
            ),
            column("reviewed_on", DAY, "Day of the review."),
            *FACT,
        ]
    ),
)


TICKETS = TableContract(
    name="tickets",
    layer="feedback",
    description="What customers wrote, by the cycle in which they wrote it.",
    key=("ticket_id", "recorded_at", "source_row"),
    kind="ledger",
    schema=pa.schema(
        [
            column("ticket_id", TEXT, "Id of the ticket where it came from."),
            column("created_at", INSTANT, "When it was written."),
            column("segment", TEXT, "Brand, product or queue; `all` when the feed names none."),
            column("subject", TEXT, "Its subject.", nullable=True),
            column("text", TEXT, "What was written, with kinds in brackets where personal data stood."),
            column("channel", TEXT, "How it came in, e.g. e-mail.", nullable=True),
            column("status", TEXT, "Where it stands, e.g. solved.", nullable=True),
            column("locale", TEXT, "Its language, as the feed says, e.g. en or pt-BR.", nullable=True),
            column(
                "removed",
                TEXT,
                "Pieces of personal data that were masked, as JSON: kind to number; null when there were none.",
                nullable=True,
            ),
            *FACT,
        ]
    ),
    changes=(Added("locale"), Added("removed")),
)


RESTATEMENTS = TableContract(
    name="restatements",
    layer="feedback",
    description="What corrections changed about closed cycles: old and new value of each metric, old and new decision.",
    key=("output_id", "subject", "metric", "batch_id"),
    kind="ledger",
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output whose value or decision changed."),
            column("subject", TEXT, "metric or decision."),
            column("metric", TEXT, "The metric; for a decision, the floor's."),
            column("old_value", REAL, "Metric: its value before. Decision: p_above before.", nullable=True),
            column("new_value", REAL, "Metric: its value now. Decision: p_above now.", nullable=True),
            column("old_exposure", REAL, "Trials before.", nullable=True),
            column("new_exposure", REAL, "Trials now.", nullable=True),
            column(
                "old_decision",
                TEXT,
                "promote, hold or reject before; null for a metric, or where it was not judged.",
                nullable=True,
            ),
            column(
                "new_decision",
                TEXT,
                "promote, hold or reject now; null for a metric, or where it is not judged.",
                nullable=True,
            ),
            column(
                "old_threshold", TEXT, "Decision: the threshold that judged before; null for a metric.", nullable=True
            ),
            column(
                "new_threshold",
                TEXT,
                "Decision: the threshold that judges now; another one than before was asked for by a person.",
                nullable=True,
            ),
            column("caused_by", pa.list_(TEXT), "Batches of facts that came in between; they caused the change."),
            *FACT,
        ]
    ),
)
