"""What a cycle's requests come to: known answers are not asked again, failures are alone, refusals stop the run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.llm.asking import AskReport
from flywheel_pipelines.llm.running import EndpointError
from flywheel_pipelines_tests.llm.asking_samples import (
    KEY,
    PRICE,
    SHORT,
    account,
    arrivals,
    ask,
    by_key,
    requests,
    rows,
    server,
)


def test_every_request_is_answered_once(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        report = ask(tmp_path, url, requests(50))
    assert len(report.answers) == 50
    assert set(by_key(tmp_path).values()) == {1}


def test_a_second_run_asks_nothing_and_gives_the_same(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        first = ask(tmp_path, url, requests(10), prices={"m": PRICE})
        second = ask(tmp_path, url, requests(10), prices={"m": PRICE})
    assert second.answers == first.answers
    assert (second.n_reused, second.n_asked, len(arrivals(tmp_path))) == (10, 0, 10)


def test_another_attempt_asks_anew_and_keeps_the_old(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        ask(tmp_path, url, requests(5))
        ask(tmp_path, url, requests(5, attempt=2))
    assert sorted(row["attempt"] for row in rows(tmp_path)) == [1] * 5 + [2] * 5


def test_no_request_needs_no_server(tmp_path: Path) -> None:
    assert ask(tmp_path, "http://127.0.0.1:9/v1", []).answers == {}


def ask_until_answered(folder: Path, url: str, n: int, **settings: Any) -> AskReport:
    for _ in range(10):
        report = ask(folder, url, requests(n), **settings)
        if not report.failures:
            break
    return report


def test_the_server_counts_what_the_ledger_counts(tmp_path: Path) -> None:
    with server(tmp_path, "quick_faults") as url:
        ask_until_answered(tmp_path, url, 100)
    found = account(tmp_path)
    assert found.tries.total() > 150
    assert found.arrived == found.tries


def test_through_all_faults_every_request_is_answered_once(tmp_path: Path) -> None:
    with server(tmp_path, "faults") as url:
        report = ask_until_answered(tmp_path, url, 40, timeout=SHORT)
    assert len(report.answers) == 40
    found = account(tmp_path)
    found.check_counts()
    assert +found.answered == Counter(dict.fromkeys(report.answers, 1))


def test_a_request_whose_answers_stay_unusable_fails_alone_after_two_more_tries(tmp_path: Path) -> None:
    with server(tmp_path, "one_wrong") as url:
        report = ask(tmp_path, url, requests(10))
    failed = requests(10)[3].key
    assert [*report.failures] == [failed]
    assert len(report.answers) == 9
    assert [key for key, _, _ in arrivals(tmp_path) if key.startswith(failed)] == [failed, f"{failed}-1", f"{failed}-2"]


def test_only_what_failed_is_asked_again(tmp_path: Path) -> None:
    with server(tmp_path, "one_wrong") as url:
        ask(tmp_path, url, requests(10))
        before = len(arrivals(tmp_path))
        report = ask(tmp_path, url, requests(10))
    assert (report.n_reused, report.n_asked, len(arrivals(tmp_path)) - before) == (9, 1, 3)
    assert "Run again to ask for these only" in report.words


def test_a_slow_drip_is_cut_off_by_the_time_of_the_whole_request(tmp_path: Path) -> None:
    """Each byte comes within 0.1 s; a timeout per read of 0.3 s would wait for all 300 of them."""
    with server(tmp_path, "slow_drip") as url, pytest.raises(EndpointError, match=r"no answer within 0\.\d s"):
        ask(tmp_path, url, requests(1), max_tries=2, timeout=SHORT)


def test_an_endpoint_that_wants_more_patience_than_there_is_is_not_waited_for(tmp_path: Path) -> None:
    with server(tmp_path, "later") as url:
        report = ask(tmp_path, url, requests(2))
    assert ["asks to wait 3,600 s" in failure.reason for failure in report.failures.values()] == [True, True]
    assert len(arrivals(tmp_path)) == 2


@pytest.mark.parametrize(("mode", "is_waited_for"), [("busy", True), ("crowded", False)])
def test_a_request_is_not_sent_again_before_the_endpoint_wants_it(
    tmp_path: Path, mode: str, is_waited_for: bool
) -> None:
    """The second is the control: a 429 that asks for no wait is followed by our own, which is short here."""
    with server(tmp_path, mode) as url:
        report = ask(tmp_path, url, requests(5), max_wait=5)
    assert (len(report.answers), report.n_tries, report.retried) == (5, 10, {"rate_limited": 5})
    assert (report.seconds >= 1) == is_waited_for


def test_a_try_that_was_cut_off_by_an_interrupt_is_counted_and_its_answer_asked_for_later(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with server(tmp_path, latency=0.05) as url:
        with pytest.raises(KeyboardInterrupt):
            ask(tmp_path, url, requests(60), on_progress=interrupt)
        assert rows(tmp_path) == []
        report = ask(tmp_path, url, requests(60))
    assert len(report.answers) == 60
    assert report.n_reused >= 10
    account(tmp_path).check_counts()


def test_without_a_schema_any_text_is_an_answer(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        report = ask(tmp_path, url, requests(1, schema=None))
    assert [set(answer.content) for answer in report.answers.values()] == [{"text"}]


def test_an_exhausted_quota_stops_the_run_and_keeps_what_was_answered(tmp_path: Path) -> None:
    with server(tmp_path, "quota") as url, pytest.raises(EndpointError, match=r"quota is used up.*20 requests were"):
        ask(tmp_path, url, requests(200), concurrency=4)
    assert sum(row["status"] == "answered" for row in rows(tmp_path)) == 20
    assert len(arrivals(tmp_path)) <= 20 + 4


@pytest.mark.parametrize(("mode", "words"), [("key", "OPENAI_API_KEY"), ("broken_temperature", "producer.parameters")])
def test_what_no_retry_can_mend_stops_the_run_at_once(tmp_path: Path, mode: str, words: str) -> None:
    with server(tmp_path, mode) as url, pytest.raises(EndpointError, match=words):
        ask(tmp_path, url, requests(50, parameters={"temperature": 3.0}), concurrency=2, structured_output="prompt")
    assert len(arrivals(tmp_path)) <= 2


def test_a_key_that_the_endpoint_repeats_is_not_shown(tmp_path: Path) -> None:
    with server(tmp_path, "key") as url, pytest.raises(EndpointError) as raised:
        ask(tmp_path, url, requests(1))
    assert KEY not in str(raised.value)
    assert KEY not in json.dumps([{**row, "recorded_at": ""} for row in rows(tmp_path)], default=str)


@pytest.mark.parametrize("mode", ["no_json_schema", "rejects_json_schema"])
def test_an_endpoint_without_json_schema_is_asked_otherwise_and_that_is_remembered(tmp_path: Path, mode: str) -> None:
    with server(tmp_path, mode) as url:
        assert len(ask(tmp_path, url, requests(20)).answers) == 20
        n_refused = sum(form == "json_schema" for _, form, _ in arrivals(tmp_path))
        ask(tmp_path, url, requests(20, attempt=2))
    assert 1 <= n_refused <= 3
    assert sum(form == "json_schema" for _, form, _ in arrivals(tmp_path)) == n_refused


def test_an_outage_is_not_taken_for_a_refusal_of_the_form(tmp_path: Path) -> None:
    with server(tmp_path, "faults") as url:
        ask(tmp_path, url, requests(40), timeout=SHORT)
    remembered = json.loads((tmp_path / "journal" / "endpoints.json").read_text())
    assert [entry["form"] for entry in remembered.values()] == ["json_schema"]


def test_a_server_that_knows_older_parameters_is_asked_with_them(tmp_path: Path) -> None:
    with server(tmp_path, "old") as url:
        assert len(ask(tmp_path, url, requests(10)).answers) == 10
        before = len(arrivals(tmp_path))
        ask(tmp_path, url, requests(10, attempt=2))
    assert len(arrivals(tmp_path)) == before + 10


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="has not answered a single request"):
        ask(tmp_path, "http://127.0.0.1:9/v1", requests(3), max_tries=3)
