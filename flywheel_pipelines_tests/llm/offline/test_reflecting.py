"""The offline writer contrasts winners with losers, in words that it obeys itself."""

from __future__ import annotations

import random
from typing import Any

import pytest

from flywheel_pipelines.learning.frames import Frame, Guideline
from flywheel_pipelines.learning.reflection import ANSWER_SCHEMA, Contrast, Shown, ask_for_guidelines
from flywheel_pipelines.llm.answer_schema import AnswerCheck
from flywheel_pipelines.llm.offline.answering import MODEL, chat_completion
from flywheel_pipelines.llm.offline.choices import CHOICES
from flywheel_pipelines.llm.offline.grammar import WriterBrief, compose, draw_choices
from flywheel_pipelines.llm.offline.orders import SENTENCES
from flywheel_pipelines.llm.offline.prompt_reading import choices_ordered

OPTIONS = [(choice, option) for choice, options in CHOICES.items() for option in options]


@pytest.mark.parametrize(("choice", "option"), OPTIONS)
def test_every_guideline_is_understood_as_the_option_it_stands_for(choice: str, option: str) -> None:
    assert choices_ordered(SENTENCES[choice][option]) == {choice: option}


def written(number: int, **fixed: str) -> str:
    rng = random.Random(number)
    brief = WriterBrief(keyword="rota planning", product="planner", facts=("Saves 11 hours a week.",))
    return compose({**draw_choices(rng), **fixed}, brief, rng).text


def pair(number: int, winner: str, loser: str) -> Contrast:
    won, lost = f"w{number}", f"l{number}"
    return Contrast("segment", "s", Shown(won, winner, won, 0.9), Shown(lost, loser, lost, 0.1))


def answered(pairs: list[Contrast], frame: Frame = Frame("t")) -> dict[str, Any]:  # noqa: B008
    """What the writer answers when it is shown these pairs."""
    request = ask_for_guidelines(
        pairs, frame, house_rules=(), metric="reply_rate", support=3, n_new=8, max_tokens=100_000
    )
    body = {
        "model": MODEL,
        "messages": [{"role": one.role, "content": one.content} for one in request.messages],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER_SCHEMA}},
    }
    return AnswerCheck(ANSWER_SCHEMA).read(chat_completion(body)["choices"][0]["message"]["content"])


def asked(frame: Frame, **of_winners: str) -> dict[str, Any]:
    """The same for twelve pairs whose winners share some options."""
    pairs = [pair(number, written(number, **of_winners), written(1_000 + number)) for number in range(12)]
    return answered(pairs, frame)


@pytest.mark.parametrize(("choice", "option"), [("opening", "scene"), ("length", "short"), ("tone", "bold")])
def test_what_the_winners_share_is_named_first_with_the_winners_that_share_it(choice: str, option: str) -> None:
    first = asked(Frame("t"), **{choice: option})["guidelines"][0]
    assert first["text"] == SENTENCES[choice][option]
    assert len(first["supports"]) == 12
    assert set(first["supports"]) <= {f"w{number}" for number in range(12)}


def test_what_is_ordered_already_is_not_ordered_again() -> None:
    frame = Frame("t", (Guideline("Open with a scene.", ("w1",)),))
    answer = asked(frame, opening="scene")
    assert "Open with a scene." not in [one["text"] for one in answer["guidelines"]]


def test_an_order_that_the_winners_contradict_is_replaced() -> None:
    frame = Frame("t", (Guideline("Be kind."), Guideline("Open with a problem.", ("w1",))))
    found = {one["text"]: one["replaces"] for one in asked(frame, opening="scene")["guidelines"]}
    assert found["Open with a scene."] == 2


def test_control_winners_that_are_like_the_losers_give_no_guideline() -> None:
    assert answered([pair(number, written(number), written(number)) for number in range(12)])["guidelines"] == []


def test_another_request_with_a_field_of_that_name_is_answered_as_ever() -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Write guidelines for gardeners."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER_SCHEMA}},
    }
    answer = AnswerCheck(ANSWER_SCHEMA).read(chat_completion(body)["choices"][0]["message"]["content"])
    assert all(not one["text"].startswith("Open with") for one in answer["guidelines"])
