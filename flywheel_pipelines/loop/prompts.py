"""The prompts that a cycle is produced with, registered as facts when it is opened.

A prompt is read back from the ledger by its version, so that closing an earlier cycle again, or editing the template,
does not change what a published cycle was produced with. Not here: making prompts (`learning/prompt.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.prompt import references_of, refresh_prompt
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.headers import batch_header
from flywheel_pipelines.production.arms import CHALLENGER, CONTROL, FLYWHEEL
from flywheel_pipelines.production.planning import PromptInUse
from flywheel_pipelines.prompt_text import Reference


@dataclass(frozen=True)
class CyclePrompts:
    """The prompt of each arm; the challenger's only where one is on trial."""

    flywheel: PromptInUse
    control: PromptInUse
    challenger: PromptInUse | None = None


def register_prompts(flywheel: Flywheel, store: Lake, predecessor: date | None, now: datetime) -> CyclePrompts:
    """The prompts of a cycle that is being opened, recorded in `prompt_versions`."""
    name = flywheel.name
    corpus = tables.REFERENCE_CORPUS.empty()
    baseline = _rendered(flywheel, flywheel.prompt_template(), corpus)
    learned = baseline
    if predecessor is not None:
        corpus = store.read(tables.REFERENCE_CORPUS, name, predecessor)
        learned = store.read(tables.REFRESHED_PROMPT, name, predecessor).to_pylist()[0]
    trial_template = flywheel.challenger_template()
    trial = _rendered(flywheel, trial_template, corpus) | {"author": "challenger"} if trial_template else None
    references = references_of(corpus)
    return CyclePrompts(
        flywheel=_register(store, name, learned, references, now),
        control=_register(store, name, baseline, [], now),
        challenger=_register(store, name, trial, references, now) if trial else None,
    )


def pinned_prompts(store: Lake, flywheel: str, manifest: Mapping[str, Any]) -> dict[str, PromptInUse]:
    """The prompts that a manifest pins, by arm. Raises FlywheelError when one was never registered."""
    versions = {
        FLYWHEEL: manifest["prompt_version"],
        CONTROL: manifest["control_prompt_version"],
        CHALLENGER: manifest["challenger_prompt_version"],
    }
    known = {row["prompt_version"]: row for row in store.read(tables.PROMPT_VERSIONS, flywheel).to_pylist()}
    missing = [version for version in versions.values() if version is not None and version not in known]
    if missing:
        raise FlywheelError(
            f"Prompt version(s) {', '.join(missing)} of {flywheel} are not in the ledger `prompt_versions`, although "
            f"the manifest of cycle {manifest['cycle']} pins them. Open the cycle again, so that they are registered."
        )
    return {arm: _in_use(known[version]) for arm, version in versions.items() if version is not None}


def _rendered(flywheel: Flywheel, template: str, corpus: pa.Table) -> dict[str, Any]:
    spec = flywheel.spec
    prompt = refresh_prompt(
        template, corpus, flywheel=spec.name, metric=spec.floor.metric, guidelines=spec.prompt.guidelines
    )
    return prompt.to_pylist()[0]


def _register(
    store: Lake, flywheel: str, prompt: Mapping[str, Any], references: list[Reference], now: datetime
) -> PromptInUse:
    """Append one prompt as a batch of its own; registering it again changes nothing."""
    row = {
        **{key: prompt[key] for key in ("prompt_version", "author", "corpus_version", "template_hash", "frame")},
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
