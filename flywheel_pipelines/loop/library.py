"""The library of prompts as people see it: every frame with its role and use, and frames that a person edits.

Here: what `flywheel prompt` shows and registers. Not here: how it looks (`cli`), what opening and closing do
(`loop/prompts.py`, `loop/gating.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.cycles import cycle_of, shift_cycle
from flywheel_pipelines.errors import FlywheelError, SpecError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.frames import Frame, Guideline, Proposal, frame_from, frame_starting_with
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.prompts import KnownFrame, add_frame, champion_of, render

ARMS = {
    "flywheel": "prompt_version",
    "control": "control_prompt_version",
    "challenger": "challenger_prompt_version",
    "no_references": "no_references_prompt_version",
    "no_guidelines": "no_guidelines_prompt_version",
}
WAITING, NOT_IN_PLAY = "waiting", "-"
DIVIDER = "=== template below, guidelines above, one a line ==="
MOST_CHARACTERS = 2_000


@dataclass(frozen=True)
class LibraryEntry:
    """A frame with what became of it.

    Attributes:
        row: its row of PROMPT_FRAMES.
        role: its roles after the latest close, `waiting` before its first trial, `-` when it is out of play.
        cycles: the cycles that used it, by arm.
        lift: its latest comparison at the gate: estimate, lower and upper end; None without one.
    """

    row: dict[str, Any]
    role: str
    cycles: dict[str, list[date]] = field(default_factory=dict)
    lift: tuple[float, float | None, float | None] | None = None

    @property
    def version(self) -> str:
        """The frame's version."""
        return self.row["frame_version"]

    @property
    def frame(self) -> Frame:
        """The frame itself."""
        return frame_from(self.row)


def read_library(store: Lake, flywheel: str) -> list[LibraryEntry]:
    """Every frame of a flywheel, in the order in which they were registered."""
    frames = store.read(tables.PROMPT_FRAMES, flywheel)
    used = cycles_used(store, flywheel)
    decided = store.cycles(tables.PROMPT_GATE, flywheel)
    gate = store.read(tables.PROMPT_GATE, flywheel).to_pylist() if decided else []
    entries = []
    for row in sorted(frames.to_pylist(), key=lambda row: (row["recorded_at"], row["frame_version"])):
        version = row["frame_version"]
        seen = sorted((one for one in gate if one["frame_version"] == version), key=lambda one: one["cycle"])
        now = sorted(one["role"] for one in seen if one["cycle"] == decided[-1])
        role = ", ".join(now) or (NOT_IN_PLAY if seen or used.get(version) else WAITING)
        # The control shows no references: what it is worth says nothing about the frame.
        compared = [one for one in seen if one["estimate"] is not None and one["role"] != "control"]
        last = compared[-1] if compared else None
        lift = (last["estimate"], last["lower"], last["upper"]) if last else None
        entries.append(LibraryEntry(row, role, used.get(version, {}), lift))
    return entries


def cycles_used(store: Lake, flywheel: str) -> dict[str, dict[str, list[date]]]:
    """For each frame the cycles that were opened with it, by arm."""
    versions = store.read(tables.PROMPT_VERSIONS, flywheel, columns=["prompt_version", "frame_version"])
    frame_by_prompt = dict(zip(*(versions[name].to_pylist() for name in versions.column_names), strict=True))
    found: dict[str, dict[str, list[date]]] = defaultdict(lambda: defaultdict(list))
    for manifest in store.read(tables.CYCLE_MANIFEST, flywheel).to_pylist():
        for arm, column in ARMS.items():
            frame = frame_by_prompt.get(manifest[column])
            if frame is not None:
                found[frame][arm].append(manifest["cycle"])
    return {frame: {arm: sorted(cycles) for arm, cycles in sorted(by_arm.items())} for frame, by_arm in found.items()}


def entry_named(store: Lake, flywheel: Flywheel, name: str | None) -> LibraryEntry:
    """The frame whose version begins so; without a name the champion's. Raises FlywheelError when there is none."""
    version = name or champion_version(store, flywheel)
    wanted = frame_starting_with(store.read(tables.PROMPT_FRAMES, flywheel.name), version)["frame_version"]
    return next(entry for entry in read_library(store, flywheel.name) if entry.version == wanted)


