"""Sentence embeddings of texts, as they were computed once, and what asking for them cost."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import REAL, SMALL_REAL, TEXT, WHOLE

TEXT_EMBEDDINGS = TableContract(
    name="text_embeddings",
    layer="learning",
    description="Sentence embeddings of the texts that the scoring model learns from, computed once by the opening of "
    "their cycle.",
    key=("text_hash", "embedding_model"),
    kind="ledger",
    schema=pa.schema(
        [
            column("text_hash", TEXT, "sha256 of the text; what a text is looked up by."),
            column("embedding_model", TEXT, "Where the vector comes from: local or endpoint, and the model's name."),
            column(
                "vector",
                pa.list_(pa.field("item", SMALL_REAL)),
                "The embedding, of unit length, rounded to four decimals; every later use reads these numbers.",
            ),
            *FACT,
        ]
    ),
)


EMBEDDING_REQUESTS = TableContract(
    name="embedding_requests",
    layer="learning",
    description="Every request for embeddings that an endpoint answered: how many texts, tokens and dollars.",
    key=("request_key", "recorded_at"),
    kind="ledger",
    schema=pa.schema(
        [
            column("request_key", TEXT, "sha256 of the model, the dimensions and the texts that were asked for."),
            column("embedding_model", TEXT, "The model that was asked, as text_embeddings names it."),
            column("n_texts", WHOLE, "Texts in the request."),
            column("n_tries", WHOLE, "Times it was sent, retries included."),
            column("prompt_tokens", WHOLE, "Tokens of the answered try; null when not counted.", nullable=True),
            column("cost", REAL, "US dollars of the answered try; null when the price is unknown.", nullable=True),
            column("latency", REAL, "Seconds from the first try to the end."),
            *FACT,
        ]
    ),
)
