"""Results of batches that are odd, limits, money, and errors of the provider."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.llm import batch as batch_module
from flywheel_pipelines.llm.asking import answer_requests
from flywheel_pipelines.llm.batch import BatchError, Collection, Submission
from flywheel_pipelines.llm.budget import BudgetError
from flywheel_pipelines.llm.offline.batches import BatchOptions
from flywheel_pipelines.llm.offline.server import OfflineServer
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines_tests.llm.batch_desk import KEY, Desk, desk, requests

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
