"""Three cycles that the offline writer wrote, through Dagster: what was learned is shown, and only to its own arm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

CYCLES, OPEN = WEEKS[:3], WEEKS[3]


@pytest.fixture(scope="module")
def written(played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Three cycles, opened and closed, and a fourth that is open. Read only."""
    world = played.copy_to(tmp_path_factory.mktemp("written"))
    assert world.open(OPEN, is_synthetic=True).success
    return world


def outputs_of(world: WrittenWorld, arm: str) -> list[dict[str, Any]]:
    return [row for row in world.rows(tables.GENERATED_OUTPUTS) if row["arm"] == arm]


def prompts_of(world: WrittenWorld) -> dict[str, list[dict[str, Any]]]:
    """The references of each registered prompt."""
    rows = world.lake.read(tables.PROMPT_VERSIONS, NAME).to_pylist()
    return {row["prompt_version"]: json.loads(row["shown_references"]) for row in rows}


def sent(world: WrittenWorld) -> dict[str, str]:
    """What was sent, by request key."""
    return {row["request_key"]: row["messages"] for row in world.rows(tables.LLM_REQUESTS)}


def quoted(text: str) -> str:
    """A line of a text as it stands in the JSON of messages."""
    return json.dumps(text.splitlines()[0], ensure_ascii=False)[1:-1]


def test_every_cycle_publishes_for_both_arms_and_is_closed(written: WrittenWorld) -> None:
    for cycle in CYCLES:
        published = written.rows(tables.PUBLISHED_OUTPUTS, cycle)
        assert {row["arm"] for row in published} == {"flywheel", "control"}
        assert len(published) == 6
        assert written.rows(tables.MOMENTUM, cycle)


def test_outputs_of_the_flywheel_name_the_references_that_they_were_shown(written: WrittenWorld) -> None:
    prompts, messages = prompts_of(written), sent(written)
    shown = 0
    for row in outputs_of(written, "flywheel"):
        references = {reference["reference_id"]: reference["text"] for reference in prompts[row["prompt_version"]]}
        for reference in row["reference_ids"]:
            assert quoted(references[reference]) in messages[row["request_key"]]
        shown += len(row["reference_ids"])
    assert shown > 0


def test_the_next_prompt_holds_the_winners_of_the_cycle_before(written: WrittenWorld) -> None:
    corpus = [row["reference_id"] for row in written.rows(tables.REFERENCE_CORPUS, CYCLES[-1])]
    shown = [reference["reference_id"] for reference in prompts_of(written)[written.manifest(OPEN)["prompt_version"]]]
    promoted = {row["output_id"] for row in written.rows(tables.SCORED_OUTPUTS) if row["decision"] == "promote"}
    assert len(shown) > 1
    assert sorted(shown) == sorted(corpus)
    assert set(shown) <= promoted


def test_no_prompt_shows_what_was_not_published_before(written: WrittenWorld) -> None:
    prompts = prompts_of(written)
    for cycle in (*CYCLES, OPEN):
        earlier = {row["output_id"] for row in written.rows(tables.PUBLISHED_OUTPUTS) if row["cycle"] < cycle}
        assert {
            reference["reference_id"] for reference in prompts[written.manifest(cycle)["prompt_version"]]
        } <= earlier


def test_the_control_stays_on_the_treadmill_in_every_cycle(written: WrittenWorld) -> None:
    outputs, messages = outputs_of(written, "control"), sent(written)
    references = {quoted(ref["text"]) for refs in prompts_of(written).values() for ref in refs}
    assert references
    assert {row["cycle"] for row in outputs} == {*CYCLES, OPEN}
    assert {row["prompt_version"] for row in outputs} == {written.manifest(CYCLES[0])["prompt_version"]}
    assert {len(row["reference_ids"]) for row in outputs} == {0}
    assert not any(text in messages[row["request_key"]] for row in outputs for text in references)


def test_control_references_are_found_in_the_prompts_of_the_flywheel(written: WrittenWorld) -> None:
    """The search of the test above finds what is there."""
    references = {quoted(ref["text"]) for refs in prompts_of(written).values() for ref in refs}
    messages = sent(written)
    assert any(text in messages[r["request_key"]] for r in outputs_of(written, "flywheel") for text in references)


def test_the_control_has_one_candidate_per_brief_and_the_flywheel_two(written: WrittenWorld) -> None:
    for arm, n_candidates in (("control", 1), ("flywheel", 2)):
        rows = outputs_of(written, arm)
        assert len(rows) == n_candidates * len({row["brief_id"] for row in rows})


def test_everything_about_the_choice_is_recorded(written: WrittenWorld) -> None:
    for row in written.rows(tables.PUBLISHED_OUTPUTS):
        assert row["choice"] == "drawn" if row["arm"] == "control" else row["choice"] in ("best", "explored")
        assert row["probability"] == pytest.approx(
            {"drawn": 1.0}.get(row["choice"]) or (0.9 if row["choice"] == "best" else row["probability"])
        )
        assert row["probability"] in (pytest.approx(1.0), pytest.approx(0.9), pytest.approx(0.1))


def test_the_outbox_holds_what_was_published_without_its_arm(written: WrittenWorld) -> None:
    for cycle in CYCLES:
        lines = (written.paths.outbox / NAME / f"{cycle}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        published = {row["output_id"]: row["text"] for row in written.rows(tables.PUBLISHED_OUTPUTS, cycle)}
        assert {row["output_id"]: row["text"] for row in rows} == published
        assert {row["is_simulated"] for row in rows} == {True}
        assert not any("arm" in row for row in rows)
