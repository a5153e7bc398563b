"""The documented formats of fine-tuning files, and what is wrong with a file, row by row.

Sources:

- chat format of supervised fine-tuning: OpenAI, "Supervised fine-tuning", section "Formatting your data"
  (developers.openai.com/api/docs/guides/supervised-fine-tuning), and the schema `FineTuneChatRequestInput` of OpenAI's
  OpenAPI document: `messages` with roles system, user, assistant, tool; an assistant message may carry `weight` 0 or 1;
  at least 10 lines.
- preference format: OpenAI, "Direct preference optimization", section "Data format"
  (developers.openai.com/api/docs/guides/direct-preference-optimization), and `FineTunePreferenceRequestInput`: `input`
  with `messages`, `tools`, `parallel_tool_calls`; `preferred_output` and `non_preferred_output` hold one assistant
  message each, for only one-turn conversations are trained on.

Here: both as JSON Schemas, the rules that a schema cannot say, and words about what breaks them. Not here: making files
(`loop/training.py`) and handing them over (`finetuning`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["sft", "preference"]
MIN_EXAMPLES = 10
"""Fewest lines that OpenAI takes."""
MAX_BYTES = 512_000_000
"""Most bytes of one file by OpenAI's Files API."""
SHOWN = 80

_TEXT = {"type": "string", "minLength": 1}
_PARTS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"type": {"enum": ["text", "image_url"]}, "text": {"type": "string"}, "image_url": {}},
        "required": ["type"],
    },
}
_CONTENT = {"anyOf": [_TEXT, _PARTS]}
_ASSISTANT = {
    "type": "object",
    "properties": {
        "role": {"const": "assistant"},
        "content": {"anyOf": [_TEXT, _PARTS, {"type": "null"}]},
        "refusal": {"type": ["string", "null"]},
        "name": {"type": "string"},
        "tool_calls": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "function_call": {"type": ["object", "null"]},
        "weight": {"enum": [0, 1]},
    },
    "required": ["role"],
    "additionalProperties": False,
}
_MESSAGE = {
    "type": "object",
    "properties": {"role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]}},
    "required": ["role"],
    "if": {"properties": {"role": {"const": "assistant"}}},
    "then": _ASSISTANT,
    "else": {
        "properties": {
            "role": {},
            "content": _CONTENT,
            "name": {"type": "string"},
            "tool_call_id": {"type": "string"},
        },
        "required": ["content"],
        "additionalProperties": False,
    },
}
_TOOLS = {"type": "array", "items": {"type": "object", "required": ["type", "function"]}}
SFT_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "tools": _TOOLS,
        "functions": {"type": "array", "items": {"type": "object"}},
        "parallel_tool_calls": {"type": "boolean"},
    },
    "required": ["messages"],
    "additionalProperties": False,
}
_OUTPUT = {"type": "array", "minItems": 1, "maxItems": 1, "items": _ASSISTANT}
PREFERENCE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "input": {
            "type": "object",
            "properties": {
                "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
                "tools": _TOOLS,
                "parallel_tool_calls": {"type": "boolean"},
            },
            "required": ["messages"],
            "additionalProperties": False,
        },
        "preferred_output": _OUTPUT,
        "non_preferred_output": _OUTPUT,
    },
    "required": ["input", "preferred_output", "non_preferred_output"],
    "additionalProperties": False,
}
SCHEMAS: Mapping[Kind, Mapping[str, Any]] = {"sft": SFT_SCHEMA, "preference": PREFERENCE_SCHEMA}


@dataclass(frozen=True)
class Finding:
    """What is wrong with a line. `row` counts lines from 1; 0 is the file as a whole."""

    row: int
    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        """In a sentence."""
        where = f"row {self.row}, {self.field}" if self.row else self.field
        return f"{where}: found {self.found}; expected {self.expected}"


def kind_of(content: bytes) -> Kind:
    """The format that a file is in, by the keys of its first line that is an object; sft when there is none."""
    for line in content.split(b"\n"):
        try:
            first = json.loads(line)
        except ValueError:
            continue
        if isinstance(first, dict):
            return "preference" if {"input", "preferred_output", "non_preferred_output"} & first.keys() else "sft"
    return "sft"


