"""What an endpoint takes is learned from its refusals, not from its outages, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines.chat import Usage
from flywheel_pipelines.llm.dialect import MEMORY, STRIKES, USELESS, EndpointMemory, Terms
from flywheel_pipelines.llm.payload import DEFAULT_DIALECT
from flywheel_pipelines.llm.replies import Verdict
from flywheel_pipelines.llm.settings import Form

ANSWERED = Verdict("answered", "answered", usage=Usage(10, 10))
BROKEN = Verdict("wait", "server_error", "500")
INVALID = Verdict("unusable", "invalid")
BUSY = Verdict("wait", "rate_limited")
URL = "http://example.test/v1"


def meet(terms: Terms, takes: set[Form], n: int) -> list[Form]:
    """Send tries to an endpoint that answers 500 to the forms it does not take; returns the forms tried."""
    tried: list[Form] = []
    for _ in range(n):
        tried.append(terms.choose())
        terms.learn(tried[-1], ANSWERED if tried[-1] in takes else BROKEN, limit=100)
    return tried


def test_the_first_form_that_works_is_settled() -> None:
    terms = Terms()
    assert meet(terms, {"json_schema"}, 2) == ["json_schema"] * 2
    assert terms.settled == "json_schema"


def test_a_form_that_fails_while_the_next_works_is_given_up_after_three_times() -> None:
    terms = Terms()
    tried = meet(terms, {"json_object", "prompt"}, 6)
    assert tried.count("json_schema") == STRIKES
    assert (terms.settled, list(terms.refused)) == ("json_object", ["json_schema"])


def test_one_failure_is_not_enough() -> None:
    terms = Terms()
    terms.learn("json_schema", BROKEN, limit=100)
    terms.learn("json_object", ANSWERED, limit=100)
    assert terms.choose() == "json_schema"
    terms.learn("json_schema", ANSWERED, limit=100)
    assert terms.settled == "json_schema"


def test_an_outage_of_every_form_gives_none_up() -> None:
    terms = Terms()
    meet(terms, set(), 30)
    assert terms.refused == {}


def test_being_busy_says_nothing_about_a_form() -> None:
    terms = Terms()
    for _ in range(10):
        terms.learn("json_schema", BUSY, limit=100)
    assert terms.choose() == "json_schema"


def test_a_refusal_by_name_is_enough() -> None:
    terms = Terms()
    assert terms.learn("json_schema", Verdict("form_refused", "form_refused"), limit=100)
    assert terms.choose() == "json_object"


def test_a_refusal_that_comes_late_does_not_count_against_the_next_form() -> None:
    terms = Terms()
    refusal = Verdict("form_refused", "form_refused")
    terms.learn("json_schema", refusal, limit=100)
    assert terms.learn("json_schema", refusal, limit=100)
    assert terms.left == ["json_object", "prompt"]


def test_the_last_form_is_not_given_up() -> None:
    terms = Terms(("json_schema",))
    assert not terms.learn("json_schema", Verdict("form_refused", "form_refused"), limit=100)


def test_an_endpoint_that_ignores_the_form_is_asked_in_another() -> None:
    terms = Terms()
    for _ in range(USELESS):
        terms.learn("json_schema", INVALID, limit=100)
    assert terms.choose() == "json_object"


def test_one_valid_answer_shows_that_the_form_is_not_ignored() -> None:
    terms = Terms()
    for verdict in (INVALID, ANSWERED, *[INVALID] * 2 * USELESS):
        terms.learn("json_schema", verdict, limit=100)
    assert terms.settled == "json_schema"


@pytest.mark.parametrize("parameter", ["max_completion_tokens", "seed", "object_schema"])
def test_a_refused_parameter_is_done_without(parameter: str) -> None:
    terms = Terms()
    assert terms.learn("json_object", Verdict("parameter_refused", "parameter_refused", parameter=parameter), limit=9)
    assert terms.dialect != DEFAULT_DIALECT


def test_an_answer_longer_than_allowed_shows_that_the_limit_was_not_understood() -> None:
    terms = Terms()
    terms.learn("json_schema", ANSWERED, limit=9)
    assert terms.dialect.token_limit == "max_tokens"


def test_what_was_learned_is_remembered_by_endpoint_and_model(tmp_path: Path) -> None:
    terms = Terms()
    meet(terms, {"json_object"}, 6)
    EndpointMemory(tmp_path, URL).remember("m", terms)
    assert EndpointMemory(tmp_path, URL).terms("m", "auto").settled == "json_object"
    assert EndpointMemory(tmp_path, URL).terms("other", "auto").settled is None
    assert EndpointMemory(tmp_path, "http://other.test/v1").terms("m", "auto").settled is None


def test_a_form_that_was_set_is_taken_whatever_is_remembered(tmp_path: Path) -> None:
    terms = Terms()
    meet(terms, {"json_object"}, 6)
    EndpointMemory(tmp_path, URL).remember("m", terms)
    assert EndpointMemory(tmp_path, URL).terms("m", "json_schema").choose() == "json_schema"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"http://example.test/v1 m": 3}', '{"http://example.test/v1 m": {"dialect": 1}}']
)
def test_a_memory_that_cannot_be_read_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / MEMORY).write_text(content)
    assert EndpointMemory(tmp_path, URL).terms("m", "auto").choose() == "json_schema"


def test_a_password_in_an_address_is_not_remembered(tmp_path: Path) -> None:
    terms = Terms(("prompt",))
    EndpointMemory(tmp_path, "http://me:secret@example.test/v1").remember("m", terms)
    assert "secret" not in (tmp_path / MEMORY).read_text()
