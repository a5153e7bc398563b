"""Passages: the numbered pieces of a document that a brief shows, and that what is written about it cites.

Here: their shape in a brief, which `feedback` (cuts them), `production` (shows them, checks citations) and the offline
writer agree on. Not here: any of these.

An id says where a passage stands: document, heading or page, and its number there, as in `ports.md#customs/2`. It keeps
still while its heading and what stands before it there do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

PASSAGES = "passages"
"""The field of a brief that holds them."""
_UNFIT = re.compile(r"[^\w.-]+")
_LINE = re.compile(r"\[([\w.#/-]+)\] (.*)")


@dataclass(frozen=True)
class Passage:
    """One passage: its id, the headings above it, and its text on one line."""

    id: str
    heading: str
    text: str


def passage_id(document: str, place: str, number: int) -> str:
    """The id of a passage: `document#place/number`; `place` may be empty."""
    return f"{document}#{place}/{number}" if place else f"{document}#{number}"


def name_for_ids(text: str) -> str:
    """A name as it may stand in an id: letters, digits, and . _ - alone."""
    return _UNFIT.sub("-", text).strip("-.") or "document"


def as_field(passages: Iterable[Passage]) -> list[dict[str, str]]:
    """The passages as a brief's field holds them."""
    return [asdict(passage) for passage in passages]


def passages_in(fields: Mapping[str, Any]) -> tuple[Passage, ...]:
    """The passages among a brief's fields, in their order; none where it has no such field, or another of that name."""
    found = fields.get(PASSAGES)
    rows = found if isinstance(found, list) else []
    keys = ("id", "heading", "text")
    return tuple(
        Passage(*(str(row[key]) for key in keys))
        for row in rows
        if isinstance(row, Mapping) and all(key in row for key in keys)
    )


def passage_lines(passages: Iterable[Passage]) -> str:
    """The passages as a prompt shows them: `[id] text`, one line each."""
    return "\n".join(f"[{passage.id}] {passage.text}" for passage in passages)


def read_lines(text: str) -> tuple[tuple[str, str], ...]:
    """Ids and texts of `passage_lines`; lines that are none are left out."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return tuple((line[1], line[2]) for line in found if line)
