"""Embeddings in the loop: computed once by an opening, read by every close, and never asked for again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.versions import recorded_inputs
from flywheel_pipelines.learning.embedding_features import text_hash
from flywheel_pipelines.llm.embedding import Embedded, EmbeddingCall
from flywheel_pipelines.loop import closing
from flywheel_pipelines.loop.embedding import CycleVectors, pinned_embeddings
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines.spec import FlywheelSpec, ScoringModelSpec
from flywheel_pipelines_tests.small_world import changed_files, fingerprint, spec
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

ENDPOINT = {"embeddings": "endpoint", "embedding_model": "text-embedding-3-small", "embedding_dimensions": 32}
OFFLINE = "endpoint/offline-writer/32"
CYCLES, NEXT = WEEKS[:3], WEEKS[3]
VECTOR_TABLES = ("scoring_model", "scoring_model_terms", "scoring_model_skill", "scored_outputs")
"""What rests on vectors."""


class CountingWriters(DirectWriters):
    """Remembers which texts were embedded, or refuses to embed any."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__()
        self.embedded: list[str] = []
        self.refuses = refuses

    def embed(self, texts: Sequence[str], spec: ScoringModelSpec) -> Embedded:
        if self.refuses:
            raise AssertionError("nobody may be asked for embeddings here")
        self.embedded += texts
        call = EmbeddingCall("key", len(texts), 1, 100, 0.002, 0.1)
        return Embedded(super().embed(texts, spec).vectors, (call,))


def stage(world: WrittenWorld, writers: DirectWriters) -> PlainStage:
    return PlainStage(world.flywheel, world.lake, writers, world.paths.outbox)


def played_with(root: Path, writers: DirectWriters, **changes: Any) -> WrittenWorld:
    world = WrittenWorld.make(root, **changes)
    play(Season.of(world.flywheel, len(CYCLES), world.audience()), stage(world, writers), world.lake, world.paths)
    return world


@pytest.fixture(scope="module")
def writers() -> CountingWriters:
    return CountingWriters()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, writers: CountingWriters) -> WrittenWorld:
    """Three cycles, opened, measured and closed, with embeddings. Read only."""
    return played_with(tmp_path_factory.mktemp("embedded"), writers, scoring_model=ENDPOINT, n_briefs=16)


