"""What a file of metrics brings, given what the lake knows: its batch, ready to be appended.

Here: which batch it is and whether it is there already, its outputs, what it replaces, what released rows are added to.
Not here: reading the file (`feeds.metrics`), or appending (`landing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.cycles import cycle_end, shift_cycle
from flywheel_pipelines.feedback.attribution import attribute
from flywheel_pipelines.feedback.feeds.batch import FeedBatch, Incoming, batch_id_of
from flywheel_pipelines.feedback.feeds.metric_cells import to_day
from flywheel_pipelines.feedback.feeds.metric_columns import measures_in
from flywheel_pipelines.feedback.feeds.metric_facts import Column, MetricFacts, Rows
from flywheel_pipelines.feedback.feeds.metrics import HoldRule, MetricsFile, measure_file
from flywheel_pipelines.feedback.holding import hold_rule
from flywheel_pipelines.feedback.overlapping import refuse_overlap
from flywheel_pipelines.feedback.performance import known_measurements
from flywheel_pipelines.feedback.replacing import replacements_of
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import METRIC_LEDGER, METRIC_REPLACEMENTS
from flywheel_pipelines.spec import FlywheelSpec


def read_measurements(incoming: Incoming, *, fast: bool = True, hold: HoldRule | None = None) -> FeedBatch:
    """The batch of a file of metrics; when the lake has it already, its header alone.

    Args:
        incoming: the file.
        fast: False sends every row through the careful reader and the Python checks; the result is the same.
        hold: which facts wait for a person; None: what the plausibility rule says.

    Raises:
        InputFileError: the file cannot be used at all.
    """
    lake, spec, feed = incoming.lake, incoming.spec, incoming.feed
    measures = measures_in(feed, spec)
    file = MetricsFile(
        path=incoming.path,
        feed=feed,
        measures=measures,
        metrics=list(spec.metrics.values()),
        attribute=lambda texts, days: attribute(lake, spec, feed, texts, days),
        recorded_at=incoming.recorded_at,
        batch_id=lambda: batch_id_of(incoming, *measures),
        feed_name=incoming.feed_name,
        source=incoming.source_name,
        period=incoming.period,
        is_late=lambda cycle: _is_late(incoming, cycle),
        hold=hold or hold_rule(incoming),
        is_known=lambda batch_id: lake.batch_header(spec.name, batch_id) is not None,
    )
    measured = measure_file(file, fast=fast)
    if measured is None:
        return known_batch(lake, spec.name, file.batch_id())
    batch, facts = measured.batch, measured.facts
    period = None if measured.columns.has_dates else measured.columns.period
    if period is not None and incoming.release is None:
        refuse_overlap(lake, spec.name, incoming.feed_name, feed, incoming.path, period, facts)
    if incoming.release is not None and feed.aggregate != "last" and facts.n_facts:
        facts = _added_to_known(lake, spec, incoming.feed_name, facts)
        parts = facts.parts(feed_name=file.feed_name, batch_id=batch.batch_id, recorded_at=file.recorded_at)
        batch = replace(batch, parts={METRIC_LEDGER: parts})
    if feed.corrections != "replace_range":
        return batch
    # Rows that leave quarantine are a few of their file's and replace nothing.
    days = None if incoming.release is not None else measured.columns.period or facts.days
    order = (incoming.recorded_at, batch.batch_id)
    replaced = replacements_of(lake, spec.name, incoming.feed_name, order, days, facts.cycles)
    return _with_replacements(batch, replaced)


def known_batch(lake: Lake, flywheel: str, batch_id: str) -> FeedBatch:
    """A batch that is in the lake, as its header tells it: without facts, with the cycles it touched."""
    header = lake.batch_header(flywheel, batch_id)
    assert header is not None
    cycles = [*lake.files_of_batch(METRIC_LEDGER, flywheel, batch_id)]
    cycles += lake.files_of_batch(METRIC_REPLACEMENTS, flywheel, batch_id)
    n_rows, n_quarantined = cast(int, header["n_rows"]), cast(int, header["n_quarantined"])
    return FeedBatch(header, {}, (), n_rows, n_quarantined, known_cycles=tuple(sorted(set(cycles))))


def _is_late(incoming: Incoming, cycle: date) -> bool:
    spec = incoming.spec
    last_measured = shift_cycle(cycle, spec.cadence, spec.measurement_window - 1)
    return cycle_end(last_measured, spec.cadence) <= incoming.recorded_at


def _with_replacements(batch: FeedBatch, replaced: pa.Table) -> FeedBatch:
    if not replaced.num_rows:
        return batch
    cycles: list[date] = [*batch.cycles, *replaced.column("cycle").to_pylist()]
    header = {**batch.header, "first_cycle": min(cycles), "last_cycle": max(cycles)}
    return replace(batch, header=header, facts={**batch.facts, METRIC_REPLACEMENTS: replaced})


def _added_to_known(lake: Lake, spec: FlywheelSpec, feed_name: str, facts: MetricFacts) -> MetricFacts:
    """Facts of released rows of a feed that adds rows up: what is known of their output and day, and they on top.

    Their file's other rows were added up without them.
    """
    known: Mapping[tuple[str, str, date], float] = {}
    for cycle in facts.cycles:
        ledger = lake.read(METRIC_LEDGER, spec.name, cycle)
        own = ledger.filter(pc.field("feed") == feed_name)
        found = known_measurements(own, lake.read(METRIC_REPLACEMENTS, spec.name, cycle)).to_pylist()
        known |= {(row["output_id"], row["measure"], row["measured_on"]): row["value"] for row in found}
    return replace(facts, columns=[_on_top(column, facts, known) for column in facts.columns])


def _on_top(column: Column, facts: MetricFacts, known: Mapping[tuple[str, str, date], float]) -> Column:
    before = [
        known.get((facts.outputs[output].output_id, column.measure, to_day(day)), 0.0)
        for output, day in zip(column.output.tolist(), column.day.tolist(), strict=True)
    ]
    rows = Rows(np.arange(len(before)), column.output, column.day, column.rows.source_row[column.rows.at])
    return Column(column.measure, rows, column.value + np.array(before))
