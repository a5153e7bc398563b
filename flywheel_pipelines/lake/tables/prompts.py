"""The library of prompts: every frame that was ever proposed, every prompt that was rendered from one.

A prompt is a *frame* (template and guidelines, with slots for references and brief) plus the references of the corpus.
Frames are what goes through the gate. Not here: making frames (`learning/frames.py`) and judging them.
"""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import DAY, REAL, TEXT, WHOLE

PROMPT_FRAMES = TableContract(
    name="prompt_frames",
    layer="learning",
    description="Every frame of a prompt that was ever proposed: template and guidelines, who made it, from which "
    "frame, and what it rests on.",
    key=("frame_version",),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            column("frame_version", TEXT, "Hash of the template and of the texts of the guidelines."),
            column("parent_version", TEXT, "The frame it was made from; null for the first.", nullable=True),
            column("author", TEXT, "What made it: template (the YAML as it stands), human, reflection or optimiser."),
            column("author_name", TEXT, "Pseudonym of the person who made it; null when none is given.", nullable=True),
            column("template", TEXT, "The template's text, with its variables."),
            column("guidelines", TEXT, "Its guidelines as a JSON list of {text, supports}: supports lists output_ids."),
            column("evidence", TEXT, "What it rests on, as a JSON object: outputs, numbers, the model that was asked."),
            column("note", TEXT, "Why it was made, in words."),
            column("proposed_for", DAY, "First cycle that may try it."),
            *FACT,
        ]
    ),
)


PROMPT_VERSIONS = TableContract(
    name="prompt_versions",
    layer="learning",
    description="Every prompt that a cycle was opened with, as it was then: a frame with the references of a corpus.",
    key=("prompt_version",),
    kind="ledger",
    partition_by=("flywheel",),
    schema=pa.schema(
        [
            column("prompt_version", TEXT, "Hash of the text and of the references it shows."),
            column("parent_version", TEXT, "The prompt it came after; null for a first one.", nullable=True),
            column("frame_version", TEXT, "The frame in `prompt_frames` that it was rendered from."),
            column(
                "author",
                TEXT,
                "What changed it last: template, references (other winners), human, reflection or optimiser.",
            ),
            column("corpus_version", TEXT, "Corpus it was rendered from."),
            column("template_hash", TEXT, "Hash of the template."),
            column("frame", TEXT, "The prompt with slots for the references and the brief."),
            column("shown_references", TEXT, "Its references as a JSON list: reference_id, segment, text, rank."),
            *FACT,
        ]
    ),
)


PROPOSED_PROMPT = TableContract(
    name="proposed_prompt",
    layer="learning",
    description="What came of asking a model for a better prompt while a cycle was opened; one row per cycle. "
    "A frame that was proposed stands in `prompt_frames`.",
    key=("strategy",),
    schema=pa.schema(
        [
            column("strategy", TEXT, "reflect or gepa."),
            column("outcome", TEXT, "proposed, nothing_new, not_due or failed."),
            column("reason", TEXT, "Why, in words and numbers."),
            column("frame_version", TEXT, "The frame that was proposed; null without one.", nullable=True),
            column("parent_version", TEXT, "The champion's frame at that time.", nullable=True),
            column("model", TEXT, "The model that was asked; null when none was.", nullable=True),
            column("n_winners", WHOLE, "Winners that were shown to it, or briefs that were written for."),
            column("n_losers", WHOLE, "Losers that were shown to it."),
            column("n_guidelines", WHOLE, "Guidelines that came back."),
            column("n_dropped", WHOLE, "Those of them that were dropped, for the reasons in `dropped`."),
            column("dropped", TEXT, "What was dropped and why, as a JSON list of {text, reason}."),
            column("n_requests", WHOLE, "Requests of this proposal that came to an end, now or before."),
            column("cost", REAL, "US dollars of this run; null when the price is unknown.", nullable=True),
        ]
    ),
)
