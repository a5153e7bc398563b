"""The step that chooses the references of the next prompt, with what people rule about them.

ruled_outputs (with the metrics) -> ancestry, reference_corpus, reference_changes, collapse_signs

Not here: how references are chosen (`learning.corpus`), the other steps of a close (`closing`), or what stops a refresh
(`components.corpus_checks`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.feedback.reviews.latest import ACCEPTED, EDITED, REJECTED, reviewed_texts
from flywheel_pipelines.feedback.rulings import standing_rulings
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning import corpus as learning
from flywheel_pipelines.learning.ancestry import FIRST, ancestry
from flywheel_pipelines.learning.collapse import CORPUS, OUTPUTS, Texts, Verdict, collapse_signs, verdict
from flywheel_pipelines.learning.corpus import Chosen, CorpusRules, Fate, choose_corpus
from flywheel_pipelines.learning.reference_changes import reference_changes
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.loop.showing import about_changes, about_signs
from flywheel_pipelines.production.arms import FLYWHEEL
from flywheel_pipelines.production.guardrails import COPIED

Inputs = list[tuple[TableContract, date]]


def note_rulings(flywheel: Flywheel, recorder: Recorder, cycle: date, knowledge_cutoff: datetime | None) -> None:
    """`ruled_outputs`: the rulings that stand at the close of a cycle."""
    store, name = recorder.store, flywheel.name
    before = last_before(flywheel, store, tables.RULED_OUTPUTS, cycle)
    # Rulings about cycles that nobody closed count from the next close on.
    since = None if before is None else shift_cycle(before, flywheel.spec.cadence, 1)
    rulings = store.read(tables.CORPUS_RULINGS, name, CycleWindow(since, cycle))
    carried = tables.RULED_OUTPUTS.empty() if before is None else store.read(tables.RULED_OUTPUTS, name, before)
    standing = standing_rulings(rulings, carried, knowledge_cutoff=knowledge_cutoff)
    read = [(tables.CORPUS_RULINGS, cycle), *carried_from(flywheel, tables.RULED_OUTPUTS, before, cycle)]
    recorder.write(tables.RULED_OUTPUTS, standing, cycle, read)


def choose_references(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`reference_corpus` of each cycle, with its changes, the ancestry of its outputs, and the signs of collapse."""
    for cycle in cycles:
        _trace(flywheel, recorder, cycle)
        _choose(flywheel, recorder, cycle)
    store, name = recorder.store, flywheel.name
    changes = store.read(tables.REFERENCE_CHANGES, name, cycles[-1])
    trend = CycleWindow(shift_cycle(cycles[-1], flywheel.spec.cadence, -11), cycles[-1])
    return about_changes(changes) | about_signs(store.read(tables.COLLAPSE_SIGNS, name, trend))


def check_collapse(flywheel: Flywheel, store: Lake, cycles: Sequence[date]) -> tuple[date, Verdict]:
    """What the newest of some cycles says of collapse: prompts of the earlier ones went out long ago."""
    newest = max(cycles)
    return newest, verdict(store.read(tables.COLLAPSE_SIGNS, flywheel.name, newest), flywheel.spec.collapse)


def last_before(flywheel: Flywheel, store: Lake, table: TableContract, cycle: date) -> date | None:
    """The newest cycle before one that a table has: as a rule the cycle before, or further back behind a gap."""
    before = flywheel.previous(cycle)
    if store.has(table, flywheel.name, before):
        return before
    earlier = (one for one in reversed(store.cycle_folders(table, flywheel.name)) if one < before)
    return next((one for one in earlier if store.has(table, flywheel.name, one)), None)


def carried_from(flywheel: Flywheel, table: TableContract, before: date | None, cycle: date) -> Inputs:
    """What is read of a table that each cycle carries on from `last_before`."""
    # A cycle in a gap that is closed later changes what was carried over it, so that it is looked at too.
    return [(table, one) for one in dict.fromkeys([before, flywheel.previous(cycle)]) if one is not None]


