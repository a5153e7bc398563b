"""Filling in a prompt: from a frame, references and a brief to the two messages that are sent.

Here: which references a brief gets to see, where the system message ends, and keeping to the token budget. Not here:
making frames (`learning`), the language of slots and fences (`prompt_text`), whose prompt a brief gets (`planning`).

The system message is all that the owner wrote up to the section of the references; it is the same for every brief, and
within a segment the user message begins the same too, so that provider prompt caches, which match prefixes, hit.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flywheel_pipelines.chat import Message
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.passages import PASSAGES, passage_lines, passages_in
from flywheel_pipelines.prompt_text import (
    BRIEF_LABEL,
    BRIEF_SLOT,
    REFERENCES_SLOT,
    Reference,
    fenced,
    render_references,
)

BYTES_PER_TOKEN = 4
NO_REFERENCES = "(none)"
_SLOTS = re.compile(f"({re.escape(REFERENCES_SLOT)}|{re.escape(BRIEF_SLOT)})")
_HEADING = re.compile(r"^ {0,3}#{1,6} .*$", re.MULTILINE)
_LIST_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)]) ", re.MULTILINE)
# The marks by which chat templates tell roles apart; some servers read them inside a message's content, too.
_ROLE_MARK = re.compile(
    r"<\|(?=[^|\n]{0,60}\|>)|<(?=/?(?:s|bos|eos|start_of_turn|end_of_turn)>)|<<(?=/?SYS>>)|\[(?=/?(?:INST|SYSTEM_PROMPT)\])",
    re.IGNORECASE,
)


class PromptTooLongError(FlywheelError):
    """A prompt does not fit its budget even without any reference."""


@dataclass(frozen=True)
class RenderedPrompt:
    """What is sent for one brief, and which references it shows (in the order shown)."""

    messages: tuple[Message, ...]
    shown: tuple[Reference, ...]
    n_dropped: int


def messages_for(
    frame: str,
    references: Sequence[Reference],
    brief: Mapping[str, Any],
    *,
    max_prompt_tokens: int,
    is_pooled: bool = False,
) -> RenderedPrompt:
    """The system and the user message for one brief.

    Args:
        frame: a prompt with BRIEF_SLOT and, when it has references, REFERENCES_SLOT.
        references: the whole corpus; those of the brief's segment are shown, best first.
        brief: a row of the contract `briefs`.
        is_pooled: show the best of all segments instead, as many as a segment has.
        max_prompt_tokens: most tokens of both messages, by `estimated_tokens`; the weakest references give way first.

    Raises:
        FlywheelError: the frame has no place for the brief.
        PromptTooLongError: the brief does not fit even without references.
    """
    if BRIEF_SLOT not in frame:
        raise FlywheelError(
            f"The prompt's frame has no place for the brief ({BRIEF_SLOT}). Add it to the prompt template."
        )
    system, rest = split_frame(frame)
    chosen = best_of_all(references) if is_pooled else references_for(references, str(brief["segment"]))
    candidates = chosen if REFERENCES_SLOT in frame else []
    shown = sorted(candidates, key=lambda reference: reference.rank)
    while True:
        user = _filled(rest, shown, brief)
        needed = estimated_tokens(system) + estimated_tokens(user)
        if needed <= max_prompt_tokens:
            break
        if not shown:
            raise PromptTooLongError(
                f"Brief {brief['brief_id']!r} needs about {needed} prompt tokens without any reference, but "
                f"max_prompt_tokens allows {max_prompt_tokens}. Shorten the brief or the prompt template, or raise "
                "producer.max_prompt_tokens."
            )
        shown = shown[:-1]
    messages = (*([Message("system", system)] if system else []), Message("user", user))
    return RenderedPrompt(messages, tuple(shown), len(candidates) - len(shown))


def estimated_tokens(text: str) -> int:
    """UTF-8 bytes / 4, rounded up: close for English, and never far below what a tokenizer of bytes counts elsewhere.

    An estimate, so that no tokenizer need be installed for models whose tokenizer nobody publishes; what was really
    used comes back with the answer.
    """
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def references_for(references: Sequence[Reference], segment: str) -> list[Reference]:
    """The references of a segment, best first; a segment without any gets the best of the others.

    Of the others as many as the best-furnished segment has, so that a new segment's prompt is no longer than any other.
    """
    ranked = sorted(references, key=lambda reference: reference.rank)
    own = [reference for reference in ranked if reference.segment == segment]
    return own or best_of_all(ranked)


def best_of_all(references: Sequence[Reference]) -> list[Reference]:
    """The best references whatever their segment, as many as the best-furnished segment has."""
    ranked = sorted(references, key=lambda reference: reference.rank)
    return ranked[: max(Counter(reference.segment for reference in ranked).values(), default=0)]


def split_frame(frame: str) -> tuple[str, str]:
    """The frame up to the section that introduces its first slot, and the rest.

    A heading introduces the slot when no more than a paragraph of prose stands between them; rules that stand there
    stay in the system message. Without such a heading the frame is split right before the slot.
    """
    first = _SLOTS.search(frame)
    cut = first.start() if first else len(frame)
    headings = list(_HEADING.finditer(frame, 0, cut))
    if headings:
        between = frame[headings[-1].end() : cut].strip()
        if "\n\n" not in between and not _LIST_ITEM.search(between) and frame[: headings[-1].start()].strip():
            cut = headings[-1].start()
    return frame[:cut].strip(), frame[cut:].strip()


def brief_text(brief: Mapping[str, Any]) -> str:
    """A brief (a row of `briefs`) as `key: value` lines: title, segment, locale, then its own fields by name.

    Further lines of a value are indented, so that none of them can pass for a key.
    """
    own = json.loads(brief["fields"]) if brief.get("fields") else {}
    shown = {"title": brief["title"], "segment": brief["segment"], "locale": brief.get("locale")}
    shown |= {f"field {key}" if key in shown else key: own[key] for key in sorted(own)}
    return "\n".join(
        f"{' '.join(key.split())}: {_indented(value)}" for key, value in shown.items() if value not in (None, "")
    )


def _indented(value: object) -> str:
    if passages := passages_in({PASSAGES: value}):
        # An id before each, for citations to name.
        text = passage_lines(passages)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return "\n  ".join(line.rstrip() for line in text.strip().splitlines())


def _filled(rest: str, shown: Sequence[Reference], brief: Mapping[str, Any]) -> str:
    """All slots filled in one pass: what is put in is never read for slots again."""
    harmless = [
        replace(reference, segment=without_role_marks(reference.segment), text=without_role_marks(reference.text))
        for reference in shown
    ]
    values = {
        REFERENCES_SLOT: render_references(harmless) or NO_REFERENCES,
        BRIEF_SLOT: fenced(without_role_marks(brief_text(brief)), BRIEF_LABEL),
    }
    return "".join(values.get(part, part) for part in _SLOTS.split(rest))


def without_role_marks(text: str) -> str:
    """The text with any role mark of the usual chat templates broken up by a space."""
    return _ROLE_MARK.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
