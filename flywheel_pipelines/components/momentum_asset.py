"""The flywheel's last asset: lift against the control arm and the audit, as tables and as a picture. Wiring only."""

from datetime import date

import dagster as dg

from flywheel_pipelines.components.cycle_checks import cycle_check_results, cycle_check_specs
from flywheel_pipelines.components.kit import AssetKit, PlotConfig, picture, preview, result
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.loop.weighing import is_synthetic, weigh
from flywheel_pipelines.momentum.audit import verdict_words
from flywheel_pipelines.momentum.parts import parts_as_markdown
from flywheel_pipelines.momentum.plot import momentum_plot


def momentum_asset(kit: AssetKit) -> dg.AssetsDefinition:
    """The asset that fills `momentum`, `segment_momentum`, `momentum_parts` and `audit`."""

    @kit.asset(
        tables.MOMENTUM,
        deps=[tables.SCORING_MODEL, tables.REFRESHED_PROMPT],
        many_cycles_per_run=True,
        also_writes=[tables.AUDIT, tables.SEGMENT_MOMENTUM, tables.MOMENTUM_PARTS],
        check_specs=cycle_check_specs(kit, tables.MOMENTUM),
        has_deadline=True,
    )
    def momentum(context: dg.AssetExecutionContext, config: PlotConfig, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles = kit.cycles(context)
            rows, audited = weigh(kit.flywheel, recorder, cycles)
            simulated = is_synthetic(kit.flywheel, recorder.store, cycles[-1])
            shown: dict[str, object] = {
                "data": "synthetic" if simulated else "real",
                "verdict": verdict_words(audited),
                "audit": dg.MetadataValue.md(preview(audited)),
            }
            # As numbers, so that the UI draws them over the cycles.
            shown |= {
                f"lift_{row['scope']}": round(row["lift"], 4) for row in rows.to_pylist() if row["lift"] is not None
            }
            if parts := recorder.store.read(tables.MOMENTUM_PARTS, kit.spec.name, cycles[-1]).to_pylist():
                shown["what_moved_it"] = dg.MetadataValue.md(parts_as_markdown(parts))
            if config.plot:
                shown["momentum_plot"] = _plot(kit, recorder.store, cycles[-1], simulated=simulated)
            return result(recorder, shown, cycle_check_results(kit, tables.MOMENTUM, recorder.store, cycles))

    return momentum


def _plot(kit: AssetKit, store: Lake, cycle: date, *, simulated: bool) -> dg.MarkdownMetadataValue:
    rows = store.read(tables.MOMENTUM, kit.spec.name, CycleWindow(last=cycle))
    label = "synthetic" if simulated else None
    plot = momentum_plot(rows, flywheel=kit.spec.name, label=label, rival=kit.spec.arms.rival)
    return picture("momentum", plot)
