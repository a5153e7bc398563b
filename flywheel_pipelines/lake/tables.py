"""Every table of the lake, once.

The Python schema, the DuckDB views with their comments and the Dagster column schemas are all made from here.

Not here: SQL marts (`dbt_project/`) and the code that fills the tables.
"""

from __future__ import annotations

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column

TEXT = pa.string()
REAL = pa.float64()
WHOLE = pa.int64()
FLAG = pa.bool_()
DAY = pa.date32()
INSTANT = pa.timestamp("us", tz="UTC")

_FACT = [
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
        ]
    ),
)

QUARANTINE = TableContract(
    name="quarantine",
    layer="feedback",
    description="Rows that could not be used, each with the reason and what to do.",
    key=("batch_id", "source_row", "field"),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            *_FACT,
            column("source", TEXT, "File the row came from."),
            column("field", TEXT, "Column that was wrong."),
            column("found", TEXT, "What stood there, shortened to 200 characters."),
            column("reason", TEXT, "Why the row was put aside, what was expected, and what to do."),
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
            *_FACT,
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
            *_FACT,
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
            column("rule", TEXT, "The rule as JSON: above, min_exposure, confidence, better."),
            column("effective_from", DAY, "First cycle the rule judges."),
            *_FACT,
        ]
    ),
)

BRIEFS = TableContract(
    name="briefs",
    layer="production",
    description="What is to be produced in a cycle.",
    key=("brief_id",),
    schema=pa.schema(
        [
            column("brief_id", TEXT, "The thing to produce."),
            column("segment", TEXT, "Group of briefs that are expected to behave alike."),
            column("title", TEXT, "Short human name of the brief."),
            column("n_candidates", WHOLE, "Existing candidates to choose from; 0 when they are yet to be written."),
        ]
    ),
)

CYCLE_MANIFEST = TableContract(
    name="cycle_manifest",
    layer="production",
    description="What a cycle was produced with: every version it pinned from the close of the cycle before.",
    key=("config_hash",),
    schema=pa.schema(
        [
            column(
                "predecessor",
                DAY,
                "The closed cycle whose learning was carried in; null in the first cycle.",
                nullable=True,
            ),
            column("prompt_version", TEXT, "Version of the prompt, hash of its text."),
            column("corpus_version", TEXT, "Version of the reference corpus, hash of its entries."),
            column("scoring_model_version", TEXT, "Version of the scoring model, hash of its coefficients."),
            column("threshold_version", TEXT, "Version of the quality floor, hash of its rule."),
            column("config_hash", TEXT, "Hash of the settings."),
            column("settings", TEXT, "The flywheel's settings as JSON, as they were when the cycle was opened."),
            column("is_synthetic", FLAG, "Whether the cycle runs on synthetic or simulated data."),
            column(
                "knowledge_cutoff",
                INSTANT,
                "Latest feedback that the carried-in learning knew of; null in the first cycle.",
                nullable=True,
            ),
            column("gap_allowed", FLAG, "Whether someone opened this cycle although its predecessor was never closed."),
        ]
    ),
)

GENERATED_OUTPUTS = TableContract(
    name="generated_outputs",
    layer="production",
    description="Every candidate of a cycle, published or not, with the prediction made before any feedback.",
    key=("output_id",),
    schema=pa.schema(
        [
            column("output_id", TEXT, "Short id, fit for a tracking tag."),
            column("brief_id", TEXT, "The brief it answers."),
            column("segment", TEXT, "The brief's segment."),
            column("variant", WHOLE, "Number of the candidate within its brief, from 0."),
            column("text", TEXT, "The output itself."),
            column("producer", TEXT, "Kind of producer: archive, llm."),
            column(
                "candidate_id", TEXT, "Id in the archive it was taken from; null when newly written.", nullable=True
            ),
            column("prompt_version", TEXT, "Prompt it was produced with."),
            column(
                "reference_ids", pa.list_(TEXT), "Outputs that served as references when it was produced or chosen."
            ),
            column(
                "predicted", REAL, "Scoring model's prediction, log ratio to the brief's mean, made before publishing."
            ),
            column("rank", WHOLE, "Rank by prediction within the brief, 1 = best."),
        ]
    ),
)

