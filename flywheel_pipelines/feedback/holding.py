"""Which facts of a file of metrics wait for a person: the plausibility rule, asked about a file that is landing.

Here: the past that the file is held against, and the rule's answer in the words of the reader of metrics. Not here: the
rule (`plausibility`), or putting rows aside (`feeds.metrics`).
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from flywheel_pipelines.feedback.feeds.batch import Incoming
from flywheel_pipelines.feedback.feeds.metric_facts import MetricFacts
from flywheel_pipelines.feedback.feeds.metrics import Held, HoldRule
from flywheel_pipelines.feedback.plausibility import find_implausible
from flywheel_pipelines.feedback.plausibility_past import past_of

ROWS_IN_A_PIECE = 122_880
"""DuckDB's own row group."""


def hold_rule(incoming: Incoming) -> HoldRule | None:
    """The rule for a file; None when nothing of it is to be held.

    What a person has released is not held, whatever it says. Rows that match by themselves, since their output has
    become known, are judged like any other file's.
    """
    is_released = incoming.release is not None and incoming.release.event == "released"
    if is_released or not incoming.feed.hold_implausible:
        return None
    return lambda facts: _held(incoming, facts)


def _held(incoming: Incoming, facts: MetricFacts) -> list[Held]:
    metrics = list(incoming.spec.metrics.values())
    counted = sorted({name for metric in metrics for name in metric.whole})
    numbers = {one.output_id: number for number, one in enumerate(facts.outputs)}
    past = past_of(incoming.lake, incoming.spec.name, incoming.feed_name, facts.cycles, counted, numbers)
    if past is None:
        return []
    with duckdb.connect() as connection:
        # In many pieces: a single one is read by one thread.
        pieces = facts.numbered().to_batches(max_chunksize=ROWS_IN_A_PIECE)
        connection.register("facts", pa.Table.from_batches(pieces))
        connection.register("known", past)
        found = find_implausible(connection, metrics)
    return [
        Held(facts.outputs[int(row.output_id)].output_id, row.measured_on, row.measure, row.found, row.reason)
        for row in found
    ]
