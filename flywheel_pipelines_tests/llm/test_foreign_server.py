"""The loop with an endpoint that this project did not write: llama.cpp's server, with a model that knows nothing.

What it writes is gibberish. That every part of it is valid, counted, stored, judged and shown to the next cycle is what
is held here, and that the client finds out by itself how this server wants to be asked.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest

from flywheel_pipelines.cycles import cycle_end
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.llm.answer_schema import AnswerCheck
from flywheel_pipelines.llm.dialect import MEMORY, STRIKES
from flywheel_pipelines.production.content import readable_text
from flywheel_pipelines.prompt_text import fenced
from flywheel_pipelines_tests.llm.llama_server import LlamaServer, llama_server
from flywheel_pipelines_tests.small_world import changed_files, failure, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MODEL = "tiny-random"
CYCLES = WEEKS[:3]
SENDS, LIKED, DISLIKED = 400, 100, 4
"""Hand-made numbers: of an output's sends, the replies to one that readers like, and to one that they do not."""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "subject": {"type": "string", "minLength": 1, "maxLength": 30},
        "body": {"type": "string", "minLength": 1, "maxLength": 60},
    },
    "required": ["subject", "body"],
    "additionalProperties": False,
}
PRODUCER = {
    "model": MODEL,
    "variants": 2,
    "explore": 0.2,
    "concurrency": 2,
    "timeout": 120,
    "max_output_tokens": 500,
    # Estimated at four bytes a token; the model's tokens are bytes, so this is 6,000 of its 8,192.
    "max_prompt_tokens": 1_500,
    "max_failed": 0.0,
    "prices": {MODEL: {"input": 1.0, "output": 2.0}},
}
RULES: dict[str, Any] = {
    "guardrails": {"claims": "any", "links": "any", "near_copy": None, "personal_data": "allow"},
    # A number, so that the first cycle, which has no past, can be judged as well.
    "floor": {"above": 0.1},
}


