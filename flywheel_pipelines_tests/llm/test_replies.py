"""Each reply is judged for what it is: ask again, wait, give up one request, or stop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flywheel_pipelines.chat import Usage
from flywheel_pipelines.llm.answer_schema import AnswerCheck
from flywheel_pipelines.llm.replies import Reply, backoff, judge
from flywheel_pipelines_tests.llm.asking_samples import SCHEMA

CHECK = AnswerCheck(SCHEMA)
SENT = {"max_completion_tokens": 9, "seed": 1, "temperature": 3, "response_format": {"type": "json_schema"}}


def completion(content: Any = '{"title": "a"}', reason: str = "stop", **more: Any) -> Reply:
    message = {"role": "assistant", "content": content, **more}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    return Reply(200, {"choices": [{"message": message, "finish_reason": reason}], "usage": usage})


def error(status: int, message: str = "No.", **details: Any) -> Reply:
    return Reply(status, {"error": {"message": message, **details}})


def test_an_answer_comes_with_its_tokens() -> None:
    verdict = judge(completion(), CHECK, SENT)
    assert (verdict.kind, verdict.content, verdict.usage) == ("answered", {"title": "a"}, Usage(7, 3, 5))


@pytest.mark.parametrize(
    "content", ['```json\n{"title": "a"}\n```', '<think>{"title": 1}</think>\n{"title": "a"}', '  {"title": "a"}\n']
)
def test_what_models_put_around_json_is_taken_off(content: str) -> None:
    assert judge(completion(content), CHECK, SENT).content == {"title": "a"}


def test_without_a_schema_nothing_is_taken_off() -> None:
    assert judge(completion("```\na\n```"), AnswerCheck(None), SENT).content == {"text": "```\na\n```"}


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (completion('{"title"'), "invalid"),
        (completion('{"title": 1}'), "invalid"),
        (completion('{"title": "a"}', "length"), "truncated"),
        (completion(None), "empty"),
        (Reply(200, "<html>"), "not_a_completion"),
        (Reply(200, {"choices": []}), "not_a_completion"),
    ],
)
def test_an_unusable_answer_is_asked_for_again(reply: Reply, result: str) -> None:
    verdict = judge(reply, CHECK, SENT)
    assert (verdict.kind, verdict.result) == ("unusable", result)


@pytest.mark.parametrize(
    "reply",
    [
        completion(None, refusal="I cannot."),
        completion(None, "content_filter"),
        error(400, code="context_length_exceeded"),
        error(400, code="content_filter"),
        error(413),
    ],
)
def test_what_concerns_one_request_fails_it_alone(reply: Reply) -> None:
    assert judge(reply, CHECK, SENT).kind == "item_failed"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_passes_is_waited_for(status: int) -> None:
    assert judge(error(status), CHECK, SENT).kind == "wait"


@pytest.mark.parametrize(
    ("reply", "todo"),
    [
        (error(401), "OPENAI_API_KEY"),
        (error(403), "may not use"),
        (error(404), "producer.model"),
        (error(405), "OPENAI_BASE_URL"),
        (error(402), "quota"),
        (error(429, code="insufficient_quota"), "quota"),
        (error(429, type="insufficient_quota"), "quota"),
    ],
)
def test_what_no_request_would_survive_stops_the_run_with_what_to_do(reply: Reply, todo: str) -> None:
    verdict = judge(reply, CHECK, SENT)
    assert verdict.kind == "stop"
    assert todo in verdict.words


@pytest.mark.parametrize(
    ("reply", "kind", "parameter"),
    [
        (error(400, param="response_format"), "form_refused", ""),
        (error(400, "'json_schema' is not supported"), "form_refused", ""),
        (error(400, "Unknown parameter: 'seed'"), "parameter_refused", "seed"),
        (error(400, param="max_completion_tokens"), "parameter_refused", "max_completion_tokens"),
        (error(422, "extra fields: max_completion_tokens"), "parameter_refused", "max_completion_tokens"),
        (error(400, "use 'max_completion_tokens'", param="temperature"), "bad_request", ""),
        (error(400, "Unknown parameter: 'max_tokens'"), "bad_request", ""),
    ],
)
def test_a_bad_request_is_laid_to_what_was_sent_and_named(reply: Reply, kind: str, parameter: str) -> None:
    verdict = judge(reply, CHECK, SENT)
    assert (verdict.kind, verdict.parameter) == (kind, parameter)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Mon, 05 Jan 2026 00:01:00 GMT", "date": "Mon, 05 Jan 2026 00:00:00 GMT"}, 60.0),
        ({"retry-after": "Mon, 05 Jan 2026 00:01:00 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert judge(Reply(429, {}, headers), CHECK, SENT).retry_after == seconds


def test_tokens_that_are_no_counts_are_unknown() -> None:
    reply = completion()
    reply.body["usage"] = {"prompt_tokens": "7", "completion_tokens": 3}
    assert judge(reply, CHECK, SENT).usage is None


def test_waits_double_up_to_a_limit_and_are_the_same_for_one_key() -> None:
    waits = [backoff("k", number, 0.5, 4.0) for number in range(1, 9)]
    assert waits == [backoff("k", number, 0.5, 4.0) for number in range(1, 9)]
    for number, wait in enumerate(waits):
        longest = min(4.0, 0.5 * 2**number)
        assert longest / 2 <= wait <= longest


def test_waits_of_two_keys_differ() -> None:
    assert backoff("k", 3, 0.5, 60) != backoff("other", 3, 0.5, 60)


def test_a_long_error_is_shortened() -> None:
    assert len(judge(error(500, json.dumps(["x"] * 5_000)), CHECK, SENT).words) < 500