def _trace(flywheel: Flywheel, recorder: Recorder, cycle: date) -> None:
    """`ancestry`: depths of the outputs of a cycle, from those of the references that they were produced with."""
    store, name = recorder.store, flywheel.name
    columns = ["output_id", "producer", "prompt_version", "reference_ids", "text"]
    generated = store.read(tables.GENERATED_OUTPUTS, name, cycle, columns=columns)
    wanted = set(generated["reference_ids"].combine_chunks().flatten().to_pylist()) if len(generated) else set()
    sources = _sources(flywheel, store, wanted, cycle)
    known = {row["output_id"]: row for one in sources for row in _ancestry_of(store, name, one, wanted)}
    versions = generated["prompt_version"].unique().to_pylist() if wanted else []
    shown = {version: shown_texts(store, name, version) for version in versions}
    read = [(tables.GENERATED_OUTPUTS, cycle), *((tables.ANCESTRY, one) for one in sources)]
    recorder.write(tables.ANCESTRY, ancestry(generated, known, shown), cycle, read)


def _sources(flywheel: Flywheel, store: Lake, wanted: set[str], cycle: date) -> list[date]:
    """The earlier cycles that produced some references: of the lookback from the newest back, and those of pins."""
    if not wanted:
        return []
    name, before = flywheel.name, flywheel.previous(cycle)
    reached = flywheel.window(before, flywheel.spec.corpus.lookback)
    ruled = [store.read(tables.RULED_OUTPUTS, name, one)["source_cycle"].to_pylist() for one in (before, cycle)]
    looked_at = {one for one in store.cycle_folders(tables.ANCESTRY, name) if one in reached}
    looked_at |= {one for cycles in ruled for one in cycles if one < cycle}
    missing, found = set(wanted), []
    for one in sorted(looked_at, reverse=True):
        here = missing.intersection(store.values(tables.ANCESTRY, name, one, "output_id").to_pylist())
        if here:
            found.append(one)
            missing -= here
        if not missing:
            break
    return sorted(found)


def _ancestry_of(store: Lake, flywheel: str, cycle: date, wanted: Iterable[str]) -> list[dict[str, Any]]:
    rows = store.read(tables.ANCESTRY, flywheel, cycle)
    return rows.filter(pc.field("output_id").isin(sorted(wanted))).to_pylist()


def shown_texts(store: Lake, flywheel: str, prompt_version: str) -> dict[str, str]:
    """The text of every reference as a prompt held it ready, by id; from the one batch that registered the prompt."""
    for row in store.rows_of_batch(tables.PROMPT_VERSIONS, flywheel, f"prompt-{prompt_version}").to_pylist():
        if row["prompt_version"] == prompt_version:
            return {shown["reference_id"]: shown["text"] for shown in json.loads(row["shown_references"])}
    return {}


def _choose(flywheel: Flywheel, recorder: Recorder, cycle: date) -> None:
    spec, store, name = flywheel.spec, recorder.store, flywheel.name
    ruled = store.read(tables.RULED_OUTPUTS, name, cycle)
    before = last_before(flywheel, store, tables.REFERENCE_CHANGES, cycle)
    earlier = tables.REFERENCE_CORPUS.empty() if before is None else store.read(tables.REFERENCE_CORPUS, name, before)
    seen = _Seen.by(flywheel, store, cycle, ruled, {*earlier["reference_id"].to_pylist()})
    rules = CorpusRules(
        size=spec.corpus.size,
        per_segment=spec.corpus.per_segment,
        near_duplicate=spec.corpus.near_duplicate,
        diversity=spec.corpus.diversity,
        half_life=spec.corpus.half_life,
        better=spec.metric.better,
    )
    chosen = choose_corpus(seen.candidates, rules, as_of=cycle, cadence=spec.cadence, ruled=ruled)
    changes = _changes(store, name, cycle, before, earlier, chosen, seen)
    signs = _signs(flywheel, store, cycle, before, chosen)
    carried = carried_from(flywheel, tables.REFERENCE_CHANGES, before, cycle)
    carried += [(tables.REFERENCE_CORPUS, one) for _, one in carried]
    recorder.write(tables.REFERENCE_CHANGES, changes, cycle, carried)
    carried = carried_from(flywheel, tables.COLLAPSE_SIGNS, before, cycle)
    recorder.write(
        tables.COLLAPSE_SIGNS,
        signs,
        cycle,
        [(tables.PUBLISHED_OUTPUTS, cycle), (tables.GENERATED_OUTPUTS, cycle), *carried],
    )
    # Last: an asset writes its own table last.
    recorder.write(tables.REFERENCE_CORPUS, chosen.corpus, cycle, seen.read)


