"""One request of the OpenAI API in, one answer out, as plain data.

Here: chat completions and embeddings, their usage numbers and errors. Not here: HTTP (`application`), files and batches
(`batches`). An answer depends on the request's body alone, ids and times included.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel_pipelines.llm.offline.grammars import PARAMETER, Grammar, grammar_of_version
from flywheel_pipelines.llm.offline.prompt_reading import read_prompt
from flywheel_pipelines.llm.offline.reflecting import is_reflection, reflect
from flywheel_pipelines.llm.offline.schema_filling import fill_schema, plain_text
from flywheel_pipelines.llm.offline.theme_naming import is_theme_naming, name_theme
from flywheel_pipelines.llm.offline.writing import write
from flywheel_pipelines.similarity import shingles_of

MODEL = "offline-writer"
CREATED = 0
"""Time of every answer: a clock would make equal requests differ."""
BYTES_PER_TOKEN, TOKENS_PER_MESSAGE = 4, 4
EMBEDDING_SIZE, MAX_EMBEDDING_SIZE = 256, 4_096


class RequestError(Exception):
    """A request that is refused, in the form that the OpenAI API gives errors."""

    def __init__(
        self, message: str, *, status: int = 400, parameter: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


def chat_completion(body: Any) -> dict[str, Any]:
    """The answer to `chat/completions`.

    Raises:
        RequestError: the body is not one that can be answered.
    """
    messages = _checked_messages(body)
    schema, as_json = _wanted_form(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    grammar = _grammar(body)
    prompt = read_prompt(messages, grammar)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    choices = []
    n_completion = 0
    for index in range(_whole(body, "n", 1, 1, 128)):
        rng = random.Random(f"{digest}/{index}")
        writing = write(prompt, rng, grammar)
        schema = schema or prompt.orders.schema
        if schema is not None or as_json:
            if schema is not None and is_reflection(schema, messages):
                value: Any = reflect(schema, messages, grammar)
            elif schema is not None and is_theme_naming(schema, messages):
                value = name_theme(messages)
            else:
                value = fill_schema(schema, writing, prompt.brief, rng) if schema else {"text": plain_text(writing)}
            content = json.dumps(value, ensure_ascii=False)
        else:
            content = plain_text(writing)
        content, is_cut = _cut(content, limit)
        n_completion += count_tokens(content)
        choices.append(
            {
                "index": index,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": None,
                "finish_reason": "length" if is_cut else "stop",
            }
        )
    n_prompt = sum(_message_tokens(message) for message in messages)
    return {
        "id": f"chatcmpl-{digest[:24]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": body["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_completion,
            "total_tokens": n_prompt + n_completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "system_fingerprint": "offline",
    }


def embeddings(body: Any) -> dict[str, Any]:
    """The answer to `embeddings`: hashed character trigrams, of unit length, the same for equal texts.

    Raises:
        RequestError: the body is not one that can be answered.
    """
    if not isinstance(body, Mapping):
        raise RequestError("The body must be a JSON object.")
    _checked_model(body)
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RequestError("'input' must be a text or a list of texts that is not empty.", parameter="input")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise RequestError("'encoding_format' must be float or base64.", parameter="encoding_format")
    size = _whole(body, "dimensions", EMBEDDING_SIZE, 1, MAX_EMBEDDING_SIZE)
    vectors = [_embedded(text, size) for text in texts]
    n_tokens = sum(count_tokens(text) for text in texts)
    return {
        "object": "list",
        "model": body["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, body.get("encoding_format"))}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    }


def count_tokens(text: str) -> int:
    """Tokens of a text, at four bytes of UTF-8 each: there is no tokenizer where there is no model."""
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


def _checked_model(body: Mapping[str, Any]) -> None:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError("You must provide a 'model'.", parameter="model")
    if model != MODEL:
        raise RequestError(
            f"The model '{model}' does not exist here; this is the offline writer, its model is '{MODEL}'.",
            status=404,
            parameter="model",
            code="model_not_found",
        )


def _grammar(body: Mapping[str, Any]) -> Grammar:
    """The grammar that the request names; the built-in one when it names none."""
    version = body.get(PARAMETER, "")
    found = grammar_of_version(version) if isinstance(version, str) else None
    if found is None:
        raise RequestError(
            f"'{PARAMETER}' names {version!r}, a grammar that this process was not told of. It is told by the flywheel "
            "that brings it; leave the parameter out for the built-in grammar.",
            parameter=PARAMETER,
        )
    return found


def _checked_messages(body: Any) -> list[Mapping[str, Any]]:
    if not isinstance(body, Mapping):
        raise RequestError("The body must be a JSON object.")
    _checked_model(body)
    if body.get("stream"):
        raise RequestError("'stream' is not offered by the offline writer.", parameter="stream")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, Mapping) for one in messages):
        raise RequestError("'messages' must be a list of messages that is not empty.", parameter="messages")
    for index, message in enumerate(messages):
        if message.get("role") not in ("system", "developer", "user", "assistant", "tool"):
            raise RequestError(f"'messages[{index}].role' is not known.", parameter=f"messages[{index}].role")
    return messages


def _wanted_form(body: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    """The schema of the answer, if one is given as a parameter, and whether the answer is JSON at all."""
    wanted = body.get("response_format")
    if wanted is None:
        return None, False
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "text":
        return None, False
    if kind == "json_object":
        schema = wanted.get("schema")
        return (schema if isinstance(schema, Mapping) else None), True
    if kind == "json_schema":
        given = wanted.get("json_schema")
        given = given if isinstance(given, Mapping) else {}
        schema = given.get("schema")
        if not isinstance(schema, Mapping) or not given.get("name"):
            raise RequestError(
                "'response_format.json_schema' needs a name and a schema.", parameter="response_format.json_schema"
            )
        return schema, True
    raise RequestError(
        "'response_format.type' must be text, json_object or json_schema.", parameter="response_format.type"
    )


def _whole(body: Mapping[str, Any], name: str, default: int, lowest: int, highest: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise RequestError(f"'{name}' must be a whole number from {lowest} to {highest}.", parameter=name)
    return value


def _message_tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False) if content else ""
    return count_tokens(text) + TOKENS_PER_MESSAGE


def _cut(content: str, limit: Any) -> tuple[str, bool]:
    """The content within the limit of tokens, and whether it was cut."""
    if limit is None:
        return content, False
    if not isinstance(limit, int) or limit < 1:
        raise RequestError("The limit of tokens must be a whole number above 0.", parameter="max_completion_tokens")
    if count_tokens(content) <= limit:
        return content, False
    return content.encode()[: limit * BYTES_PER_TOKEN].decode(errors="ignore"), True


def _embedded(text: str, size: int) -> list[float]:
    vector = [0.0] * size
    for shingle in shingles_of(text):
        digest = hashlib.blake2b(shingle.encode(), digest_size=8).digest()
        vector[int.from_bytes(digest[:7], "big") % size] += 1.0 if digest[7] & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0:
        # Shingles that cancel each other out; any fixed direction will do.
        return [1.0, *([0.0] * (size - 1))]
    return [value / length for value in vector]


def _encoded(vector: Sequence[float], encoding: str | None) -> Any:
    if encoding != "base64":
        return list(vector)
    import base64
    import struct

    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
