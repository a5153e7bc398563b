"""Judged outputs for tests of training sets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from flywheel_pipelines.chat import Message
from flywheel_pipelines.learning.training_pairs import Candidate, Example, choose_examples
from flywheel_pipelines.learning.training_sets import Prompt, TrainingSet, build_training_set
from flywheel_pipelines.spec import TrainingSetsSpec

CYCLE = date(2026, 1, 5)
FLYWHEEL = "letters"
WORDS = [
    first + last for first in ("am", "bo", "ce", "du", "fy") for last in ("ber", "sil", "tar", "lon", "kin", "gru")
]


def text_of(number: int) -> str:
    """Texts that are nothing like each other, by number."""
    return " ".join(
        f"{WORDS[(number * 7 + place * (place + number % 5)) % 30]}{number * 31 + place}" for place in range(6)
    )


def candidate(output_id: str, brief_id: str = "b1", **changes: Any) -> Candidate:
    """A mature promoted output with a text of its own; what is changed follows in its answer."""
    known: dict[str, Any] = {
        "cycle": CYCLE, "segment": "bakeries", "locale": "en", "text": f"The text of {output_id}.",
        "decision": "promote", "is_mature": True, "posterior_mean": 0.05, "lower": 0.045, "upper": 0.055,
        "p_above": 0.95, "floor_level": 0.03, "reason": "412 sends, 95% sure", "model": "gpt-5-mini",
    } | changes  # fmt: skip
    return Candidate(output_id, brief_id=brief_id, **{"answer": known["text"], **known})


def loser(output_id: str, brief_id: str = "b1", **changes: Any) -> Candidate:
    """A mature output that the floor rejected."""
    worse = {"decision": "reject", "posterior_mean": 0.02, "lower": 0.015, "upper": 0.025, "p_above": 0.01}
    return candidate(output_id, brief_id, **{**worse, **changes})


def edited(output_id: str, left: str, brief_id: str = "b1", **changes: Any) -> Candidate:
    """An output that a reviewer edited."""
    return candidate(
        output_id,
        brief_id,
        **{"review": "edited", "edit_similarity": 0.7, "left_text": left, "left_answer": left, **changes},
    )


def prompts_for(examples: Iterable[Example]) -> dict[str, Prompt]:
    """A prompt per output that names its brief."""
    return {
        one.chosen.output_id: Prompt(
            (Message("system", "Write."), Message("user", f"brief {one.chosen.brief_id}")), "prompt-0"
        )
        for one in examples
    }


def made_of(*candidates: Candidate, better: Any = "higher", **settings: Any) -> TrainingSet:
    """The training set of some outputs."""
    spec = TrainingSetsSpec(**settings)
    examples, passed_over = choose_examples(candidates, spec, better)
    return build_training_set(examples, prompts_for(examples), spec, flywheel=FLYWHEEL, passed_over=passed_over)


def pairs(made: TrainingSet) -> set[tuple[str, str, str | None]]:
    """(source, chosen, rejected) of every preference."""
    return {
        (line.example.source, line.example.chosen.output_id, line.example.rejected_id)
        for line in made.lines
        if line.example.kind == "preference"
    }


def imitated(made: TrainingSet) -> set[str]:
    """Outputs that are answers to imitate."""
    return {line.example.chosen.output_id for line in made.lines if line.example.kind == "sft"}