PUBLISHED_OUTPUTS = TableContract(
    name="published_outputs",
    layer="production",
    description="What went out, per arm. An output both chosen and part of the control stands once for each arm.",
    key=("output_id", "arm"),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output."),
            column("arm", TEXT, "flywheel (learned choice), control (the treadmill) or challenger (prompt on trial)."),
            column("brief_id", TEXT, "The brief it answers."),
            column("segment", TEXT, "The brief's segment."),
            column("text", TEXT, "The text that went out."),
            column("predicted", REAL, "The prediction made before publishing, log ratio to the brief's mean."),
            column(
                "weight", REAL, "Share of this output in its arm's result for the brief; sums to 1 per brief and arm."
            ),
            column("probability", REAL, "Probability with which the arm's rule publishes this output for its brief."),
        ]
    ),
)

PERFORMANCE_METRICS = TableContract(
    name="performance_metrics",
    layer="feedback",
    description="The ledger's latest-known view of a cycle's outputs, one row per output and metric.",
    key=("output_id", "metric"),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that was measured."),
            column("metric", TEXT, "Name of the metric in the flywheel's YAML."),
            column("numerator", REAL, "Successes, or the summed amount."),
            column("exposure", REAL, "Trials: impressions, sends."),
            column("value", REAL, "numerator / exposure; null without exposure.", nullable=True),
            column(
                "is_mature", FLAG, "Whether the measurement window has passed; before that the value is provisional."
            ),
            column("known_at", INSTANT, "recorded_at of the latest measurement counted in."),
        ]
    ),
)

SCORED_OUTPUTS = TableContract(
    name="scored_outputs",
    layer="learning",
    description="Each measured output against the quality floor: posterior, decision and the reason in words.",
    key=("output_id",),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that was judged."),
            column("brief_id", TEXT, "The brief it answers."),
            column("segment", TEXT, "The brief's segment."),
            column("metric", TEXT, "The floor's metric."),
            column("exposure", REAL, "Trials seen."),
            column("observed", REAL, "Observed value; null without exposure.", nullable=True),
            column("prior_mean", REAL, "Expected value before this output's own feedback."),
            column("prior_strength", REAL, "Trials the prior is worth."),
            column("posterior_mean", REAL, "Expected value after its feedback."),
            column("lower", REAL, "Lower end of the central 90% posterior interval."),
            column("upper", REAL, "Upper end of the central 90% posterior interval."),
            column("floor_level", REAL, "The value it had to beat; null while nothing sets it.", nullable=True),
            column("p_above", REAL, "Probability that its true value beats the floor."),
            column("decision", TEXT, "promote, hold (too little evidence) or reject."),
            column("reason", TEXT, "Why, in words and numbers."),
            column("is_mature", FLAG, "Whether the measurement window had passed."),
            column("threshold_version", TEXT, "The floor that judged it, pinned when the cycle was opened."),
        ]
    ),
)

