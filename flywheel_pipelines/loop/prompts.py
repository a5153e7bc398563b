"""The frames and prompts that a cycle is produced with, registered as facts when it is opened.

A prompt is read back from the ledger by its version, so that closing an earlier cycle again, or editing the template,
does not change what a published cycle was produced with. Not here: making prompts (`learning/prompt.py`), and deciding
which frame is the champion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.frames import (
    Author,
    Frame,
    InPlay,
    Proposal,
    frame_from,
    frame_row,
    in_play,
    register_frame,
)
from flywheel_pipelines.learning.gate_state import WITHHELD
from flywheel_pipelines.learning.prompt import references_of, refresh_prompt
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.headers import batch_header
from flywheel_pipelines.production.arms import CHALLENGER, CONTROL, FLYWHEEL, NO_GUIDELINES, NO_REFERENCES
from flywheel_pipelines.production.planning import PromptInUse
from flywheel_pipelines.prompt_text import Reference


@dataclass(frozen=True)
class CyclePrompts:
    """The prompt of each arm; the challenger's only where one is on trial, ablations' where the YAML declares them."""

    flywheel: PromptInUse
    control: PromptInUse
    challenger: PromptInUse | None = None
    ablations: Mapping[str, PromptInUse] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownFrame:
    """A frame and who or what made it."""

    frame: Frame
    author: Author


def register_prompts(
    flywheel: Flywheel, store: Lake, cycle: date, predecessor: date | None, now: datetime
) -> CyclePrompts:
    """The prompts of a cycle that is being opened, recorded in `prompt_frames` and `prompt_versions`.

    The YAML's frame is the control's, without references. The flywheel's prompt is the one that the close of the
    predecessor rendered, and the challenger's the frame that its gate put on trial, with the same references.
    """
    name = flywheel.name
    register_yaml_frames(flywheel, store, cycle, now)
    corpus = tables.REFERENCE_CORPUS.empty()
    baseline = render(flywheel, KnownFrame(flywheel.frame(), "template"), corpus)
    learned = baseline
    if predecessor is not None:
        corpus = corpus_shown(store, name, predecessor)
        learned = store.read(tables.REFRESHED_PROMPT, name, predecessor).select(tables.REFRESHED_PROMPT.columns)
    trial = frame_on_trial(flywheel, store, predecessor)
    challenger = render(flywheel, trial, corpus, learned) if trial else None
    references = references_of(corpus)
    return CyclePrompts(
        flywheel=_register(store, name, learned, references, now),
        control=_register(store, name, baseline, [], now),
        challenger=_register(store, name, challenger, references, now) if challenger else None,
        ablations=_register_ablations(flywheel, store, corpus, learned, now),
    )


def _register_ablations(
    flywheel: Flywheel, store: Lake, corpus: pa.Table, learned: pa.Table, now: datetime
) -> dict[str, PromptInUse]:
    """The flywheel's prompt without one part: its frame without references, its references in the control's frame.

    House rules stay in all of them: the control states them, too, so they cannot be what moved the lift.
    """
    name, declared, found = flywheel.name, flywheel.spec.arms.ablations, {}
    if NO_REFERENCES in declared:
        champion = _known(store, name, learned["frame_version"][0].as_py())
        bare = render(flywheel, champion, tables.REFERENCE_CORPUS.empty(), learned)
        found[NO_REFERENCES] = _register(store, name, bare, [], now)
    if NO_GUIDELINES in declared:
        plain = render(flywheel, KnownFrame(flywheel.frame(), "template"), corpus, learned)
        found[NO_GUIDELINES] = _register(store, name, plain, references_of(corpus), now)
    return found


def register_yaml_frames(flywheel: Flywheel, store: Lake, cycle: date, now: datetime) -> None:
    """Record the frame that the YAML states, and the one that it puts on trial, as they stand now."""
    frames = store.read(tables.PROMPT_FRAMES, flywheel.name)
    own = flywheel.frame()
    earlier = [row for row in frames.sort_by("recorded_at").to_pylist() if row["author"] == "template"]
    parent = earlier[-1]["frame_version"] if earlier else None
    note = "The YAML as it stood." if parent is None else "The YAML was changed."
    add_frame(store, flywheel.name, Proposal(own, "template", cycle, parent, note=note), now)
    challenger = flywheel.challenger_frame()
    if challenger is not None:
        note = "prompt.challenger of the YAML."
        add_frame(store, flywheel.name, Proposal(challenger, "human", cycle, own.version, note=note), now)


def add_frame(store: Lake, flywheel: str, proposal: Proposal, now: datetime) -> bool:
    """Append a frame to the library; False, and nothing changes, when it is in it already."""
    fact = register_frame(proposal, now)
    return store.append_batch(flywheel, fact.header, {tables.PROMPT_FRAMES: fact.rows})


def gate_of(store: Lake, flywheel: Flywheel, cycle: date | None) -> InPlay:
    """The frames in play after the close of a cycle.

    Neither before anything was closed, nor without a share of briefs for trials: then the YAML's frame is the prompt.
    """
    if cycle is None or not flywheel.spec.arms.challenger:
        return InPlay()
    return in_play(store.read(tables.PROMPT_GATE, flywheel.name, cycle))


def corpus_shown(store: Lake, flywheel: str, cycle: date) -> pa.Table:
    """The references that prompts show after the close of a cycle: none while the gate withholds them."""
    gate = store.read(tables.PROMPT_GATE, flywheel, cycle, columns=["role"])
    if WITHHELD in gate["role"].to_pylist():
        return tables.REFERENCE_CORPUS.empty()
    return store.read(tables.REFERENCE_CORPUS, flywheel, cycle)


def champion_of(flywheel: Flywheel, store: Lake, cycle: date | None) -> KnownFrame:
    """The champion's frame after the close of a cycle; the YAML's where no gate has decided yet."""
    version = gate_of(store, flywheel, cycle).champion
    own = flywheel.frame()
    if version is None or version == own.version:
        return KnownFrame(own, "template")
    return _known(store, flywheel.name, version)


def frame_on_trial(flywheel: Flywheel, store: Lake, predecessor: date | None) -> KnownFrame | None:
    """The frame that a cycle tries: what the gate of its predecessor decided, or else the YAML's challenger."""
    if not flywheel.spec.arms.challenger:
        return None
    decided = gate_of(store, flywheel, predecessor)
    if decided == InPlay():
        own = flywheel.challenger_frame()
        return KnownFrame(own, "human") if own else None
    return _known(store, flywheel.name, decided.challenger) if decided.challenger else None


