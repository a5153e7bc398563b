"""Tickets likened by sentence embeddings: each is computed once, a close asks nobody, and the themes are right."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.embedding_features import TextVectors, text_hash
from flywheel_pipelines.learning.themes.vectors import EmbeddedTexts, WordVectors
from flywheel_pipelines.llm.embedding import Embedded
from flywheel_pipelines.loop.insight.following import close_cycles
from flywheel_pipelines.loop.insight.sorting import sort_tickets
from flywheel_pipelines.loop.insight.state import vectors_for
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.tickets import NAMES, NO_THEME, TicketWorld, WorldSettings
from flywheel_pipelines.spec import FlywheelSpec, InsightSpec, ScoringModelSpec

WORLD = TicketWorld(4, settings=WorldSettings(n_tickets=200))
FIRST, SECOND = WORLD.first_day(1), WORLD.first_day(2)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
ENDPOINT = {"embeddings": "endpoint", "embedding_model": "text-embedding-3-small", "embedding_dimensions": 65}
SPEC: dict[str, Any] = {
    "name": "support",
    "start": FIRST,
    "is_synthetic": True,
    "producer": {"kind": "llm", "model": "gpt-5-mini"},
    "review": "optional",
    "themes": ENDPOINT,
    "feeds": {"desk": {"kind": "tickets", "path": "t/*.csv"}},
}


TRUTH = {one.text: name for cycle in (1, 2) for one, name in WORLD.tickets(cycle)}


class KnowingWriters(DirectWriters):
    """Embeds as a good model would: texts of one true theme are near each other, and all texts share a direction.

    Remembers what was embedded. The offline writer's own vectors count words without their rarity, and tell no themes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str], spec: ScoringModelSpec) -> Embedded:
        self.embedded += texts
        return Embedded(np.array([self._vector(text) for text in texts]))

    def _vector(self, text: str) -> np.ndarray:
        noise = np.random.default_rng(crc32(text.encode())).standard_normal(65) / 12
        noise[0] += 2
        noise[1 + [*NAMES, NO_THEME].index(TRUTH[text])] += TRUTH[text] != NO_THEME
        return noise


def _landed(root: Path, spec: InsightSpec) -> Lake:
    lake, path = Lake(root / "lake"), root / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ticket_id", "created_at", "text"])
        for cycle in (1, 2):
            writer.writerows([one.ticket_id, str(one.day), one.text] for one, _ in WORLD.tickets(cycle))
    land_file(lake, cast(FlywheelSpec, spec), "desk", path, recorded_at=NOW)
    return lake


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[InsightSpec, Lake, KnowingWriters]:
    spec, writers = InsightSpec.model_validate(SPEC), KnowingWriters()
    lake = _landed(tmp_path_factory.mktemp("embedded"), spec)
    for cycle in (FIRST, SECOND):
        recorder = Recorder(lake, spec.name)
        sort_tickets(spec, recorder, [cycle], writers, NOW)
        close_cycles(spec, recorder, [cycle])
    return spec, lake, writers


def test_every_text_is_embedded_once_and_a_close_asks_nobody(
    played: tuple[InsightSpec, Lake, KnowingWriters],
) -> None:
    spec, lake, writers = played
    texts = {row["text"] for row in lake.read(tables.TICKETS, spec.name).to_pylist()}
    assert sorted(writers.embedded) == sorted(texts)
    before = [lake.version(tables.TICKET_THEMES, spec.name, cycle) for cycle in (FIRST, SECOND)]
    sort_tickets(spec, Recorder(lake, spec.name), [SECOND], writers, NOW)
    close_cycles(spec, Recorder(lake, spec.name), [FIRST, SECOND])
    assert len(writers.embedded) == len(texts)
    assert [lake.version(tables.TICKET_THEMES, spec.name, cycle) for cycle in (FIRST, SECOND)] == before


def test_a_cycle_holds_the_vectors_of_the_library_it_starts_with(
    played: tuple[InsightSpec, Lake, KnowingWriters],
) -> None:
    spec, lake, _ = played
    held = set(lake.read(tables.TEXT_EMBEDDINGS, spec.name, SECOND)["text_hash"].to_pylist())
    library = lake.read(tables.THEME_LIBRARY, spec.name, FIRST).to_pylist()
    examples = [text for row in library for text in row["examples"]]
    assert examples
    assert {text_hash(text) for text in examples} <= held


def test_themes_by_embeddings_are_those_of_the_world(played: tuple[InsightSpec, Lake, KnowingWriters]) -> None:
    spec, lake, _ = played
    rows = {row["ticket_id"]: row for row in lake.read(tables.TICKET_THEMES, spec.name, SECOND).to_pylist()}
    pairs = [(name, rows[one.ticket_id]["theme_id"]) for one, name in WORLD.tickets(2)]
    named = [(name, theme) for name, theme in pairs if theme is not None]
    assert len(named) > 0.5 * len(pairs)
    assert adjusted_rand_score(*zip(*named, strict=True)) > 0.9


def test_without_embeddings_a_cycle_is_likened_by_words(played: tuple[InsightSpec, Lake, KnowingWriters]) -> None:
    spec, lake, _ = played
    words = InsightSpec.model_validate({**SPEC, "themes": {}})
    assert isinstance(vectors_for(lake, spec, SECOND), EmbeddedTexts)
    assert isinstance(vectors_for(lake, words, SECOND), WordVectors)


def test_real_tickets_are_not_embedded_by_the_offline_writer(tmp_path: Path) -> None:
    spec = InsightSpec.model_validate({**SPEC, "is_synthetic": False})
    with pytest.raises(FlywheelError, match=r"themes\.embeddings: endpoint wants text-embedding-3-small"):
        sort_tickets(spec, Recorder(_landed(tmp_path, spec), spec.name), [FIRST], DirectWriters(), NOW)


def test_an_endpoint_needs_a_model() -> None:
    with pytest.raises(ValueError, match="embeddings: endpoint needs embedding_model"):
        InsightSpec.model_validate({**SPEC, "themes": {"embeddings": "endpoint"}})


def test_what_all_embeddings_share_is_taken_away() -> None:
    values = np.array([[9.0, 1.0], [9.0, -1.0], [9.0, 0.9]], np.float32)
    texts = ["one", "other", "like the one"]
    vectors = EmbeddedTexts(TextVectors("m", tuple(text_hash(text) for text in texts), values), texts[:2])
    one, other, like, missing = vectors([*texts, "never embedded"])
    assert one @ other == pytest.approx(-1)
    assert one @ like == pytest.approx(1)
    assert not missing.any()
