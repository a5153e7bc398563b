"""The body says the same in each form, and keeps the start of the prompt as it was."""

from __future__ import annotations

import json

import pytest

from flywheel_pipelines.chat import ChatRequest, Message
from flywheel_pipelines.llm.payload import Dialect, chat_body
from flywheel_pipelines.llm.settings import FORMS, Form
from flywheel_pipelines_tests.llm.asking_samples import SCHEMA, requests

REQUEST = requests(1, parameters={"temperature": 0.5})[0]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_carries_the_schema(form: Form) -> None:
    assert json.dumps(SCHEMA)[1:-1] in json.dumps(chat_body(REQUEST, form)).replace('\\"', '"')


@pytest.mark.parametrize("form", FORMS)
def test_every_form_starts_with_the_same_system_message(form: Form) -> None:
    assert chat_body(REQUEST, form)["messages"][0]["content"].startswith("Write a title.")


def test_json_object_says_json_as_openai_wants_it() -> None:
    body = chat_body(REQUEST, "json_object")
    assert "JSON" in body["messages"][0]["content"]
    assert body["response_format"] == {"type": "json_object", "schema": SCHEMA}


def test_without_a_system_message_one_is_made() -> None:
    request = ChatRequest("f", REQUEST.cycle, "b", "flywheel", 0, 1, "m", (Message("user", "Go."),), SCHEMA)
    assert [message["role"] for message in chat_body(request, "prompt")["messages"]] == ["system", "user"]


def test_parameters_limit_and_seed_are_sent() -> None:
    body = chat_body(REQUEST, "json_schema")
    assert (body["temperature"], body["max_completion_tokens"], body["seed"]) == (0.5, 100, REQUEST.seed)


def test_a_dialect_changes_what_is_sent() -> None:
    body = chat_body(REQUEST, "json_object", Dialect("max_tokens", takes_seed=False, takes_object_schema=False))
    assert body["max_tokens"] == 100
    assert not {"seed", "max_completion_tokens"} & body.keys()
    assert body["response_format"] == {"type": "json_object"}


def test_asked_again_the_seed_is_another() -> None:
    assert chat_body(REQUEST, "prompt", reask=1)["seed"] == REQUEST.seed + 1


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (SCHEMA, True),
        ({**SCHEMA, "required": []}, False),
        ({**SCHEMA, "additionalProperties": True}, False),
        ({**SCHEMA, "properties": {"title": {"type": "array", "items": {"type": "object"}}}}, False),
    ],
)
def test_strict_is_said_only_where_the_schema_is(schema: dict, strict: bool) -> None:
    request = requests(1, schema=schema)[0]
    assert chat_body(request, "json_schema")["response_format"]["json_schema"]["strict"] is strict


def test_without_a_schema_no_form_is_asked_for() -> None:
    body = chat_body(requests(1, schema=None)[0], "json_schema")
    assert "response_format" not in body
