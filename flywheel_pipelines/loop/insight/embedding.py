"""Sentence embeddings of an insight flywheel's tickets: computed once, as a cycle is opened, and read by its close.

Here: which texts of a cycle want a vector, and what stands for `WordVectors` when there are some. Not here: the ledger
itself (`loop.embedding`), or what vectors are good for (`learning.themes`).

The partition of a cycle holds a vector of every text that the cycle asks for: its tickets, those of earlier cycles
that no theme has taken, and the reference tickets of the library. What was embedded before is copied from there, so
each text is sent once, and old partitions may go with their cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.embedding_features import TextVectors, rounded, text_hash
from flywheel_pipelines.learning.themes.vectors import EmbeddedTexts
from flywheel_pipelines.llm.embedding import Embedded
from flywheel_pipelines.loop.embedding import TEXTS_PER_BATCH, append_vectors, pinned_model, read_vectors
from flywheel_pipelines.loop.recorder import Shown
from flywheel_pipelines.loop.writing import Writers
from flywheel_pipelines.spec import InsightSpec


def embed_texts(
    spec: InsightSpec,
    store: Lake,
    cycle: date,
    window: CycleWindow,
    texts: Sequence[str],
    writers: Writers,
    now: datetime,
) -> Shown:
    """Land a vector of every text in the cycle's partition; texts that have one there are left alone.

    Args:
        spec: whose `themes.embeddings` is not none.
        store: the lake.
        cycle: that is being opened.
        window: earlier cycles whose vectors may be copied.
        texts: that the cycle asks for; blank ones get no vector.
        writers: who computes what is missing.
        now: instant to record.

    Raises:
        FlywheelError: an endpoint is wanted for tickets that are not simulated, and no provider is configured.
    """
    model = pinned_model(spec.themes.embedding, "themes", is_synthetic=spec.is_synthetic, is_offline=writers.is_offline)
    embedder = model.embedder
    if embedder is None:
        return {}
    here = read_vectors(store, spec.name, CycleWindow(cycle, cycle), embedder)
    wanted = {text_hash(text): text for text in texts if text.strip()}
    missing = sorted(wanted.keys() - set(here.hashes))
    before = read_vectors(store, spec.name, window, embedder)
    places = {name: at for at, name in enumerate(before.hashes)}
    known = [name for name in missing if name in places]
    if known:
        copied = [before.values[places[name]].tolist() for name in known]
        append_vectors(store, spec.name, cycle, now, known, copied, embedder, Embedded(before.values[:0]))
    new = [name for name in missing if name not in places]
    for start in range(0, len(new), TEXTS_PER_BATCH):
        part = new[start : start + TEXTS_PER_BATCH]
        embedded = writers.embed([wanted[name] for name in part], model)
        vectors = rounded(embedded.vectors).tolist()
        append_vectors(store, spec.name, cycle, now, part, vectors, embedder, embedded)
    return {"embedded_texts": len(new), "embedding_model": embedder} if new else {}


def embedded_texts(
    spec: InsightSpec, store: Lake, cycle: date, window: CycleWindow, background: Sequence[str]
) -> EmbeddedTexts | None:
    """The vectors that a cycle was opened with; None when it was opened with words.

    Args:
        spec: the flywheel.
        store: the lake.
        cycle: that was opened.
        window: earlier cycles, whose vectors say what all texts have in common.
        background: texts of these.
    """
    embedder = _opened_with(spec, store, cycle)
    if embedder is None:
        return None
    vectors: TextVectors = read_vectors(store, spec.name, CycleWindow(window.first, cycle), embedder)
    return EmbeddedTexts(vectors, background)


def _opened_with(spec: InsightSpec, store: Lake, cycle: date) -> str | None:
    if spec.themes.embeddings == "none":
        return None
    rows = store.read(
        tables.TEXT_EMBEDDINGS, spec.name, cycle, ["recorded_at", "embedding_model"], in_order=False
    ).to_pylist()
    latest = max(rows, key=lambda row: (row["recorded_at"], row["embedding_model"]), default=None)
    return None if latest is None else str(latest["embedding_model"])
