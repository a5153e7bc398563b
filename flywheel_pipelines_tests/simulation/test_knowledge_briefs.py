"""The recipe `knowledge_briefs`: every citation leads to text of the document, and a false claim does not go out."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.feedback.documents import read_document
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.asking import AskReport
from flywheel_pipelines.passages import name_for_ids, passages_in
from flywheel_pipelines.production.guardrails import UNSUPPORTED
from flywheel_pipelines.production.rendering import messages_for
from flywheel_pipelines.recipe_book import recipe_named
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.spec import LlmProducer, parse_spec
from flywheel_pipelines_tests.recipe_world import RecipeWorld

RECIPE = recipe_named("knowledge_briefs")
LIED_ABOUT = re.compile(r"#(fleet|page-3)\.")
"""One section of each document; in a PDF its page."""
FALSE = "The supervisory board sold the harbour to Atlantis Holding for EUR 777 million on 31 February."


class LyingWriters(DirectWriters):
    """The offline writer, but for what it writes about one section: there the second statement is made up."""

    def answer(self, requests: Sequence[ChatRequest], producer: LlmProducer, store: Lake) -> AskReport:
        report = super().answer(requests, producer, store)
        for request in requests:
            if LIED_ABOUT.search(request.brief_id):
                content = copy.deepcopy(report.answers[request.key].content)
                content["statements"][1]["sentence"] = FALSE
                report.answers[request.key] = replace(report.answers[request.key], content=content)
        return report


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> RecipeWorld:
    """Three cycles, in which summaries of one section lie. Read only."""
    world = RecipeWorld(tmp_path_factory.mktemp("briefs"), RECIPE, n_cycles=3)
    world.writers = LyingWriters()
    return world.play_plainly()


def published(world: RecipeWorld) -> list[dict[str, Any]]:
    """What went out, with its brief's passages."""
    rows = []
    for cycle in world.cycles:
        briefs = {row["brief_id"]: json.loads(row["fields"]) for row in world.rows(tables.BRIEFS, cycle)}
        for line in (world.paths.outbox / world.spec.name / f"{cycle}.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows.append({**row, "passages": {one.id: one.text for one in passages_in(briefs[row["brief_id"]])}})
    return rows


def bare(text: str) -> str:
    return "".join(text.split())


def test_every_citation_that_went_out_points_to_text_that_stands_in_its_document(played: RecipeWorld) -> None:
    files = {name_for_ids(path.name): path for path in RECIPE.sample_briefs}
    texts: dict[str, str] = {}
    formats, n_citations = set(), 0
    for row in published(played):
        for statement in row["content"]["statements"]:
            assert statement["citations"]
            for citation in statement["citations"]:
                assert bare(citation["quote"]) in bare(row["passages"][citation["passage"]])
                name = citation["passage"].split("#")[0]
                if name not in texts:
                    parts = read_document(files[name]).parts
                    texts[name] = bare(" ".join(text for part in parts for text in part.texts))
                assert bare(citation["quote"]) in texts[name]
                formats.add(files[name].suffix)
                n_citations += 1
    assert formats == {".md", ".html", ".pdf"}
    assert n_citations > 150


def test_a_summary_with_a_planted_false_claim_goes_to_a_person_with_the_reason(played: RecipeWorld) -> None:
    went_out = published(played)
    assert went_out
    assert not any(FALSE in row["text"] for row in went_out)
    assert not any(LIED_ABOUT.search(row["brief_id"]) for row in went_out)
    for cycle in played.cycles:
        people = {row["brief_id"]: row for row in played.for_people(cycle)}
        lied = [row for name, row in people.items() if LIED_ABOUT.search(name)]
        assert len(lied) == 2
        for row in lied:
            assert UNSUPPORTED in row["why"]
            assert "777" in row["why"] and "Atlantis" in row["why"]
            assert FALSE in row["draft"]


def test_what_is_read_and_learned_from_has_no_citations_in_it(played: RecipeWorld) -> None:
    for row in published(played):
        said = [statement["sentence"] for statement in row["content"]["statements"]]
        assert row["text"] == "\n\n".join(said)


def test_passages_stand_in_the_prompt_as_data(played: RecipeWorld) -> None:
    [cycle, *_] = played.cycles
    brief = next(row for row in played.rows(tables.BRIEFS, cycle) if "#warehouse." in row["brief_id"])
    frame = (RECIPE.folder / "prompts" / "summary.md").read_text()
    user = messages_for(frame, [], brief, max_prompt_tokens=8_000).messages[-1].content
    inside = user.split("```brief\n")[1].split("\n```")[0]
    for passage in passages_in(json.loads(brief["fields"])):
        assert f"[{passage.id}] {passage.text}" in inside


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"feeds": {"documents": {"documents": None}}}, "brings no passages to cite"),
        ({"feeds": {"documents": {"columns": {"brief_id": "id"}}}}, "a document has none"),
        ({"feeds": {"documents": {"documents": {"max_tokens": 7_900}}}}, "leaves no room"),
        ({"feeds": {"documents": {"kind": "metrics"}}}, "goes with kind: briefs"),
        ({"handback": {"columns": {"a": "text"}, "per": "segment"}}, "have no columns to write into"),
        ({"guardrails": {"citations": {"support": 2}}}, "support"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_the_way_out(change: dict[str, Any], words: str) -> None:
    keys = RECIPE.spec.model_dump(mode="json")
    with pytest.raises(SpecError) as refused:
        parse_spec(merged(keys, change), "defs.yaml")
    assert words in str(refused.value)


def test_control_the_settings_as_they_are_are_accepted() -> None:
    keys = RECIPE.spec.model_dump(mode="json")
    assert parse_spec(merged(keys, {}), "defs.yaml") == RECIPE.spec


def merged(keys: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The keys with others in place of some, at whatever depth."""
    return {
        name: merged(keys.get(name) or {}, change[name])
        if isinstance(change.get(name), dict)
        else change.get(name, old)
        for name, old in {**keys, **dict.fromkeys(set(change) - keys.keys())}.items()
    }
