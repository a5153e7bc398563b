"""The reference corpus: which proven winners the next prompt shows.

Here: choosing promoted and pinned outputs by quality, freshness and diversity, with room for every segment, and what
became of each candidate. Not here: the judgement that promotes them (`scoring.py`), what changed since the close before
(`reference_changes.py`), and how they are shown (`prompt.py`).

The corpus is rebuilt from the judgements at every close, never edited, so an output whose corrected metric no longer
beats the floor leaves it by itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import pyarrow as pa

from flywheel_pipelines.cycles import Cadence, cycles_between
from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import REFERENCE_CORPUS
from flywheel_pipelines.learning.diversity import TextVectors, choose_diverse

PIN, BAN = "pin", "ban"
PROMOTED, PINNED = "promoted", "pinned"
WROTE, EDITED, ACCEPTED, NOBODY = "wrote", "edited", "accepted", "none"
"""What a person did with a text; `pinned` besides."""


@dataclass(frozen=True)
class Fate:
    """What became of a candidate: `reason` is a reason of `reference_changes`, or empty for one that is in."""

    reason: str
    words: str
    is_pinned: bool = False


@dataclass(frozen=True)
class Chosen:
    """A corpus (REFERENCE_CORPUS) and what became of every output that could have been in it, by id."""

    corpus: pa.Table
    fates: Mapping[str, Fate] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusRules:
    """How references are chosen; the keys of the YAML's `corpus`, and which direction of the metric is good."""

    size: int
    per_segment: int
    near_duplicate: float
    diversity: float = 0.0
    half_life: float | None = None
    better: Literal["higher", "lower"] = "higher"


def choose_corpus(
    judged: pa.Table,
    rules: CorpusRules,
    *,
    as_of: date,
    cadence: Cadence = Cadence.WEEKLY,
    ruled: pa.Table | None = None,
) -> Chosen:
    """Choose the references.

    Only an output's newest judgement counts. Candidates are promoted outputs, and pinned ones unless they were judged
    and rejected: a pin outlasts too little evidence, not evidence against. A ban keeps an output out whatever else is
    said of it. Pinned outputs come first, by quality, past segment caps and families; the others by maximal marginal
    relevance (`diversity.choose_diverse`), passed over when their segment is full or when their text is nearly that of
    one already taken. Texts of nothing but spaces teach nothing and are left out.

    Args:
        judged: judgements over a bounded window of cycles, with the columns output_id, segment, text, cycle,
            posterior_mean, floor_level, p_above, decision (null in those of an output that nobody judged yet), and
            optionally producer, by_people, depth and mean_depth. `cycle` is the cycle the judgement belongs to; an
            output may be judged in several, the first of which becomes its `source_cycle`.
        rules: how to choose. Texts whose similarity is at least `near_duplicate` are one family; 1 only drops equal
            texts. `better: lower` turns the sign of quality.
        as_of: the cycle that is closed; ages are counted up to it.
        cadence: how long a cycle lasts.
        ruled: rulings that stand (RULED_OUTPUTS); None: none.

    Returns:
        REFERENCE_CORPUS without partition columns. `quality` is the relative gain over the floor,
        (posterior_mean - floor_level) / |floor_level|: 0.2 is a fifth better than it had to be. A floor
        at 0 has no relative scale; quality is 0 then and `p_above` ranks. Without any floor quality is 0 too, nothing
        is more probable than the rest, and the newest come first, however alike they are: there is no quality that
        diversity could be weighed against.

    Raises:
        ContractError: one output is judged twice in the same cycle.
    """
    rulings = {row["output_id"]: row["ruling"] for row in ruled.to_pylist()} if ruled is not None else {}
    candidates, fates = [], {}
    for row in _newest_judgements(judged):
        out = _why_out(row, rulings.get(row["output_id"]))
        if out is not None:
            fates[row["output_id"]] = out
            continue
        row["reason"] = PINNED if rulings.get(row["output_id"]) == PIN else PROMOTED
        row["quality"] = _quality(row, rules.better)
        row["freshness"] = _freshness(row["source_cycle"], as_of, cadence, rules.half_life)
        candidates.append(row)
    _set_relevance(candidates)
    candidates.sort(key=_order)
    taken, passed = _take(candidates, rules)
    entries = [_entry(row, rank) for rank, row in enumerate(taken, start=1)]
    version = _hash_entries(entries)
    rows = [{**entry, "corpus_version": version} for entry in entries]
    corpus = REFERENCE_CORPUS.conform(pa.Table.from_pylist(rows, schema=REFERENCE_CORPUS.schema))
    return Chosen(corpus, fates | passed)


def corpus_version(corpus: pa.Table) -> str:
    """The version of a corpus: hash of what a prompt can show of it, in rank order. An empty corpus has one too."""
    return _hash_entries(corpus.sort_by("rank").to_pylist())


def _hash_entries(entries: Sequence[Mapping[str, Any]]) -> str:
    # Posterior means move a little with every close; a version that changed with them would never stand still.
    return content_hash(*(json.dumps([entry[key] for key in ("reference_id", "segment", "text")]) for entry in entries))


def _newest_judgements(judged: pa.Table) -> list[dict[str, Any]]:
    """One row per output: its newest judgement, with the first cycle it was judged in as source_cycle."""
    newest: dict[str, dict[str, Any]] = {}
    for row in judged.sort_by([("output_id", "ascending"), ("cycle", "ascending")]).to_pylist():
        before = newest.get(row["output_id"])
        if before is not None and before["cycle"] == row["cycle"]:
            raise ContractError(
                f"Table scored_outputs, column output_id: {row['output_id']} is judged twice in cycle {row['cycle']}, "
                "expected one judgement per output and cycle. Remove the duplicate before building the corpus."
            )
        newest[row["output_id"]] = {**row, "source_cycle": before["source_cycle"] if before else row["cycle"]}
    return list(newest.values())


