"""The flywheel's last asset: lift against the control arm and the audit, as tables and as a picture. Wiring only."""

import base64
from datetime import date

import dagster as dg
import pyarrow as pa

from flywheel_pipelines.components.kit import AssetKit, preview
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.cycles import cycle_end, cycle_window, shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.momentum.audit import audit, verdict_words
from flywheel_pipelines.momentum.evidence import AuditInputs, gather_evidence
from flywheel_pipelines.momentum.lift import brief_outcomes, momentum_rows
from flywheel_pipelines.momentum.plot import momentum_plot


class MomentumConfig(dg.Config):
    """Run config of the flywheel's last asset."""

    plot: bool = True
    """Draw the momentum plot of the last cycle; replays draw it once at their end."""


def momentum_asset(kit: AssetKit) -> dg.AssetsDefinition:
    """The asset that fills `brief_outcomes`, `momentum` and `audit`."""
    spec = kit.spec

    @kit.asset(
        tables.MOMENTUM,
        deps=[tables.SCORING_MODEL, tables.REFRESHED_PROMPT],
        many_cycles_per_run=True,
        also_writes=[tables.BRIEF_OUTCOMES, tables.AUDIT],
    )
    def momentum(context: dg.AssetExecutionContext, config: MomentumConfig, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            cycles = kit.cycles(context)
            audited, rows = tables.AUDIT.empty(), tables.MOMENTUM.empty()
            for cycle in cycles:
                published = store.read(tables.PUBLISHED_OUTPUTS, spec.name, cycle)
                performance = store.read(tables.PERFORMANCE_METRICS, spec.name, cycle)
                outcomes = brief_outcomes(published, performance, spec.floor.metric, spec.metric.better)
                before = kit.previous(cycle)
                rows = momentum_rows(
                    outcomes,
                    store.read(tables.MOMENTUM, spec.name, before),
                    metric=spec.floor.metric,
                    better=spec.metric.better,
                )
                read = [(tables.PUBLISHED_OUTPUTS, cycle), (tables.PERFORMANCE_METRICS, cycle)]
                recorder.write(tables.BRIEF_OUTCOMES, outcomes, cycle, read)
                audited = _audit(kit, store, cycle, rows)
                recorder.write(tables.AUDIT, audited, cycle, [(tables.REFRESHED_PROMPT, cycle)])
                # Last, since a cycle counts as closed when this partition stands.
                recorder.write(tables.MOMENTUM, rows, cycle, [*read, (tables.MOMENTUM, before)])
            is_synthetic = _is_synthetic(kit, store, cycles[-1])
            shown: dict[str, object] = {
                "data": "synthetic" if is_synthetic else "real",
                "verdict": verdict_words(audited),
                "audit": dg.MetadataValue.md(preview(audited)),
            }
            # As numbers, so that the UI draws them over the cycles.
            shown |= {
                f"lift_{row['scope']}": round(row["lift"], 4) for row in rows.to_pylist() if row["lift"] is not None
            }
            if config.plot:
                shown["momentum_plot"] = _plot(kit, store, cycles[-1], is_synthetic=is_synthetic)
            return recorder.result(shown)

    return momentum


def _audit(kit: AssetKit, store: Lake, cycle: date, rows: pa.Table) -> pa.Table:
    spec = kit.spec
    seen = CycleWindow(*cycle_window(cycle, spec.cadence, spec.corpus.lookback))
    measured_cycles = store.cycles(tables.METRIC_LEDGER, spec.name)
    inputs = AuditInputs(
        generated=store.read(tables.GENERATED_OUTPUTS, spec.name, seen, columns=["text", "segment", "brief_id"]),
        published=store.read(tables.PUBLISHED_OUTPUTS, spec.name, seen, columns=["cycle", "output_id"]),
        performance=store.read(tables.PERFORMANCE_METRICS, spec.name, seen),
        scored=store.read(tables.SCORED_OUTPUTS, spec.name, seen, columns=["output_id", "decision"]),
        corpus=store.read(tables.REFERENCE_CORPUS, spec.name, cycle, columns=["reference_id"]),
        prompts=store.read(tables.REFRESHED_PROMPT, spec.name, seen, columns=["cycle", "prompt_version"]),
        momentum=rows,
        thresholds=store.read(tables.THRESHOLDS, spec.name, columns=["recorded_at"]),
        first_measurements=store.read(tables.METRIC_LEDGER, spec.name, measured_cycles[0], columns=["recorded_at"])
        if measured_cycles
        else tables.METRIC_LEDGER.empty(),
    )
    last_mature = shift_cycle(cycle, spec.cadence, 1 - spec.measurement_window)
    matured = {known for known in store.cycles(tables.PUBLISHED_OUTPUTS, spec.name) if known <= last_mature}
    closed_at = cycle_end(cycle, spec.cadence)
    return audit(gather_evidence(inputs, metric=spec.floor.metric, closed_at=closed_at, matured=matured))


def _is_synthetic(kit: AssetKit, store: Lake, cycle: date) -> bool:
    declared = store.read(tables.CYCLE_MANIFEST, kit.spec.name, cycle, columns=["is_synthetic"])
    return any(declared["is_synthetic"].to_pylist())


def _plot(kit: AssetKit, store: Lake, cycle: date, *, is_synthetic: bool) -> dg.MarkdownMetadataValue:
    rows = store.read(tables.MOMENTUM, kit.spec.name, CycleWindow(last=cycle))
    picture = momentum_plot(rows, flywheel=kit.spec.name, label="synthetic" if is_synthetic else None)
    # Dagster shows images in Markdown as data: addresses, in its light and its dark theme.
    return dg.MetadataValue.md(f"![momentum](data:image/png;base64,{base64.b64encode(picture).decode()})")
