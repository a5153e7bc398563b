"""The steps that open a cycle: collect_briefs -> pin_manifest -> generate -> publish.

Not here: what a step decides (`production`), learning's functions that it calls, and asking models (`llm`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.releasing import retry_unmatched
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.thresholds import register_threshold
from flywheel_pipelines.loop.embedding import CycleVectors, pinned_embeddings
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.handing_back import hand_back
from flywheel_pipelines.loop.known_briefs import inputs_of_briefs, known_briefs
from flywheel_pipelines.loop.predicting import predictor_of
from flywheel_pipelines.loop.prompts import pinned_prompts, register_prompts
from flywheel_pipelines.loop.ranking_leads import rank_leads
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.loop.writing import OFFLINE_MODEL, Writers, offline_parameters, write_outputs
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.production.archive import outputs_from_archive
from flywheel_pipelines.production.arms import publish, unanswered
from flywheel_pipelines.production.briefs import briefs_from_candidates, latest_candidates
from flywheel_pipelines.production.manifest import NOTHING_LEARNED, CarriedIn, build_manifest, choose_predecessor
from flywheel_pipelines.production.outbox import export_rows, rows_for_people, write_for_people, write_outbox
from flywheel_pipelines.production.scoring import handled
from flywheel_pipelines.spec import ArchiveProducer, FlywheelSpec, LlmProducer, parse_spec


@dataclass(frozen=True)
class OpenOptions:
    """What one opening does otherwise than the YAML says.

    Attributes:
        allow_gap: open although the cycle before was never closed.
        repin: produce a published cycle again with what has been learned since.
        attempt: produce a cycle's outputs again on purpose, as this attempt; None keeps the manifest's.
        recorded_at: instant to record; None: now.
        publish: all or choice, for an archive producer.
        floor: "off" feeds everything back, which is the control that shows what a floor is good for.
        is_synthetic: the cycle runs on synthetic or simulated data.
        embeddings: none, local or endpoint, for the scoring model.
        embedding_model: the model of an endpoint.
    """

    allow_gap: bool = False
    repin: bool = False
    attempt: int | None = None
    recorded_at: datetime | None = None
    publish: str | None = None
    floor: str | None = None
    is_synthetic: bool = False
    embeddings: str | None = None
    embedding_model: str | None = None

    def applied_to(self, spec: FlywheelSpec) -> FlywheelSpec:
        """The spec that the cycle is opened with; checked again, since a combination can be impossible."""
        changed = spec.model_dump(mode="json")
        if self.publish is not None:
            changed["producer"]["publish"] = self.publish
        if self.floor is not None:
            changed["floor"] |= {"above": self.floor, "quantile": None}
        if self.embeddings is not None:
            idle = {} if self.embeddings == "endpoint" else {"embedding_dimensions": None, "embedding_price": None}
            chosen = {"embeddings": self.embeddings, "embedding_model": self.embedding_model}
            changed["scoring_model"] |= chosen | idle
        changed["is_synthetic"] = spec.is_synthetic or self.is_synthetic
        return parse_spec(changed, "run config of cycle_manifest")

    def now(self) -> datetime:
        """The instant to record."""
        return self.recorded_at or datetime.now(UTC)


def collect_briefs(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`briefs`: what is to be produced, from the archive's candidates or from the feed.

    In a published cycle a brief stays as it was answered; what was corrected since counts in the next attempt, and what
    came late is added.
    """
    store = recorder.store
    for cycle in cycles:
        if flywheel.is_fed_briefs:
            is_published = store.has(tables.PUBLISHED_OUTPUTS, flywheel.name, cycle)
            _write_briefs(flywheel, recorder, cycle, keep=is_published)
            continue
        candidates = latest_candidates(store.read(tables.ARCHIVE_CANDIDATES, flywheel.name, cycle))
        recorder.write(tables.BRIEFS, briefs_from_candidates(candidates), cycle, [(tables.ARCHIVE_CANDIDATES, cycle)])
    return {}


def _write_briefs(flywheel: Flywheel, recorder: Recorder, cycle: date, *, keep: bool) -> None:
    """The briefs of the feed as they are known now; with `keep`, those that the cycle has already stay as they are."""
    store = recorder.store
    briefs = known_briefs(flywheel, store, cycle)
    if keep:
        answered = store.read(tables.BRIEFS, flywheel.name, cycle).select(tables.BRIEFS.columns)
        is_known = pc.field("brief_id").isin(answered["brief_id"].combine_chunks())
        briefs = pa.concat_tables([answered.cast(briefs.schema), briefs.filter(~is_known)]).sort_by("brief_id")
    recorder.write(tables.BRIEFS, briefs, cycle, inputs_of_briefs(flywheel, cycle))


