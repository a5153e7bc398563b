"""The data card of a training set: what is in it, what was removed and why, and what it may be used for.

After Gebru et al., Datasheets for Datasets, CACM 64(12), 2021: composition, collection, preprocessing, uses. Not here:
the set itself (`training_sets`). Nothing in it depends on the clock.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from flywheel_pipelines.learning.training_pairs import PREFERENCE, SFT
from flywheel_pipelines.learning.training_sets import KINDS, SPLITS, TrainingSet
from flywheel_pipelines.spec import TrainingSetsSpec

PROMPTS = {
    "baseline": "the control arm's prompt with the brief, without references: a model tuned on it needs none",
    "as_asked": "what was really asked, references included",
}


@dataclass(frozen=True)
class Origin:
    """Where the examples of a set come from. `floors` are rules of the quality floor by version, as JSON."""

    flywheel: str
    first: date
    last: date
    metric: str
    floors: Mapping[str, str]
    is_synthetic: bool


def file_name(kind: str, split: str) -> str:
    """`sft.train.jsonl` and so on."""
    return f"{kind}.{split}.jsonl"


def data_card(made: TrainingSet, origin: Origin, settings: TrainingSetsSpec) -> str:
    """The card, in Markdown."""
    lines = made.lines
    simulated = (
        "**Simulated: the outputs or their feedback are synthetic. Do not take a model that was tuned on them for "
        "one that learned from people.**"
        if origin.is_synthetic
        else "From real outputs and feedback, as far as the flywheel's YAML and its feeds declare."
    )
    parts = [
        f"# Training set of {origin.flywheel}, as of the close of cycle {origin.last}",
        simulated,
        "## Files",
        _files(made),
        "`sft` holds one answer per line in OpenAI's chat format, `preference` a better and a worse one in the format "
        "of direct preference optimization. Check them: `flywheel training validate FILE`.",
        "## Where it comes from",
        _bullets(
            [
                f"cycles: {origin.first} to {origin.last}; examples are of {_counted(_cycles(made))}",
                f"promoted by: metric `{origin.metric}`; mature outputs only"
                + ("" if settings.edits == "promoted" else "; pairs of draft and edit from any output"),
                *(f"floor {version}: `{rule}`" for version, rule in sorted(origin.floors.items())),
                f"by source: {_counted(f'{line.example.kind} {line.example.source}' for line in lines)}",
                f"models: {_counted(line.example.chosen.model or 'none (archive)' for line in lines)}",
                f"prompt versions: {_counted(line.prompt.version for line in lines)}",
                f"languages: {_counted(line.example.chosen.locale or 'not stated' for line in lines)}",
                f"segments: {_counted(line.example.chosen.segment for line in lines)}",
                f"prompts are {PROMPTS[settings.prompt]}",
            ]
        ),
        "## Split",
        f"By a hash of flywheel and brief: {settings.validation:.0%} of briefs are for validation, the same ones in "
        "every cycle. No answer of a validation example is nearly one of a training example (text similarity "
        f"{settings.near_duplicate} or more), and no question is the same.",
        "## What was removed, and why",
        _removed(made),
        "Personal data means e-mail addresses, phone, card and account numbers. Names and postal addresses are not "
        "found: read the files before they leave the house.",
        "## Terms",
        _bullets([f"license: {settings.license}", f"consent: {settings.consent}"]),
    ]
    return "\n\n".join(parts) + "\n"


def _files(made: TrainingSet) -> str:
    rows = ["| file | lines | briefs | sha256 |", "| --- | --- | --- | --- |"]
    for kind in (SFT, PREFERENCE):
        for split in SPLITS:
            of_file = made.of(kind, split)
            briefs = {line.example.chosen.brief_id for line in of_file}
            digest = hashlib.sha256(made.file_bytes(kind, split)).hexdigest()
            rows.append(f"| `{file_name(kind, split)}` | {len(of_file)} | {len(briefs)} | `{digest}` |")
    return "\n".join(rows)


def _removed(made: TrainingSet) -> str:
    counts = [f"{count}: {why}" for why, count in made.removed.items()]
    if made.n_masked:
        counts.append(f"{made.n_masked} kept with personal data replaced by its kind")
    return _bullets(counts or ["nothing"])


def _cycles(made: TrainingSet) -> list[str]:
    return [str(line.example.chosen.cycle) for kind in KINDS for split in SPLITS for line in made.of(kind, split)]


def _counted(values: Iterable[str], most: int = 12) -> str:
    """Values with how often they occur, the most frequent first, on one line."""
    counts = sorted(Counter(" ".join(value.split()) for value in values).items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{value} ({count})" for value, count in counts[:most])
    return (shown + (f" and {len(counts) - most} more" if len(counts) > most else "")) or "none"


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
