"""Proposals of prompts while cycles are opened: asked once, recorded first, and never in the way of a cycle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.chat import ChatRequest, Failure
from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.asking import AskReport
from flywheel_pipelines.loop import optimising
from flywheel_pipelines.loop.library import edited, register_edit
from flywheel_pipelines.loop.opening import OpenOptions, collect_briefs
from flywheel_pipelines.loop.proposing import propose_prompts
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines.spec import LlmProducer
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

N_PLAYED = 3
NEXT = WEEKS[N_PLAYED]
REFLECT = {"refresh": "reflect", "reflect_every": 1, "reflect_support": 1}


class CountingWriters(DirectWriters):
    """The offline writer, which keeps what it was asked and may refuse to propose."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__()
        self.asked: list[ChatRequest] = []
        self.refuses = refuses

    def answer(self, requests: Sequence[ChatRequest], producer: LlmProducer, store: Lake) -> AskReport:
        self.asked += requests
        if self.refuses:
            return AskReport(failures={one.key: Failure(one.key, "it would not.") for one in requests})
        return super().answer(requests, producer, store)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Three cycles of references alone, closed. Read only."""
    world = WrittenWorld.make(tmp_path_factory.mktemp("played"), n_briefs=24, floor={"confidence": 0.6})
    season = Season.of(world.flywheel, N_PLAYED, world.audience())
    play(season, PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox), world.lake, world.paths)
    return world


@pytest.fixture
def world(closed: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    """The same in a folder of its own, from now on with a model that proposes."""
    copied = closed.copy_to(tmp_path / "world")
    copied.configure(floor={"confidence": 0.6}, arms={"challenger": 0.3}, prompt=REFLECT)
    return copied


def propose(world: WrittenWorld, writers: Any, cycle: date = NEXT) -> dict[str, Any]:
    """The row of a cycle after its step."""
    recorder = Recorder(world.lake, NAME)
    collect_briefs(world.flywheel, recorder, [cycle])
    propose_prompts(world.flywheel, recorder, [cycle], writers, cycle_start(cycle))
    return world.rows(tables.PROPOSED_PROMPT, cycle)[0]


def frames(world: WrittenWorld, author: str) -> list[dict[str, Any]]:
    return [row for row in world.rows(tables.PROMPT_FRAMES) if row["author"] == author]


def stage(world: WrittenWorld, writers: Any) -> PlainStage:
    return PlainStage(world.flywheel, world.lake, writers, world.paths.outbox)


def test_a_reflection_is_recorded_as_a_frame_with_its_parent_and_its_support(world: WrittenWorld) -> None:
    row = propose(world, CountingWriters())
    assert row["outcome"] == "proposed", row["reason"]
    [frame] = frames(world, "reflection")
    assert frame["frame_version"] == row["frame_version"]
    assert frame["parent_version"] == frames(world, "template")[0]["frame_version"]
    outputs = {one["output_id"] for one in world.rows(tables.PUBLISHED_OUTPUTS)}
    guidelines = json.loads(frame["guidelines"])
    assert guidelines
    for guideline in guidelines:
        assert guideline["supports"]
        assert set(guideline["supports"]) <= outputs


def test_it_can_be_tried_from_the_cycle_after_the_one_that_is_opened(world: WrittenWorld) -> None:
    propose(world, CountingWriters())
    assert frames(world, "reflection")[0]["proposed_for"] == WEEKS[N_PLAYED + 1]


def test_its_evidence_says_what_was_shown_and_that_it_is_simulated(world: WrittenWorld) -> None:
    propose(world, CountingWriters())
    evidence = json.loads(frames(world, "reflection")[0]["evidence"])
    promoted = {row["output_id"] for row in world.rows(tables.SCORED_OUTPUTS) if row["decision"] == "promote"}
    assert set(evidence["winners"]) <= promoted
    assert evidence["is_simulated"]


def test_materializing_it_again_asks_nothing_and_changes_no_byte(world: WrittenWorld) -> None:
    propose(world, CountingWriters())
    before, again = fingerprint(world.paths.lake), CountingWriters()
    propose(world, again)
    assert again.asked == []
    assert changed_files(before, fingerprint(world.paths.lake)) == []


def test_a_run_that_was_cut_off_before_its_row_proposes_the_same_frame(world: WrittenWorld) -> None:
    first = propose(world, CountingWriters())
    (world.lake.partition_dir(tables.PROPOSED_PROMPT, flywheel=NAME, cycle=NEXT) / "part.parquet").unlink()
    assert propose(world, CountingWriters()) == first
    assert len(frames(world, "reflection")) == 1


def test_a_refusal_leaves_the_cycle_openable_without_a_proposal_and_says_so(world: WrittenWorld) -> None:
    row = propose(world, CountingWriters(refuses=True))
    assert (row["outcome"], row["frame_version"]) == ("failed", None)
    assert "it would not" in row["reason"]
    stage(world, DirectWriters()).open(NEXT, OpenOptions(recorded_at=cycle_start(NEXT), is_synthetic=True))
    assert world.rows(tables.PUBLISHED_OUTPUTS, NEXT)


def test_what_failed_is_asked_again_until_the_cycle_is_pinned(world: WrittenWorld) -> None:
    propose(world, CountingWriters(refuses=True))
    assert propose(world, CountingWriters())["outcome"] == "proposed"


def test_too_few_pairs_are_not_asked_about(world: WrittenWorld) -> None:
    world.configure(arms={"challenger": 0.3}, prompt={**REFLECT, "reflect_support": 50})
    writers = CountingWriters()
    row = propose(world, writers)
    assert (row["outcome"], writers.asked) == ("not_due", [])


def test_a_template_without_a_place_for_guidelines_is_not_asked_about(tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path / "bare", n_briefs=24, floor={"confidence": 0.6})
    (world.folder / "bare.md").write_text("{{ references }}\n{{ brief }}\n", encoding="utf-8")
    world.configure(floor={"confidence": 0.6}, prompt={"template": "bare.md"})
    play(Season.of(world.flywheel, 2, world.audience()), stage(world, DirectWriters()), world.lake, world.paths)
    world.configure(floor={"confidence": 0.6}, arms={"challenger": 0.3}, prompt={**REFLECT, "template": "bare.md"})
    writers = CountingWriters()
    row = propose(world, writers, WEEKS[2])
    assert (row["outcome"], writers.asked) == ("failed", [])
    assert "guidelines" in row["reason"]


def test_nothing_is_proposed_while_a_persons_frame_waits_for_its_trial(world: WrittenWorld) -> None:
    own = world.flywheel.frame()
    mine = edited(own, guidelines=["Keep it short."])
    now = cycle_start(NEXT)
    register_edit(world.flywheel, world.lake, mine, own.version, note="shorter", author_name=None, now=now)
    writers = CountingWriters()
    row = propose(world, writers)
    assert (row["outcome"], writers.asked) == ("not_due", [])
    assert mine.version in row["reason"]


def test_the_first_cycle_has_nothing_to_reflect_on(tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path / "first", arms={"challenger": 0.3}, prompt=REFLECT)
    writers = CountingWriters()
    assert propose(world, writers, WEEKS[0])["outcome"] == "not_due"
    assert writers.asked == []


class Online(CountingWriters):
    """A provider that is configured answers."""

    is_offline = False


def test_control_a_flywheel_that_a_provider_writes_is_reflected_on_by_its_model(world: WrittenWorld) -> None:
    writers = Online(refuses=True)
    propose(world, writers)
    assert {request.model for request in writers.asked} == {"gpt-5-mini"}
    assert {request.arm for request in writers.asked} == {"reflection"}


# -- gepa ------------------------------------------------------------------------------------------------------------
GEPA = {
    "refresh": "gepa",
    "reflect_every": 1,
    "optimiser": {"max_texts": 260, "minibatch": 4, "validation": 4, "evidence": 40},
}


@pytest.fixture
def searching(world: WrittenWorld, monkeypatch: pytest.MonkeyPatch) -> WrittenWorld:
    """The same with gepa instead, and a scoring model that likes questions and says that it is skilled."""
    pytest.importorskip("gepa", reason="the optional package gepa is not installed")
    world.configure(floor={"confidence": 0.6}, arms={"challenger": 0.3}, prompt=GEPA)
    trust_the_scoring_model(world)
    monkeypatch.setattr(
        optimising, "model_from_tables", lambda row, terms: SimpleNamespace(predict=likes_questions), raising=True
    )
    return world


def likes_questions(texts: Sequence[str], segments: Sequence[str]) -> list[float]:
    return [float("?" in text) + len(text) / 1e6 for text in texts]


def trust_the_scoring_model(world: WrittenWorld) -> None:
    last = WEEKS[N_PLAYED - 1]
    row = world.lake.read(tables.SCORING_MODEL, NAME, last, columns=tables.SCORING_MODEL.columns).to_pylist()[0]
    skilled = pa.Table.from_pylist([row | {"is_skilled": True}], schema=tables.SCORING_MODEL.schema)
    world.lake.write(tables.SCORING_MODEL, skilled, flywheel=NAME, cycle=last)


def test_gepa_proposes_what_the_scoring_model_likes_with_the_tests_it_passed(searching: WrittenWorld) -> None:
    row = propose(searching, CountingWriters())
    assert row["outcome"] == "proposed", row["reason"]
    [frame] = frames(searching, "optimiser")
    evidence = json.loads(frame["evidence"])
    [passed] = [one for one in evidence["tested"] if one["passed"]][-1:]
    assert passed["mean_difference"] > 0
    assert evidence["n_texts"] <= GEPA["optimiser"]["max_texts"]  # type: ignore[index]
    assert "Ask the reader a question." in [one["text"] for one in json.loads(frame["guidelines"])]


def test_gepa_asks_for_the_optimiser_and_only_for_briefs_of_the_past(searching: WrittenWorld) -> None:
    writers = CountingWriters()
    propose(searching, writers)
    assert {request.arm for request in writers.asked} == {"optimiser"}
    weeks = {request.brief_id.split("/")[0] for request in writers.asked if request.brief_id != "proposal"}
    assert weeks <= {week.isoformat() for week in WEEKS[:N_PLAYED]}


def test_gepa_repeated_asks_the_very_same(searching: WrittenWorld) -> None:
    first, second = CountingWriters(), CountingWriters()
    propose(searching, first)
    (searching.lake.partition_dir(tables.PROPOSED_PROMPT, flywheel=NAME, cycle=NEXT) / "part.parquet").unlink()
    propose(searching, second)
    assert [one.key for one in first.asked] == [one.key for one in second.asked]


def test_gepa_without_a_skilled_scoring_model_asks_nothing(world: WrittenWorld) -> None:
    world.configure(floor={"confidence": 0.6}, arms={"challenger": 0.3}, prompt=GEPA)
    writers = CountingWriters()
    row = propose(world, writers)
    assert (row["outcome"], writers.asked) == ("not_due", [])
    assert "scoring model" in row["reason"]


def test_briefs_are_split_by_hash_without_overlap_and_keep_their_use() -> None:
    briefs = [f"2026-01-05/b{number}" for number in range(50)]
    items = optimising.split_briefs(briefs, validation=10, flywheel=NAME)
    uses = [set(items.train), set(items.validation), set(items.evidence)]
    assert set.union(*uses) == set(briefs)
    assert sum(map(len, uses)) == len(briefs)
    assert items == optimising.split_briefs(briefs[::-1], validation=10, flywheel=NAME)
