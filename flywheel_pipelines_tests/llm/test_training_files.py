"""The documented formats of fine-tuning files: what the provider's documents show is fine; what is not is named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from flywheel_pipelines.llm.training_files import Kind, check_file, kind_of

# As OpenAI's guides show them, texts our own.
SFT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Answer kindly."},
        {"role": "user", "content": "What is a rota?"},
        {"role": "assistant", "content": "A list of who works when."},
    ]
}
PREFERENCE: dict[str, Any] = {
    "input": {
        "messages": [{"role": "user", "content": "What is a rota?"}],
        "tools": [],
        "parallel_tool_calls": True,
    },
    "preferred_output": [{"role": "assistant", "content": "A list of who works when."}],
    "non_preferred_output": [{"role": "assistant", "content": "Look it up."}],
}
SAMPLES: dict[Kind, dict[str, Any]] = {"sft": SFT, "preference": PREFERENCE}
Change = Callable[[dict[str, Any]], Any]


def asked_for_by_the_user(row: dict[str, Any]) -> None:
    row["preferred_output"][0].update(role="user")


def preferring_nothing(row: dict[str, Any]) -> None:
    row.update(non_preferred_output=row["preferred_output"])


def answering_itself(row: dict[str, Any]) -> None:
    row["input"]["messages"].append({"role": "assistant", "content": "x"})


def file_of(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("kind", ["sft", "preference"])
def test_what_the_documents_show_is_fine(kind: Kind) -> None:
    content = file_of(*[SAMPLES[kind]] * 10)
    assert check_file(content, kind) == []
    assert kind_of(content) == kind


def test_weights_tools_and_several_turns_are_fine() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": "Who works on Monday?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "Jo"},
            {"role": "assistant", "content": "Jo.", "weight": 0},
            {"role": "user", "content": [{"type": "text", "text": "And on Tuesday?"}]},
            {"role": "assistant", "content": "Sam.", "weight": 1},
        ],
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "parallel_tool_calls": False,
    }
    assert check_file(file_of(*[row] * 10), "sft") == []


def test_fewer_than_ten_lines_are_too_few() -> None:
    [finding] = check_file(file_of(*[SFT] * 9), "sft")
    assert (finding.row, finding.field, finding.found) == (0, "file", "9 examples")
    assert [one.found for one in check_file(b"", "sft")] == ["0 examples"]


@pytest.mark.parametrize(
    ("kind", "change", "field", "found", "expected"),
    [
        ("sft", lambda row: row.pop("messages"), "line", "no messages", "messages"),
        ("sft", lambda row: row.update(messages=[]), "messages", "[]", "at least 1 entry"),
        ("sft", lambda row: row.update(note="x"), "line", "unknown note", "only messages"),
        ("sft", lambda row: row["messages"][1].update(role="human"), "messages.1.role", '"human"', "one of system"),
        ("sft", lambda row: row["messages"][1].update(content=""), "messages.1.content", '""', "not empty"),
        ("sft", lambda row: row["messages"][1].pop("content"), "messages.1", "no content", "content"),
        ("sft", lambda row: row["messages"][2].update(weight=2), "messages.2.weight", "2", "one of 0, 1"),
        ("sft", lambda row: row["messages"][2].update(weight=0), "messages", "nothing to learn", "weight is not 0"),
        ("sft", lambda row: row["messages"][2].pop("content"), "messages.2.content", "nothing", "a text"),
        ("sft", lambda row: row["messages"].pop(), "messages.1.role", "user", "assistant"),
        ("sft", lambda row: row["messages"].pop(1), "messages", "system, assistant", "of the user"),
        ("preference", lambda row: row.pop("input"), "line", "no input", "input"),
        ("preference", lambda row: row["input"].pop("messages"), "input", "no messages", "messages"),
        ("preference", lambda row: row.update(preferred_output=[]), "preferred_output", "[]", "at least 1 entry"),
        ("preference", lambda row: row["preferred_output"].append(SFT), "preferred_output", "[", "at most 1"),
        ("preference", asked_for_by_the_user, "preferred_output.0.role", "user", "assistant"),
        ("preference", preferring_nothing, "non_preferred_output", "once more", "worse"),
        ("preference", answering_itself, "input.messages", "at the end", "without an answer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_row_and_field(
    kind: Kind, change: Change, field: str, found: str, expected: str
) -> None:
    broken = copy.deepcopy(SAMPLES[kind])
    change(broken)
    findings = check_file(file_of(*[SAMPLES[kind]] * 5, broken, *[SAMPLES[kind]] * 5), kind)
    assert {one.row for one in findings} == {6}
    assert any(one.field == field and found in one.found and expected in one.expected for one in findings), findings


@pytest.mark.parametrize(
    ("line", "found"),
    [(b"{", "no JSON"), (b"", "an empty line"), (b'{"messages": "\xff"}', "not UTF-8"), (b"[1]", "[1]")],
)
def test_a_line_that_is_no_object_is_named(line: bytes, found: str) -> None:
    [finding] = check_file(file_of(*[SFT] * 10) + line + b"\n" + file_of(SFT), "sft")
    assert finding.row == 11
    assert found in finding.found


def test_an_error_shows_where_to_look_and_not_all_of_the_text() -> None:
    broken = copy.deepcopy(SFT)
    broken["messages"][1]["content"] = {"long": "secret " * 100}
    [finding] = check_file(file_of(*[SFT] * 9, broken), "sft")
    assert len(str(finding)) < 250


def test_a_file_of_the_other_kind_is_refused() -> None:
    assert {one.row for one in check_file(file_of(*[SFT] * 10), "preference")} == set(range(1, 11))
