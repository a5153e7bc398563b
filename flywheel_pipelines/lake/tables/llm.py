"""What was asked of language models, and what it cost."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import REAL, TEXT, WHOLE

LLM_REQUESTS = TableContract(
    name="llm_requests",
    layer="production",
    description="Every request to a language model that came to an end: what was asked, answered and paid.",
    key=("request_key", "recorded_at"),
    kind="ledger",
    schema=pa.schema(
        [
            column("request_key", TEXT, "sha256 of everything that was asked; an answered key is never asked again."),
            column("brief_id", TEXT, "The brief it was asked for; of a reflection the word reflection."),
            column(
                "arm",
                TEXT,
                "What it was asked for: an arm; reflection or optimiser, which propose prompts; naming, of themes.",
            ),
            column("variant", WHOLE, "Number of the candidate within its brief and arm, from 0."),
            column("attempt", WHOLE, "The cycle's attempt it belongs to, from 1."),
            column("model", TEXT, "The model that was asked."),
            column("prompt_version", TEXT, "The prompt it was asked with."),
            column("mode", TEXT, "live or batch."),
            column("structured_output", TEXT, "How the answer's form was asked for: json_schema, json_object, prompt."),
            column("messages", TEXT, "What was asked, as a JSON list of messages."),
            column("status", TEXT, "answered, or failed: given up for good in this run."),
            column("answer", TEXT, "The valid answer as JSON; null when it failed.", nullable=True),
            column("error", TEXT, "Why it failed, in words; null when answered.", nullable=True),
            column("n_tries", WHOLE, "Times it was sent, retries included."),
            column("tries", TEXT, "What became of each try, as a JSON list."),
            column("prompt_tokens", WHOLE, "Tokens of the prompts of all tries; null when not counted.", nullable=True),
            column("cached_tokens", WHOLE, "Those of them that the provider's cache served.", nullable=True),
            column("completion_tokens", WHOLE, "Tokens of the answers of all tries.", nullable=True),
            column("cost", REAL, "US dollars for all tries; null when the price is unknown.", nullable=True),
            column("latency", REAL, "Seconds from the first try to the end."),
            *FACT,
        ]
    ),
)


LLM_BATCHES = TableContract(
    name="llm_batches",
    layer="production",
    description="What became of each batch that was handed to a provider's Batch API, one row per event.",
    key=("provider_batch_id", "event"),
    kind="ledger",
    schema=pa.schema(
        [
            column("provider_batch_id", TEXT, "The provider's id of the batch."),
            column("event", TEXT, "submitted, then completed, expired, cancelled or failed once collected."),
            column("input_file_id", TEXT, "The provider's id of the file of requests."),
            column("model", TEXT, "The model that was asked."),
            column("n_requests", WHOLE, "Requests in the batch."),
            column("n_answered", WHOLE, "Valid answers that were collected from it; 0 when submitted."),
            column("request_keys", pa.list_(TEXT), "The requests in it."),
            *FACT,
        ]
    ),
)
