"""The assets that close a cycle.

performance_metrics -> scored_outputs -> scoring_model, reference_corpus -> refreshed_prompt -> momentum
performance_metrics -> prompt_gate -> refreshed_prompt

Wiring only: each takes a step of `loop/closing.py`, for all cycles of its run in order, so a restatement of a year is
one run.
"""

from collections.abc import Iterator

import dagster as dg

from flywheel_pipelines.components.corpus_checks import corpus_check_results, corpus_check_specs
from flywheel_pipelines.components.feed_checks import feed_check_results, feed_check_specs, stopping
from flywheel_pipelines.components.gate_asset import gate_asset
from flywheel_pipelines.components.kit import AssetKit, result
from flywheel_pipelines.components.momentum_asset import momentum_asset
from flywheel_pipelines.components.production_assets import instant
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.components.training_asset import training_asset
from flywheel_pipelines.lake import tables
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
        check_specs=feed_check_specs(kit),
    )
    def performance_metrics(
        context: dg.AssetExecutionContext, config: CloseConfig, lake: LakeResource
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        with kit.step(lake) as recorder:
            cutoff = instant(config.knowledge_cutoff)
            cycles = kit.cycles(context)
            # The contracts are about the ledgers, so they are asked first: a red one leaves the tables as they are.
            checks = feed_check_results(kit, recorder.store, cycles, cutoff)
            if red := stopping(checks):
                yield from checks
                raise red
            yield result(recorder, closing.measure(kit.flywheel, recorder, cycles, cutoff), checks)

    return performance_metrics


def _scored_outputs(kit: AssetKit) -> dg.AssetsDefinition:
    window = kit.spec.scoring_model.window

    @kit.asset(
        tables.SCORED_OUTPUTS,
        deps=[kit.window(tables.PUBLISHED_OUTPUTS, window), kit.window(tables.PERFORMANCE_METRICS, window)],
        many_cycles_per_run=True,
        also_writes=[tables.GUARDRAIL_SCORES],
    )
    def scored_outputs(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            return result(recorder, closing.score(kit.flywheel, recorder, kit.cycles(context)))

    return scored_outputs


def _scoring_model(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(
        tables.SCORING_MODEL,
        deps=[kit.window(tables.SCORED_OUTPUTS, kit.spec.scoring_model.window)],
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
        deps=[kit.window(tables.SCORED_OUTPUTS, kit.spec.corpus.lookback)],
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
    @kit.asset(tables.REFRESHED_PROMPT, deps=[tables.REFERENCE_CORPUS, tables.PROMPT_GATE], many_cycles_per_run=True)
    def refreshed_prompt(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            return result(recorder, closing.refresh_prompts(kit.flywheel, recorder, kit.cycles(context)))

    return refreshed_prompt
