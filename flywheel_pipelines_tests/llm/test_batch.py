"""Batch mode against the offline writer's Batch API: what is submitted, collected, submitted again, and never twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.chat import ChatRequest, Message
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import LLM_BATCHES, LLM_REQUESTS
from flywheel_pipelines.llm import batch as batch_module
from flywheel_pipelines.llm.asking import answer_requests
from flywheel_pipelines.llm.batch import BatchError, Collection, Submission, batch_states, collect_ended, submit_missing
from flywheel_pipelines.llm.batch_calls import BatchCalls
from flywheel_pipelines.llm.batch_records import read_intent
from flywheel_pipelines.llm.budget import BudgetError
from flywheel_pipelines.llm.ledger import known_answers
from flywheel_pipelines.llm.offline.answering import MODEL
from flywheel_pipelines.llm.offline.batches import BatchOptions
from flywheel_pipelines.llm.offline.server import OfflineServer
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines.spec.producers import PriceSpec
from flywheel_pipelines_tests.llm.offline.prompts import ARTICLE, BRIEF, SYSTEM

FLYWHEEL, CYCLE = "content", date(2026, 1, 5)
KEY = "sk-secret-of-the-test"
PRICE = PriceSpec(input=1.0, output=10.0, batch_discount=0.5)


def requests(n: int, **more: Any) -> list[ChatRequest]:
    asked: dict[str, Any] = {"attempt": 1, "schema": ARTICLE, "model": MODEL, **more}
    return [
        ChatRequest(
            flywheel=FLYWHEEL,
            cycle=CYCLE,
            brief_id=f"b{number}",
            arm="flywheel",
            variant=0,
            messages=(Message("system", SYSTEM), Message("user", f"```brief\n{BRIEF}\n```")),
            **asked,
        )
        for number in range(n)
    ]


class Desk:
    """One lake, one folder for journals, one server, and a clock that goes on by itself."""

    def __init__(self, root: Path, server: OfflineServer, settings: AskSettings) -> None:
        self.lake, self.folder, self.server = Lake(root / "lake"), root / "journal", server
        self.provider = Provider(server.base_url, KEY, "the offline writer")
        self.settings = settings
        self.moment = datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment

    def _with(self, step: Callable[..., Any], asked: list[ChatRequest]) -> Any:
        return step(
            asked,
            lake=self.lake,
            journal_folder=self.folder,
            provider=self.provider,
            settings=self.settings,
            now=self.now,
        )

    def submit(self, asked: list[ChatRequest]) -> Submission:
        return self._with(submit_missing, asked)

    def collect(self, asked: list[ChatRequest]) -> Collection:
        return self._with(collect_ended, asked)

    def states(self) -> list[str]:
        return [state.status for state in batch_states(self.lake, FLYWHEEL, CYCLE, self.provider, self.settings)]

    def rows(self) -> list[dict[str, Any]]:
        return self.lake.read(LLM_REQUESTS, FLYWHEEL, CYCLE).to_pylist()

    def events(self) -> list[tuple[str, int]]:
        rows = self.lake.read(LLM_BATCHES, FLYWHEEL, CYCLE).to_pylist()
        return [(row["event"], row["n_answered"]) for row in sorted(rows, key=lambda row: row["recorded_at"])]

    def n_batches(self) -> int:
        return len(self.server.store.batches(None, 100)["data"])


@contextmanager
def desk(root: Path, batch: BatchOptions | None = None, **settings: Any) -> Iterator[Desk]:
    known: dict[str, Any] = {"first_wait": 0.005, "max_wait": 0.02, "prices": {MODEL: PRICE}, **settings}
    with OfflineServer(batch=batch) as server:
        yield Desk(root, server, AskSettings(**known))


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


# -- odd results ----------------------------------------------------------------------------------------------------


def altered(server: OfflineServer, change: Callable[[list[dict[str, Any]]], list[Any]]) -> None:
    """Rewrite the output file of the newest batch."""
    shown = server.store.batches(None, 1)["data"][0]
    file = server.store._files[server.store.batch(shown["id"])["output_file_id"]]
    lines = change([json.loads(line) for line in file.content.decode().splitlines()])
    file.content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()


def test_results_are_matched_by_their_id_and_not_by_their_order(tmp_path: Path) -> None:
    asked = requests(4)
    with desk(tmp_path) as at:
        at.submit(asked)
        altered(at.server, lambda lines: lines[::-1])
        by_batch = {key: answer.content for key, answer in at.collect(asked).answers.items()}
        live = {
            key: answer.content
            for key, answer in replace_desk(at, tmp_path / "live")._with(answer_requests, asked).answers.items()
        }
        assert by_batch == live


def replace_desk(at: Desk, root: Path) -> Desk:
    return Desk(root, at.server, at.settings)


def test_unknown_ids_and_duplicates_are_reported_and_passed_over(tmp_path: Path) -> None:
    asked = requests(2)
    with desk(tmp_path) as at:
        at.submit(asked)
        altered(
            at.server,
            lambda lines: [*lines, {**lines[0], "custom_id": "somebody else's"}, lines[1], "not json", '"text"'],
        )
        collected = at.collect(asked)
        assert (len(collected.answers), collected.n_unknown, collected.n_duplicates) == (2, 3, 1)
        assert len(at.rows()) == 2
        assert "1 twice" in collected.words


def test_an_answer_that_is_no_longer_wanted_is_reported(tmp_path: Path) -> None:
    asked = requests(3)
    with desk(tmp_path) as at:
        at.submit(asked)
        collected = at.collect(asked[:2])
        assert (len(collected.answers), collected.n_unwanted, collected.left) == (2, 1, ())


def test_an_answer_that_breaks_its_schema_fails_alone(tmp_path: Path) -> None:
    asked = requests(2)

    def broken(lines: list[dict[str, Any]]) -> list[Any]:
        lines[0]["response"]["body"]["choices"][0]["message"]["content"] = '{"title": 7}'
        return lines

    with desk(tmp_path) as at:
        at.submit(asked)
        altered(at.server, broken)
        collected = at.collect(asked)
        assert (len(collected.answers), len(collected.failures)) == (1, 1)
        failed = next(row for row in at.rows() if row["status"] == "failed")
        assert "does not keep to the schema" in failed["error"]
        # It was paid for all the same.
        assert failed["cost"] > 0


def test_an_answer_asked_again_moves_its_seed(tmp_path: Path) -> None:
    """A server that keeps to seeds would give the same unusable answer again."""
    asked = requests(1)
    with desk(tmp_path, BatchOptions(refuses=lambda _: True)) as at:
        seeds = []
        for _ in range(2):
            at.submit(asked)
            newest = at.server.store.batches(None, 1)["data"][0]
            line = json.loads(at.server.store.content(newest["input_file_id"]))
            seeds.append(line["body"]["seed"])
            at.collect(asked)
        assert seeds == [asked[0].seed, (asked[0].seed + 1) % 2**31]


def test_a_form_that_was_refused_is_not_asked_for_again(tmp_path: Path) -> None:
    asked = requests(1)

    def refused(lines: list[dict[str, Any]]) -> list[Any]:
        error = {"error": {"message": "json_schema is not supported", "param": "response_format", "code": None}}
        return [{**line, "response": {"status_code": 400, "body": error}} for line in lines]

    with desk(tmp_path) as at:
        at.submit(asked)
        altered(at.server, refused)
        assert len(at.collect(asked).failures) == 1
        at.submit(asked)
        assert len(at.collect(asked).answers) == 1
        assert [row["structured_output"] for row in sorted(at.rows(), key=lambda row: row["recorded_at"])] == [
            "json_schema",
            "json_object",
        ]


# -- limits, money, errors ------------------------------------------------------------------------------------------


def test_many_requests_become_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "MAX_REQUESTS", 3)
    asked = requests(7)
    with desk(tmp_path) as at:
        assert len(at.submit(asked).submitted) == 3
        assert len(at.collect(asked).answers) == 7


def test_large_requests_become_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "MAX_BYTES", 5_000)
    asked = requests(5)
    with desk(tmp_path) as at:
        assert len(at.submit(asked).submitted) > 1
        assert len(at.collect(asked).answers) == 5


def test_a_batch_over_the_budget_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with desk(tmp_path, max_cost=0.0001) as at:
        with pytest.raises(BudgetError, match="nothing was sent"):
            at.submit(requests(3))
        assert (at.n_batches(), at.server.store.files()) == (0, [])


def test_what_is_under_way_counts_against_the_budget(tmp_path: Path) -> None:
    asked = requests(20)
    with desk(tmp_path, BatchOptions(seconds=10_000), max_cost=0.1) as at:
        assert at.submit(asked[:10]).estimate.cost == pytest.approx(0.076, abs=0.005)
        with pytest.raises(BudgetError):
            at.submit(asked)


def test_a_provider_without_a_batch_api_is_refused_in_words(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.provider = Provider(at.server.base_url.replace("/v1", "/v2"), KEY, "a small server")
        with pytest.raises(BatchError, match=r"a small server.*set producer.requests to live") as caught:
            at.submit(requests(1))
        assert KEY not in str(caught.value)


def test_a_provider_out_of_reach_is_refused_in_words(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.submit(requests(1))
        at.server.close()
        with pytest.raises(BatchError, match="while looking at a batch"):
            at.states()


def test_requests_of_two_cycles_are_refused(tmp_path: Path) -> None:
    asked = [*requests(1), replace(requests(1)[0], cycle=date(2026, 1, 12))]
    with desk(tmp_path) as at, pytest.raises(ValueError, match="one flywheel and cycle"):
        at.submit(asked)


def test_nothing_to_do_does_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        assert at.submit([]) == Submission()
        assert at.collect([]) == Collection()
        assert at.states() == []
    assert not (tmp_path / "lake").exists()
