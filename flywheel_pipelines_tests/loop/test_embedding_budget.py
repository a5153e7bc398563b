"""What embeddings cost counts towards the budget of the cycle: refused before a text is sent, and kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.lake import tables
from flywheel_pipelines.llm.budget import BudgetError
from flywheel_pipelines.llm.embedding import Embedded, EmbeddingCall
from flywheel_pipelines.llm.ledger import spent
from flywheel_pipelines.loop.embedding import CycleVectors
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.spec import LlmProducer, ScoringModelSpec
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

CYCLE, PRICE = WEEKS[0], 1_000.0
"""A dollar for a thousand tokens, so that a few texts cost something."""
TEXTS = ["a" * 400, "b" * 400]
EXPECTED = 2 * 100 * PRICE / 1_000_000


class PaidWriters(DirectWriters):
    """Embeds for what `PRICE` says, and remembers which texts were sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def embed(self, texts: Sequence[str], spec: ScoringModelSpec) -> Embedded:
        self.sent += texts
        found = super().embed(texts, spec)
        return Embedded(found.vectors, (EmbeddingCall("key", len(texts), 1, 180, 180 * PRICE / 1_000_000, 0.1),))


def opened(root: Path, writers: PaidWriters, budget: float | None, price: float | None = PRICE) -> CycleVectors:
    """The vectors of a cycle that a provider writes and embeds, within a budget."""
    world = WrittenWorld.make(root)
    model = ScoringModelSpec(embeddings="endpoint", embedding_model="small", embedding_price=price)
    assert isinstance(world.spec.producer, LlmProducer)
    producer = world.spec.producer.model_copy(update={"max_cost_per_cycle": budget})
    flywheel = world.flywheel
    flywheel.spec = world.spec.model_copy(update={"scoring_model": model, "producer": producer})
    return CycleVectors(flywheel, world.lake, CYCLE, writers, cycle_start(CYCLE))


def test_embeddings_past_the_budget_are_refused_before_a_text_is_sent(tmp_path: Path) -> None:
    writers = PaidWriters()
    vectors = opened(tmp_path, writers, EXPECTED * 0.99)
    with pytest.raises(BudgetError, match=r"expected to cost \$0.2000.*no text was sent"):
        vectors.of(TEXTS)
    assert writers.sent == []
    assert vectors.store.read(tables.EMBEDDING_REQUESTS, NAME, CYCLE).num_rows == 0


@pytest.mark.parametrize("budget", [EXPECTED * 1.01, None])
def test_embeddings_within_the_budget_are_sent_and_count_as_spent(tmp_path: Path, budget: float | None) -> None:
    writers = PaidWriters()
    vectors = opened(tmp_path, writers, budget)
    vectors.of(TEXTS)
    assert sorted(writers.sent) == TEXTS
    assert spent(vectors.store, NAME, CYCLE) == pytest.approx(0.18)
    assert vectors.shown["expected_embedding_cost"] == pytest.approx(EXPECTED)
    assert vectors.shown["embedding_cost"] == vectors.shown["cost_of_cycle_so_far"] == pytest.approx(0.18)


def test_what_was_spent_before_leaves_less(tmp_path: Path) -> None:
    vectors = opened(tmp_path, PaidWriters(), EXPECTED * 1.01)
    vectors.of(TEXTS)
    with pytest.raises(BudgetError, match=r"\$0.1800 has been spent"):
        vectors.of([*TEXTS, "c" * 400])


def test_a_budget_needs_the_price_of_embeddings(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"scoring_model\.embedding_price"):
        opened(tmp_path, PaidWriters(), 1.0, price=None).of(TEXTS)


def test_embeddings_of_answers_are_set_aside_before_answers_are_asked_for(tmp_path: Path) -> None:
    vectors = opened(tmp_path, PaidWriters(), 1.0)
    assert vectors.set_aside(500) == pytest.approx(0.5)
    with pytest.raises(BudgetError, match="the budget is"):
        vectors.set_aside(1_001)
    vectors.of(TEXTS)
    assert vectors.set_aside(500) == pytest.approx(0.5 - 0.18)


def test_without_a_budget_nothing_is_set_aside(tmp_path: Path) -> None:
    assert opened(tmp_path, PaidWriters(), None).set_aside(1e9) == 0
