"""Ledgers: facts as they were learned, append-only.

Not here: what is computed from them.
"""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.types import DAY, INSTANT, TEXT, WHOLE

FACT = [
    column("batch_id", TEXT, "Hash of the content this row came with; the same file twice is one batch."),
    column("recorded_at", INSTANT, "When this project learned of the row. 'As known at D' keeps rows up to D."),
    column("source_row", WHOLE, "Row number in the source file, the first data row being 1."),
]

BATCHES = TableContract(
    name="batches",
    layer="feedback",
    description="One row per batch of facts. Rows of a ledger count only once their batch stands here.",
    key=("batch_id",),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            column("batch_id", TEXT, "Hash of the batch's content."),
            column("source", TEXT, "File or system the batch came from."),
            column("recorded_at", INSTANT, "When this project learned of the batch."),
            column("n_rows", WHOLE, "Rows accepted into ledgers."),
            column("n_quarantined", WHOLE, "Rows put aside with a reason."),
            column("first_cycle", DAY, "Earliest cycle touched.", nullable=True),
            column("last_cycle", DAY, "Latest cycle touched.", nullable=True),
            column("feed", TEXT, "Feed it came by; null for what the pipeline recorded itself.", nullable=True),
            column("n_late", WHOLE, "Accepted rows about a cycle whose measurement window had passed.", nullable=True),
            column("n_unmatched", WHOLE, "Rows put aside since no output, or more than one, is theirs.", nullable=True),
            column("n_held", WHOLE, "Rows held as implausible until a person decides.", nullable=True),
            column("first_day", DAY, "First day that a file is about whose rows say no day; else null.", nullable=True),
            column("last_day", DAY, "Last day that it is about; its rows count on it.", nullable=True),
        ]
    ),
)


ARCHIVE_CANDIDATES = TableContract(
    name="archive_candidates",
    layer="production",
    description="Outputs that people wrote before the flywheel existed: what the `archive` producer chooses from.",
    key=("brief_id", "candidate_id", "recorded_at"),
    kind="ledger",
    schema=pa.schema(
        [
            column("brief_id", TEXT, "The thing to produce that these candidates were written for."),
            column("candidate_id", TEXT, "Hash of the brief and the text."),
            column("segment", TEXT, "Group of briefs that are expected to behave alike."),
            column("title", TEXT, "Short human name of the brief."),
            column("text", TEXT, "The candidate as a person wrote it."),
            *FACT,
        ]
    ),
)


BRIEF_LEDGER = TableContract(
    name="brief_ledger",
    layer="production",
    description="Every brief ever received, by the cycle it is wanted in; the latest recorded row of a brief counts.",
    key=("brief_id", "recorded_at", "source_row"),
    kind="ledger",
    schema=pa.schema(
        [
            column("brief_id", TEXT, "The thing to produce."),
            column("segment", TEXT, "Group of briefs that are expected to behave alike."),
            column("title", TEXT, "Short human name of the brief."),
            column("locale", TEXT, "Language tag of what is to be written; null when open.", nullable=True),
            column("fields", TEXT, "Everything else that the brief says, as JSON."),
            *FACT,
        ]
    ),
)


THRESHOLDS = TableContract(
    name="thresholds",
    layer="learning",
    description="Quality floors as they were registered, before the first measurement they judge.",
    key=("threshold_version",),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            column("threshold_version", TEXT, "Hash of the rule."),
            column("metric", TEXT, "The metric the floor is about."),
            column("rule", TEXT, "The rule as JSON: above, min_exposure, confidence, better, veto."),
            column("effective_from", DAY, "First cycle the rule judges."),
            *FACT,
        ]
    ),
)


REJUDGEMENTS = TableContract(
    name="rejudgements",
    layer="learning",
    description="Cycles that a person asked to be judged by another threshold than the one they were opened with; the "
    "latest recorded row of a cycle counts.",
    key=("threshold_version", "replaces_version"),
    kind="ledger",
    schema=pa.schema(
        [
            column("threshold_version", TEXT, "The threshold that judges the cycle from now on."),
            column("replaces_version", TEXT, "The threshold that judged it until then."),
            *FACT,
        ]
    ),
)
