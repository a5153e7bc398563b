"""The steps that close cycles.

measure -> score -> fit_model, choose_references, compare, gate -> refresh_prompts -> weigh (momentum)

Each loops over its cycles in order, so a restatement of a year is one pass. Not here: choosing references (`choosing`),
or the statistics (`learning`, `momentum`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa

from flywheel_pipelines.cycles import cycle_end, shift_cycle
from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.feedback.performance import performance_view
from flywheel_pipelines.feedback.reviews.latest import latest_reviews, with_reviews
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.judgement import judge_cycle
from flywheel_pipelines.learning.thresholds import floor_rule, judged_by
from flywheel_pipelines.loop.choosing import carried_from, choose_references, last_before, note_rulings
from flywheel_pipelines.loop.embedding import vectors_for
from flywheel_pipelines.loop.fitting import fit_model
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.gating import compare, gate
from flywheel_pipelines.loop.opening import opened_with
from flywheel_pipelines.loop.prompts import champion_of, corpus_shown, render
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.loop.restated_words import about_batches, about_decisions, about_metrics
from flywheel_pipelines.loop.restatements import no_changes, restate_decisions, restate_metrics
from flywheel_pipelines.loop.showing import about_prompt
from flywheel_pipelines.loop.weighing import weigh


def close_cycles(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> None:
    """Every step of closing, for a range of cycles in order; what the job `<flywheel>__close` does."""
    measure(flywheel, recorder, cycles)
    score(flywheel, recorder, cycles)
    fit_model(flywheel, recorder, cycles)
    choose_references(flywheel, recorder, cycles)
    compare(flywheel, recorder, cycles)
    gate(flywheel, recorder, cycles)
    refresh_prompts(flywheel, recorder, cycles)
    weigh(flywheel, recorder, cycles)


def measure(
    flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date], knowledge_cutoff: datetime | None = None
) -> Shown:
    """`performance_metrics`, `reviewed_outputs` and `ruled_outputs`: what is known up to the cutoff (None: all)."""
    spec, store = flywheel.spec, recorder.store
    if knowledge_cutoff is not None and knowledge_cutoff.tzinfo is None:
        knowledge_cutoff = knowledge_cutoff.replace(tzinfo=UTC)
    mature, changes = 0, [no_changes()]
    latest_batch = store.latest_batch(spec.name, up_to=knowledge_cutoff)
    # Of all cycles before the first is written: a range with a hole in it is refused as a whole.
    _require_opened(store, spec.name, cycles)
    for cycle in cycles:
        last_measured = shift_cycle(cycle, spec.cadence, spec.measurement_window - 1)
        published = store.read(tables.PUBLISHED_OUTPUTS, spec.name, cycle, columns=["output_id"])
        reviews = store.read(tables.REVIEWS, spec.name, cycle)
        reviewed = latest_reviews(reviews, published, knowledge_cutoff=knowledge_cutoff)
        known = performance_view(
            with_reviews(store.read(tables.METRIC_LEDGER, spec.name, cycle), reviewed, cycle),
            store.read(tables.METRIC_REPLACEMENTS, spec.name, cycle),
            published,
            spec.metrics,
            knowledge_cutoff=knowledge_cutoff,
            matures_at=cycle_end(last_measured, spec.cadence),
            latest_batch=latest_batch,
        )
        read = [(tables.REVIEWS, cycle), (tables.PUBLISHED_OUTPUTS, cycle)]
        measured = [(tables.METRIC_LEDGER, cycle), (tables.METRIC_REPLACEMENTS, cycle), *read]
        recorder.write(tables.REVIEWED_OUTPUTS, reviewed, cycle, read)
        note_rulings(flywheel, recorder, cycle, knowledge_cutoff)
        changes.append(restate_metrics(store, spec.name, cycle, known))
        recorder.write(tables.PERFORMANCE_METRICS, known, cycle, measured)
        mature += sum(known.column("is_mature").to_pylist())
    shown: Shown = {"mature_rows": mature, "knowledge_cutoff": str(knowledge_cutoff or "everything")}
    ledgers = (tables.METRIC_LEDGER, tables.METRIC_REPLACEMENTS, tables.REVIEWS)
    batches = pa.concat_tables([store.batches_in(ledger, spec.name, cycles) for ledger in ledgers])
    # A batch may stand in several ledgers and is one all the same.
    batches = batches.group_by(batches.column_names).aggregate([])
    return shown | about_batches(batches) | about_metrics(pa.concat_tables(changes), spec.metrics)


def score(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`scored_outputs` and `guardrail_scores`: each output against the threshold that judges its cycle.

    That is the one its cycle was opened with, unless a person asked for another (`flywheel restate --threshold`).
    """
    spec, store = flywheel.spec, recorder.store
    decisions: Shown = {"promote": 0, "hold": 0, "reject": 0, "vetoed": 0}
    flips = [no_changes()]
    for cycle in cycles:
        seen = flywheel.window(cycle, spec.scoring_model.window)
        manifest = store.read(tables.CYCLE_MANIFEST, spec.name, cycle).to_pylist()[0]
        version = judged_by(store.read(tables.REJUDGEMENTS, spec.name, cycle), manifest["threshold_version"])
        rule = floor_rule(store.read(tables.THRESHOLDS, spec.name), version)
        metrics = dict(spec.metrics)
        if not metrics.keys() >= {rule.metric, *rule.veto}:
            # The YAML no longer names what the floor of that time was about.
            metrics = {**opened_with(flywheel, manifest).spec.metrics, **metrics}
        vectors, vectors_read = vectors_for(store, spec.name, cycle, seen)
        judged = judge_cycle(
            cycle,
            store.read(tables.PUBLISHED_OUTPUTS, spec.name, seen),
            store.read(tables.PERFORMANCE_METRICS, spec.name, seen),
            rule,
            metrics=metrics,
            threshold_version=version,
            vectors=vectors,
        )
        read = [
            (tables.CYCLE_MANIFEST, cycle),
            (tables.REJUDGEMENTS, cycle),
            *vectors_read,
            *flywheel.partitions(store, tables.PUBLISHED_OUTPUTS, seen),
            *flywheel.partitions(store, tables.PERFORMANCE_METRICS, seen),
        ]
        flips.append(restate_decisions(store, spec.name, cycle, judged.scored))
        recorder.write(tables.GUARDRAIL_SCORES, judged.guardrails, cycle, read)
        recorder.write(tables.SCORED_OUTPUTS, judged.scored, cycle, read)
        for decision in judged.scored["decision"].to_pylist():
            decisions[decision] = int(str(decisions[decision])) + 1
        decisions["vetoed"] = int(str(decisions["vetoed"])) + sum(judged.scored["is_vetoed"].to_pylist())
    return decisions | about_decisions(store, spec.name, pa.concat_tables(flips))


