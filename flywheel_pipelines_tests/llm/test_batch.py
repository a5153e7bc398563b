"""Batch mode against the offline writer's Batch API: what is submitted, collected, submitted again, and never twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.llm import batch as batch_module
from flywheel_pipelines.llm.asking import answer_requests
from flywheel_pipelines.llm.batch_calls import BatchCalls
from flywheel_pipelines.llm.batch_records import read_intent
from flywheel_pipelines.llm.ledger import known_answers
from flywheel_pipelines.llm.offline.batches import BatchOptions
from flywheel_pipelines_tests.llm.batch_desk import CYCLE, FLYWHEEL, PRICE, desk, requests


def test_a_batch_is_submitted_collected_and_done(tmp_path: Path) -> None:
    asked = requests(3)
    with desk(tmp_path) as at:
        submitted = at.submit(asked)
        assert (submitted.n_submitted, len(submitted.submitted), submitted.is_complete) == (3, 1, False)
        collected = at.collect(asked)
        assert list(collected.answers) == [request.key for request in asked]
        assert at.events() == [("submitted", 0), ("completed", 3)]
        assert at.submit(asked).is_complete
        assert at.n_batches() == 1
        assert set(known_answers(at.lake, FLYWHEEL, CYCLE)) == {request.key for request in asked}


def test_answers_are_those_of_a_live_run(tmp_path: Path) -> None:
    asked = requests(4)
    with desk(tmp_path / "batch") as at:
        at.submit(asked)
        by_batch = at.collect(asked).answers
    with desk(tmp_path / "live") as at:
        live = at._with(answer_requests, asked)
    assert {key: answer.content for key, answer in by_batch.items()} == {
        key: answer.content for key, answer in live.answers.items()
    }
    # Two clients, one price list: the batch costs what the live run does, less the discount.
    assert sum(answer.cost or 0 for answer in by_batch.values()) == pytest.approx(live.cost / 2)


def test_rows_say_that_they_came_by_batch(tmp_path: Path) -> None:
    asked = requests(2)
    with desk(tmp_path) as at:
        at.submit(asked)
        at.collect(asked)
        for row in at.rows():
            assert (row["mode"], row["status"], row["n_tries"], row["brief_id"][0]) == ("batch", "answered", 1, "b")
            assert row["cost"] == pytest.approx(
                (row["prompt_tokens"] * PRICE.input + row["completion_tokens"] * PRICE.output) / 2e6
            )
            assert set(json.loads(row["answer"])) == {"title", "summary", "outline", "body"}


def test_a_model_without_a_price_has_no_cost(tmp_path: Path) -> None:
    asked = requests(1)
    with desk(tmp_path, prices={}) as at:
        at.submit(asked)
        assert at.collect(asked).cost is None
        assert at.rows()[0]["cost"] is None


def test_what_is_under_way_is_not_submitted_again(tmp_path: Path) -> None:
    now = [1_000.0]
    asked = requests(3)
    with desk(tmp_path, BatchOptions(seconds=100, clock=lambda: now[0])) as at:
        at.submit(asked[:2])
        again = at.submit(asked)
        assert (again.n_submitted, again.n_in_flight) == (1, 2)
        now[0] += 50
        assert at.states() == ["in_progress", "in_progress"]
        waiting = at.collect(asked)
        assert (waiting.n_under_way, waiting.batches, waiting.answers) == (2, (), {})
        now[0] += 60
        assert len(at.collect(asked).answers) == 3
        assert at.states() == []


def test_requests_answered_live_are_not_submitted(tmp_path: Path) -> None:
    asked = requests(3)
    with desk(tmp_path) as at:
        at._with(answer_requests, asked[:2])
        assert (at.submit(asked).n_submitted, at.submit(asked[:2]).n_answered) == (1, 2)


def test_partial_failures_are_kept_and_submitted_again(tmp_path: Path) -> None:
    asked = requests(4)
    refused = [asked[1].key]
    with desk(tmp_path, BatchOptions(refuses=lambda custom_id: custom_id in refused)) as at:
        at.submit(asked)
        collected = at.collect(asked)
        assert (len(collected.answers), list(collected.failures)) == (3, refused)
        assert "500" in collected.failures[refused[0]].reason
        refused.clear()
        assert at.submit(asked).n_submitted == 1
        assert list(at.collect(asked).answers) == [asked[1].key]
        assert sorted(row["status"] for row in at.rows()) == ["answered"] * 4 + ["failed"]


def test_a_request_that_fails_each_time_is_given_up(tmp_path: Path) -> None:
    asked = requests(2)
    with desk(tmp_path, BatchOptions(refuses=lambda custom_id: custom_id == asked[0].key)) as at:
        for _ in range(at.settings.max_reasks + 1):
            assert at.submit(asked).n_submitted > 0
            at.collect(asked)
        last = at.submit(asked)
        assert (last.is_complete, list(last.given_up)) == (True, [asked[0].key])


def test_what_a_batch_did_not_get_to_is_submitted_again(tmp_path: Path) -> None:
    """Expiry: each batch answers two, so that three of them are needed for five; none is paid twice."""
    asked = requests(5)
    with desk(tmp_path, BatchOptions(max_answers=2)) as at:
        left = []
        for _ in range(3):
            at.submit(asked)
            left.append(len(at.collect(asked).left))
        assert left == [3, 1, 0]
        assert at.events() == [
            ("submitted", 0), ("expired", 2), ("submitted", 0), ("expired", 2), ("submitted", 0), ("completed", 1),
        ]  # fmt: skip
        assert sorted(row["request_key"] for row in at.rows()) == sorted(request.key for request in asked)


def test_a_cancelled_batch_keeps_what_was_answered(tmp_path: Path) -> None:
    now = [0.0]
    asked = requests(4)
    with desk(tmp_path, BatchOptions(seconds=100, clock=lambda: now[0])) as at:
        (batch_id,) = at.submit(asked).submitted
        now[0] = 50.0
        at.server.store.cancel(batch_id)
        collected = at.collect(asked)
        assert (len(collected.answers), len(collected.left)) == (2, 2)
        assert at.events()[-1] == ("cancelled", 2)


def test_a_rejected_batch_says_why_and_may_be_submitted_again(tmp_path: Path) -> None:
    asked = requests(2)
    with desk(tmp_path, BatchOptions(rejects=True)) as at:
        at.submit(asked)
        collected = at.collect(asked)
        assert (collected.batches[0].status, len(collected.left)) == ("failed", 2)
        assert "told to reject" in collected.words
        assert at.submit(asked).n_submitted == 2


def test_a_batch_that_the_provider_lost_is_submitted_again(tmp_path: Path) -> None:
    asked = requests(2)
    with desk(tmp_path) as at:
        at.submit(asked)
    with desk(tmp_path) as at:
        assert at.states() == ["lost"]
        assert "no longer knows" in at.collect(asked).words
        at.submit(asked)
        assert len(at.collect(asked).answers) == 2


# -- kills ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def killed(*_: Any, **__: Any) -> Any:
    raise Killed


def test_a_kill_between_starting_and_recording_does_not_pay_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(3)
    with desk(tmp_path) as at:
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(batch_module, "record_event", killed)
            at.submit(asked)
        assert (at.n_batches(), at.events()) == (1, [])
        again = at.submit(asked)
        assert (len(again.adopted), again.n_submitted, again.n_in_flight) == (1, 0, 3)
        assert (at.n_batches(), len(at.collect(asked).answers)) == (1, 3)
        assert read_intent(at.folder, FLYWHEEL, CYCLE) is None


def test_control_without_the_intent_the_batch_would_be_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(3)
    monkeypatch.setattr(batch_module, "read_intent", lambda *_: None)
    with desk(tmp_path) as at:
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(batch_module, "record_event", killed)
            at.submit(asked)
        at.submit(asked)
        assert at.n_batches() == 2


def test_the_batch_is_found_again_when_other_requests_are_wanted_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(5)
    with desk(tmp_path) as at:
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(batch_module, "record_event", killed)
            at.submit(asked[:3])
        again = at.submit(asked)
        assert (len(again.adopted), again.n_submitted) == (1, 2)
        assert len(at.collect(asked).answers) == 5


def test_a_kill_before_starting_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests(2)
    with desk(tmp_path) as at:
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(BatchCalls, "create", killed)
            at.submit(asked)
        again = at.submit(asked)
        assert (again.adopted, again.n_submitted, at.n_batches()) == ((), 2, 1)


def test_a_batch_of_another_submission_is_not_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests(4)
    with desk(tmp_path) as at:
        at.submit(asked[:2])
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(BatchCalls, "create", killed)
            at.submit(asked)
        again = at.submit(asked)
        assert (again.adopted, again.n_submitted, again.n_in_flight) == ((), 2, 2)


def test_a_kill_while_collecting_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests(3)
    with desk(tmp_path, BatchOptions(refuses=lambda custom_id: custom_id == asked[0].key)) as at:
        at.submit(asked)
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr("flywheel_pipelines.lake.store.os.replace", killed)
            at.collect(asked)
        assert at.rows() == []
        at.collect(asked)
        assert sorted(row["status"] for row in at.rows()) == ["answered", "answered", "failed"]
        assert at.events()[1:] == [("completed", 2)]
        assert at.collect(asked).batches == ()
