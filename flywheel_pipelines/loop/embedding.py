"""Sentence embeddings of a cycle's texts: computed once, by the opening of the cycle, and read ever after.

Here: which texts want a vector, having them computed, landing them in the ledger `text_embeddings`, and reading them
back. Not here: computing them (`llm.embedding`, `llm.embedding_local`), or what they are good for (`learning`).

A vector stands in the partition of the cycle whose opening had it computed. That partition holds every text of the
cycle, and those texts of the window before that had none, as when embeddings were switched on later. So a close needs
no other cycles than those of its window, calls nothing, and closing an early cycle again sees what it saw before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import pyarrow as pa

from flywheel_pipelines.cycles import cycle_window
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import CycleWindow, Lake, content_hash
from flywheel_pipelines.learning.embedding_features import TextVectors, rounded, text_hash
from flywheel_pipelines.llm.budget import check_embeddings
from flywheel_pipelines.llm.embedding import LONGEST_TEXT, Embedded
from flywheel_pipelines.llm.ledger import spent
from flywheel_pipelines.llm.pricing import PER, embedding_cost
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Shown
from flywheel_pipelines.loop.writing import OFFLINE_MODEL, Writers
from flywheel_pipelines.spec import FlywheelSpec, ScoringModelSpec

SOURCE = "embeddings by"
TEXTS_PER_BATCH = 1_000
"""Landed together: a run that is cut off keeps what was landed."""


def pinned_embeddings(spec: FlywheelSpec, *, is_offline: bool) -> FlywheelSpec:
    """The spec with the embeddings that its cycle will have; without a provider a simulated cycle has simulated ones.

    Raises:
        FlywheelError: an endpoint is wanted for a cycle that is not simulated, and no provider is configured.
    """
    pinned = pinned_model(spec.scoring_model, "scoring_model", is_synthetic=spec.is_synthetic, is_offline=is_offline)
    return spec if pinned == spec.scoring_model else spec.model_copy(update={"scoring_model": pinned})


def pinned_model(model: ScoringModelSpec, section: str, *, is_synthetic: bool, is_offline: bool) -> ScoringModelSpec:
    """The settings of embeddings as they hold now: those of `section` of the YAML, or the offline writer's.

    Raises:
        FlywheelError: as `pinned_embeddings`.
    """
    if model.embeddings != "endpoint" or not is_offline:
        return model
    if not is_synthetic:
        raise FlywheelError(
            f"{section}.embeddings: endpoint wants {model.embedding_model}, but no provider is configured. Set "
            "OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own, or write embeddings: local or none."
        )
    return model.model_copy(update={"embedding_model": OFFLINE_MODEL, "embedding_price": None})


def read_vectors(store: Lake, flywheel: str, window: CycleWindow, embedder: str) -> TextVectors:
    """The vectors that the cycles of a window have by one model."""
    columns = ["cycle", "recorded_at", "text_hash", "embedding_model", "vector"]
    rows = store.read(tables.TEXT_EMBEDDINGS, flywheel, window, columns, in_order=False)
    return TextVectors.from_rows(rows, embedder)


def vectors_for(
    store: Lake, flywheel: str, cycle: date, window: CycleWindow
) -> tuple[TextVectors | None, list[tuple[TableContract, date]]]:
    """The vectors that a cycle is closed with, those of a window by one model, and the partitions they stand in.

    The model is the one that the cycle was opened with, whatever the YAML says by now; None without embeddings.
    """
    manifest = store.read(tables.CYCLE_MANIFEST, flywheel, cycle, columns=["settings"])
    embedder = FlywheelSpec.model_validate_json(manifest["settings"][0].as_py()).scoring_model.embedder
    if embedder is None:
        return None, []
    held = store.cycle_folders(tables.TEXT_EMBEDDINGS, flywheel)
    read = [(tables.TEXT_EMBEDDINGS, each) for each in held if each in window]
    return read_vectors(store, flywheel, window, embedder), read


@dataclass
class CycleVectors:
    """The vectors of one cycle that is being opened. `shown` says what was computed.

    `flywheel` is the flywheel with the settings that the cycle was opened with, `now` the instant to record.
    """

    flywheel: Flywheel
    store: Lake
    cycle: date
    writers: Writers
    now: datetime
    shown: Shown = field(default_factory=dict)

    def of(self, texts: Sequence[str]) -> TextVectors | None:
        """The stored vectors, among them those of `texts`, computed now where there are none; None without embeddings.

        Raises:
            FlywheelError: they cannot be computed.
            BudgetError: they may take the cycle past producer.max_cost_per_cycle; nothing was sent.
        """
        spec = self.flywheel.spec
        embedder = spec.scoring_model.embedder
        if embedder is None:
            return None
        window = CycleWindow(*cycle_window(self.cycle, spec.cadence, spec.scoring_model.window))
        known = read_vectors(self.store, self.flywheel.name, window, embedder)
        here = set(self._hashes_of(CycleWindow(self.cycle, self.cycle), embedder))
        self._copy({text_hash(text) for text in texts} & set(known.hashes) - here, known)
        missing = self._missing([*texts, *self._published(window)], set(known.hashes))
        if not missing:
            return known
        expected = self._within_budget(missing)
        costs: list[float | None] = []
        for start in range(0, len(missing), TEXTS_PER_BATCH):
            part = missing[start : start + TEXTS_PER_BATCH]
            embedded = self.writers.embed(part, spec.scoring_model)
            self._land([text_hash(text) for text in part], embedded, embedder)
            costs += [call.cost for call in embedded.calls]
        self.shown = {"embedded_texts": len(missing), "embedding_model": embedder}
        if spec.scoring_model.embeddings == "endpoint":
            known = [cost for cost in costs if cost is not None]
            so_far = spent(self.store, self.flywheel.name, self.cycle)
            self.shown |= {
                "expected_embedding_cost": _dollars(expected),
                "embedding_cost": _dollars(sum(known) if len(known) == len(costs) else None),
                "cost_of_cycle_so_far": _dollars(so_far),
            }
        return read_vectors(self.store, self.flywheel.name, window, embedder)

    def set_aside(self, answer_tokens: float) -> float:
        """US dollars to keep for embeddings before answers of so many tokens are asked for; 0 where nothing is paid.

        What the cycle's embeddings have cost already is not kept a second time.

        Raises:
            BudgetError: they alone would pass the budget, or have no price.
        """
        model, max_cost = self.flywheel.spec.scoring_model, self._max_cost
        if max_cost is None:
            return 0.0
        window = CycleWindow(*cycle_window(self.cycle, self.flywheel.spec.cadence, model.window))
        embedder = model.embedder or ""
        missing = self._missing(self._published(window), set(self._hashes_of(window, embedder)))
        backlog = embedding_cost(missing, model.embedding_price, LONGEST_TEXT)
        rows = self.store.read(tables.EMBEDDING_REQUESTS, self.flywheel.name, self.cycle, columns=["cost"])
        paid = sum(cost or 0.0 for cost in rows["cost"].to_pylist())
        answers = None if model.embedding_price is None else answer_tokens * model.embedding_price / PER
        expected = None if backlog is None or answers is None else backlog + max(0.0, answers - paid)
        before = spent(self.store, self.flywheel.name, self.cycle)
        check_embeddings(expected, model=embedder, max_cost=max_cost, spent=before)
        return expected or 0.0

    @property
    def _max_cost(self) -> float | None:
        """The budget that embeddings count towards; None without one, and where they cost nothing."""
        writer = self.flywheel.writer
        is_paid = self.flywheel.spec.scoring_model.embeddings == "endpoint"
        return writer.max_cost_per_cycle if writer is not None and is_paid else None

    def _within_budget(self, missing: Sequence[str]) -> float | None:
        """What these texts are expected to cost. Raises BudgetError when that is more than the cycle may."""
        model, max_cost = self.flywheel.spec.scoring_model, self._max_cost
        expected = embedding_cost(missing, model.embedding_price, LONGEST_TEXT)
        if max_cost is not None:
            before = spent(self.store, self.flywheel.name, self.cycle)
            check_embeddings(expected, model=model.embedder or "", max_cost=max_cost, spent=before)
        return expected

    def _hashes_of(self, window: CycleWindow, embedder: str) -> list[str]:
        columns = ["text_hash", "embedding_model"]
        rows = self.store.read(tables.TEXT_EMBEDDINGS, self.flywheel.name, window, columns, in_order=False)
        return [row["text_hash"] for row in rows.to_pylist() if row["embedding_model"] == embedder]

    def _published(self, window: CycleWindow) -> list[str]:
        found = self.store.read(tables.PUBLISHED_OUTPUTS, self.flywheel.name, window, columns=["text"])
        return found["text"].to_pylist()

    def _missing(self, texts: Sequence[str], known: set[str]) -> list[str]:
        """Texts that want a vector, once each, in an order of their own; a blank one says nothing and gets none."""
        wanted = {text_hash(text): text for text in texts if text.strip()}
        return [wanted[name] for name in sorted(wanted.keys() - known)]

    def _copy(self, hashes: set[str], known: TextVectors) -> None:
        """Texts that came up before: an earlier partition leaves the window some day, this cycle's comes later."""
        if not hashes:
            return
        rows = [(name, vector) for name, vector in zip(known.hashes, known.values, strict=True) if name in hashes]
        names, vectors = zip(*rows, strict=True)
        self._append(list(names), [vector.tolist() for vector in vectors], known.model, Embedded(known.values[:0]))

    def _land(self, hashes: list[str], embedded: Embedded, embedder: str) -> None:
        self._append(hashes, rounded(embedded.vectors).tolist(), embedder, embedded)

    def _append(self, hashes: list[str], vectors: list[list[float]], embedder: str, embedded: Embedded) -> None:
        append_vectors(self.store, self.flywheel.name, self.cycle, self.now, hashes, vectors, embedder, embedded)