@dataclass(frozen=True)
class _Seen:
    """What a choice looks at: candidates with text and origin, and every partition that was read."""

    candidates: pa.Table
    outside: Mapping[str, Fate]
    """Why outputs that are looked at are no candidates, by id."""
    window: CycleWindow
    read: Inputs

    @classmethod
    def by(cls, flywheel: Flywheel, store: Lake, cycle: date, ruled: pa.Table, in_before: set[str]) -> _Seen:
        """What was promoted in the lookback, what is ruled about, and what was in the corpus before."""
        name, window = flywheel.name, flywheel.window(cycle, flywheel.spec.corpus.lookback)
        sources = {row["output_id"]: row["source_cycle"] for row in ruled.to_pylist()}
        older = sorted({one for one in sources.values() if one not in window})
        parts = [_judged_with_text(store, name, window, {*sources, *in_before}, promoted=True)]
        parts += [_judged_with_text(store, name, CycleWindow(one, one), {*sources}, promoted=False) for one in older]
        used = (tables.SCORED_OUTPUTS, tables.REVIEWED_OUTPUTS)
        read = [part for table in used for part in flywheel.partitions(store, table, window)]
        read += [(table, one) for table in used for one in older if store.has(table, name, one)]
        outside = {one: fate for _, fates in parts for one, fate in fates.items()}
        return cls(pa.concat_tables(part for part, _ in parts), outside, window, [*read, (tables.RULED_OUTPUTS, cycle)])


def _judged_with_text(
    store: Lake, flywheel: str, window: CycleWindow, named: set[str], *, promoted: bool
) -> tuple[pa.Table, dict[str, Fate]]:
    """Named outputs, and with `promoted` all that were promoted, with judgement, origin and text.

    The text is the one that may become a reference: what a reviewer left, not what went out. An output that nobody
    judged has no decision. What a reviewer rejected is not in the table and stands in the second part.
    """
    scored = store.read(tables.SCORED_OUTPUTS, flywheel, window)
    wanted = pc.field("output_id").isin(pa.array(sorted(named), pa.string()))
    scored = scored.filter(wanted | (pc.field("decision") == "promote") if promoted else wanted)
    ids = sorted({*named, *scored["output_id"].to_pylist()})
    about = pc.field("output_id").isin(pa.array(ids, pa.string()))
    columns = ["cycle", "output_id", "segment", "text"]
    published = store.read(tables.PUBLISHED_OUTPUTS, flywheel, window, columns=columns).filter(about)
    reviewed = store.read(tables.REVIEWED_OUTPUTS, flywheel, window).filter(about)
    traced = store.read(tables.ANCESTRY, flywheel, window, columns=["output_id", "depth", "mean_depth"]).filter(about)
    # What went out in two arms stands there twice, with one text.
    outputs = {row["output_id"]: row for row in published.to_pylist()}
    texts = pa.table({name: [row[name] for row in outputs.values()] for name in ("output_id", "text")}, _TEXTS)
    kept = {row["output_id"]: row["text"] for row in reviewed_texts(texts, reviewed).to_pylist()}
    judgements = {row["output_id"]: row for row in scored.to_pylist()}
    depths = {row["output_id"]: row for row in traced.to_pylist()}
    said = {row["output_id"]: row for row in reviewed.to_pylist()}
    rows = [
        {
            **{name: judgements.get(one, {}).get(name) for name in ("posterior_mean", "floor_level", "p_above")},
            "output_id": one,
            "segment": outputs[one]["segment"],
            "text": text,
            "cycle": outputs[one]["cycle"],
            "decision": judgements.get(one, {}).get("decision"),
            "words": judgements.get(one, {}).get("reason"),
            "by_people": _by_people(said.get(one, {}).get("decision"), depths.get(one, {}).get("depth")),
            "depth": depths.get(one, {}).get("depth", FIRST),
            "mean_depth": depths.get(one, {}).get("mean_depth", float(FIRST)),
        }
        for one, text in kept.items()
    ]
    fates = {
        one: Fate("review_rejected", f"{row['reviewer']} rejected it in review")
        for one, row in said.items()
        if row["decision"] == REJECTED
    }
    return pa.Table.from_pylist(rows, schema=_CANDIDATES), fates