def pin_manifest(
    flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date], options: OpenOptions, writers: Writers
) -> Shown:
    """`cycle_manifest`: every version that the cycle is produced with; registers the floor and the prompts."""
    store, manifest = recorder.store, tables.CYCLE_MANIFEST.empty()
    for cycle in cycles:
        is_published = store.has(tables.PUBLISHED_OUTPUTS, flywheel.name, cycle)
        before = store.read(tables.CYCLE_MANIFEST, flywheel.name, cycle).drop_columns(["cycle"])
        attempt = _next_attempt(before, options, is_published=is_published)
        if is_published and not options.repin:
            # Published history is not recomputed: what went out went out with these versions.
            manifest = _with_attempt(before, attempt)
        else:
            manifest = _pin(flywheel, store, cycle, options, writers, attempt)
        if flywheel.is_fed_briefs and is_published and attempt > before["attempt"][0].as_py():
            # The attempt first: a kill in between must not leave it to the earlier one to answer other briefs.
            store.write(tables.CYCLE_MANIFEST, manifest, flywheel=flywheel.name, cycle=cycle)
            _write_briefs(flywheel, recorder, cycle, keep=False)
        recorder.write(tables.CYCLE_MANIFEST, manifest, cycle, _manifest_inputs(manifest, cycle))
    return {"carried_in": manifest.to_pylist()[0] if manifest.num_rows else {}}


def generate(
    flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date], writers: Writers, *, now: datetime
) -> Shown:
    """`generated_outputs`: every candidate, with the prediction made before any feedback."""
    store, shown = recorder.store, Shown()
    for cycle in cycles:
        manifest = store.read(tables.CYCLE_MANIFEST, flywheel.name, cycle).to_pylist()[0]
        opened = opened_with(flywheel, manifest)
        read = [(tables.CYCLE_MANIFEST, cycle)]
        # Before anything is asked: what cannot be ranked must not be paid.
        vectors = CycleVectors(opened, store, cycle, writers, now)
        predictor = partial(predictor_of, store, opened.name, manifest, vectors)
        if opened.writer is not None:
            prompts = pinned_prompts(store, opened.name, manifest)
            outputs, shown = write_outputs(
                opened, recorder, cycle, manifest, prompts, writers, predictor=predictor, set_aside=vectors.set_aside
            )
            read += [(tables.BRIEFS, cycle), (tables.LLM_REQUESTS, cycle)]
        elif opened.lead_scorer is not None:
            outputs, shown = rank_leads(opened, store, cycle, manifest, predictor)
            read.append((tables.BRIEFS, cycle))
        else:
            candidates = latest_candidates(store.read(tables.ARCHIVE_CANDIDATES, opened.name, cycle))
            outputs = outputs_from_archive(
                candidates,
                predictor()(candidates),
                flywheel=opened.name,
                cycle=cycle,
                prompt_version=manifest["prompt_version"],
                reference_ids=[],
                better=opened.spec.metric.better,
            )
            read.append((tables.ARCHIVE_CANDIDATES, cycle))
        recorder.write(tables.GENERATED_OUTPUTS, outputs, cycle, read)
        shown = shown | vectors.shown
    return shown


def publish_outputs(
    flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date], *, outbox: Path, now: datetime
) -> Shown:
    """`published_outputs`, and the file in the outbox where briefs came in as files."""
    store, per_arm, shown = recorder.store, Counter[str](), Shown()
    for cycle in cycles:
        generated = store.read(tables.GENERATED_OUTPUTS, flywheel.name, cycle)
        manifest = store.read(tables.CYCLE_MANIFEST, flywheel.name, cycle).to_pylist()[0]
        opened = opened_with(flywheel, manifest)
        published = _going_out(opened, store, cycle, generated)
        read = [(tables.GENERATED_OUTPUTS, cycle), (tables.CYCLE_MANIFEST, cycle)]
        recorder.write(tables.PUBLISHED_OUTPUTS, published, cycle, read)
        per_arm.update(published.column("arm").to_pylist())
        if opened.is_fed_briefs:
            shown = _export(opened, recorder, cycle, generated, published, outbox, now)
        if opened.writer is not None:
            shown["briefs_without_output"] = sum(unanswered(generated, published).values())
    # Feedback may have come before what it is about was published here.
    matched = sum(batch.n_rows for batch in retry_unmatched(store, flywheel.spec, now))
    if matched:
        shown["matched_from_quarantine"] = matched
    return {f"published_{arm}": count for arm, count in sorted(per_arm.items())} | shown