def append_vectors(
    store: Lake,
    flywheel: str,
    cycle: date,
    now: datetime,
    hashes: Sequence[str],
    vectors: Sequence[Sequence[float]],
    embedder: str,
    embedded: Embedded,
) -> None:
    """Append one batch of vectors to a cycle's partition of `text_embeddings`, with what they cost."""
    batch_id = content_hash("text_embeddings", embedder, cycle, *hashes)
    fact = {"batch_id": batch_id, "recorded_at": now}
    rows = [
        {"text_hash": name, "embedding_model": embedder, "vector": vector, "source_row": number, **fact}
        for number, (name, vector) in enumerate(zip(hashes, vectors, strict=True), start=1)
    ]
    requests = [
        {
            "request_key": call.key,
            "embedding_model": embedder,
            "n_texts": call.n_texts,
            "n_tries": call.n_tries,
            "prompt_tokens": call.prompt_tokens,
            "cost": call.cost,
            "latency": call.latency,
            "source_row": number,
            **fact,
        }
        for number, call in enumerate(embedded.calls, start=1)
    ]
    header = {
        "source": f"{SOURCE} {embedder}",
        "n_rows": len(rows),
        "n_quarantined": 0,
        "first_cycle": cycle,
        "last_cycle": cycle,
        **fact,
    }
    facts = {tables.TEXT_EMBEDDINGS: rows} | ({tables.EMBEDDING_REQUESTS: requests} if requests else {})
    store.append_batch(flywheel, header, {table: _of_cycle(table, found, cycle) for table, found in facts.items()})


def _dollars(cost: float | None) -> float | str:
    # Unknown is not nothing.
    return "unknown" if cost is None else round(cost, 6)


def _of_cycle(table: TableContract, rows: list[dict[str, object]], cycle: date) -> pa.Table:
    schema = pa.schema([pa.field("cycle", pa.date32()), *table.schema])
    return pa.Table.from_pylist([{"cycle": cycle, **row} for row in rows], schema=schema)
