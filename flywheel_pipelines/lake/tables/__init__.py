"""Every table of the lake, once.

The Python schema, the DuckDB views with their comments and the Dagster column schemas are all made from here.

Not here: SQL marts (`dbt_project/`) and the code that fills the tables.
"""

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.tables.corpus import (
    ANCESTRY,
    COLLAPSE_SIGNS,
    CORPUS_RULINGS,
    REFERENCE_CHANGES,
    REFERENCE_CORPUS,
    RULED_OUTPUTS,
)
from flywheel_pipelines.lake.tables.embeddings import EMBEDDING_REQUESTS, TEXT_EMBEDDINGS
from flywheel_pipelines.lake.tables.feedback import (
    METRIC_LEDGER,
    METRIC_REPLACEMENTS,
    OUTPUT_LINKS,
    QUARANTINE,
    QUARANTINE_EVENTS,
    RESTATEMENTS,
    REVIEWS,
    TICKETS,
)
from flywheel_pipelines.lake.tables.gate import PROMPT_GATE
from flywheel_pipelines.lake.tables.learning import (
    GUARDRAIL_SCORES,
    PERFORMANCE_METRICS,
    REFRESHED_PROMPT,
    REVIEWED_OUTPUTS,
    SCORED_OUTPUTS,
    SCORING_MODEL,
    SCORING_MODEL_SKILL,
    SCORING_MODEL_TERMS,
)
from flywheel_pipelines.lake.tables.ledgers import (
    ARCHIVE_CANDIDATES,
    BATCHES,
    BRIEF_LEDGER,
    REJUDGEMENTS,
    THRESHOLDS,
)
from flywheel_pipelines.lake.tables.lineage import INPUT_VERSIONS
from flywheel_pipelines.lake.tables.llm import LLM_BATCHES, LLM_REQUESTS
from flywheel_pipelines.lake.tables.momentum import AUDIT, BRIEF_OUTCOMES, MOMENTUM, SEGMENT_MOMENTUM
from flywheel_pipelines.lake.tables.production import (
    BRIEFS,
    CYCLE_MANIFEST,
    EXPORTS,
    GENERATED_OUTPUTS,
    PUBLISHED_OUTPUTS,
)
from flywheel_pipelines.lake.tables.prompts import PROMPT_FRAMES, PROMPT_VERSIONS, PROPOSED_PROMPT
from flywheel_pipelines.lake.tables.training import FINETUNE_JOBS, TRAINING_EXAMPLES

ALL_TABLES: tuple[TableContract, ...] = (
    BATCHES, QUARANTINE, QUARANTINE_EVENTS, ARCHIVE_CANDIDATES, BRIEF_LEDGER,
    METRIC_LEDGER, METRIC_REPLACEMENTS, OUTPUT_LINKS, REVIEWS, CORPUS_RULINGS, TICKETS, RESTATEMENTS, THRESHOLDS,
    REJUDGEMENTS, PROMPT_FRAMES, PROMPT_VERSIONS, LLM_REQUESTS, LLM_BATCHES,
    BRIEFS, PROPOSED_PROMPT, CYCLE_MANIFEST, GENERATED_OUTPUTS, PUBLISHED_OUTPUTS, EXPORTS,
    PERFORMANCE_METRICS, REVIEWED_OUTPUTS, RULED_OUTPUTS, SCORED_OUTPUTS, GUARDRAIL_SCORES,
    SCORING_MODEL, SCORING_MODEL_TERMS, SCORING_MODEL_SKILL, TEXT_EMBEDDINGS, EMBEDDING_REQUESTS,
    ANCESTRY, REFERENCE_CORPUS, REFERENCE_CHANGES, COLLAPSE_SIGNS, PROMPT_GATE, REFRESHED_PROMPT,
    BRIEF_OUTCOMES, MOMENTUM, SEGMENT_MOMENTUM, AUDIT, INPUT_VERSIONS,
    TRAINING_EXAMPLES, FINETUNE_JOBS,
)  # fmt: skip
TABLES: dict[str, TableContract] = {table.name: table for table in ALL_TABLES}

__all__ = [
    "ALL_TABLES",
    "ANCESTRY",
    "ARCHIVE_CANDIDATES",
    "AUDIT",
    "BATCHES",
    "BRIEFS",
    "BRIEF_LEDGER",
    "BRIEF_OUTCOMES",
    "COLLAPSE_SIGNS",
    "CORPUS_RULINGS",
    "CYCLE_MANIFEST",
    "EMBEDDING_REQUESTS",
    "EXPORTS",
    "FINETUNE_JOBS",
    "GENERATED_OUTPUTS",
    "GUARDRAIL_SCORES",
    "INPUT_VERSIONS",
    "LLM_BATCHES",
    "LLM_REQUESTS",
    "METRIC_LEDGER",
    "METRIC_REPLACEMENTS",
    "MOMENTUM",
    "OUTPUT_LINKS",
    "PERFORMANCE_METRICS",
    "PROMPT_FRAMES",
    "PROMPT_GATE",
    "PROMPT_VERSIONS",
    "PROPOSED_PROMPT",
    "PUBLISHED_OUTPUTS",
    "QUARANTINE",
    "QUARANTINE_EVENTS",
    "REFERENCE_CHANGES",
    "REFERENCE_CORPUS",
    "REFRESHED_PROMPT",
    "REJUDGEMENTS",
    "RESTATEMENTS",
    "REVIEWED_OUTPUTS",
    "REVIEWS",
    "RULED_OUTPUTS",
    "SCORED_OUTPUTS",
    "SCORING_MODEL",
    "SCORING_MODEL_SKILL",
    "SCORING_MODEL_TERMS",
    "SEGMENT_MOMENTUM",
    "TABLES",
    "TEXT_EMBEDDINGS",
    "THRESHOLDS",
    "TICKETS",
    "TRAINING_EXAMPLES",
    "TableContract",
]
