"""What opening a cycle writes."""

import pyarrow as pa

from flywheel_pipelines.lake.changes import Added
from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import DAY, FLAG, INSTANT, REAL, TEXT, WHOLE

BRIEFS = TableContract(
    name="briefs",
    layer="production",
    description="What is to be produced in a cycle, one row per brief. The first step of opening a cycle.",
    key=("brief_id",),
    schema=pa.schema(
        [
            column("brief_id", TEXT, "The thing to produce."),
            column("segment", TEXT, "Group of briefs that are expected to behave alike."),
            column("title", TEXT, "Short human name of the brief."),
            column(
                "locale",
                TEXT,
                "Language tag of the output, e.g. en or pt-BR; null when open.",
                nullable=True,
            ),
            column("fields", TEXT, "Everything else that the brief says, as JSON; null for archives.", nullable=True),
            column("n_candidates", WHOLE, "Existing candidates to choose from; 0 when they are yet to be written."),
        ]
    ),
)


CYCLE_MANIFEST = TableContract(
    name="cycle_manifest",
    layer="production",
    description="What a cycle was produced with: every version it pinned from the close of the cycle before. "
    "Here the loop comes round.",
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
            column("control_prompt_version", TEXT, "Version of the treadmill's prompt, which has no references."),
            column(
                "challenger_prompt_version", TEXT, "Version of the prompt on trial; null without one.", nullable=True
            ),
            column(
                "no_references_prompt_version",
                TEXT,
                "Version of the prompt of the arm without references: the flywheel's frame; null without that arm.",
                nullable=True,
            ),
            column(
                "no_guidelines_prompt_version",
                TEXT,
                "Version of the prompt of the arm without guidelines: the YAML's frame; null without that arm.",
                nullable=True,
            ),
            column("corpus_version", TEXT, "Version of the reference corpus, hash of its entries."),
            column("scoring_model_version", TEXT, "Version of the scoring model, hash of its coefficients."),
            column("threshold_version", TEXT, "Version of the quality floor, hash of its rule."),
            column("config_hash", TEXT, "Hash of the settings."),
            column("settings", TEXT, "The flywheel's settings as JSON, as they were when the cycle was opened."),
            column("model", TEXT, "The language model that writes; null when nothing is written.", nullable=True),
            column("output_schema", TEXT, "JSON Schema of an output; null for plain text.", nullable=True),
            column("attempt", WHOLE, "How often the cycle's outputs were produced on purpose, from 1."),
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
    changes=(Added("no_references_prompt_version"), Added("no_guidelines_prompt_version")),
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
            column("arm", TEXT, "Arm it was written for; null where any arm may publish it.", nullable=True),
            column("variant", WHOLE, "Number of the candidate within its brief and arm, from 0."),
            column("attempt", WHOLE, "The attempt that produced it, from 1."),
            column("is_superseded", FLAG, "Whether a later attempt took its place."),
            column("text", TEXT, "The output itself, as a reader sees it; of a lead, its traits."),
            column("content", TEXT, "Its parts as JSON, by the output schema; null for archives.", nullable=True),
            column("producer", TEXT, "Kind of producer: archive, llm, scoring."),
            column("model", TEXT, "The language model that wrote it; null for archives.", nullable=True),
            column(
                "request_key", TEXT, "The request in llm_requests that it answers; null for archives.", nullable=True
            ),
            column("blocked", TEXT, "Why a guardrail keeps it from going out; null when it may.", nullable=True),
            column("soft_score", REAL, "How well it reaches its goals, 0 to 1; null where none is set.", nullable=True),
            column("soft_scores", TEXT, "The score of each goal as JSON; null where none is set.", nullable=True),
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
            column(
                "rank",
                WHOLE,
                "Rank by prediction and, if the flywheel says so, soft score among those of its brief, arm and "
                "attempt, 1 = best; of a lead, its place on its arm's list.",
            ),
            column("n_references_dropped", WHOLE, "References that the prompt had no room for."),
        ]
    ),
    changes=(Added("soft_score"), Added("soft_scores")),
)


PUBLISHED_OUTPUTS = TableContract(
    name="published_outputs",
    layer="production",
    description="What went out, per arm. An output both chosen and part of the control stands once for each arm.",
    key=("output_id", "arm"),
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output."),
            column(
                "arm",
                TEXT,
                "flywheel (learned choice), control (the treadmill), challenger (prompt on trial), or an ablation arm: "
                "no_references, no_guidelines, no_selection.",
            ),
            column("brief_id", TEXT, "The brief it answers."),
            column("segment", TEXT, "The brief's segment."),
            column("text", TEXT, "The text that went out."),
            column("predicted", REAL, "The prediction made before publishing, log ratio to the brief's mean."),
            column(
                "weight", REAL, "Share of this output in its arm's result for the brief; sums to 1 per brief and arm."
            ),
            column("probability", REAL, "Probability with which the arm's rule publishes this output for its brief."),
            column("choice", TEXT, "How it was chosen: best, explored, drawn or all."),
        ]
    ),
)


EXPORTS = TableContract(
    name="exports",
    layer="production",
    description="When each published output first went to the outbox; what an export says is new.",
    key=("output_id", "arm"),
    kind="ledger",
    schema=pa.schema(
        [
            column("output_id", TEXT, "The output."),
            column("arm", TEXT, "The arm it was published for."),
            column("export", WHOLE, "Number of the cycle's export that it went out with, from 1."),
            *FACT,
        ]
    ),
)
