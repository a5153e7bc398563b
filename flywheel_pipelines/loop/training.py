"""The step that makes training sets: from the judgements of a window of cycles to JSONL files and a data card.

Here: reading, calling the pure functions, writing. Not here: which outputs are examples (`learning/training_pairs.py`),
the split (`learning/training_sets.py`), and jobs that train on the files (`llm/finetuning.py`). It is not a part of
`close_cycles`: a preview of a correction writes no files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from flywheel_pipelines.chat import Message
from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.lake.writing import write_bytes_atomically
from flywheel_pipelines.learning.training_card import Origin, data_card, file_name
from flywheel_pipelines.learning.training_pairs import Candidate, choose_examples
from flywheel_pipelines.learning.training_sets import KINDS, SPLITS, Prompt, TrainingSet, build_training_set
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Markdown, Recorder, Shown
from flywheel_pipelines.production.edited import edited_content
from flywheel_pipelines.production.rendering import messages_for
from flywheel_pipelines.spec import TrainingSetsSpec

NO_LIMIT = 2**40
"""Tokens. Without references a prompt is as long as its brief; what a tuned model takes is for the provider to say."""
UNJUDGED: Mapping[str, Any] = {
    "decision": "unjudged", "is_mature": False, "posterior_mean": 0.0, "lower": 0.0, "upper": 0.0, "p_above": 0.0,
    "floor_level": None, "reason": "not judged",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A training set, its card, and where it was written."""

    training_set: TrainingSet
    card: str
    folder: Path


def training_folder(root: Path, flywheel: str, cycle: date) -> Path:
    """`<root>/<flywheel>/<cycle>`: where the files of a set stand."""
    return root / flywheel / cycle.isoformat()


def make_training_sets(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date], root: Path) -> Shown:
    """`training_examples`, and the files below `root`, as of the close of each cycle."""
    spec, store = flywheel.spec, recorder.store
    settings = spec.training_sets or TrainingSetsSpec()
    shown: Shown = {}
    for cycle in cycles:
        made = export_training_set(flywheel, store, cycle, root, settings)
        seen = flywheel.window(cycle, settings.lookback)
        read = [
            *flywheel.partitions(store, tables.SCORED_OUTPUTS, seen),
            *flywheel.partitions(store, tables.REVIEWED_OUTPUTS, seen),
        ]
        recorder.write(tables.TRAINING_EXAMPLES, made.training_set.rows(), cycle, read)
        shown = {"folder": str(made.folder), "card": Markdown(made.card)}
    return shown


def export_training_set(flywheel: Flywheel, store: Lake, cycle: date, root: Path, settings: TrainingSetsSpec) -> Made:
    """Write the files of the training set as of a close: four of JSON lines, then the card that holds their hashes.

    Each file is written whole or not at all. A kill in between leaves files that the card does not fit; the next run
    puts that right. The same lake gives the same bytes.

    Raises:
        CycleOrderError: the cycle was never closed.
    """
    if not store.has(tables.SCORED_OUTPUTS, flywheel.name, cycle):
        raise CycleOrderError(
            f"Cycle {cycle} of {flywheel.name} was never closed, so nothing says which outputs are proven. Run the job "
            f"{flywheel.name}__close for {cycle} first, or name a closed cycle."
        )
    made = training_set_of(flywheel, store, cycle, settings)
    card = data_card(made, _origin(flywheel, store, cycle, settings), settings)
    folder = training_folder(root, flywheel.name, cycle)
    for kind in KINDS:
        for split in SPLITS:
            write_bytes_atomically(folder / file_name(kind, split), made.file_bytes(kind, split))
    write_bytes_atomically(folder / "card.md", card.encode())
    return Made(made, card, folder)


def training_set_of(flywheel: Flywheel, store: Lake, cycle: date, settings: TrainingSetsSpec) -> TrainingSet:
    """The training set as of the close of a cycle; writes nothing."""
    seen = flywheel.window(cycle, settings.lookback)
    candidates = _candidates(flywheel, store, seen)
    examples, passed_over = choose_examples(candidates, settings, flywheel.spec.metric.better)
    wanted = {example.chosen.output_id: example.chosen for example in examples}
    prompts = (_baselines if settings.prompt == "baseline" else _as_asked)(store, flywheel.name, seen, wanted)
    return build_training_set(examples, prompts, settings, flywheel=flywheel.name, passed_over=passed_over)


