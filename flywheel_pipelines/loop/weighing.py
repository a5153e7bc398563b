"""The step that ends a cycle: lift against the control arm, and the audit.

Not here: the statistics (`momentum`), or the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from flywheel_pipelines.cycles import cycle_end, shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.momentum.audit import audit
from flywheel_pipelines.momentum.evidence import AuditInputs, gather_evidence
from flywheel_pipelines.momentum.lift import momentum_rows
from flywheel_pipelines.momentum.segments import segment_rows


def weigh(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> tuple[pa.Table, pa.Table]:
    """`segment_momentum`, `audit` and `momentum`, from the outcomes; returns the last cycle's momentum and audit."""
    spec, store = flywheel.spec, recorder.store
    audited, rows = tables.AUDIT.empty(), tables.MOMENTUM.empty()
    for cycle in cycles:
        outcomes = store.read(tables.BRIEF_OUTCOMES, spec.name, cycle)
        before = flywheel.previous(cycle)
        rows = momentum_rows(
            outcomes,
            store.read(tables.MOMENTUM, spec.name, before),
            metric=spec.floor.metric,
            better=spec.metric.better,
        )
        by_segment = segment_rows(
            outcomes,
            store.read(tables.SEGMENT_MOMENTUM, spec.name, before),
            metric=spec.floor.metric,
            better=spec.metric.better,
        )
        read = [(tables.BRIEF_OUTCOMES, cycle), (tables.SEGMENT_MOMENTUM, before)]
        recorder.write(tables.SEGMENT_MOMENTUM, by_segment, cycle, read)
        audited = _audit(flywheel, store, cycle, rows)
        recorder.write(tables.AUDIT, audited, cycle, [(tables.REFRESHED_PROMPT, cycle)])
        # Last, since a cycle counts as closed when this partition stands.
        recorder.write(tables.MOMENTUM, rows, cycle, [(tables.BRIEF_OUTCOMES, cycle), (tables.MOMENTUM, before)])
    return rows, audited


def is_synthetic(flywheel: Flywheel, store: Lake, cycle: date) -> bool:
    """Whether a cycle declares that it runs on synthetic or simulated data."""
    declared = store.read(tables.CYCLE_MANIFEST, flywheel.name, cycle, columns=["is_synthetic"])
    return any(declared["is_synthetic"].to_pylist())


def _audit(flywheel: Flywheel, store: Lake, cycle: date, rows: pa.Table) -> pa.Table:
    spec = flywheel.spec
    seen = flywheel.window(cycle, spec.corpus.lookback)
    first_measured = store.first_cycle(tables.METRIC_LEDGER, spec.name)
    inputs = AuditInputs(
        generated=store.read(tables.GENERATED_OUTPUTS, spec.name, seen, columns=["text", "segment", "brief_id"]),
        published=store.read(tables.PUBLISHED_OUTPUTS, spec.name, seen, columns=["cycle", "output_id"]),
        performance=store.read(tables.PERFORMANCE_METRICS, spec.name, seen),
        scored=store.read(tables.SCORED_OUTPUTS, spec.name, seen, columns=["output_id", "decision"]),
        corpus=store.read(tables.REFERENCE_CORPUS, spec.name, cycle, columns=["reference_id"]),
        prompts=store.read(tables.REFRESHED_PROMPT, spec.name, seen, columns=["cycle", "prompt_version"]),
        momentum=rows,
        thresholds=store.read(tables.THRESHOLDS, spec.name, columns=["recorded_at"]),
        first_measurements=store.read(tables.METRIC_LEDGER, spec.name, first_measured, columns=["recorded_at"])
        if first_measured
        else tables.METRIC_LEDGER.empty(),
    )
    last_mature = shift_cycle(cycle, spec.cadence, 1 - spec.measurement_window)
    # Of the cycles that are looked at, not of all that there ever were.
    matured = {known for _, known in flywheel.partitions(store, tables.PUBLISHED_OUTPUTS, seen) if known <= last_mature}
    closed_at = cycle_end(cycle, spec.cadence)
    return audit(gather_evidence(inputs, metric=spec.floor.metric, closed_at=closed_at, matured=matured))
