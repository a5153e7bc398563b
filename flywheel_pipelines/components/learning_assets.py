"""The assets that close a cycle.

performance_metrics -> scored_outputs -> scoring_model, reference_corpus -> refreshed_prompt -> momentum
performance_metrics -> prompt_gate -> refreshed_prompt

Wiring only: each takes a step of `loop/closing.py`, for all cycles of its run in order, so a restatement of a year is
one run.
"""

from collections.abc import Iterator

import dagster as dg

from flywheel_pipelines.components.corpus_checks import corpus_check_results, corpus_check_specs
from flywheel_pipelines.components.cycle_checks import cycle_check_results, cycle_check_specs
from flywheel_pipelines.components.feed_checks import feed_check_results, feed_check_specs, stopping
from flywheel_pipelines.components.gate_asset import gate_asset
from flywheel_pipelines.components.kit import AssetKit, PlotConfig, picture, result
from flywheel_pipelines.components.momentum_asset import momentum_asset
from flywheel_pipelines.components.production_assets import instant
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.components.training_asset import training_asset
from flywheel_pipelines.lake import tables
from flywheel_pipelines.learning.score_plot import score_plot
from flywheel_pipelines.loop import closing, fitting
from flywheel_pipelines.loop.choosing import choose_references


class CloseConfig(dg.Config):
    """Run config of closing cycles."""

    knowledge_cutoff: str | None = None
    """Instant (ISO, UTC) up to which feedback counts: 'as known at'. None: everything recorded so far."""


def learning_assets(kit: AssetKit) -> list[dg.AssetsDefinition]:
    """The assets of layers 2 and 3, and the flywheel's last asset; training sets only where the YAML asks for them."""
    return [
        _performance_metrics(kit),
        _scored_outputs(kit),
        _scoring_model(kit),
        _reference_corpus(kit),
        gate_asset(kit),
        _refreshed_prompt(kit),
        momentum_asset(kit),
        *([training_asset(kit)] if kit.spec.training_sets is not None else []),
    ]


def _performance_metrics(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(
        tables.PERFORMANCE_METRICS,
        deps=[tables.PUBLISHED_OUTPUTS],
        many_cycles_per_run=True,
        also_writes=[tables.REVIEWED_OUTPUTS, tables.RULED_OUTPUTS],
        check_specs=[*feed_check_specs(kit), *cycle_check_specs(kit, tables.PERFORMANCE_METRICS)],
        has_deadline=True,
    )
    def performance_metrics(
        context: dg.AssetExecutionContext, config: CloseConfig, lake: LakeResource
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        with kit.step(lake) as recorder:
            cutoff = instant(config.knowledge_cutoff)
            cycles = kit.cycles(context)
            # They are about the ledgers, so they are asked first: a red one leaves the tables as they are.
            checks = cycle_check_results(kit, tables.PERFORMANCE_METRICS, recorder.store, cycles)
            checks += feed_check_results(kit, recorder.store, cycles, cutoff)
            if red := stopping(checks):
                yield from checks
                raise red
            yield result(recorder, closing.measure(kit.flywheel, recorder, cycles, cutoff), checks)

    return performance_metrics


def _scored_outputs(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(
        tables.SCORED_OUTPUTS,
        deps=[tables.PUBLISHED_OUTPUTS, tables.PERFORMANCE_METRICS],
        many_cycles_per_run=True,
        also_writes=[tables.GUARDRAIL_SCORES],
    )
    def scored_outputs(
        context: dg.AssetExecutionContext, config: PlotConfig, lake: LakeResource
    ) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles = kit.cycles(context)
            shown: dict[str, object] = dict(closing.score(kit.flywheel, recorder, cycles))
            if config.plot:
                scored = recorder.store.read(tables.SCORED_OUTPUTS, kit.spec.name, cycles[-1])
                plot = score_plot(scored, title=f"{kit.spec.name}, cycle {cycles[-1]}: scores against the floor")
                if plot is not None:
                    shown["score_plot"] = picture("scores", plot)
            return result(recorder, shown)

    return scored_outputs


def _scoring_model(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(
        tables.SCORING_MODEL,
        deps=[tables.SCORED_OUTPUTS],
        many_cycles_per_run=True,
        also_writes=[tables.SCORING_MODEL_TERMS, tables.SCORING_MODEL_SKILL],
    )
    def scoring_model(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            return result(recorder, fitting.fit_model(kit.flywheel, recorder, kit.cycles(context)))

    return scoring_model


def _reference_corpus(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(
        tables.REFERENCE_CORPUS,
        deps=[tables.SCORED_OUTPUTS],
        many_cycles_per_run=True,
        also_writes=[tables.ANCESTRY, tables.REFERENCE_CHANGES, tables.COLLAPSE_SIGNS],
        check_specs=corpus_check_specs(kit),
    )
    def reference_corpus(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles = kit.cycles(context)
            shown = choose_references(kit.flywheel, recorder, cycles)
            return result(recorder, shown, corpus_check_results(kit, recorder.store, cycles))

    return reference_corpus


def _refreshed_prompt(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(
        tables.REFRESHED_PROMPT,
        deps=[tables.REFERENCE_CORPUS, tables.PROMPT_GATE],
        many_cycles_per_run=True,
        check_specs=cycle_check_specs(kit, tables.REFRESHED_PROMPT),
    )
    def refreshed_prompt(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles = kit.cycles(context)
            shown = closing.refresh_prompts(kit.flywheel, recorder, cycles)
            return result(recorder, shown, cycle_check_results(kit, tables.REFRESHED_PROMPT, recorder.store, cycles))

    return refreshed_prompt