_TEXTS = pa.schema([("output_id", pa.string()), ("text", pa.string())])
_CANDIDATES = pa.schema(
    [
        *((name, pa.string()) for name in ("output_id", "segment", "text")),
        ("cycle", pa.date32()),
        *((name, pa.float64()) for name in ("posterior_mean", "floor_level", "p_above")),
        *((name, pa.string()) for name in ("decision", "words", "by_people")),
        ("depth", pa.int64()),
        ("mean_depth", pa.float64()),
    ]
)


def _by_people(decision: str | None, depth: int | None) -> str:
    """What a person did with a text; depth 0 is what a person wrote."""
    if decision == EDITED:
        return learning.EDITED
    if depth == 0:
        return learning.WROTE
    return learning.ACCEPTED if decision == ACCEPTED else learning.NOBODY


def _changes(
    store: Lake, flywheel: str, cycle: date, before: date | None, earlier: pa.Table, chosen: Chosen, seen: _Seen
) -> pa.Table:
    changes = (
        tables.REFERENCE_CHANGES.empty() if before is None else store.read(tables.REFERENCE_CHANGES, flywheel, before)
    )
    fates = dict(seen.outside)
    for row in earlier.to_pylist():
        if row["source_cycle"] not in seen.window:
            words = f"produced in cycle {row['source_cycle']}, before the first that corpus.lookback reaches"
            fates.setdefault(row["reference_id"], Fate("too_old", f"{words} ({seen.window.first})"))
    return reference_changes(chosen, earlier, changes, fates, cycle=cycle)


def _looked_at(store: Lake, flywheel: str, cycle: date) -> list[dict[str, Any]]:
    """What the flywheel arm published, and for briefs without an output the first candidate that was blocked as a copy.

    A loop that only copies would else be silent: its guardrails keep nearly everything back.
    """
    is_own = pc.field("arm") == FLYWHEEL
    columns = ["output_id", "arm", "brief_id", "segment", "text"]
    rows = store.read(tables.PUBLISHED_OUTPUTS, flywheel, cycle, columns=columns).filter(is_own).to_pylist()
    answered = {row["brief_id"] for row in rows}
    kept = [*columns, "blocked", "rank", "is_superseded"]
    generated = store.read(tables.GENERATED_OUTPUTS, flywheel, cycle, columns=kept).filter(is_own).to_pylist()
    for row in sorted(generated, key=lambda row: (row["brief_id"], row["rank"])):
        is_copy = not row["is_superseded"] and COPIED in (row["blocked"] or "")
        if is_copy and row["brief_id"] not in answered:
            rows.append(row)
            answered.add(row["brief_id"])
    return sorted(rows, key=lambda row: (row["segment"], row["output_id"]))


def _signs(flywheel: Flywheel, store: Lake, cycle: date, before: date | None, chosen: Chosen) -> pa.Table:
    """Signs of the corpus, and of what the flywheel arm published in the cycle or could not publish for copying."""
    name = flywheel.name
    outputs = _looked_at(store, name, cycle)
    depths = {row["output_id"]: row for row in store.read(tables.ANCESTRY, name, cycle).to_pylist()}
    reviewed = store.read(tables.REVIEWED_OUTPUTS, name, cycle).to_pylist()
    kept = {row["output_id"] for row in reviewed if row["decision"] in (ACCEPTED, EDITED)}
    of_outputs = Texts(
        OUTPUTS,
        [row["segment"] for row in outputs],
        [row["text"] for row in outputs],
        [depths[row["output_id"]]["depth"] for row in outputs],
        [depths[row["output_id"]]["mean_depth"] for row in outputs],
        [row["output_id"] in kept or depths[row["output_id"]]["depth"] == 0 for row in outputs],
    )
    rows = sorted(chosen.corpus.to_pylist(), key=lambda row: (row["segment"], row["reference_id"]))
    of_corpus = Texts(
        CORPUS,
        [row["segment"] for row in rows],
        [row["text"] for row in rows],
        [row["depth"] for row in rows],
        [row["mean_depth"] for row in rows],
        [row["by_people"] != learning.NOBODY for row in rows],
    )
    carried = (
        tables.COLLAPSE_SIGNS.empty() if before is None else store.read(tables.COLLAPSE_SIGNS, flywheel.name, before)
    )
    return collapse_signs([of_corpus, of_outputs], carried, flywheel.spec.collapse)