def refresh_prompts(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`refreshed_prompt`: what the next cycle is produced with."""
    spec, store = flywheel.spec, recorder.store
    earlier, text = None, ""
    for cycle in cycles:
        before = last_before(flywheel, store, tables.REFRESHED_PROMPT, cycle)
        known = flywheel.previous(cycle) if before is None else before
        previous = store.read(tables.REFRESHED_PROMPT, spec.name, known, columns=tables.REFRESHED_PROMPT.columns)
        corpus = corpus_shown(store, spec.name, cycle)
        prompt = render(flywheel, champion_of(flywheel, store, cycle), corpus, previous)
        read = [
            (tables.REFERENCE_CORPUS, cycle),
            (tables.PROMPT_GATE, cycle),
            *carried_from(flywheel, tables.REFRESHED_PROMPT, before, cycle),
        ]
        recorder.write(tables.REFRESHED_PROMPT, prompt, cycle, read)
        earlier = previous["text"][0].as_py() if previous.num_rows else None
        text = prompt.column("text")[0].as_py()
    return about_prompt(earlier, text)


def _require_opened(store: Lake, flywheel: str, cycles: Sequence[date]) -> None:
    missing = [cycle for cycle in cycles if not store.has(tables.PUBLISHED_OUTPUTS, flywheel, cycle)]
    if not missing:
        return
    first = missing[0]
    others = f" Of the cycles {cycles[0]} to {cycles[-1]} {len(missing)} were never opened." if len(cycles) > 1 else ""
    raise CycleOrderError(
        f"Cycle {first} of {flywheel} cannot be closed: it was never opened, so nothing was published that could "
        f"have been measured.{others} Run the job {flywheel}__open for {first} first"
        + (", or leave it out of the range. Nothing was written." if len(cycles) > 1 else ".")
    )
