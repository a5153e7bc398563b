"""Writing through a provider's Batch API: the asset that hands requests over, and the sensor that waits for them.

cycle_manifest -> llm_batches -> generated_outputs. The asset hands over whatever has no answer yet, collects what has
ended, and counts as materialized only when nothing is left to wait for; until then the steps behind it are skipped. The
sensor asks the provider and requests a run whenever a batch has ended. Wiring only.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.components.production_assets import ProduceConfig, instant
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.batches import ended_batches, exchange_batches, waiting_cycles

POLLING_SECONDS = 60


def batch_asset(kit: AssetKit) -> dg.AssetsDefinition:
    """The asset `llm_batches` of a flywheel with `producer.requests: batch`."""

    @kit.asset(tables.LLM_BATCHES, deps=[tables.CYCLE_MANIFEST], many_cycles_per_run=False, output_required=False)
    def llm_batches(
        context: dg.AssetExecutionContext, config: ProduceConfig, lake: LakeResource, llm: LlmResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetObservation]:
        with kit.step(lake) as recorder:
            (cycle,) = kit.cycles(context)
            exchanged = exchange_batches(kit.flywheel, recorder.store, cycle, llm.writers(instant(config.recorded_at)))
        context.log.info(exchanged.words)
        metadata = {"state": exchanged.words, **exchanged.counts}
        if exchanged.is_complete:
            yield dg.MaterializeResult(metadata=metadata)
        else:
            key = kit.key(tables.LLM_BATCHES)
            yield dg.AssetObservation(asset_key=key, partition=cycle.isoformat(), metadata=metadata)

    return llm_batches


def batch_sensor(kit: AssetKit, job: Any) -> dg.SensorDefinition:
    """Asks the provider about batches that are under way, and requests a run of `job` for a cycle whose batch ended."""
    name = kit.spec.name

    @dg.sensor(
        name=f"{name}__batches",
        job=job,
        minimum_interval_seconds=POLLING_SECONDS,
        description=f"Continues a cycle of {name} when the provider has answered one of its batches.",
    )
    def batches(
        context: dg.SensorEvaluationContext, lake: LakeResource, llm: LlmResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        store, writers = lake.open(), llm.writers()
        waiting: list[date] = waiting_cycles(store, name)
        for cycle in waiting:
            ended = ended_batches(store, name, cycle, writers)
            if ended:
                # One run per batch that ended: a tick that finds the same state again requests nothing new.
                yield dg.RunRequest(run_key=f"{cycle}:{':'.join(sorted(ended))}", partition_key=cycle.isoformat())
        if not waiting:
            yield dg.SkipReason(f"No batch of {name} is under way at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")

    return batches