@dataclass(frozen=True)
class Played:
    """The world after three cycles, and what the server had been asked after each opening."""

    world: WrittenWorld
    server: LlamaServer
    asked: list[int]

    def requests(self, cycle: date | None = None) -> list[dict[str, Any]]:
        return self.world.rows(tables.LLM_REQUESTS, cycle)

    def tries(self, cycle: date | None = None) -> list[dict[str, Any]]:
        return [one for row in self.requests(cycle) for one in json.loads(row["tries"])]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Three cycles, each opened, measured and closed through Dagster."""
    with llama_server(tmp_path_factory.mktemp("llama")) as server:
        world = WrittenWorld.make(tmp_path_factory.mktemp("foreign") / "w", producer=PRODUCER, **RULES)
        (world.folder / "letter.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
        asked = []
        for cycle in CYCLES:
            run(world, server, "open", cycle)
            asked.append(len(server.statuses()))
            measure(world, cycle)
            run(world, server, "close", cycle)
        yield Played(world, server, asked)


def run(world: WrittenWorld, server: LlamaServer, verb: str, cycle: date) -> None:
    result = world.run(verb, cycle, environment={"OPENAI_BASE_URL": server.base_url})
    assert result.success, failure(result)


def measure(world: WrittenWorld, cycle: date) -> None:
    """Every third published output is liked."""
    path = world.root / f"mailer-{cycle}.csv"
    published = sorted({row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, cycle)})
    day = cycle + timedelta(days=2)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["output_id", "day", "sends", "replies"])
        for number, output_id in enumerate(published):
            writer.writerow([output_id, day, SENDS, DISLIKED if number % 3 else LIKED])
    at = cycle_end(cycle, world.spec.cadence)
    land_file(world.lake, world.spec, "mailer", path, recorded_at=at)


def promoted(world: WrittenWorld, cycle: date) -> set[str]:
    return {row["output_id"] for row in world.rows(tables.SCORED_OUTPUTS, cycle) if row["decision"] == "promote"}


def test_every_field_of_every_output_keeps_to_the_schema(played: Played) -> None:
    check = AnswerCheck(SCHEMA)
    for cycle in CYCLES:
        outputs = played.world.rows(tables.GENERATED_OUTPUTS, cycle)
        assert len({row["brief_id"] for row in outputs}) == 6
        for row in outputs:
            content = check.read(row["content"])
            assert row["text"] == readable_text(content)


def test_what_is_stored_is_the_models_own_gibberish(played: Played) -> None:
    """The control of the test above: nothing smoothed the texts, and no two of them are the same."""
    texts = [row["text"] for row in played.world.rows(tables.GENERATED_OUTPUTS)]
    assert len(set(texts)) == len(texts)
    assert any(ord(character) < 32 and character != "\n" for text in texts for character in text)
    assert any(ord(character) > 127 for text in texts for character in text)


def test_the_ledger_counts_what_the_server_counted(played: Played) -> None:
    statuses = played.server.statuses()
    assert [one.get("status") for one in played.tries()].count(200) == statuses.count(200)
    assert len(played.tries()) == len(statuses)
    assert [len(played.tries(cycle)) for cycle in CYCLES] == [
        after - before for before, after in zip([0, *played.asked], played.asked, strict=False)
    ]


def test_tokens_are_the_servers_count_and_not_an_estimate(played: Played) -> None:
    """Its tokens are bytes, of which the estimate counts four as one."""
    for row in played.requests():
        counted = [one for one in json.loads(row["tries"]) if "prompt_tokens" in one]
        prompt = sum(len(message["content"].encode()) for message in json.loads(row["messages"]))
        assert all(one["prompt_tokens"] > prompt for one in counted)
        assert row["prompt_tokens"] == sum(one["prompt_tokens"] for one in counted)
        assert row["cost"] == pytest.approx((row["prompt_tokens"] + 2 * row["completion_tokens"]) / 1e6)


def test_it_is_found_out_once_that_the_server_wants_json_object(played: Played) -> None:
    forms = [one["form"] for one in played.tries(CYCLES[0])]
    assert forms.count("json_schema") == STRIKES
    assert {row["structured_output"] for row in played.requests()} == {"json_object"}
    remembered = json.loads((played.world.paths.journal / MEMORY).read_text(encoding="utf-8"))
    assert remembered[f"{played.server.base_url} {MODEL}"]["form"] == "json_object"
    assert {one["form"] for cycle in CYCLES[1:] for one in played.tries(cycle)} == {"json_object"}
    assert played.server.statuses().count(500) == STRIKES


def test_outputs_are_judged_by_the_numbers_of_their_readers(played: Played) -> None:
    for cycle in CYCLES:
        scored = played.world.rows(tables.SCORED_OUTPUTS, cycle)
        published = {row["output_id"] for row in played.world.rows(tables.PUBLISHED_OUTPUTS, cycle)}
        assert {row["output_id"] for row in scored} == published
        liked = set(sorted(published)[::3])
        assert promoted(played.world, cycle) <= liked
    assert any(promoted(played.world, cycle) for cycle in CYCLES[:2])


@pytest.mark.parametrize("cycle", CYCLES[1:])
def test_winners_are_shown_to_the_next_cycle(played: Played, cycle: date) -> None:
    before = [known for known in CYCLES if known < cycle]
    winners = set().union(*(promoted(played.world, known) for known in before))
    texts = {row["output_id"]: row["text"] for row in played.world.rows(tables.GENERATED_OUTPUTS)}
    prompts = {row["request_key"]: json.loads(row["messages"])[-1]["content"] for row in played.requests(cycle)}
    shown = 0
    for row in played.world.rows(tables.GENERATED_OUTPUTS, cycle):
        assert row["arm"] == "flywheel" or not row["reference_ids"]
        assert set(row["reference_ids"]) <= winners
        for reference_id in row["reference_ids"]:
            assert fenced(texts[reference_id], "reference") in prompts[row["request_key"]]
            shown += 1
    assert shown


def test_producing_a_cycle_again_asks_nothing_and_changes_nothing(played: Played) -> None:
    before, asked = fingerprint(played.world.paths.lake), len(played.server.statuses())
    for cycle in CYCLES:
        run(played.world, played.server, "open", cycle)
    assert len(played.server.statuses()) == asked
    assert changed_files(before, fingerprint(played.world.paths.lake)) == []


def test_the_outbox_holds_what_was_published(played: Played) -> None:
    for cycle in CYCLES:
        path = played.world.paths.outbox / NAME / f"{cycle}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        texts = {row["output_id"]: row["text"] for row in played.world.rows(tables.PUBLISHED_OUTPUTS, cycle)}
        assert {row["output_id"]: row["text"] for row in rows} == texts
