"""The step that ends a cycle: lift against the control arm, and the audit.

Not here: the statistics (`momentum`), or the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from flywheel_pipelines.cycles import cycle_end, shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.choosing import carried_from, last_before
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.momentum.audit import audit
from flywheel_pipelines.momentum.evidence import AuditInputs, gather_evidence
from flywheel_pipelines.momentum.lift import momentum_rows
from flywheel_pipelines.momentum.parts import part_rows
from flywheel_pipelines.momentum.segments import segment_rows


def weigh(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> tuple[pa.Table, pa.Table]:
    """`segment_momentum`, `momentum_parts`, `audit` and `momentum`, from the outcomes.

    Returns the last cycle's momentum and audit.
    """
    spec, store = flywheel.spec, recorder.store
    audited, rows = tables.AUDIT.empty(), tables.MOMENTUM.empty()
    for cycle in cycles:
        outcomes = store.read(tables.BRIEF_OUTCOMES, spec.name, cycle)
        metric, better = spec.floor.metric, spec.metric.better
        sums = _carried(flywheel, store, tables.MOMENTUM, cycle)
        rows = momentum_rows(outcomes, sums, metric=metric, better=better)
        sums = _carried(flywheel, store, tables.SEGMENT_MOMENTUM, cycle)
        by_segment = segment_rows(outcomes, sums, metric=metric, better=better)
        read = [(tables.BRIEF_OUTCOMES, cycle)]
        before = last_before(flywheel, store, tables.MOMENTUM, cycle)
        recorder.write(
            tables.SEGMENT_MOMENTUM,
            by_segment,
            cycle,
            [*read, *carried_from(flywheel, tables.SEGMENT_MOMENTUM, before, cycle)],
        )
        _weigh_parts(flywheel, recorder, cycle)
        audited = _audit(flywheel, store, cycle, rows)
        recorder.write(tables.AUDIT, audited, cycle, [(tables.REFRESHED_PROMPT, cycle)])
        # Last, since a cycle counts as closed when this partition stands.
        recorder.write(tables.MOMENTUM, rows, cycle, [*read, *carried_from(flywheel, tables.MOMENTUM, before, cycle)])
    return rows, audited


def _carried(flywheel: Flywheel, store: Lake, table: TableContract, cycle: date) -> pa.Table | None:
    """What the cycles so far have added up to, also over a gap in history; None in the first."""
    before = last_before(flywheel, store, table, cycle)
    return None if before is None else store.read(table, flywheel.name, before)


def _weigh_parts(flywheel: Flywheel, recorder: Recorder, cycle: date) -> None:
    """`momentum_parts`: what the arms that lack one part say."""
    spec, store = flywheel.spec, recorder.store
    rows = part_rows(
        store.read(tables.PUBLISHED_OUTPUTS, spec.name, cycle),
        store.read(tables.PERFORMANCE_METRICS, spec.name, cycle),
        _carried(flywheel, store, tables.MOMENTUM_PARTS, cycle),
        metric=spec.floor.metric,
        better=spec.metric.better,
    )
    before = last_before(flywheel, store, tables.MOMENTUM_PARTS, cycle)
    used = [(tables.PUBLISHED_OUTPUTS, cycle), (tables.PERFORMANCE_METRICS, cycle)]
    recorder.write(
        tables.MOMENTUM_PARTS, rows, cycle, [*used, *carried_from(flywheel, tables.MOMENTUM_PARTS, before, cycle)]
    )


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
