"""What opening a cycle writes."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.types import DAY, FLAG, INSTANT, REAL, TEXT, WHOLE

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