def render(flywheel: Flywheel, known: KnownFrame, corpus: pa.Table, previous: pa.Table | None = None) -> pa.Table:
    """A frame with the references of a corpus, as a row of REFRESHED_PROMPT."""
    return refresh_prompt(
        known.frame.template,
        corpus,
        previous,
        flywheel=flywheel.name,
        metric=flywheel.spec.floor.metric,
        guidelines=known.frame.lines,
        frame_author=known.author,
    )


def pinned_prompts(store: Lake, flywheel: str, manifest: Mapping[str, Any]) -> dict[str, PromptInUse]:
    """The prompts that a manifest pins, by arm. Raises FlywheelError when one was never registered."""
    versions = {
        FLYWHEEL: manifest["prompt_version"],
        CONTROL: manifest["control_prompt_version"],
        CHALLENGER: manifest["challenger_prompt_version"],
        **{arm: manifest[f"{arm}_prompt_version"] for arm in (NO_REFERENCES, NO_GUIDELINES)},
    }
    known = {row["prompt_version"]: row for row in store.read(tables.PROMPT_VERSIONS, flywheel).to_pylist()}
    missing = [version for version in versions.values() if version is not None and version not in known]
    if missing:
        raise FlywheelError(
            f"Prompt version(s) {', '.join(missing)} of {flywheel} are not in the ledger `prompt_versions`, although "
            f"the manifest of cycle {manifest['cycle']} pins them. Open the cycle again, so that they are registered."
        )
    return {arm: _in_use(known[version]) for arm, version in versions.items() if version is not None}


def _known(store: Lake, flywheel: str, version: str) -> KnownFrame:
    row = frame_row(store.read(tables.PROMPT_FRAMES, flywheel), version)
    return KnownFrame(frame_from(row), row["author"])


def _register(
    store: Lake, flywheel: str, rendered: pa.Table, references: list[Reference], now: datetime
) -> PromptInUse:
    """Append one prompt as a batch of its own; registering it again changes nothing."""
    prompt = rendered.to_pylist()[0]
    kept = ("prompt_version", "frame_version", "author", "corpus_version", "template_hash", "frame")
    row = {
        **{key: prompt[key] for key in kept},
        # A close that changed nothing names the prompt itself.
        "parent_version": prompt["parent_version"] if prompt["is_changed"] else None,
        "shown_references": json.dumps([asdict(reference) for reference in references], ensure_ascii=False),
        "batch_id": f"prompt-{prompt['prompt_version']}",
        "recorded_at": now,
        "source_row": 1,
    }
    rows = pa.Table.from_pylist([row], schema=tables.PROMPT_VERSIONS.schema)
    store.append_batch(flywheel, batch_header(rows, source="prompt", cycle=None), {tables.PROMPT_VERSIONS: rows})
    return _in_use(row)


def _in_use(row: Mapping[str, Any]) -> PromptInUse:
    references = tuple(Reference(**reference) for reference in json.loads(row["shown_references"]))
    return PromptInUse(row["prompt_version"], row["frame"], references)
