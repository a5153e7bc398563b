"""The body of a chat completion: one request in the words of the OpenAI API.

Here: the three ways to ask for an answer by a schema, and the parameters that servers disagree about. Not here: which
way an endpoint takes (`dialect`), sending (`sending`, `batch`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.llm.settings import Form

SCHEMA_NOTE = (
    "Answer with one JSON object and nothing else: no Markdown, no words before or after it. "
    "It must keep to this JSON Schema:\n"
)


@dataclass(frozen=True)
class Dialect:
    """What servers disagree about. The default is what OpenAI takes.

    OpenAI's reasoning models refuse `max_tokens`, older servers know nothing else; some models refuse `seed`; OpenAI
    refuses a `schema` inside `json_object`, llama.cpp wants it.
    """

    token_limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    takes_seed: bool = True
    takes_object_schema: bool = True


DEFAULT_DIALECT = Dialect()


def chat_body(
    request: ChatRequest, form: Form, dialect: Dialect = DEFAULT_DIALECT, *, reask: int = 0
) -> dict[str, Any]:
    """The body for `chat/completions`.

    Args:
        request: what is asked.
        form: how the schema is put to the endpoint; without a schema it makes no difference.
        dialect: what the endpoint takes.
        reask: how often the request's answer was unusable already. It moves the seed: a server that keeps to seeds
            would repeat its answer.
    """
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    body: dict[str, Any] = {
        "model": request.model,
        **request.parameters,
        "messages": messages,
        dialect.token_limit: request.max_output_tokens,
    }
    if dialect.takes_seed:
        body["seed"] = (request.seed + reask) % 2**31
    if request.schema is None:
        return body
    if form == "json_schema":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": request.schema, "strict": _is_strict(request.schema)},
        }
        return body
    body["messages"] = _with_note(messages, request.schema)
    if form == "json_object":
        with_schema = {"schema": request.schema} if dialect.takes_object_schema else {}
        body["response_format"] = {"type": "json_object", **with_schema}
    return body


def _with_note(messages: list[dict[str, str]], schema: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages with the schema at the end of the first system message, where no brief can come between."""
    note = SCHEMA_NOTE + json.dumps(schema, ensure_ascii=False)
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{messages[0]['content']}\n\n{note}"}, *messages[1:]]
    return [{"role": "system", "content": note}, *messages]


def _is_strict(schema: object) -> bool:
    """Whether OpenAI's strict mode takes the schema: every object is closed and requires all of its properties."""
    if isinstance(schema, list):
        return all(_is_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        required = schema.get("required", ())
        if schema.get("additionalProperties") is not False or set(required) != set(properties):
            return False
        return all(_is_strict(part) for part in properties.values()) and _is_strict(
            [part for name, part in schema.items() if name in ("$defs", "definitions")]
        )
    if schema.get("type") == "object":
        return False
    return all(
        _is_strict(part) for name, part in schema.items() if name not in ("enum", "const", "default", "examples")
    )
