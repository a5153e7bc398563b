"""The assets that close a cycle.

performance_metrics -> scored_outputs -> scoring_model, reference_corpus -> refreshed_prompt -> momentum

Wiring only. Each asset loops over the cycles of its run in order, so a restatement of a year is one run.
"""

from datetime import UTC, date, datetime

import dagster as dg
import pyarrow as pa

from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.components.momentum_asset import momentum_asset
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.cycles import cycle_end, cycle_range, cycle_window, shift_cycle
from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.feedback.performance import performance_view
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.corpus import build_corpus
from flywheel_pipelines.learning.judgement import judge_cycle
from flywheel_pipelines.learning.model_tables import fit_scoring_model, model_to_tables
from flywheel_pipelines.learning.prompt import refresh_prompt
from flywheel_pipelines.learning.thresholds import floor_rule


class CloseConfig(dg.Config):
    """Run config of closing cycles."""

    knowledge_cutoff: str | None = None
    """Instant (ISO, UTC) up to which feedback counts: 'as known at'. None: everything recorded so far."""


def learning_assets(kit: AssetKit) -> list[dg.AssetsDefinition]:
    """The assets of layers 2 and 3, and the flywheel's last asset."""
    return [
        _performance_metrics(kit),
        _scored_outputs(kit),
        _scoring_model(kit),
        _reference_corpus(kit),
        _refreshed_prompt(kit),
        momentum_asset(kit),
    ]