@pytest.fixture
def copy(world: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    return world.copy_to(tmp_path / "copy")


def options(cycle: Any) -> OpenOptions:
    return OpenOptions(recorded_at=cycle_start(cycle), is_synthetic=True)


def close(world: WrittenWorld, cycles: Sequence[Any] = CYCLES) -> None:
    closing.close_cycles(world.flywheel, Recorder(world.lake, NAME), cycles)


def vector_files(world: WrittenWorld) -> dict[str, str]:
    return {
        path: digest for path, digest in fingerprint(world.paths.lake).items() if Path(path).parts[0] in VECTOR_TABLES
    }


def hashes(world: WrittenWorld, cycle: Any = None) -> set[str]:
    return {row["text_hash"] for row in world.rows(tables.TEXT_EMBEDDINGS, cycle)}


def texts(world: WrittenWorld, cycle: Any = None) -> set[str]:
    return {row["text"] for row in world.rows(tables.GENERATED_OUTPUTS, cycle)}


# -- opening ---------------------------------------------------------------------------------------------------------
def test_every_text_of_a_cycle_has_a_vector_in_its_partition(world: WrittenWorld) -> None:
    for cycle in CYCLES:
        assert hashes(world, cycle) >= {text_hash(text) for text in texts(world, cycle)} != set()


def test_no_text_is_embedded_twice(world: WrittenWorld, writers: CountingWriters) -> None:
    assert sorted(writers.embedded) == sorted(texts(world))


def test_vectors_have_unit_length_and_say_that_they_are_simulated(world: WrittenWorld) -> None:
    rows = world.rows(tables.TEXT_EMBEDDINGS)
    assert {row["embedding_model"] for row in rows} == {OFFLINE}
    assert all(abs(sum(x * x for x in row["vector"]) - 1) < 1e-3 and len(row["vector"]) == 32 for row in rows)


def test_requests_are_accounted_for(world: WrittenWorld, writers: CountingWriters) -> None:
    rows = world.rows(tables.EMBEDDING_REQUESTS)
    assert sum(row["n_texts"] for row in rows) == len(writers.embedded)
    assert sum(row["cost"] for row in rows) == pytest.approx(0.002 * len(rows))


def test_opening_again_embeds_nothing(copy: WrittenWorld) -> None:
    before = fingerprint(copy.paths.lake, "input_versions")
    stage(copy, CountingWriters(refuses=True)).open(CYCLES[-1], options(CYCLES[-1]))
    assert changed_files(before, fingerprint(copy.paths.lake, "input_versions")) == []


def test_a_text_of_an_earlier_cycle_keeps_its_vector_and_is_not_asked_for(copy: WrittenWorld) -> None:
    earlier = sorted(texts(copy, CYCLES[0]))[0]
    vectors = CycleVectors(copy.flywheel, copy.lake, NEXT, CountingWriters(refuses=True), cycle_start(NEXT))
    # The YAML names the model that a provider would have; offline the manifest pins another.
    vectors.flywheel.spec = pinned_embeddings(copy.spec.model_copy(update={"is_synthetic": True}), is_offline=True)
    vectors.of([earlier])
    [row] = copy.rows(tables.TEXT_EMBEDDINGS, NEXT)
    original = next(r for r in copy.rows(tables.TEXT_EMBEDDINGS, CYCLES[0]) if r["text_hash"] == row["text_hash"])
    assert row["vector"] == original["vector"]


def test_blank_texts_are_not_sent(copy: WrittenWorld) -> None:
    vectors = CycleVectors(copy.flywheel, copy.lake, NEXT, CountingWriters(refuses=True), cycle_start(NEXT))
    vectors.flywheel.spec = pinned_embeddings(copy.spec.model_copy(update={"is_synthetic": True}), is_offline=True)
    assert vectors.of([" ", ""]) is not None
    assert copy.rows(tables.TEXT_EMBEDDINGS, NEXT) == []


def test_without_embeddings_nothing_is_embedded(tmp_path: Path) -> None:
    world = played_with(tmp_path, CountingWriters(refuses=True))
    assert world.rows(tables.TEXT_EMBEDDINGS) == []
    assert {row["embedding_model"] for row in world.rows(tables.SCORING_MODEL)} == {None}


# -- closing ---------------------------------------------------------------------------------------------------------
def test_the_model_learns_from_the_vectors_once_there_is_enough(world: WrittenWorld) -> None:
    found = {row["cycle"]: row for row in world.rows(tables.SCORING_MODEL)}
    assert found[CYCLES[0]]["embedding_model"] is None
    assert found[CYCLES[-1]]["embedding_model"] == OFFLINE
    assert found[CYCLES[-1]]["n_without_vector"] == 0
    blocks = {row["block"] for row in world.rows(tables.SCORING_MODEL_SKILL, CYCLES[-1])}
    assert blocks >= {"together", "embedding", "without_embedding"}
    kinds = [row["kind"] for row in world.rows(tables.SCORING_MODEL_TERMS, CYCLES[-1])]
    assert kinds.count("embedding") == 32


def test_closing_everything_again_asks_nobody_and_gives_the_same_bytes(copy: WrittenWorld) -> None:
    before = vector_files(copy)
    for name in VECTOR_TABLES:
        shutil.rmtree(copy.paths.lake / name)
    close(copy)
    assert changed_files(before, vector_files(copy)) == []
    assert len(before) == len(VECTOR_TABLES) * len(CYCLES)


def test_vectors_that_come_later_leave_earlier_closes_as_they_were(copy: WrittenWorld) -> None:
    before = vector_files(copy)
    stage(copy, CountingWriters()).open(NEXT, options(NEXT))
    close(copy)
    assert changed_files(before, vector_files(copy)) == []


def test_switched_on_later_the_next_opening_embeds_what_the_window_lacks(tmp_path: Path) -> None:
    world = played_with(tmp_path, DirectWriters())
    world.configure(scoring_model=ENDPOINT)
    before, writers = vector_files(world), CountingWriters()
    stage(world, writers).open(NEXT, options(NEXT))
    published = {row["text"] for row in world.rows(tables.PUBLISHED_OUTPUTS) if row["cycle"] in CYCLES}
    assert published and published <= set(writers.embedded)
    assert hashes(world) == hashes(world, NEXT)
    close(world)
    assert changed_files(before, vector_files(world)) == []


def test_a_cycle_is_closed_with_the_embeddings_that_it_was_opened_with(copy: WrittenWorld) -> None:
    before = vector_files(copy)
    copy.configure()
    assert copy.spec.scoring_model.embeddings == "none"
    close(copy)
    assert changed_files(before, vector_files(copy)) == []


@pytest.mark.parametrize("table", [tables.SCORING_MODEL, tables.SCORED_OUTPUTS], ids=lambda table: table.name)
def test_what_vectors_were_learned_from_and_judged_by_is_on_record(world: WrittenWorld, table: TableContract) -> None:
    for closed in CYCLES:
        read = recorded_inputs(world.lake, NAME, closed, table)
        seen = {one.cycle for one in read if one.table == "text_embeddings"}
        assert seen == {cycle for cycle in CYCLES if cycle <= closed}


# -- which embeddings ------------------------------------------------------------------------------------------------
def archive_spec(**model: Any) -> FlywheelSpec:
    return spec().model_copy(update={"scoring_model": ScoringModelSpec(**model)})


def test_a_real_cycle_is_not_given_simulated_vectors() -> None:
    with pytest.raises(FlywheelError, match="no provider is configured"):
        pinned_embeddings(archive_spec(**ENDPOINT), is_offline=True)


def test_a_simulated_cycle_without_a_provider_has_simulated_vectors() -> None:
    simulated = archive_spec(**ENDPOINT).model_copy(update={"is_synthetic": True})
    assert pinned_embeddings(simulated, is_offline=True).scoring_model.embedder == OFFLINE


@pytest.mark.parametrize("model", [{}, {"embeddings": "local"}])
def test_what_needs_no_provider_is_pinned_as_it_is(model: dict[str, Any]) -> None:
    assert pinned_embeddings(archive_spec(**model), is_offline=True) == archive_spec(**model)


def test_run_config_chooses_other_embeddings_than_the_yaml() -> None:
    applied = OpenOptions(embeddings="local").applied_to(archive_spec(**ENDPOINT))
    assert applied.scoring_model == ScoringModelSpec(embeddings="local")
    assert OpenOptions(recorded_at=cycle_start(WEEKS[0]) + timedelta(0)).applied_to(spec()) == spec()
