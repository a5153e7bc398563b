"""What a reply means: an answer, something to ask again, something to wait for, or the end of the run.

Here: judging one reply of a chat completions endpoint. Not here: sending, waiting, and what the endpoint's refusals
teach about it (`dialect`).
"""

from __future__ import annotations

import email.utils
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flywheel_pipelines.chat import Usage
from flywheel_pipelines.llm.answer_schema import AnswerCheck, AnswerError

QUOTA_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded", "credit_limit_reached"}
)
ITEM_CODES = frozenset(
    {"context_length_exceeded", "content_filter", "content_policy_violation", "string_above_max_length"}
)
WAIT_STATUS = frozenset({408, 409, 425, 429})
FENCE = re.compile(r"\A```[A-Za-z]*\s*\n(.*?)\n?\s*```\Z", re.DOTALL)
THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
LONGEST_DETAIL = 400

Kind = Literal[
    "answered", "unusable", "wait", "item_failed", "form_refused", "parameter_refused", "bad_request", "stop"
]


@dataclass(frozen=True)
class Reply:
    """What came back from one try. `status` is None when nothing did; `body` is the parsed JSON, or the text."""

    status: int | None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    trouble: Literal["", "timeout", "connection"] = ""
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What to make of a reply.

    `result` is the word that the ledger keeps, `words` says it to a person. `content` is the answer of an answered
    request. `retry_after` is in seconds. `parameter` is what was refused.
    """

    kind: Kind
    result: str
    words: str = ""
    content: dict[str, Any] | None = None
    usage: Usage | None = None
    retry_after: float | None = None
    parameter: str = ""


def judge(reply: Reply, check: AnswerCheck, sent: Mapping[str, Any]) -> Verdict:
    """What a reply means. `sent` is the body that it answers: what it did not contain cannot have been refused."""
    if (common := judge_common(reply)) is not None:
        return common
    if reply.status is not None and reply.status < 300:
        return _judge_answer(reply.body, check)
    return _judge_error(reply, sent)


def judge_common(reply: Reply) -> Verdict | None:
    """What a reply means that means the same whatever was asked for: no reply, a full quota, an endpoint to wait for.

    None when it is for the question to say.
    """
    if reply.trouble == "timeout":
        return Verdict("wait", "timeout", f"no answer within {reply.seconds:.1f} s")
    if reply.trouble == "connection" or reply.status is None:
        return Verdict("wait", "connection", f"the connection failed: {reply.detail or 'no reason given'}")
    if reply.status < 300:
        return None
    complaint = complaint_of(reply)
    if reply.status == 402 or complaint.codes & QUOTA_CODES:
        todo = "The account's quota is used up. Raise its limit or wait for the next period, then run again."
        return Verdict("stop", "insufficient_quota", f"{complaint.said} {todo}")
    if reply.status in WAIT_STATUS or reply.status >= 500:
        result = "rate_limited" if reply.status == 429 else "server_error" if reply.status >= 500 else "conflict"
        return Verdict("wait", result, complaint.said, retry_after=_retry_after(reply.headers))
    return None


@dataclass(frozen=True)
class Complaint:
    """What an error says of itself: `said` for people, and the endpoint's message, codes and named parameter."""

    said: str
    message: str
    codes: set[str]
    parameter: str


def complaint_of(reply: Reply) -> Complaint:
    """What the body of an error says, whatever its form."""
    error = reply.body.get("error", reply.body) if isinstance(reply.body, Mapping) else reply.body
    details = error if isinstance(error, Mapping) else {"message": str(error or "")}
    message = str(details.get("message") or details.get("detail") or _shortened(details))
    codes = {str(details.get("code") or ""), str(details.get("type") or "")}
    return Complaint(f"{reply.status}: {_shortened(message)}", message, codes, str(details.get("param") or ""))


def backoff(key: str, number: int, first: float, most: float) -> float:
    """Seconds before try `number + 1`: doubled each time, of which the second half is drawn by the request's key."""
    longest = min(most, first * 2 ** (number - 1))
    return longest * (0.5 + 0.5 * random.Random(f"{key}:{number}").random())