def _performance_metrics(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec

    @kit.asset(tables.PERFORMANCE_METRICS, deps=[tables.PUBLISHED_OUTPUTS], many_cycles_per_run=True)
    def performance_metrics(
        context: dg.AssetExecutionContext, config: CloseConfig, lake: LakeResource
    ) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            cutoff = datetime.fromisoformat(config.knowledge_cutoff) if config.knowledge_cutoff else None
            if cutoff is not None and cutoff.tzinfo is None:
                cutoff = cutoff.replace(tzinfo=UTC)
            mature = 0
            for cycle in kit.cycles(context):
                _require_opened(store, spec.name, cycle)
                last_measured = shift_cycle(cycle, spec.cadence, spec.measurement_window - 1)
                known = performance_view(
                    store.read(tables.METRIC_LEDGER, spec.name, cycle),
                    store.read(tables.PUBLISHED_OUTPUTS, spec.name, cycle, columns=["output_id"]),
                    spec.metrics,
                    knowledge_cutoff=cutoff,
                    matures_at=cycle_end(last_measured, spec.cadence),
                    latest_batch=store.latest_batch(spec.name),
                )
                read = [(tables.METRIC_LEDGER, cycle), (tables.PUBLISHED_OUTPUTS, cycle)]
                recorder.write(tables.PERFORMANCE_METRICS, known, cycle, read)
                mature += sum(known.column("is_mature").to_pylist())
            return recorder.result({"mature_rows": mature, "knowledge_cutoff": config.knowledge_cutoff or "everything"})

    return performance_metrics


def _scored_outputs(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec
    window = spec.scoring_model.window

    @kit.asset(
        tables.SCORED_OUTPUTS,
        deps=[kit.window(tables.PUBLISHED_OUTPUTS, window), kit.window(tables.PERFORMANCE_METRICS, window)],
        many_cycles_per_run=True,
    )
    def scored_outputs(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            decisions: dict[str, int] = {"promote": 0, "hold": 0, "reject": 0}
            for cycle in kit.cycles(context):
                seen = _window(kit, cycle, window)
                manifest = store.read(tables.CYCLE_MANIFEST, spec.name, cycle).to_pylist()[0]
                version = manifest["threshold_version"]
                scored = judge_cycle(
                    cycle,
                    store.read(tables.PUBLISHED_OUTPUTS, spec.name, seen),
                    store.read(tables.PERFORMANCE_METRICS, spec.name, seen),
                    floor_rule(store.read(tables.THRESHOLDS, spec.name), version),
                    threshold_version=version,
                )
                read = [
                    (tables.CYCLE_MANIFEST, cycle),
                    *_partitions(kit, store, tables.PUBLISHED_OUTPUTS, seen),
                    *_partitions(kit, store, tables.PERFORMANCE_METRICS, seen),
                ]
                recorder.write(tables.SCORED_OUTPUTS, scored, cycle, read)
                for decision in scored.column("decision").to_pylist():
                    decisions[decision] += 1
            return recorder.result(decisions)

    return scored_outputs


def _scoring_model(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec
    window = spec.scoring_model.window

    @kit.asset(
        tables.SCORING_MODEL,
        deps=[kit.window(tables.SCORED_OUTPUTS, window), kit.window(tables.PUBLISHED_OUTPUTS, window)],
        many_cycles_per_run=True,
        also_writes=[tables.SCORING_MODEL_TERMS],
    )
    def scoring_model(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            shown: dict[str, object] = {}
            for cycle in kit.cycles(context):
                seen = _window(kit, cycle, window)
                model = fit_scoring_model(
                    store.read(tables.SCORED_OUTPUTS, spec.name, seen),
                    store.read(tables.PUBLISHED_OUTPUTS, spec.name, seen, columns=["output_id", "text"]),
                    as_of=shift_cycle(cycle, spec.cadence, 1),
                    window=window,
                )
                known = store.read(tables.PERFORMANCE_METRICS, spec.name, seen, columns=["known_at"])
                row, terms = model_to_tables(model, max(known.column("known_at").unique().to_pylist(), default=None))
                read = _partitions(kit, store, tables.SCORED_OUTPUTS, seen)
                recorder.write(tables.SCORING_MODEL_TERMS, terms, cycle, read)
                recorder.write(tables.SCORING_MODEL, row, cycle, read)
                strongest = [
                    f"{term.kind} `{term.term}` {term.coefficient:+.3f}" for term in model.top_terms(8).itertuples()
                ]
                shown = {
                    "model": model.reason,
                    "holdout_hit_rate": model.holdout_hit_rate,
                    "holdout_chance": model.holdout_chance,
                    "strongest_terms": dg.MetadataValue.md("\n".join(f"- {line}" for line in strongest) or "none"),
                }
            return recorder.result(shown)

    return scoring_model


def _reference_corpus(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec
    lookback = spec.corpus.lookback

    @kit.asset(
        tables.REFERENCE_CORPUS,
        deps=[kit.window(tables.SCORED_OUTPUTS, lookback), kit.window(tables.PUBLISHED_OUTPUTS, lookback)],
        many_cycles_per_run=True,
    )
    def reference_corpus(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            for cycle in kit.cycles(context):
                seen = _window(kit, cycle, lookback)
                corpus = build_corpus(
                    _judged_with_text(store, spec.name, seen),
                    size=spec.corpus.size,
                    per_segment=spec.corpus.per_segment,
                    near_duplicate=spec.corpus.near_duplicate,
                    better=spec.metric.better,
                )
                read = _partitions(kit, store, tables.SCORED_OUTPUTS, seen)
                recorder.write(tables.REFERENCE_CORPUS, corpus, cycle, read)
            return recorder.result()

    return reference_corpus


def _refreshed_prompt(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec

    @kit.asset(tables.REFRESHED_PROMPT, deps=[tables.REFERENCE_CORPUS], many_cycles_per_run=True)
    def refreshed_prompt(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            text = ""
            for cycle in kit.cycles(context):
                before = kit.previous(cycle)
                previous = store.read(
                    tables.REFRESHED_PROMPT, spec.name, before, columns=tables.REFRESHED_PROMPT.columns
                )
                corpus = store.read(tables.REFERENCE_CORPUS, spec.name, cycle)
                prompt = refresh_prompt(
                    kit.prompt_template(), corpus, previous, flywheel=spec.name, metric=spec.floor.metric
                )
                read = [(tables.REFERENCE_CORPUS, cycle), (tables.REFRESHED_PROMPT, before)]
                recorder.write(tables.REFRESHED_PROMPT, prompt, cycle, read)
                text = prompt.column("text")[0].as_py()
            return recorder.result({"prompt": dg.MetadataValue.md(f"```\n{text}\n```")})

    return refreshed_prompt


def _require_opened(store: Lake, flywheel: str, cycle: date) -> None:
    if not store.has(tables.PUBLISHED_OUTPUTS, flywheel, cycle):
        raise CycleOrderError(
            f"Cycle {cycle} of {flywheel} cannot be closed: it was never opened, so nothing was published that could "
            f"have been measured. Run the job {flywheel}__open for {cycle} first."
        )


def _window(kit: AssetKit, cycle: date, length: int) -> CycleWindow:
    return CycleWindow(*cycle_window(cycle, kit.spec.cadence, length))


def _partitions(
    kit: AssetKit, store: Lake, table: tables.TableContract, window: CycleWindow
) -> list[tuple[tables.TableContract, date]]:
    """The partitions of a table that hold something in the window."""
    assert window.first is not None and window.last is not None
    cycles = cycle_range(max(window.first, kit.spec.start), window.last, kit.spec.cadence)
    return [(table, cycle) for cycle in cycles if store.has(table, kit.spec.name, cycle)]


def _judged_with_text(store: Lake, flywheel: str, window: CycleWindow) -> pa.Table:
    scored = store.read(tables.SCORED_OUTPUTS, flywheel, window)
    texts = store.read(tables.PUBLISHED_OUTPUTS, flywheel, window, columns=["output_id", "text"])
    texts = texts.group_by("output_id").aggregate([("text", "min")]).rename_columns(["output_id", "text"])
    return scored.join(texts, "output_id", join_type="inner")
