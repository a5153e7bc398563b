"""The reference corpus: which proven winners the next prompt shows.

Here: choosing promoted outputs by quality, without near-duplicates and with room for every segment. Not here: the
judgement that promotes them (`scoring.py`) and how they are shown (`prompt.py`).

The corpus is rebuilt from the judgements at every close, never edited, so an output whose corrected metric no longer
beats the floor leaves it by itself.
"""

from __future__ import annotations

import json
from typing import Literal

import pyarrow as pa

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import REFERENCE_CORPUS
from flywheel_pipelines.similarity import shingle_similarity, shingles_of


def build_corpus(
    judged: pa.Table,
    *,
    size: int,
    per_segment: int,
    near_duplicate: float,
    better: Literal["higher", "lower"] = "higher",
) -> pa.Table:
    """Choose the references.

    Only an output's newest judgement counts, and only `promote`. Winners are taken in order of quality, then
    of `p_above`, then the newer, then by id; one is passed over when its segment is full or when its text is nearly
    that of a winner already taken, so the best of a family of near-duplicates stays. Texts of nothing but spaces teach
    nothing and are left out.

    Args:
        judged: judgements over a bounded window of cycles, with the columns output_id, segment, text, cycle,
            posterior_mean, floor_level, p_above, decision. `cycle` is the cycle the judgement belongs to; an output may
            be judged in several, the first of which becomes its `source_cycle`.
        size: most references in the corpus.
        per_segment: most references of one segment.
        near_duplicate: texts whose `text_similarity` is at least this are one family; 1 only drops equal texts.
        better: 'lower' turns the sign of quality, for metrics where lower is better.

    Returns:
        REFERENCE_CORPUS without partition columns. `quality` is the relative gain over the floor,
        (posterior_mean - floor_level) / |floor_level|: 0.2 is a fifth better than it had to be. A floor
        at 0 has no relative scale; quality is 0 then and `p_above` ranks. Without any floor quality is 0 too, nothing
        is more probable than the rest, and the newest come first.

    Raises:
        ContractError: one output is judged twice in the same cycle.
    """
    winners = [row for row in _newest_judgements(judged) if row["decision"] == "promote" and row["text"].strip()]
    for row in winners:
        row["quality"] = _quality(row["posterior_mean"], row["floor_level"], better)
    winners.sort(key=lambda row: (-row["quality"], -row["p_above"], -row["cycle"].toordinal(), row["output_id"]))
    taken = _without_families(winners, size, per_segment, near_duplicate)
    entries = [
        {
            "reference_id": row["output_id"],
            "segment": row["segment"],
            "text": row["text"],
            "source_cycle": row["source_cycle"],
            "quality": row["quality"],
            "p_above": row["p_above"],
            "rank": rank,
        }
        for rank, row in enumerate(taken, start=1)
    ]
    version = _hash_entries(entries)
    rows = [{**entry, "corpus_version": version} for entry in entries]
    return REFERENCE_CORPUS.conform(pa.Table.from_pylist(rows, schema=REFERENCE_CORPUS.schema))


def corpus_version(corpus: pa.Table) -> str:
    """The version of a corpus: hash of what a prompt can show of it, in rank order. An empty corpus has one too."""
    return _hash_entries(corpus.sort_by("rank").to_pylist())


def _hash_entries(entries: list[dict]) -> str:
    # Posterior means move a little with every close; a version that changed with them would never stand still.
    return content_hash(*(json.dumps([entry[key] for key in ("reference_id", "segment", "text")]) for entry in entries))


def _newest_judgements(judged: pa.Table) -> list[dict]:
    """One row per output: its newest judgement, with the first cycle it was judged in as source_cycle."""
    newest: dict[str, dict] = {}
    for row in judged.sort_by([("output_id", "ascending"), ("cycle", "ascending")]).to_pylist():
        before = newest.get(row["output_id"])
        if before is not None and before["cycle"] == row["cycle"]:
            raise ContractError(
                f"Table scored_outputs, column output_id: {row['output_id']} is judged twice in cycle {row['cycle']}, "
                "expected one judgement per output and cycle. Remove the duplicate before building the corpus."
            )
        newest[row["output_id"]] = {**row, "source_cycle": before["source_cycle"] if before else row["cycle"]}
    return list(newest.values())


def _quality(posterior_mean: float, floor_level: float | None, better: str) -> float:
    gain = (posterior_mean - floor_level) / abs(floor_level) if floor_level else 0.0
    return -gain if better == "lower" else gain


def _without_families(winners: list[dict], size: int, per_segment: int, near_duplicate: float) -> list[dict]:
    """The winners in order, skipping full segments and near-duplicates of those taken.

    Each is compared with at most `size` others, so thousands of winners take well under a second.
    """
    taken: list[dict] = []
    shingles_taken: list[frozenset[str]] = []
    room: dict[str, int] = {}
    for row in winners:
        if len(taken) >= size:
            break
        if room.get(row["segment"], per_segment) < 1:
            continue
        shingles = shingles_of(row["text"])
        if any(shingle_similarity(shingles, other) >= near_duplicate for other in shingles_taken):
            continue
        room[row["segment"]] = room.get(row["segment"], per_segment) - 1
        taken.append(row)
        shingles_taken.append(shingles)
    return taken
