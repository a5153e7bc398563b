"""An answer is held to the whole of its schema, and a schema that cannot be held to is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.llm.answer_schema import AnswerCheck, AnswerError, load_schema


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("part", "good", "bad"),
    [
        ({"type": "string", "minLength": 2}, "ab", "a"),
        ({"type": "string", "maxLength": 2}, "🙂🙂", "🙂🙂🙂"),
        ({"type": "string", "pattern": "b+$"}, "aab", "aba"),
        ({"type": "string", "enum": ["p", "q"]}, "p", "r"),
        ({"const": 1}, 1, True),
        ({"type": "integer", "minimum": 2}, 2, 1),
        ({"type": "integer"}, 2, "2"),
        ({"type": "integer"}, 2, True),
        ({"type": "number", "exclusiveMaximum": 1}, 0.5, 1),
        ({"type": "number"}, 1, "1"),
        ({"type": "boolean"}, True, 1),
        ({"type": "null"}, None, 0),
        ({"type": ["string", "null"]}, None, 1),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, "1"),
        ({"type": "array", "items": TEXT, "minItems": 1}, ["a"], []),
        ({"type": "array", "items": TEXT, "maxItems": 1}, ["a"], ["a", "b"]),
        ({"type": "array", "items": TEXT}, ["a"], [1]),
        ({"type": "array", "items": TEXT, "uniqueItems": True}, ["a", "b"], ["a", "a"]),
        (closed(inner=TEXT), {"inner": "a"}, {"inner": 1}),
        (closed(inner=TEXT), {"inner": "a"}, {"inner": "a", "other": 1}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "1"}),
    ],
    ids=lambda value: json.dumps(value),
)
def test_each_keyword_lets_the_good_pass_and_not_the_bad(part: dict[str, Any], good: Any, bad: Any) -> None:
    check = AnswerCheck(closed(field=part))
    assert check.read(json.dumps({"field": good})) == {"field": good}
    with pytest.raises(AnswerError, match=r"field"):
        check.read(json.dumps({"field": bad}))


@pytest.mark.parametrize("text", ["", "{", '{"field": "a"} and more', "[]", '{"field": NaN}', '{"field": "\\ud800"}'])
def test_what_is_not_one_json_object_is_refused(text: str) -> None:
    with pytest.raises(AnswerError):
        AnswerCheck(closed(field=TEXT)).read(text)


def test_a_line_break_that_nobody_escaped_is_read_as_what_it_is() -> None:
    check = AnswerCheck(closed(text=TEXT))
    assert check.read('{\n\t"text" : "one\ntwo\x03\\n\\"three\\\\"\n}') == {"text": 'one\ntwo\x03\n"three\\'}


@pytest.mark.parametrize("text", ['{"text": "one\n', '{"text": "one\\\n"}', '{"text": "one"\x03}', '{"text": "one\n\\'])
def test_what_control_characters_cannot_excuse_is_refused(text: str) -> None:
    with pytest.raises(AnswerError):
        AnswerCheck(closed(text=TEXT)).read(text)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(AnswerError, match="title: Field required"):
        AnswerCheck(closed(title=TEXT)).read("{}")


def test_definitions_are_followed() -> None:
    schema = {**closed(a={"$ref": "#/$defs/short"}), "$defs": {"short": {"type": "string", "maxLength": 1}}}
    with pytest.raises(AnswerError, match="at most 1 character"):
        AnswerCheck(schema).read('{"a": "ab"}')


def test_names_that_python_would_not_take_are_taken() -> None:
    schema = closed(**{"class": TEXT, "a b": TEXT, "_x": TEXT, "model_config": TEXT})
    answer = {"class": "1", "a b": "2", "_x": "3", "model_config": "4"}
    assert AnswerCheck(schema).read(json.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "string", "format": "email"}, "keyword format"),
        ({"allOf": [TEXT]}, "keyword allOf"),
        ({"not": TEXT}, "keyword not"),
        ({"type": "object", "patternProperties": {}}, "keyword patternProperties"),
        ({"minLength": 2}, "needs `type: string`"),
        ({"type": "text"}, "type 'text' is unknown"),
        ({"$ref": "other.json"}, r"\$ref 'other.json'"),
        ({"$ref": "#/$defs/none"}, "points at nothing"),
        ({"$ref": "#/$defs/loop"}, "deep|itself"),
        ({"type": "string", "pattern": "("}, "not a regular expression"),
        ({"type": "string", "minLength": -1}, "whole number"),
        ({"type": "object", "required": ["x"]}, "required names x"),
    ],
    ids=lambda value: json.dumps(value),
)
def test_what_would_not_be_checked_is_refused_with_its_place(part: dict[str, Any], words: str) -> None:
    loop = closed(again={"$ref": "#/$defs/loop"})
    with pytest.raises(SpecError, match=rf"(?s)#/properties/field.*({words})"):
        AnswerCheck({**closed(field=part), "$defs": {"loop": loop}}, "schema.json")


def test_annotations_pass() -> None:
    part = {**TEXT, "title": "T", "description": "D", "examples": ["a"], "default": "a"}
    assert AnswerCheck({**closed(field=part), "$schema": "s"}).read('{"field": "a"}') == {"field": "a"}


def test_an_answer_is_an_object() -> None:
    with pytest.raises(SpecError, match="Wrap it"):
        AnswerCheck({"type": "array", "items": TEXT})


@pytest.mark.parametrize(("content", "words"), [("{", "line 1"), ("[]", "found a JSON list"), (None, "no such file")])
def test_a_schema_file_that_is_none_is_refused_in_words(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpecError, match=words):
        load_schema(path)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def schema_of(value: Any) -> dict[str, Any]:
    """A schema that takes this value: closed, and with the value's own types."""
    if isinstance(value, dict):
        return closed(**{}) | {"properties": {k: schema_of(v) for k, v in value.items()}, "required": list(value)}
    if isinstance(value, list):
        return {"type": "array", "items": {"anyOf": [schema_of(v) for v in value] or [{"type": "null"}]}}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return {"type": kinds[type(value)]}


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_a_value_keeps_to_the_schema_made_of_it_and_comes_back_as_it_was(value: dict[str, Any]) -> None:
    check = AnswerCheck(schema_of(value))
    assert check.read(json.dumps(value)) == value
    with pytest.raises(AnswerError):
        check.read(json.dumps({**value, "a name that is not there": 1}))