def _going_out(opened: Flywheel, store: Lake, cycle: date, generated: pa.Table) -> pa.Table:
    """Rows of `published_outputs`: what each arm's rule chooses."""
    if opened.lead_scorer is not None:
        return handled(generated, opened.lead_scorer)
    producer = opened.spec.producer
    return publish(
        generated,
        opened.spec.arms,
        publish_all=isinstance(producer, ArchiveProducer) and producer.publish == "all",
        explore=opened.writer.explore if opened.writer else 0.0,
        already=store.read(tables.PUBLISHED_OUTPUTS, opened.name, cycle) if opened.writer else None,
        flywheel=opened.name,
        cycle=cycle,
    )


def opened_with(flywheel: Flywheel, manifest: dict[str, object]) -> Flywheel:
    """The flywheel with the settings its cycle was opened with: what was decided is repeated, not revised.

    A cycle with no prompt on trial has no challenger: its share of briefs is the flywheel's.
    """
    spec = FlywheelSpec.model_validate_json(str(manifest["settings"]))
    if manifest["challenger_prompt_version"] is None:
        spec = spec.model_copy(update={"arms": spec.arms.model_copy(update={"challenger": 0.0})})
    return Flywheel(spec, flywheel.folder)


def _export(
    flywheel: Flywheel,
    recorder: Recorder,
    cycle: date,
    generated: pa.Table,
    published: pa.Table,
    outbox: Path,
    now: datetime,
) -> Shown:
    """Put what is published into the outbox; the ledger remembers when each row first went out."""
    store = recorder.store
    earlier = store.read(tables.EXPORTS, flywheel.name, cycle)
    manifest = store.read(tables.CYCLE_MANIFEST, flywheel.name, cycle, columns=["is_synthetic"])
    briefs = store.read(tables.BRIEFS, flywheel.name, cycle)
    export = export_rows(
        published,
        generated,
        briefs,
        earlier,
        flywheel=flywheel.name,
        cycle=cycle,
        recorded_at=now,
        is_simulated=manifest["is_synthetic"][0].as_py(),
    )
    if export.facts is not None:
        store.append_batch(flywheel.name, export.facts.header, {tables.EXPORTS: export.facts.rows})
    written = write_outbox(outbox, flywheel.name, cycle, export.rows)
    more: Shown = {}
    if flywheel.spec.guardrails.may_need_people:
        unsure = rows_for_people(published, generated, briefs)
        more["for_people"] = str(write_for_people(outbox, flywheel.name, cycle, unsure))
        more["briefs_for_people"] = len(unsure)
    if flywheel.spec.handback is not None:
        # The inbox stands beside the outbox, wherever the data directory is.
        more |= hand_back(flywheel.spec, cycle, export.rows, DataPaths(outbox.parent).inbox, outbox)
    return more | {
        "outbox": [str(path) for path in written],
        "exported_rows": len(export.rows),
        "new_rows": export.n_new,
    }


def _next_attempt(before: pa.Table, options: OpenOptions, *, is_published: bool) -> int:
    """The attempt that a cycle is produced as. Raises FlywheelError when another has taken its place already."""
    pinned = before["attempt"][0].as_py() if before.num_rows else 1
    # What a published cycle is produced with anew is a new attempt: the outputs that went out are kept.
    first = pinned + 1 if is_published and options.repin else pinned
    if options.attempt is None:
        return first
    if options.attempt < first:
        raise FlywheelError(
            f"attempt: found {options.attempt}, but attempt {pinned} has taken its place already. Ask for "
            f"{pinned + 1} to produce the outputs once more, or leave attempt out to "
            + ("have the next one." if options.repin else "repeat the present ones.")
        )
    return options.attempt


def _with_attempt(manifest: pa.Table, attempt: int) -> pa.Table:
    """The manifest, produced as this attempt."""
    position = manifest.schema.get_field_index("attempt")
    return manifest.set_column(position, manifest.schema.field(position), pa.array([attempt], pa.int64()))


def _pin(
    flywheel: Flywheel, store: Lake, cycle: date, options: OpenOptions, writers: Writers, attempt: int
) -> pa.Table:
    """Register the floor and the prompts, and pin what the last closed cycle hands over."""
    spec = options.applied_to(flywheel.spec)
    if flywheel.writer is not None and (writers.is_offline or flywheel.writer.model == OFFLINE_MODEL):
        if writers.is_offline and not options.is_synthetic:
            _refuse_offline_after_real(flywheel, store, cycle)
        spec = _written_offline(flywheel, spec)
    spec = pinned_embeddings(spec, is_offline=writers.is_offline)
    predecessor = _predecessor(flywheel, store, cycle, allow_gap=options.allow_gap)
    prompts = register_prompts(flywheel, store, cycle, predecessor, options.now())
    carried = _carried_in(flywheel, store, predecessor, prompts.flywheel.version)
    threshold_version = _threshold(spec, store, cycle, predecessor, options.now())
    gap = carried.predecessor is not None and carried.predecessor != flywheel.previous(cycle)
    return build_manifest(
        carried,
        spec,
        threshold_version=threshold_version,
        gap_allowed=gap,
        control_prompt_version=prompts.control.version,
        challenger_prompt_version=prompts.challenger.version if prompts.challenger else None,
        ablation_prompt_versions={arm: prompt.version for arm, prompt in prompts.ablations.items()},
        output_schema=flywheel.output_schema(),
        attempt=attempt,
    )


