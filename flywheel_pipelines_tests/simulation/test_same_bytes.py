"""The built-in grammar and the built-in audiences write the same bytes as ever.

Seasons of `content` and `outreach` are compared over versions of this project, and their figures stand in its pages. A
change on purpose changes the digests here, and those figures with them.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta

import pytest

from flywheel_pipelines.llm.offline.answering import chat_completion
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.market import KINDS, AudienceKind
from flywheel_pipelines_tests.llm.offline.prompts import body_of, references_with

WRITTEN = "c6c5793a7ce2e533"
REPORTED = {"content": "e9fb64db05bfb16d", "outreach": "d384f16331336459", "leads": "dbf325fd833cdaa8"}
START = date(2026, 1, 5)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def answers(seeds: range) -> list[str]:
    """Answers to prompts with and without references."""
    shown = [[], references_with(4, tone="warm", opening="scene")]
    return [
        chat_completion(body_of(references=references, seed=seed))["choices"][0]["message"]["content"]
        for seed in seeds
        for references in shown
    ]


def test_the_built_in_grammar_writes_what_it_always_wrote() -> None:
    assert digest(json.dumps(answers(range(20)))) == WRITTEN


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_built_in_audiences_report_what_they_always_reported(kind: AudienceKind) -> None:
    people = Audience(kind, seed=3)
    outputs = [
        {"output_id": f"o{number}", "brief_id": f"b{number}", "segment": "hotels", "text": text}
        for number, text in enumerate(answers(range(3)))
    ]
    people.publish_seen(START, outputs)
    exports = [people.export(START + timedelta(weeks=week)) for week in range(4)]
    assert any(export.rows for export in exports)
    assert digest(repr([export.rows for export in exports])) == REPORTED[kind.name]


def test_control_another_seed_writes_otherwise() -> None:
    assert digest(json.dumps(answers(range(1, 21)))) != WRITTEN
