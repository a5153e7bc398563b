"""Requests: a key that covers everything asked, and is the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from flywheel_pipelines.chat import ChatRequest, Message

REQUEST = ChatRequest(
    flywheel="mail",
    cycle=date(2026, 1, 5),
    brief_id="b1",
    arm="flywheel",
    variant=0,
    attempt=1,
    model="tiny",
    messages=(Message("system", "Write."), Message("user", "Now ü.")),
    schema={"type": "object", "properties": {"b": {}, "a": {}}},
    parameters={"temperature": 0.9, "top_p": 1},
    prompt_version="v1",
)


@pytest.mark.parametrize(
    "changes",
    [
        {"flywheel": "news"},
        {"cycle": date(2026, 1, 12)},
        {"brief_id": "b2"},
        {"arm": "control"},
        {"variant": 1},
        {"attempt": 2},
        {"model": "large"},
        {"messages": (Message("user", "Write."), Message("user", "Now ü."))},
        {"messages": (Message("system", "Write.Now ü."),)},
        {"schema": None},
        {"schema": {"type": "object"}},
        {"parameters": {"temperature": 1.0, "top_p": 1}},
        {"max_output_tokens": 99},
    ],
)
def test_whatever_an_answer_may_depend_on_makes_another_key_and_seed(changes: dict[str, Any]) -> None:
    other = replace(REQUEST, **changes)
    assert other.key != REQUEST.key
    assert other.seed != REQUEST.seed


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_version": "v2"},
        {"parameters": {"top_p": 1, "temperature": 0.9}},
        {"schema": {"properties": {"a": {}, "b": {}}, "type": "object"}},
    ],
)
def test_control_what_is_only_noted_or_ordered_otherwise_does_not(changes: dict[str, Any]) -> None:
    assert replace(REQUEST, **changes).key == REQUEST.key


def test_a_key_is_pinned_since_the_ledger_knows_it() -> None:
    """An answered request must be found again after every upgrade, or it is paid twice."""
    assert REQUEST.key == "08e7fd439692dbf823b523b4b68d07cdeeac851cd7a96f5c76708d0529971788"


def test_a_seed_fits_32_signed_bits() -> None:
    assert all(0 <= replace(REQUEST, variant=variant).seed < 2**31 for variant in range(200))


def test_another_process_with_another_hash_seed_has_the_same_key() -> None:
    script = "from flywheel_pipelines_tests.test_chat import REQUEST; print(REQUEST.key)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == REQUEST.key