def _threshold(spec: FlywheelSpec, store: Lake, cycle: date, predecessor: date | None, now: datetime) -> str:
    """Register the floor; the version that judges the cycle: that one, or before it takes effect the one before."""
    threshold = register_threshold(spec.floor, spec.directions, cycle, now)
    store.append_batch(spec.name, threshold.header, {tables.THRESHOLDS: threshold.rows})
    effective_from = spec.floor.effective_from
    if effective_from is None or cycle >= effective_from:
        return threshold.version
    before = shift_cycle(cycle, spec.cadence, -1)
    for known in (before, predecessor):
        pinned = store.read(tables.CYCLE_MANIFEST, spec.name, known, columns=["threshold_version"]) if known else None
        if pinned is not None and pinned.num_rows:
            return str(pinned["threshold_version"][0].as_py())
    raise FlywheelError(
        f"Cycle {cycle} of {spec.name} has no floor: floor.effective_from is {effective_from}, and no cycle before it "
        f"was opened whose floor could be kept. Leave effective_from out, or write {cycle}."
    )


def _refuse_offline_after_real(flywheel: Flywheel, store: Lake, cycle: date) -> None:
    """A key that went missing must not fill a real flywheel with simulated texts."""
    for known in (cycle, flywheel.previous(cycle)):
        model = store.read(tables.CYCLE_MANIFEST, flywheel.name, known, columns=["model"])["model"].to_pylist()
        if model and model[0] != OFFLINE_MODEL:
            raise FlywheelError(
                f"Cycle {known} of {flywheel.name} was opened for {model[0]}, but no provider is configured now, so "
                f"cycle {cycle} would be written by the offline writer, which only simulates. Set OPENAI_API_KEY, or "
                "OPENAI_BASE_URL for an endpoint of your own; to simulate on purpose, open the cycle with the run "
                "config is_synthetic: true."
            )


def _written_offline(flywheel: Flywheel, spec: FlywheelSpec) -> FlywheelSpec:
    """The spec of a cycle that the offline writer writes: declared as such, with no budget, since nothing is paid."""
    assert isinstance(spec.producer, LlmProducer)
    parameters = spec.producer.parameters | offline_parameters(flywheel)
    changed = {"model": OFFLINE_MODEL, "max_cost_per_cycle": None, "parameters": parameters}
    producer = spec.producer.model_copy(update=changed)
    return spec.model_copy(update={"is_synthetic": True, "producer": producer})


def _predecessor(flywheel: Flywheel, store: Lake, cycle: date, *, allow_gap: bool) -> date | None:
    """The closed cycle whose learning is carried in; None in the first cycle."""
    return choose_predecessor(
        cycle,
        flywheel.previous(cycle),
        opened=store.cycles(tables.CYCLE_MANIFEST, flywheel.name),
        closed=store.cycles(tables.MOMENTUM, flywheel.name),
        allow_gap=allow_gap,
    )


def _carried_in(flywheel: Flywheel, store: Lake, predecessor: date | None, prompt_version: str) -> CarriedIn:
    """The versions that the last closed cycle hands over; nothing but the baseline prompt in the first cycle."""
    name = flywheel.name
    if predecessor is None:
        return CarriedIn(None, prompt_version, NOTHING_LEARNED, NOTHING_LEARNED, None)
    corpus_version = store.read(tables.REFRESHED_PROMPT, name, predecessor, columns=["corpus_version"])
    model = store.read(tables.SCORING_MODEL, name, predecessor, columns=["model_version", "known_at"]).to_pylist()[0]
    return CarriedIn(
        predecessor=predecessor,
        prompt_version=prompt_version,
        corpus_version=corpus_version["corpus_version"][0].as_py(),
        scoring_model_version=model["model_version"],
        knowledge_cutoff=model["known_at"],
    )


def _manifest_inputs(manifest: pa.Table, cycle: date) -> list[tuple[tables.TableContract, date]]:
    predecessor = manifest.column("predecessor")[0].as_py()
    learned = (tables.SCORING_MODEL, tables.REFERENCE_CORPUS, tables.REFRESHED_PROMPT)
    return [(tables.BRIEFS, cycle), *((table, predecessor) for table in learned if predecessor)]