SCORING_MODEL = TableContract(
    name="scoring_model",
    layer="learning",
    description="The model that predicts from text which output of a brief wins, with its own account of its skill.",
    key=("model_version",),
    schema=pa.schema(
        [
            column("model_version", TEXT, "Hash of everything a prediction depends on."),
            column("as_of", DAY, "The cycle it is for; it learned from strictly earlier ones."),
            column("window_first", DAY, "Earliest cycle it learned from; null when there was nothing.", nullable=True),
            column("window_last", DAY, "Latest cycle it learned from; null when there was nothing.", nullable=True),
            column("n_outputs", WHOLE, "Outputs it learned from."),
            column("n_briefs", WHOLE, "Briefs it learned from."),
            column(
                "is_skilled", FLAG, "False when it showed no skill on held-out recent cycles; it then predicts zeros."
            ),
            column("reason", TEXT, "Why it is or is not in use, in words."),
            column("known_at", INSTANT, "Latest feedback it learned from; null without any.", nullable=True),
            column("holdout_correlation", REAL, "Correlation of prediction and outcome within held-out briefs."),
            column("holdout_hit_rate", REAL, "Share of held-out briefs whose best-predicted output was the best."),
            column("holdout_chance", REAL, "Hit rate of a random choice on the same briefs."),
            column("holdout_briefs", WHOLE, "Held-out briefs, the most recent of the window."),
            column("settings", TEXT, "Every scalar of the model as JSON: scale, spreads, strength, hold-out."),
        ]
    ),
)

SCORING_MODEL_TERMS = TableContract(
    name="scoring_model_terms",
    layer="learning",
    description="What the scoring model learned: one coefficient per term, readable and sufficient to predict again.",
    key=("kind", "term"),
    schema=pa.schema(
        [
            column("kind", TEXT, "words, chars, segment_words (terms of the text) or style (hand-made features)."),
            column("term", TEXT, "The term or the name of the style feature."),
            column("coefficient", pa.float32(), "Its weight in the prediction."),
            column("idf", pa.float32(), "Inverse document frequency; null for style features.", nullable=True),
            column("centre", pa.float32(), "Mean subtracted from a style feature; null for terms.", nullable=True),
            column("scale", pa.float32(), "What a style feature is divided by; null for terms.", nullable=True),
        ]
    ),
)

REFERENCE_CORPUS = TableContract(
    name="reference_corpus",
    layer="learning",
    description="The proven winners that the next prompt shows; the whole corpus as of the close of the cycle.",
    key=("reference_id",),
    schema=pa.schema(
        [
            column("reference_id", TEXT, "output_id of the winner."),
            column("segment", TEXT, "Its segment."),
            column("text", TEXT, "Its text."),
            column("source_cycle", DAY, "The cycle that produced it."),
            column(
                "quality", REAL, "Relative gain over the floor: posterior mean / floor level - 1, worse-case signed."
            ),
            column("p_above", REAL, "Probability that it beats the floor, at this close."),
            column("rank", WHOLE, "Rank by quality within the corpus, 1 = best."),
            column("corpus_version", TEXT, "Hash of all entries of this corpus."),
        ]
    ),
)

REFRESHED_PROMPT = TableContract(
    name="refreshed_prompt",
    layer="learning",
    description="The prompt that the next cycle is produced with, rendered from the corpus; one row per cycle.",
    key=("prompt_version",),
    schema=pa.schema(
        [
            column("prompt_version", TEXT, "Hash of the text."),
            column("parent_version", TEXT, "The version before; null for the first.", nullable=True),
            column("corpus_version", TEXT, "Corpus it was rendered from."),
            column("template_hash", TEXT, "Hash of the template."),
            column("author", TEXT, "Who or what made it: template, references."),
            column("n_references", WHOLE, "References it shows."),
            column("is_changed", FLAG, "Whether it differs from the parent."),
            column("text", TEXT, "The prompt."),
        ]
    ),
)

BRIEF_OUTCOMES = TableContract(
    name="brief_outcomes",
    layer="momentum",
    description="What each arm achieved on each brief: the unit of the lift estimate.",
    key=("brief_id",),
    schema=pa.schema(
        [
            column("brief_id", TEXT, "The brief."),
            column("segment", TEXT, "Its segment."),
            column(
                "flywheel_value", REAL, "Weighted metric of the flywheel arm; null when not in that arm.", nullable=True
            ),
            column(
                "control_value", REAL, "Weighted metric of the control arm; null when not in that arm.", nullable=True
            ),
            column("n_measured", WHOLE, "Distinct outputs of the two arms that were measured for the brief."),
            column(
                "is_counted",
                FLAG,
                "Whether the lift counts it: measured, with its counterpart where briefs have one, and free to differ.",
            ),
            column(
                "hit",
                FLAG,
                "Whether the choice was the best measured, ties included; null without a contrast.",
                nullable=True,
            ),
            column(
                "chance", REAL, "Probability that a random choice is a hit; null without a contrast.", nullable=True
            ),
        ]
    ),
)

