"""Answers keep to the schemas they are asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.llm.offline.answering import chat_completion
from flywheel_pipelines.llm.offline.grammar import CHOICES, read_choices
from flywheel_pipelines_tests.llm.offline.prompts import ARTICLE, SEQUENCE, body_of, choices_of, content_of, text_of

NAMES = ["title", "summary", "outline", "body", "subject", "messages", "text", "call_to_action", "tone", "x", "link"]
bounds = st.tuples(st.integers(0, 60), st.integers(0, 200)).map(
    lambda pair: {"minLength": pair[0], "maxLength": pair[0] + pair[1]}
)
strings = st.one_of(st.just({}), bounds).map(lambda limits: {"type": "string", **limits})
plain = st.one_of(
    strings,
    st.just({"type": "boolean"}),
    st.integers(-5, 5).flatmap(lambda low: st.just({"type": "integer", "minimum": low, "maximum": low + 3})),
    st.just({"type": ["string", "null"]}),
    st.just({"enum": ["a", "b", None]}),
    st.just({"const": 7}),
)
schemas = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.tuples(inner, st.integers(0, 3), st.integers(0, 3)).map(
            lambda one: {"type": "array", "items": one[0], "minItems": one[1], "maxItems": one[1] + one[2]}
        ),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=4).map(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)}
        ),
        inner.map(lambda one: {"anyOf": [{"type": "null"}, one]}),
    ),
    max_leaves=8,
)


def keeps_to(value: Any, schema: dict[str, Any]) -> bool:
    """The subset of JSON Schema that is generated here, checked by hand."""
    if "anyOf" in schema:
        return any(keeps_to(value, one) for one in schema["anyOf"])
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if value is None:
        return "null" in kinds
    if "object" in kinds:
        return set(value) == set(schema["properties"]) and all(
            keeps_to(value[name], part) for name, part in schema["properties"].items()
        )
    if "array" in kinds:
        return schema["minItems"] <= len(value) <= schema["maxItems"] and all(
            keeps_to(one, schema["items"]) for one in value
        )
    if "integer" in kinds:
        return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
    if "boolean" in kinds:
        return isinstance(value, bool)
    return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6)


@given(schema=schemas, seed=st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_any_schema_is_kept(schema: dict[str, Any], seed: int) -> None:
    assert keeps_to(content_of(body_of(schema=schema, seed=seed)), schema)


def test_control_the_check_sees_a_value_that_does_not_keep() -> None:
    assert not keeps_to(
        {"title": "abc"}, {"type": "object", "properties": {"title": {"type": "string", "maxLength": 2}}}
    )
    assert not keeps_to([1], {"type": "array", "minItems": 0, "maxItems": 2, "items": {"type": "string"}})


@pytest.mark.parametrize("schema", [ARTICLE, SEQUENCE], ids=["article", "sequence"])
def test_an_output_shows_every_choice(schema: dict[str, Any]) -> None:
    for seed in range(40):
        assert set(choices_of(body_of(seed=seed, schema=schema))) == set(CHOICES)


@pytest.mark.parametrize("length", CHOICES["length"])
@pytest.mark.parametrize("schema", [ARTICLE, SEQUENCE], ids=["article", "sequence"])
def test_the_length_chosen_is_that_of_the_whole_output(schema: dict[str, Any], length: str) -> None:
    for seed in range(15):
        assert choices_of(body_of(seed=seed, schema=schema, rules=f"length: {length}"))["length"] == length


def test_no_sentence_is_said_twice() -> None:
    schema = {
        "type": "object",
        "properties": {"opening": {"type": "string"}, "text": {"type": "string"}, "cta": {"type": "string"}},
    }
    content = content_of(body_of(schema=schema))
    assert content["opening"] not in content["text"]
    assert content["cta"] not in content["text"]
    assert set(read_choices(text_of(content))) == set(CHOICES)


def test_references_inside_the_schema_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "messages": {"type": "array", "items": {"$ref": "#/$defs/message"}, "minItems": 2, "maxItems": 2}
        },
        "$defs": {
            "message": {"type": "object", "properties": {"subject": {"type": "string"}, "text": {"type": "string"}}}
        },
    }
    messages = content_of(body_of(schema=schema))["messages"]
    assert [sorted(message) for message in messages] == [["subject", "text"]] * 2


def test_a_schema_that_contains_itself_ends() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "next": {"$ref": "#"}}}
    assert len(json.dumps(content_of(body_of(schema=schema)))) < 50_000


def test_an_enumeration_of_a_choice_tells_what_was_chosen() -> None:
    schema = {"type": "object", "properties": {"tone": {"enum": ["bold", "warm"]}, "is_question": {"type": "boolean"}}}
    content = content_of(body_of(schema=schema, rules="tone: warm\nAsk a question."))
    assert content == {"tone": "warm", "is_question": True}


def test_a_schema_in_words_is_kept_too() -> None:
    body = body_of(schema=None, rules=f"It must keep to this JSON Schema:\n{json.dumps(SEQUENCE)}")
    body["response_format"] = {"type": "json_object"}
    assert len(content_of(body)["messages"]) == 3


def test_without_a_schema_the_answer_is_text() -> None:
    content = chat_completion(body_of(schema=None))["choices"][0]["message"]["content"]
    assert set(read_choices(content)) == set(CHOICES)
    assert not content.startswith("{")
