"""Which facts of a file of metrics wait for a person: the plausibility rule, asked about a file that is landing.

Here: the past that the file is held against, and the rule's answer in the words of the reader of metrics. Not here: the
rule (`plausibility`), or putting rows aside (`feeds.metrics`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flywheel_pipelines.feedback.attribution import Output
from flywheel_pipelines.feedback.feeds.batch import Incoming
from flywheel_pipelines.feedback.feeds.metric_cells import day_number
from flywheel_pipelines.feedback.feeds.metric_facts import MetricFacts
from flywheel_pipelines.feedback.feeds.metrics import Held, HoldRule
from flywheel_pipelines.feedback.plausibility import find_implausible
from flywheel_pipelines.feedback.plausibility_past import past_of


def hold_rule(incoming: Incoming) -> HoldRule | None:
    """The rule for a file; None when nothing of it is to be held.

    What a person has released is not held, whatever it says. Rows that match by themselves, since their output has
    become known, are judged like any other file's.
    """
    is_released = incoming.release is not None and incoming.release.event == "released"
    if is_released or not incoming.feed.hold_implausible:
        return None
    return lambda outputs: _rule(incoming, outputs)


def _rule(incoming: Incoming, outputs: Sequence[Output]) -> Callable[[MetricFacts], list[Held]]:
    """Look up the past of the outputs that a file names; what is returned holds the file against it."""
    metrics = list(incoming.spec.metrics.values())
    counted = sorted({name for metric in metrics for name in metric.whole})
    numbers = {one.output_id: number for number, one in enumerate(outputs)}
    named = {one.cycle for one in outputs}
    found = past_of(incoming.lake, incoming.spec.name, incoming.feed_name, named, counted, numbers)
    if found is None:
        return lambda _: []
    past, more = found
    cycles = np.array([day_number(cycle) for cycle in (*(one.cycle for one in outputs), *more)], np.int32)
    return lambda facts: [
        Held(outputs[row.output].output_id, row.measured_on, row.measure, row.found, row.reason)
        for row in find_implausible(facts.by_day(), past, cycles, metrics)
    ]