def _candidates(flywheel: Flywheel, store: Lake, seen: CycleWindow) -> list[Candidate]:
    """What was published in the window, each with its newest judgement and what became of it in review."""
    name = flywheel.name
    judged = {row["output_id"]: row for row in store.read(tables.SCORED_OUTPUTS, name, seen).to_pylist()}
    reviewed = {row["output_id"]: row for row in store.read(tables.REVIEWED_OUTPUTS, name, seen).to_pylist()}
    written = {
        row["output_id"]: row
        for row in store.read(
            tables.GENERATED_OUTPUTS, name, seen, columns=["output_id", "content", "model"]
        ).to_pylist()
    }
    schemas = _manifests(store, name, seen)
    locales = {
        (row["cycle"], row["brief_id"]): row["locale"]
        for row in store.read(tables.BRIEFS, name, seen, columns=["cycle", "brief_id", "locale"]).to_pylist()
    }
    published = store.read(
        tables.PUBLISHED_OUTPUTS, name, seen, columns=["cycle", "output_id", "brief_id", "segment", "text"]
    )
    candidates = {}
    for row in published.to_pylist():
        about, output_id = written.get(row["output_id"], {}), row["output_id"]
        judgement, review = judged.get(output_id, UNJUDGED), reviewed.get(output_id)
        has_form = bool(schemas.get(row["cycle"], {}).get("output_schema")) and about.get("content") is not None
        left = review["final_text"] if review is not None and review["decision"] == "edited" else None
        candidates[output_id] = Candidate(
            **row,
            locale=locales.get((row["cycle"], row["brief_id"])),
            answer=about["content"] if has_form else row["text"],
            model=about.get("model"),
            review=review["decision"] if review is not None else None,
            edit_similarity=review["edit_similarity"] if review is not None else None,
            left_text=left,
            left_answer=edited_content(about["content"], left) if has_form and left is not None else left,
            **{column: judgement[column] for column in UNJUDGED},
        )
    return list(candidates.values())


def _manifests(store: Lake, flywheel: str, seen: CycleWindow) -> dict[date, dict[str, Any]]:
    columns = ["cycle", "output_schema", "control_prompt_version", "is_synthetic"]
    rows = store.read(tables.CYCLE_MANIFEST, flywheel, seen, columns=columns).to_pylist()
    return {row["cycle"]: row for row in rows}


def _baselines(store: Lake, flywheel: str, seen: CycleWindow, wanted: Mapping[str, Candidate]) -> dict[str, Prompt]:
    """The control arm's prompt of each output's cycle, filled in for its brief."""
    manifests = _manifests(store, flywheel, seen)
    columns = ["prompt_version", "frame"]
    frames = {
        row["prompt_version"]: row["frame"]
        for row in store.read(tables.PROMPT_VERSIONS, flywheel, columns=columns).to_pylist()
    }
    briefs = {(row["cycle"], row["brief_id"]): row for row in store.read(tables.BRIEFS, flywheel, seen).to_pylist()}
    prompts = {}
    for output_id, one in wanted.items():
        version = manifests.get(one.cycle, {}).get("control_prompt_version")
        brief = briefs.get((one.cycle, one.brief_id))
        if version is not None and version in frames and brief is not None:
            rendered = messages_for(frames[version], (), brief, max_prompt_tokens=NO_LIMIT)
            prompts[output_id] = Prompt(rendered.messages, version)
    return prompts


def _as_asked(store: Lake, flywheel: str, seen: CycleWindow, wanted: Mapping[str, Candidate]) -> dict[str, Prompt]:
    """What was sent for each output, by the ledger of requests; nothing for outputs from an archive."""
    columns = ["output_id", "request_key", "prompt_version"]
    rows = store.read(tables.GENERATED_OUTPUTS, flywheel, seen, columns=columns).to_pylist()
    keys = {row["request_key"]: row for row in rows if row["output_id"] in wanted and row["request_key"]}
    asked = store.read(
        tables.LLM_REQUESTS, flywheel, seen, columns=["request_key", "messages"], where="status = 'answered'"
    )
    return {
        keys[row["request_key"]]["output_id"]: Prompt(
            tuple(Message(**message) for message in json.loads(row["messages"])),
            keys[row["request_key"]]["prompt_version"],
        )
        for row in asked.to_pylist()
        if row["request_key"] in keys
    }


def _origin(flywheel: Flywheel, store: Lake, cycle: date, settings: TrainingSetsSpec) -> Origin:
    spec, seen = flywheel.spec, flywheel.window(cycle, settings.lookback)
    assert seen.first is not None
    used = store.read(tables.SCORED_OUTPUTS, spec.name, seen, columns=["threshold_version"])
    versions = set(used.column("threshold_version").to_pylist())
    rules = store.read(tables.THRESHOLDS, spec.name, columns=["threshold_version", "rule"]).to_pylist()
    return Origin(
        flywheel=spec.name,
        first=max(seen.first, spec.start),
        last=cycle,
        metric=spec.floor.metric,
        floors={row["threshold_version"]: row["rule"] for row in rules if row["threshold_version"] in versions},
        is_synthetic=spec.is_synthetic or _any_synthetic(_manifests(store, spec.name, seen).values()),
    )


def _any_synthetic(manifests: Iterable[Mapping[str, Any]]) -> bool:
    return any(manifest["is_synthetic"] for manifest in manifests)
