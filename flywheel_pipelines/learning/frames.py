"""The frames of prompts: template and guidelines, immutable, each made from another one.

Here: a frame and its version, the fact that registers one, reading them back, which of them are in play, and what
changed from one to the next. Not here: rendering a frame (`prompt.py`), writing guidelines (`reflection.py`,
`optimising.py`), and deciding which frame is the champion (the gate).

A prompt is a frame plus the references of the corpus. References are renewed at every close; a frame goes on trial.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import PROMPT_FRAMES

Author = Literal["template", "human", "reflection", "optimiser"]
CHAMPION, CHALLENGER, PREDECESSOR = "champion", "challenger", "predecessor"
"""Roles of frames, as the gate's table has them."""


TEMPLATE_SOURCE = "prompt library, template"
"""What `batches` says of the YAML's own frames, which every opening registers."""


@dataclass(frozen=True)
class Guideline:
    """One line that a prompt states. `supports` are the outputs it rests on; a house rule rests on none."""

    text: str
    supports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """A template with its guidelines: a prompt without its references."""

    template: str
    guidelines: tuple[Guideline, ...] = ()

    @property
    def version(self) -> str:
        """Hash of the template and of the guidelines' texts (16 hex digits); what supports them is evidence."""
        return content_hash("frame", json.dumps([self.template, *self.lines], ensure_ascii=False))

    @property
    def lines(self) -> tuple[str, ...]:
        """The guidelines' texts."""
        return tuple(guideline.text for guideline in self.guidelines)


@dataclass(frozen=True)
class Proposal:
    """A frame as it is put forward: by whom, made from which, resting on what, for which cycle at the earliest."""

    frame: Frame
    author: Author
    proposed_for: date
    parent: str | None = None
    author_name: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class RegisteredFrame:
    """A batch of one fact, ready for the ledger."""

    version: str
    header: dict[str, object]
    rows: pa.Table


@dataclass(frozen=True)
class InPlay:
    """Versions of the frames that the gate has in play; None where it has none."""

    champion: str | None = None
    challenger: str | None = None


def frame_of(template: str, house_rules: Sequence[str]) -> Frame:
    """The frame of a template with the owner's house rules."""
    return Frame(template, tuple(Guideline(text) for text in house_rules))


def register_frame(proposal: Proposal, recorded_at: datetime) -> RegisteredFrame:
    """The frame as a fact recorded at `recorded_at` (UTC).

    Its batch is named after its version, so registering it again, by whomever, is the same batch and changes nothing:
    who came first is its author.
    """
    version = proposal.frame.version
    guidelines = [{"text": one.text, "supports": list(one.supports)} for one in proposal.frame.guidelines]
    fact = {
        "frame_version": version,
        "parent_version": proposal.parent if proposal.parent != version else None,
        "author": proposal.author,
        "author_name": proposal.author_name,
        "template": proposal.frame.template,
        "guidelines": json.dumps(guidelines, ensure_ascii=False),
        "evidence": json.dumps(proposal.evidence, ensure_ascii=False, sort_keys=True),
        "note": proposal.note,
        "proposed_for": proposal.proposed_for,
        "batch_id": f"frame-{version}",
        "recorded_at": recorded_at,
        "source_row": 1,
    }
    header = {
        "batch_id": fact["batch_id"],
        "source": TEMPLATE_SOURCE if proposal.author == "template" else f"prompt library, {proposal.author}",
        "recorded_at": recorded_at,
        "n_rows": 1,
        "n_quarantined": 0,
        "first_cycle": None,
        "last_cycle": None,
    }
    return RegisteredFrame(version, header, pa.Table.from_pylist([fact], schema=PROMPT_FRAMES.schema))


def frame_from(row: Mapping[str, Any]) -> Frame:
    """The frame of a row of PROMPT_FRAMES."""
    guidelines = json.loads(row["guidelines"])
    return Frame(row["template"], tuple(Guideline(one["text"], tuple(one["supports"])) for one in guidelines))


def frame_row(frames: pa.Table, version: str) -> dict[str, Any]:
    """The row of one frame. Raises FlywheelError when it was never registered."""
    for row in frames.to_pylist():
        if row["frame_version"] == version:
            return row
    raise FlywheelError(
        f"Frame {version} is not in the ledger `prompt_frames`, although it is in play. Its batch `frame-{version}` is "
        "missing from the lake: bring the lake back from a copy, or open the next cycle with the YAML's own prompt "
        "(arms.challenger: 0)."
    )


def frame_starting_with(frames: pa.Table, prefix: str) -> dict[str, Any]:
    """The row of the one frame whose version begins so. Raises FlywheelError when there is none, or several."""
    rows = {row["frame_version"]: row for row in frames.to_pylist() if row["frame_version"].startswith(prefix)}
    if len(rows) == 1:
        return next(iter(rows.values()))
    known = ", ".join(sorted(rows or frames["frame_version"].to_pylist())) or "none yet"
    said = "several frames begin so" if rows else "no frame begins so"
    raise FlywheelError(f"Frame {prefix!r}: {said}. There are {known}; `flywheel prompt list` shows them.")


def in_play(gate: pa.Table | None) -> InPlay:
    """Which frames the close of a cycle hands on, from the gate's rows of it (columns frame_version and role).

    Without rows there is neither: then the YAML's frame is the champion, and its `prompt.challenger` is on trial.
    """
    if gate is None or gate.num_rows == 0:
        return InPlay()
    by_role = {row["role"]: row["frame_version"] for row in gate.select(["frame_version", "role"]).to_pylist()}
    # After a promotion the former champion keeps the challenger's share for a while.
    return InPlay(by_role.get(CHAMPION), by_role.get(CHALLENGER, by_role.get(PREDECESSOR)))


def champion_frame(gate: pa.Table | None) -> str | None:
    """The version of the champion's frame after a close; None where no gate has decided: the YAML's frame."""
    return in_play(gate).champion


def frame_diff(before: Frame | None, after: Frame) -> str:
    """What changed, as a unified diff (`diff -u`) of the template and of the guidelines; empty when nothing did."""
    old = before or Frame("")
    parts = [("template", old.template, after.template), ("guidelines", "\n".join(old.lines), "\n".join(after.lines))]
    lines: list[str] = []
    for name, was, now in parts:
        lines += difflib.unified_diff(
            was.splitlines(), now.splitlines(), f"{name} before", f"{name} after", lineterm=""
        )
    return "\n".join(lines)
