"""What a model may be trained on, and the jobs that did."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import DAY, REAL, TEXT, WHOLE

TRAINING_EXAMPLES = TableContract(
    name="training_examples",
    layer="learning",
    description="The training set as of the close of a cycle, one row per line of its files. The texts stand in the "
    "files alone.",
    key=("example_id",),
    schema=pa.schema(
        [
            column("example_id", TEXT, "Hash of kind, outputs and source."),
            column("kind", TEXT, "sft (one answer to imitate) or preference (an answer and a worse one)."),
            column("split", TEXT, "train or validation, by a hash of the brief: the same in every cycle."),
            column("line", WHOLE, "Line of the file <kind>.<split>.jsonl, from 1."),
            column("line_hash", TEXT, "sha256 of that line, without its line break."),
            column("brief_id", TEXT, "The brief that is asked for."),
            column("segment", TEXT, "The brief's segment."),
            column("locale", TEXT, "Language tag of the brief; null when open.", nullable=True),
            column("source_cycle", DAY, "The cycle that produced the answers."),
            column("chosen_id", TEXT, "The output to imitate or to prefer."),
            column(
                "rejected_id",
                TEXT,
                "The output that lost; the chosen one's own draft for an edit; null for sft.",
                nullable=True,
            ),
            column("source", TEXT, "feedback (the floor judged it) or edit (a person changed it)."),
            column(
                "p_better",
                REAL,
                "Probability that chosen is better than rejected, from both posteriors; null for sft and edits.",
                nullable=True,
            ),
            column("model", TEXT, "The model that wrote the chosen output; null for archives.", nullable=True),
            column("prompt_version", TEXT, "The prompt that the example asks with."),
            column("reason", TEXT, "Why it is in the set, in words."),
        ]
    ),
)


FINETUNE_JOBS = TableContract(
    name="finetune_jobs",
    layer="learning",
    description="What became of each fine-tuning job, one row per event.",
    key=("submission", "event", "batch_id"),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            column(
                "submission", TEXT, "Hash of provider, method, model, files and attempt: one submission is one job."
            ),
            column(
                "event", TEXT, "uploaded, created, or the provider's word for where it stands: running, succeeded, ..."
            ),
            column("set_cycle", DAY, "The close that the training set is of."),
            column("provider", TEXT, "The endpoint it was handed to."),
            column("method", TEXT, "supervised or dpo."),
            column("base_model", TEXT, "The model that is tuned."),
            column("attempt", WHOLE, "How often the same was submitted on purpose, from 1."),
            column("n_examples", WHOLE, "Lines of the training file."),
            column("training_hash", TEXT, "sha256 of the training file."),
            column("validation_hash", TEXT, "sha256 of the validation file; null without one.", nullable=True),
            column("training_file_id", TEXT, "The provider's id of the training file."),
            column(
                "validation_file_id", TEXT, "The provider's id of the validation file; null without one.", nullable=True
            ),
            column("job_id", TEXT, "The provider's id of the job; null before it was created.", nullable=True),
            column("tuned_model", TEXT, "Name of the tuned model; null before it is there.", nullable=True),
            column("error", TEXT, "Why it failed, in the provider's words; null otherwise.", nullable=True),
            *FACT,
        ]
    ),
)
