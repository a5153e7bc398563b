"""The library of prompts: every frame that was ever proposed, and by whom.

A prompt is a *frame* (template and guidelines, with slots for references and brief) plus the references of the corpus.
Frames are what goes through the gate. Not here: making frames (`learning/frames.py`) and judging them.
"""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.ledgers import FACT
from flywheel_pipelines.lake.tables.types import DAY, TEXT

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