def champion_version(store: Lake, flywheel: Flywheel) -> str:
    """The champion's frame after the latest close."""
    return champion_of(flywheel, store, latest_closed(store, flywheel)).frame.version


def latest_closed(store: Lake, flywheel: Flywheel) -> date | None:
    """The latest cycle that was closed; None before the first."""
    return max(store.cycles(tables.REFRESHED_PROMPT, flywheel.name), default=None)


def earliest_trial(store: Lake, flywheel: Flywheel, now: datetime) -> date:
    """The first cycle that can try a frame that is registered now.

    The next close decides on it, which is that of the present cycle or of the one after the latest closed, whichever is
    later; the cycle after that one tries it.
    """
    cadence, closed = flywheel.spec.cadence, latest_closed(store, flywheel)
    deciding = [cycle_of(now.date(), cadence), flywheel.spec.start]
    if closed is not None:
        deciding.append(shift_cycle(closed, cadence, 1))
    return shift_cycle(max(deciding), cadence, 1)


def as_document(frame: Frame) -> str:
    """A frame as a text to edit: guidelines, the divider, the template."""
    guidelines = "".join(f"- {one.text}\n" for one in frame.guidelines)
    return f"{guidelines}{DIVIDER}\n{frame.template}"


def from_document(text: str, before: Frame) -> Frame:
    """The frame in an edited text. Raises FlywheelError when the divider is gone."""
    above, divider, template = text.partition(DIVIDER + "\n")
    if not divider:
        raise FlywheelError(
            f"The edited text has lost its divider, the line `{DIVIDER}`, so guidelines and template cannot be told "
            "apart. Nothing was registered. Edit again and leave that line as it is."
        )
    return edited(before, template=template, guidelines=above.splitlines())


def edited(before: Frame, *, template: str | None = None, guidelines: Sequence[str] | None = None) -> Frame:
    """The frame with another template, or other guidelines; one that stays keeps the outputs that support it."""
    known = {one.text: one for one in before.guidelines}
    kept = before.guidelines
    if guidelines is not None:
        lines = [" ".join(line.strip().removeprefix("-").split()) for line in guidelines]
        kept = tuple(known.get(line, Guideline(line)) for line in lines if line)
    return Frame(before.template if template is None else template, kept)


def register_edit(
    flywheel: Flywheel, store: Lake, frame: Frame, parent: str, *, note: str, author_name: str | None, now: datetime
) -> Proposal:
    """Put a person's frame into the library, from where it goes on trial like any other.

    Raises:
        FlywheelError: nothing was changed, or the frame is in the library already.
        SpecError: the frame cannot be rendered.
    """
    if frame.version == parent:
        raise FlywheelError(f"Nothing was changed: this is frame {parent} as it stands. Nothing was registered.")
    check_frame(flywheel, frame)
    proposal = Proposal(
        frame,
        "human",
        earliest_trial(store, flywheel, now),
        parent=parent,
        author_name=author_name,
        evidence={"strategy": "edit"},
        note=note,
    )
    if not add_frame(store, flywheel.name, proposal, now):
        known = frame_starting_with(store.read(tables.PROMPT_FRAMES, flywheel.name), frame.version)
        raise FlywheelError(
            f"Frame {frame.version} is in the library already: {known['author']} made it, recorded "
            f"{known['recorded_at']:%Y-%m-%d}. A frame is tried once; `flywheel prompt show {frame.version}` says what "
            "became of it."
        )
    return proposal


def check_frame(flywheel: Flywheel, frame: Frame) -> None:
    """Render a frame as opening and closing would, without references and with one. Raises SpecError if it cannot."""
    for line in frame.lines:
        if len(line) > MOST_CHARACTERS:
            raise SpecError(
                f"Guideline {line[:40]!r}... has {len(line):,} characters; {MOST_CHARACTERS:,} are allowed."
            )
    example = {
        "reference_id": "example",
        "segment": "example",
        "text": "An example.",
        "source_cycle": flywheel.spec.start,
        "quality": 0.0,
        "p_above": 1.0,
        "rank": 1,
        "corpus_version": "example",
    }
    blank = {column.name: None for column in tables.REFERENCE_CORPUS.schema}
    one = pa.Table.from_pylist([blank | example], schema=tables.REFERENCE_CORPUS.schema)
    for corpus in (tables.REFERENCE_CORPUS.empty(), one):
        render(flywheel, KnownFrame(frame, "human"), corpus)