def _why_out(row: Mapping[str, Any], ruling: str | None) -> Fate | None:
    """Why an output is no candidate; None when it is one."""
    if ruling == BAN:
        return Fate("banned", "a person banned it")
    decision, judgement = row["decision"], row.get("words") or "no judgement"
    if not (row["text"] or "").strip():
        return Fate("withdrawn", "its text is empty")
    if decision == "promote" or (ruling == PIN and decision != "reject"):
        return None
    kept = ", and a pin does not outlast a rejection" if ruling == PIN else ""
    words = f"judged {decision} ({judgement}){kept}" if decision else "nobody judged it yet"
    return Fate("demoted", words, is_pinned=ruling == PIN)


def _quality(row: Mapping[str, Any], better: str) -> float:
    level = row["floor_level"]
    if not level or row["posterior_mean"] is None:
        return 0.0
    gain = (row["posterior_mean"] - level) / abs(level)
    return -gain if better == "lower" else gain


def _freshness(source: date, as_of: date, cadence: Cadence, half_life: float | None) -> float:
    """0.5 ^ (cycles since it was produced / half-life)."""
    return 1.0 if half_life is None else 0.5 ** (cycles_between(source, as_of, cadence) / half_life)


def _set_relevance(candidates: Sequence[dict[str, Any]]) -> None:
    """Quality times freshness over the best such product; without a scale of quality, the same of `p_above`."""
    by_quality = any(row["quality"] > 0 for row in candidates)
    for row in candidates:
        row["relevance"] = max(0.0, row["quality"] if by_quality else row["p_above"] or 0.0) * row["freshness"]
    largest = max((row["relevance"] for row in candidates), default=0.0)
    for row in candidates:
        row["relevance"] = row["relevance"] / largest if largest else 0.0


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Best first: relevance, then quality, then `p_above`, then the newer, then by id."""
    return (
        -row["relevance"], -row["quality"], -(row["p_above"] or 0.0), -row["cycle"].toordinal(), row["output_id"],
    )  # fmt: skip


def _take(candidates: list[dict[str, Any]], rules: CorpusRules) -> tuple[list[dict[str, Any]], dict[str, Fate]]:
    """The chosen in order, with likeness and family, and why the others are not among them."""
    pinned = [one for one, row in enumerate(candidates) if row["reason"] == PINNED]
    # More pins than the corpus holds leave no room for any of the rest, and the least relevant pins out.
    too_many = set(pinned[rules.size :])
    fates = {
        candidates[one]["output_id"]: Fate(
            "displaced", f"{len(pinned)} outputs are pinned, the corpus holds {rules.size}, and these are better"
        )
        for one in sorted(too_many)
    }
    candidates = [row for one, row in enumerate(candidates) if one not in too_many]
    ids = [row["output_id"] for row in candidates]
    floorless = all(row["floor_level"] is None for row in candidates)
    picked, likeness, family_of = choose_diverse(
        [row["relevance"] for row in candidates],
        TextVectors([row["text"] for row in candidates]),
        diversity=0.0 if floorless else rules.diversity,
        size=rules.size,
        near_duplicate=rules.near_duplicate,
        groups=[row["segment"] for row in candidates],
        per_group=rules.per_segment,
        chosen=[one for one, row in enumerate(candidates) if row["reason"] == PINNED],
    )
    families: dict[int, list[str]] = {}
    for member, head in family_of.items():
        families.setdefault(head, []).append(ids[member])
    taken = [{**candidates[one], "likeness": likeness[one], "family": sorted(families.get(one, []))} for one in picked]
    fates |= {ids[one]: Fate("", "") for one in picked}
    segments = Counter(row["segment"] for row in taken)
    for one, row in enumerate(candidates):
        if ids[one] not in fates:
            head = family_of.get(one)
            fates[ids[one]] = _why_passed_over(row, None if head is None else ids[head], segments, rules)
    return taken, fates


def _why_passed_over(row: Mapping[str, Any], head: str | None, segments: Counter[str], rules: CorpusRules) -> Fate:
    if head is not None:
        return Fate("near_duplicate", f"nearly the text of {head}, which was chosen")
    if segments[row["segment"]] >= rules.per_segment:
        return Fate(
            "segment_full", f"segment {row['segment']} has its {rules.per_segment} references, chosen before it"
        )
    return Fate("displaced", f"the corpus has its {rules.size} references, chosen before it")


def _entry(row: Mapping[str, Any], rank: int) -> dict[str, Any]:
    by_people = row.get("by_people") or NOBODY
    if row["reason"] == PINNED and by_people not in (WROTE, EDITED):
        by_people = PINNED
    own_text = by_people in (WROTE, EDITED)
    return {
        "reference_id": row["output_id"],
        "segment": row["segment"],
        "text": row["text"],
        "source_cycle": row["source_cycle"],
        "quality": row["quality"],
        "p_above": row["p_above"],
        "freshness": row["freshness"],
        "relevance": row["relevance"],
        "likeness": row["likeness"],
        "reason": row["reason"],
        "by_people": by_people,
        "depth": 0 if own_text else row.get("depth", 1),
        "mean_depth": 0.0 if own_text else row.get("mean_depth", 1.0),
        "family": row["family"],
        "rank": rank,
    }