MOMENTUM = TableContract(
    name="momentum",
    layer="momentum",
    description="Lift of the flywheel arm over the control arm, in the cycle and cumulative, with 95% intervals.",
    key=("scope",),
    schema=pa.schema(
        [
            column("scope", TEXT, "cycle (this one alone) or cumulative (all up to this one)."),
            column("metric", TEXT, "The floor's metric."),
            column("n_briefs", WHOLE, "Briefs with a measured flywheel or control output and, if paired, a contrast."),
            column("flywheel_mean", REAL, "Mean over briefs of the flywheel arm's value.", nullable=True),
            column("control_mean", REAL, "Mean over briefs of the control arm's value.", nullable=True),
            column("lift", REAL, "flywheel_mean / control_mean - 1; sign turned for lower-is-better.", nullable=True),
            column("lower", REAL, "Lower end of the 95% interval of the lift.", nullable=True),
            column("upper", REAL, "Upper end of the 95% interval of the lift.", nullable=True),
            column("hit_rate", REAL, "Share of contrasted briefs whose choice was the best measured.", nullable=True),
            column("chance_rate", REAL, "Hit rate that a random choice would have.", nullable=True),
            column("n_contrasts", WHOLE, "Counted briefs with two or more measured outputs, the choice among them."),
            column("n_flywheel", WHOLE, "Briefs in the flywheel arm."),
            column("n_control", WHOLE, "Briefs in the control arm."),
            column("n_both", WHOLE, "Briefs in both arms."),
            column(
                "sums",
                pa.list_(REAL),
                "Carried sums over briefs: f, c, ff, cc; of briefs in both arms fc, f, c; hits, chances. "
                "The next cycle adds to them.",
            ),
        ]
    ),
)

AUDIT = TableContract(
    name="audit",
    layer="momentum",
    description="The seven-item audit of the loop as of a cycle: flywheel or treadmill, each item from evidence.",
    key=("item",),
    schema=pa.schema(
        [
            column("item", WHOLE, "1 to 7."),
            column("question", TEXT, "What is asked."),
            column("passed", FLAG, "Whether the evidence says yes."),
            column("number", REAL, "The number that decided it; null when there was nothing to count.", nullable=True),
            column("evidence", TEXT, "What the number is, in words."),
        ]
    ),
)

INPUT_VERSIONS = TableContract(
    name="input_versions",
    layer="lake",
    description="Which version of which partition each table was computed from: says what a correction touches.",
    key=("input_table", "input_cycle"),
    partition_by=("flywheel", "cycle", "consumer"),
    schema=pa.schema(
        [
            column("input_table", TEXT, "Table that was read."),
            column("input_cycle", DAY, "Cycle that was read."),
            column("input_version", TEXT, "Content hash of what was read; 'absent' when there was nothing yet."),
        ]
    ),
)

ALL_TABLES: tuple[TableContract, ...] = (
    BATCHES, QUARANTINE, ARCHIVE_CANDIDATES, METRIC_LEDGER, THRESHOLDS,
    BRIEFS, CYCLE_MANIFEST, GENERATED_OUTPUTS, PUBLISHED_OUTPUTS,
    PERFORMANCE_METRICS, SCORED_OUTPUTS, SCORING_MODEL, SCORING_MODEL_TERMS, REFERENCE_CORPUS, REFRESHED_PROMPT,
    BRIEF_OUTCOMES, MOMENTUM, AUDIT, INPUT_VERSIONS,
)  # fmt: skip
TABLES: dict[str, TableContract] = {table.name: table for table in ALL_TABLES}
