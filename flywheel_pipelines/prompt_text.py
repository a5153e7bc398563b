"""The language of prompts: slots, and fences around what other people wrote.

Here: what `learning` (which makes prompts) and `production` (which fills them in) must agree on. Not here: either.

References and briefs are data. Each stands in a Markdown fence longer than any run of backticks inside it (CommonMark
0.31, section 4.5: only a fence at least as long closes a block), is never read as template syntax, and cannot pose as
a slot. That keeps the structure of the prompt out of their reach; whether a model obeys a sentence that it reads inside
a fence is for guardrails to check.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

BRIEF_SLOT = "{{ brief }}"
REFERENCES_SLOT = "{{ references }}"
BRIEF_LABEL, REFERENCE_LABEL = "brief", "reference"


@dataclass(frozen=True)
class Reference:
    """A proven winner as a prompt shows it; rank 1 is the best of the corpus."""

    reference_id: str
    segment: str
    text: str
    rank: int


def fenced(text: str, label: str) -> str:
    """The text in a Markdown fence that nothing inside it can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{label}\n{without_slots(text)}\n{fence}"


def without_slots(text: str) -> str:
    """The text with any look-alike of a slot broken up."""
    for slot in (BRIEF_SLOT, REFERENCES_SLOT):
        text = text.replace(slot, slot.replace("{{", "{ {").replace("}}", "} }"))
    return text


def render_references(references: Sequence[Reference]) -> str:
    """The references by segment, fenced: segments in order of their best reference, references in order of rank."""
    best: dict[str, int] = {}
    for reference in sorted(references, key=lambda reference: reference.rank):
        best.setdefault(reference.segment, reference.rank)
    ordered = sorted(references, key=lambda reference: (best[reference.segment], reference.rank))
    blocks = []
    for segment, group in groupby(ordered, key=lambda reference: reference.segment):
        shown = "\n\n".join(fenced(reference.text, REFERENCE_LABEL) for reference in group)
        blocks.append(f"## Segment: {_one_line(segment)}\n\n{shown}")
    return "\n\n".join(blocks)


def _one_line(name: str) -> str:
    """A segment's name as a heading: segments come from feeds too, so no line of theirs may start a section."""
    return without_slots(textwrap.shorten(name.replace("`", "'"), width=80, placeholder="...")) or "(none)"