def _judge_answer(body: Any, check: AnswerCheck) -> Verdict:
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Verdict("unusable", "not_a_completion", f"the reply is not a chat completion: {_shortened(body)}")
    usage = usage_in(body.get("usage"))
    reason = choice.get("finish_reason")
    if message.get("refusal"):
        return Verdict("item_failed", "refused", f"the model refused: {_shortened(message['refusal'])}", usage=usage)
    if reason == "content_filter":
        return Verdict("item_failed", "filtered", "the provider's content filter withheld the answer", usage=usage)
    if reason == "length":
        words = "the answer was cut off; raise producer.max_output_tokens if this is frequent"
        return Verdict("unusable", "truncated", words, usage=usage)
    if not isinstance(content, str):
        return Verdict("unusable", "empty", "the answer has no content", usage=usage)
    try:
        content.encode()
        return Verdict("answered", "answered", content=check.read(_bare(content, check)), usage=usage)
    except AnswerError as error:
        return Verdict("unusable", "invalid", f"the answer does not keep to the schema: {error}", usage=usage)
    except UnicodeEncodeError:
        return Verdict("unusable", "invalid", "the answer holds half a surrogate pair, which is no text", usage=usage)


def _judge_error(reply: Reply, sent: Mapping[str, Any]) -> Verdict:
    status, complaint = reply.status or 0, complaint_of(reply)
    said = complaint.said
    if complaint.codes & ITEM_CODES or status == 413:
        return Verdict("item_failed", "refused", f"{said}. Shorten the brief or lower producer.max_prompt_tokens.")
    if status in (400, 422):
        return _judge_bad_request(said, complaint.message, complaint.parameter, sent)
    todo = {
        401: "Check that OPENAI_API_KEY holds a valid key of this provider.",
        403: "The key may not use this model or endpoint; ask the account's owner, or name another producer.model.",
        404: "Check producer.model and OPENAI_BASE_URL (most end in /v1): no such model or address was found there.",
    }.get(status, "Check OPENAI_BASE_URL: this does not look like a chat completions endpoint.")
    return Verdict("stop", "refused", f"{said} {todo}")


def _judge_bad_request(said: str, message: str, param: str, sent: Mapping[str, Any]) -> Verdict:
    """Which part of the request was refused, by the error's `param` or by its words."""
    named = f"{param} {'' if param else message}"
    form = sent.get("response_format")
    if form and "response_format.schema" in f"{param} {message}" and "schema" in form:
        return Verdict("parameter_refused", "parameter_refused", said, parameter="object_schema")
    if form and re.search(r"response_format|json_schema|json_object|grammar", named):
        todo = "This endpoint does not take the form of answers asked for: set producer.structured_output to auto."
        return Verdict("form_refused", "form_refused", f"{said} {todo}")
    for parameter in ("max_completion_tokens", "max_tokens", "seed"):
        if parameter in sent and re.search(rf"\b{parameter}\b", named):
            return Verdict("parameter_refused", "parameter_refused", said, parameter=parameter)
    todo = "Correct what it names, in producer.parameters, producer.model or the file of producer.output."
    return Verdict("bad_request", "bad_request", f"{said} {todo}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the reply asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110)."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        found = headers.get(name)
        if found is None:
            continue
        try:
            seconds = float(found) / per_second
        except ValueError:
            seconds = _until(found, headers.get("date"))
        # Not a number, or before now: as if it had not been said.
        if seconds is not None and 0 <= seconds < float("inf"):
            return seconds
    return None


def _until(moment: str, now: str | None) -> float | None:
    """Seconds from the reply's own date to a date: the clocks of two machines need not agree."""
    try:
        until = email.utils.parsedate_to_datetime(moment)
        since = email.utils.parsedate_to_datetime(now or "")
        return max(0.0, (until - since).total_seconds())
    except (TypeError, ValueError):
        return None


def usage_in(found: Any) -> Usage | None:
    """Tokens as the endpoint counted them; None when it did not, or counted nonsense."""
    if not isinstance(found, Mapping):
        return None
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    prompt, completion = found.get("prompt_tokens"), found.get("completion_tokens", 0)
    for count in (prompt, completion):
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            return None
    assert isinstance(prompt, int)
    return Usage(prompt, completion, cached if isinstance(cached, int) and 0 <= cached <= prompt else 0)


def _bare(content: str, check: AnswerCheck) -> str:
    """The JSON without the thoughts before it and the Markdown fence around it that some models add."""
    if not check.expects_json:
        return content
    text = THOUGHTS.sub("", content).strip()
    fence = FENCE.match(text)
    return fence.group(1) if fence else text


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 3] + "..."
