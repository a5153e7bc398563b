"""What closing a cycle learns, from its metrics to the next prompt. Not here: the reference corpus (`corpus`)."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.types import DAY, FLAG, INSTANT, REAL, SMALL_REAL, TEXT, WHOLE

PERFORMANCE_METRICS = TableContract(
    name="performance_metrics",
    layer="feedback",
    description="The ledger's latest-known view of a cycle's outputs, one row per output and metric. "
    "A correction starts here.",
    key=("output_id", "metric"),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that was measured."),
            column("metric", TEXT, "Name of the metric in the flywheel's YAML."),
            column("numerator", REAL, "Successes, events, or the summed amount or time; may be negative for a mean."),
            column("exposure", REAL, "What that is out of or per: impressions, orders, hours, reports, or 1 output."),
            column("value", REAL, "numerator / exposure; null without exposure.", nullable=True),
            column("n_reports", WHOLE, "Days with exposure; 1 for a count per output."),
            column(
                "squares",
                REAL,
                "Sum over these days of numerator^2 / exposure; less numerator^2 / exposure it says how days scatter.",
            ),
            column(
                "is_mature", FLAG, "Whether the measurement window has passed; before that the value is provisional."
            ),
            column("known_at", INSTANT, "recorded_at of the latest measurement counted in."),
        ]
    ),
)


REVIEWED_OUTPUTS = TableContract(
    name="reviewed_outputs",
    layer="feedback",
    description="The latest-known review of each output of a cycle, with the text that a person left.",
    key=("output_id",),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that was reviewed."),
            column("decision", TEXT, "accepted, edited or rejected."),
            column("reviewer", TEXT, "Pseudonym of the reviewer."),
            column("final_text", TEXT, "The text as the reviewer left it; null unless edited.", nullable=True),
            column("comment", TEXT, "What the reviewer said.", nullable=True),
            column("edit_similarity", REAL, "Share of the draft that is left; null when rejected.", nullable=True),
            column("known_at", INSTANT, "recorded_at of the review."),
        ]
    ),
)


SCORED_OUTPUTS = TableContract(
    name="scored_outputs",
    layer="learning",
    description="Each measured output against the quality floor: posterior, decision, reason. "
    "Only what it promotes is fed back.",
    key=("output_id",),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that was judged."),
            column("brief_id", TEXT, "The brief it answers."),
            column("segment", TEXT, "The brief's segment."),
            column("metric", TEXT, "The floor's metric."),
            column("exposure", REAL, "Trials seen, or whatever the metric is per."),
            column("observed", REAL, "Observed value; null without exposure.", nullable=True),
            column(
                "sampling_variance",
                REAL,
                "Variance of the observed value around the true one; null without exposure, and for shares, where it "
                "is p (1 - p) / exposure.",
                nullable=True,
            ),
            column("prior_mean", REAL, "Expected value before this output's own feedback."),
            column("prior_strength", REAL, "Trials the prior is worth."),
            column("posterior_mean", REAL, "Expected value after its feedback."),
            column("lower", REAL, "Lower end of the central 90% posterior interval."),
            column("upper", REAL, "Upper end of the central 90% posterior interval."),
            column("floor_level", REAL, "The value it had to beat; null while nothing sets it.", nullable=True),
            column("p_above", REAL, "Probability that its true value beats the floor."),
            column("decision", TEXT, "promote, hold (too little evidence) or reject; guardrails counted in."),
            column("is_vetoed", FLAG, "Whether a guardrail made the decision worse; `guardrail_scores` says which."),
            column("reason", TEXT, "Why, in words and numbers."),
            column("is_mature", FLAG, "Whether the measurement window had passed."),
            column(
                "threshold_version",
                TEXT,
                "The floor that judged it: pinned when the cycle was opened, or by `flywheel restate --threshold`.",
            ),
        ]
    ),
)


GUARDRAIL_SCORES = TableContract(
    name="guardrail_scores",
    layer="learning",
    description="Each measured output against the limit of each guardrail metric, and what that did to its decision: "
    "what was vetoed, and why.",
    key=("output_id", "metric"),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output that was judged."),
            column("brief_id", TEXT, "The brief it answers."),
            column("segment", TEXT, "The brief's segment."),
            column("metric", TEXT, "The guardrail metric."),
            column("exposure", REAL, "Trials seen, or whatever the metric is per."),
            column("observed", REAL, "Observed value; null without exposure.", nullable=True),
            column("posterior_mean", REAL, "Expected value after its feedback."),
            column("lower", REAL, "Lower end of the central 90% posterior interval."),
            column("upper", REAL, "Upper end of the central 90% posterior interval."),
            column("limit_value", REAL, "The limit in `floor.veto`."),
            column("better", TEXT, "lower: the limit is the most that is allowed. higher: the least."),
            column("p_within", REAL, "Probability that its true value keeps the limit."),
            column("verdict", TEXT, "within, doubtful (likely past), past, or unmeasured."),
            column("floor_decision", TEXT, "What the floor alone decided."),
            column("decision", TEXT, "What was decided, all guardrails counted in."),
            column("is_veto", FLAG, "Whether this guardrail made the decision worse than the floor's."),
            column("reason", TEXT, "Why, in words and numbers."),
            column("is_mature", FLAG, "Whether the measurement window had passed."),
            column("threshold_version", TEXT, "The threshold that holds the limit."),
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
            column("is_skilled", FLAG, "Whether it beat chance on held-out recent cycles, at the 5% level."),
            column("reason", TEXT, "Why it is or is not in use, in words."),
            column("known_at", INSTANT, "Latest feedback it learned from; null without any.", nullable=True),
            column(
                "holdout_correlation",
                REAL,
                "Correlation of prediction and outcome on held-out briefs: within, or between those with one output.",
            ),
            column(
                "holdout_hit_rate",
                REAL,
                "Share of held-out briefs whose best-predicted output was the best; null without a choice.",
                nullable=True,
            ),
            column(
                "holdout_chance",
                REAL,
                "Hit rate of a random choice on the same briefs; null without a choice.",
                nullable=True,
            ),
            column("holdout_briefs", WHOLE, "Held-out briefs, the most recent of the window."),
            column(
                "embedding_model",
                TEXT,
                "Whose sentence embeddings it learned from; null when from words and style alone.",
                nullable=True,
            ),
            column("n_without_vector", WHOLE, "Texts of the window without a vector, which count as the mean text."),
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
            column(
                "kind",
                TEXT,
                "words, chars, segment_words (terms of the text), style (hand-made features) or embedding.",
            ),
            column("term", TEXT, "The term, the name of the style feature, or the number of the dimension."),
            column("coefficient", SMALL_REAL, "Its weight in the prediction."),
            column("idf", SMALL_REAL, "Inverse document frequency; null but for terms.", nullable=True),
            column("centre", SMALL_REAL, "Mean subtracted from a feature or dimension; null for terms.", nullable=True),
            column("scale", SMALL_REAL, "What a style feature is divided by; null for all others.", nullable=True),
        ]
    ),
)


SCORING_MODEL_SKILL = TableContract(
    name="scoring_model_skill",
    layer="learning",
    description="How well the scoring model, and each family of its features, predicted the most recent briefs of its "
    "window from those before.",
    key=("block",),
    schema=pa.schema(
        [
            column(
                "block",
                TEXT,
                "together: the whole model. A family of features: its part of that prediction. without_embedding: the "
                "model fitted without the embedding.",
            ),
            column("model_version", TEXT, "The model, fitted on the whole window, that this is about."),
            column("holdout_first", DAY, "First cycle that was held out; the fit saw only earlier ones."),
            column("holdout_briefs", WHOLE, "Held-out briefs, the most recent of the window."),
            column("correlation", REAL, "Correlation of prediction and outcome, weighted by how exactly it is known."),
            column("z", REAL, "The correlation in standard errors of no skill at all."),
            column(
                "hit_rate",
                REAL,
                "Share of briefs whose best-predicted output was best; null without a choice.",
                nullable=True,
            ),
            column(
                "chance", REAL, "Hit rate of a random choice on the same briefs; null without a choice.", nullable=True
            ),
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
            column("prompt_version", TEXT, "Hash of the text and of the references it shows."),
            column("parent_version", TEXT, "The version before; null for the first.", nullable=True),
            column("frame_version", TEXT, "The champion's frame in `prompt_frames`, which it was rendered from."),
            column("corpus_version", TEXT, "Corpus it was rendered from."),
            column("template_hash", TEXT, "Hash of the template."),
            column(
                "author",
                TEXT,
                "What changed it last: template, references (other winners), human, reflection or optimiser.",
            ),
            column("n_references", WHOLE, "References it shows."),
            column("is_changed", FLAG, "Whether it differs from the parent."),
            column("frame", TEXT, "The prompt with slots for the references and the brief."),
            column("text", TEXT, "The prompt with all its references; the brief still to be filled in."),
        ]
    ),
)