def check_file(content: bytes, kind: Kind, *, min_examples: int = MIN_EXAMPLES) -> list[Finding]:
    """Everything that keeps a file from being taken, in the order of its lines; none when it is fine."""
    import jsonschema

    findings: list[Finding] = []
    if len(content) > MAX_BYTES:
        findings.append(Finding(0, "file", f"{len(content):,} bytes", f"at most {MAX_BYTES:,}; split it"))
    validator = jsonschema.Draft202012Validator(SCHEMAS[kind])
    n_rows = 0
    for row, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], start=1):
        n_rows += 1
        value, problem = _parsed(line)
        if problem is not None:
            findings.append(Finding(row, "line", problem, "one JSON object in UTF-8 per line"))
            continue
        found = [_finding(row, error) for error in _in_order(validator.iter_errors(value))]
        findings.extend(found or _beyond_the_schema(row, value, kind))
    if n_rows < min_examples:
        findings.append(
            Finding(0, "file", f"{n_rows} examples", f"at least {min_examples}; use a longer lookback or another cycle")
        )
    return findings


def _parsed(line: bytes) -> tuple[Any, str | None]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, f"bytes that are not UTF-8 ({error.reason} at byte {error.start})"
    if not text.strip():
        return None, "an empty line"
    try:
        return json.loads(text), None
    except ValueError as error:
        return None, f"no JSON ({error})"


def _in_order(errors: Iterable[Any]) -> list[Any]:
    """The errors by where they stand."""
    return sorted(errors, key=lambda error: ([str(part) for part in error.absolute_path], error.validator))


def _finding(row: int, error: Any) -> Finding:
    field = ".".join(str(part) for part in error.absolute_path) or "line"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return Finding(row, field, f"no {', '.join(missing)}", f"{', '.join(error.validator_value)}")
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = [key for key in error.instance if key not in known]
        return Finding(row, field, f"unknown {', '.join(unknown)}", f"only {', '.join(known)}")
    return Finding(row, field, _shown(error.instance), _expected(error))


def _expected(error: Any) -> str:
    value = error.validator_value
    match error.validator:
        case "enum":
            return f"one of {', '.join(map(str, value))}"
        case "const":
            return str(value)
        case "type":
            return " or ".join([value] if isinstance(value, str) else value)
        case "minItems" | "minLength":
            return f"at least {value} {'entry' if error.validator == 'minItems' else 'character'}"
        case "maxItems":
            return f"at most {value} entry"
        case "anyOf":
            return "a text that is not empty, or a list of parts"
        case _:
            return str(error.message)[:200]


def _beyond_the_schema(row: int, value: Any, kind: Kind) -> list[Finding]:
    messages = value["messages"] if kind == "sft" else value["input"]["messages"]
    where = "messages" if kind == "sft" else "input.messages"
    roles = [message["role"] for message in messages]
    findings = []
    if "user" not in roles:
        findings.append(Finding(row, where, f"the roles {', '.join(roles)}", "a message of the user"))
    if kind == "sft":
        if roles[-1] != "assistant":
            findings.append(
                Finding(
                    row, f"messages.{len(roles) - 1}.role", roles[-1], "assistant: the last message is what is learned"
                )
            )
        if not any(message["role"] == "assistant" and message.get("weight", 1) for message in messages):
            findings.append(Finding(row, "messages", "nothing to learn", "an assistant message whose weight is not 0"))
        answers = [("messages", messages)]
    else:
        if roles[-1] == "assistant":
            findings.append(Finding(row, where, "an assistant message at the end", "the question, without an answer"))
        answers = [(name, value[name]) for name in ("preferred_output", "non_preferred_output")]
        if value["preferred_output"] == value["non_preferred_output"]:
            findings.append(
                Finding(row, "non_preferred_output", "the preferred output once more", "an answer that is worse")
            )
    for name, of_name in answers:
        for number, message in enumerate(of_name):
            says_nothing = message.get("content") is None and not message.keys() & {"tool_calls", "function_call"}
            if message["role"] == "assistant" and says_nothing:
                findings.append(Finding(row, f"{name}.{number}.content", "nothing", "a text, or tool_calls"))
    return findings


def _shown(value: Any) -> str:
    # Rows hold what people wrote: an error shows where to look, and not all of it.
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
