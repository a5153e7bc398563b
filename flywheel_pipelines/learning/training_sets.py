"""Training sets: examples with their prompts, without personal data and near-duplicates, split by brief.

Here: the rows of `training_examples`, the lines of the files, and the counts of what was removed. Not here: choosing
examples (`training_pairs`), rendering prompts (`production`), writing files (`loop/training.py`), the data card
(`training_card`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from flywheel_pipelines.chat import Message
from flywheel_pipelines.lake.tables import TRAINING_EXAMPLES
from flywheel_pipelines.learning.near_duplicates import NearDuplicateIndex
from flywheel_pipelines.learning.training_pairs import ALIKE, EDIT, PREFERENCE, SFT, Example
from flywheel_pipelines.personal_data import personal_data_in, personal_data_masked
from flywheel_pipelines.spec import TrainingSetsSpec

TRAIN, VALIDATION = "train", "validation"
KINDS, SPLITS = (SFT, PREFERENCE), (TRAIN, VALIDATION)
NO_PROMPT = "what it was asked with is not known"
PERSONAL = "holds personal data"
NEAR_DUPLICATE = "near-duplicate of a better example"
LEAKS = "near-duplicate of a text in the other split"
SAME_BRIEF = "asks the same as an example in the other split"
# JSON allows these three as they are, but many readers of lines break at them.
_LINE_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}


@dataclass(frozen=True)
class Prompt:
    """What an example asks: the messages, and the version of the prompt they were rendered from."""

    messages: tuple[Message, ...]
    version: str


@dataclass(frozen=True)
class Line:
    """One line of a file and the example it holds."""

    example: Example
    prompt: Prompt
    split: str
    text: str


@dataclass(frozen=True)
class TrainingSet:
    """The lines in the order of their files, and how many examples were removed and why. Nothing removed is kept.

    `n_masked` counts examples in which personal data was replaced by its kind.
    """

    lines: tuple[Line, ...]
    removed: Mapping[str, int]
    n_masked: int = 0

    def of(self, kind: str, split: str) -> list[Line]:
        """The lines of one file."""
        return [line for line in self.lines if line.example.kind == kind and line.split == split]

    def file_bytes(self, kind: str, split: str) -> bytes:
        """One file: UTF-8, a JSON object per line."""
        return "".join(f"{line.text}\n" for line in self.of(kind, split)).encode()

    def rows(self) -> pa.Table:
        """The rows of `training_examples`."""
        rows = [
            _row(line, number)
            for kind in KINDS
            for split in SPLITS
            for number, line in enumerate(self.of(kind, split), start=1)
        ]
        return TRAINING_EXAMPLES.conform(pa.Table.from_pylist(rows, schema=TRAINING_EXAMPLES.schema))


def build_training_set(
    examples: Sequence[Example],
    prompts: Mapping[str, Prompt],
    settings: TrainingSetsSpec,
    *,
    flywheel: str,
    passed_over: Mapping[str, int] | None = None,
) -> TrainingSet:
    """Examples to files.

    Args:
        examples: from `choose_examples`, the best first: of near-duplicates the first stays.
        prompts: by output_id of the chosen output; an example without one is removed.
        settings: thresholds and what is done about personal data.
        flywheel: its name is part of the split's hash.
        passed_over: counts of `choose_examples`, which the result's `removed` includes.

    No brief is in both splits, in this or any other cycle (`split_of`). No answer of a validation example is nearly one
    of a training example, and no question is the same, whatever their kinds: validation examples give way.
    """
    removed: Counter[str] = Counter(passed_over or {})
    asked: list[tuple[Example, Prompt]] = []
    n_masked = 0
    for example in examples:
        prompt = prompts.get(example.chosen.output_id)
        if prompt is None:
            removed[NO_PROMPT] += 1
            continue
        if _holds_personal_data(example, prompt):
            if settings.personal_data == "leave_out":
                removed[PERSONAL] += 1
                continue
            example, prompt = _masked(example, prompt)
            n_masked += 1
        asked.append((example, prompt))
    distinct = _without_near_duplicates(asked, settings.near_duplicate, removed)
    split = [(split_of(flywheel, one.chosen.brief_id, settings.validation), one, prompt) for one, prompt in distinct]
    kept = _without_leaks(split, settings.near_duplicate, removed)
    lines = [Line(one, prompt, side, _json_line(one, prompt)) for side, one, prompt in kept]
    lines.sort(key=lambda line: (line.example.kind, line.split, line.example.order))
    return TrainingSet(tuple(lines), {why: count for why, count in sorted(removed.items()) if count}, n_masked)


def split_of(flywheel: str, brief_id: str, validation: float) -> str:
    """Train or validation: sha256 of flywheel and brief, as a number from 0 to 1, below `validation` or not.

    A brief that comes again in another cycle is on the same side, and a larger share only moves briefs one way.
    """
    digest = hashlib.sha256(f"training split\x1f{flywheel}\x1f{brief_id}".encode()).digest()
    return VALIDATION if int.from_bytes(digest[:8], "big") / 2**64 < validation else TRAIN


def _texts(example: Example) -> list[str]:
    return [example.chosen_text, *([example.rejected_text] if example.rejected_text is not None else [])]


def _holds_personal_data(example: Example, prompt: Prompt) -> bool:
    locale = example.chosen.locale
    parts = [*_texts(example), example.chosen_answer, example.rejected_answer or ""]
    parts += [message.content for message in prompt.messages]
    return any(personal_data_in(part, locale) for part in dict.fromkeys(parts))


def _masked(example: Example, prompt: Prompt) -> tuple[Example, Prompt]:
    locale = example.chosen.locale

    def masked(text: str | None) -> str | None:
        return None if text is None else personal_data_masked(text, locale)

    messages = tuple(Message(one.role, personal_data_masked(one.content, locale)) for one in prompt.messages)
    return replace(
        example,
        chosen_text=personal_data_masked(example.chosen_text, locale),
        chosen_answer=_masked_answer(example.chosen_answer, locale),
        rejected_text=masked(example.rejected_text),
        rejected_answer=None if example.rejected_answer is None else _masked_answer(example.rejected_answer, locale),
    ), replace(prompt, messages=messages)


def _masked_answer(answer: str, locale: str | None) -> str:
    """An answer masked; one that is a JSON object text by text, so that it stays one."""

    def masked(value: Any) -> Any:
        if isinstance(value, str):
            return personal_data_masked(value, locale)
        if isinstance(value, list):
            return [masked(part) for part in value]
        return {key: masked(part) for key, part in value.items()} if isinstance(value, dict) else value

    try:
        parsed = json.loads(answer)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        return json.dumps(masked(parsed), ensure_ascii=False)
    return personal_data_masked(answer, locale)


def _without_near_duplicates(
    asked: Sequence[tuple[Example, Prompt]], threshold: float, removed: Counter[str]
) -> list[tuple[Example, Prompt]]:
    """Of each kind the first of every family. A pair is another's double when both of its sides are.

    The sides of an edit may be close, for what a reviewer changed is the lesson; those of two outputs may not.
    """
    texts = [text for example, _ in asked for text in _texts(example)]
    chosen = {kind: NearDuplicateIndex(threshold, texts) for kind in KINDS}
    rejected = NearDuplicateIndex(threshold, texts)
    kept = []
    for example, prompt in asked:
        if example.rejected_text is not None and _is_no_contrast(example, threshold):
            removed[ALIKE] += 1
            continue
        doubles = chosen[example.kind].find(example.chosen_text)
        if doubles and example.rejected_text is not None:
            doubles &= rejected.find(example.rejected_text)
        if doubles:
            removed[NEAR_DUPLICATE] += 1
            continue
        chosen[example.kind].add(example.example_id, example.chosen_text)
        if example.rejected_text is not None:
            rejected.add(example.example_id, example.rejected_text)
        kept.append((example, prompt))
    return kept


def _is_no_contrast(example: Example, threshold: float) -> bool:
    assert example.rejected_text is not None
    if example.source == EDIT and example.chosen_text != example.rejected_text:
        return example.chosen_answer == example.rejected_answer
    sides = NearDuplicateIndex(threshold, [])
    sides.add("rejected", example.rejected_text)
    return bool(sides.find(example.chosen_text))


def _without_leaks(
    split: Sequence[tuple[str, Example, Prompt]], threshold: float, removed: Counter[str]
) -> list[tuple[str, Example, Prompt]]:
    learned = NearDuplicateIndex(threshold, [text for _, example, _ in split for text in _texts(example)])
    asked = set()
    for side, example, prompt in split:
        if side == TRAIN:
            asked.add(_question(prompt))
            for text in _texts(example):
                learned.add(example.example_id, text)
    kept = []
    for side, example, prompt in split:
        if side == VALIDATION and _question(prompt) in asked:
            removed[SAME_BRIEF] += 1
        elif side == VALIDATION and any(learned.find(text) for text in _texts(example)):
            removed[LEAKS] += 1
        else:
            kept.append((side, example, prompt))
    return kept


def _question(prompt: Prompt) -> str:
    return "\n".join(" ".join(message.content.casefold().split()) for message in prompt.messages)


def _json_line(example: Example, prompt: Prompt) -> str:
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    answer = {"role": "assistant", "content": example.chosen_answer}
    if example.kind == SFT:
        return _json({"messages": [*messages, answer]})
    return _json(
        {
            "input": {"messages": messages, "tools": [], "parallel_tool_calls": True},
            "preferred_output": [answer],
            "non_preferred_output": [{"role": "assistant", "content": example.rejected_answer}],
        }
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_LINE_BREAKS)


def _row(line: Line, number: int) -> dict[str, Any]:
    example, chosen = line.example, line.example.chosen
    return {
        "example_id": example.example_id,
        "kind": example.kind,
        "split": line.split,
        "line": number,
        "line_hash": hashlib.sha256(line.text.encode()).hexdigest(),
        "brief_id": chosen.brief_id,
        "segment": chosen.segment,
        "locale": chosen.locale,
        "source_cycle": chosen.cycle,
        "chosen_id": chosen.output_id,
        "rejected_id": example.rejected_id,
        "source": example.source,
        "p_better": example.p_better,
        "model": chosen.model,
        "prompt_version": line.prompt.version,
        "reason": example.reason,
    }
