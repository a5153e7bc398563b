"""The contract of one feed: its ledger, its columns, and the rules about its facts.

Here: which rules a feed has, from the flywheel's YAML alone. Not here: what a rule says (`rules`), or the shape of the
ledgers (`lake.tables`).

Landing puts aside the rows that break a rule. A row in the lake that breaks one came past that, or became wrong by a
later correction of another row, so it blocks. What is about the whole (`fresh`, `volume`) warns: a quiet week is no
wrong figure, and holding its cycle back would keep what is known from being learnt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from flywheel_pipelines.feedback.contracts.rules import (
    Rule,
    complete_rule,
    fresh_rule,
    known_outputs_rule,
    least_rule,
    one_of_rule,
    rate_rule,
    schema_rule,
    share_rule,
    unique_rule,
    volume_rule,
    whole_counts_rule,
)
from flywheel_pipelines.lake.layer_views import view_columns
from flywheel_pipelines.lake.tables import (
    BRIEF_LEDGER,
    METRIC_LEDGER,
    OUTPUT_LINKS,
    REVIEWS,
    TICKETS,
    TableContract,
)
from flywheel_pipelines.spec import REVIEW_MEASURES, AnySpec, FeedSpec, FlywheelSpec, InsightSpec, RateMetric

LEDGERS: dict[str, TableContract] = {
    "briefs": BRIEF_LEDGER,
    "metrics": METRIC_LEDGER,
    "reviews": REVIEWS,
    "outputs": OUTPUT_LINKS,
    "tickets": TICKETS,
}
"""The ledger that a feed's rows land in, by the kind of the feed."""
READ_BY_A_CLOSE = ("metrics", "reviews", "outputs")
"""Kinds of feeds whose facts closing a cycle depends on."""
DECISIONS = ("accepted", "edited", "rejected")
_ONE_ROW_ONE_FACT = "one row of a file is one fact"


@dataclass(frozen=True)
class FeedContract:
    """What a feed's facts look like in the lake.

    Attributes:
        flywheel: the flywheel's name.
        feed: the feed's name.
        spec: the feed as its YAML declares it.
        ledger: the table that its rows land in.
        rules: in the order in which people read them.
        measures: for metrics, what the flywheel's metrics count; else empty.
    """

    flywheel: str
    feed: str
    spec: FeedSpec
    ledger: TableContract
    rules: tuple[Rule, ...]
    measures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the check in Dagster and of the suite in Great Expectations."""
        return f"{self.feed}_contract"

    @property
    def has_cycles(self) -> bool:
        """Whether the ledger is kept by cycles."""
        return "cycle" in self.ledger.partition_by

    def of_frame(self, frame: str) -> tuple[Rule, ...]:
        """The rules about `facts`, or about `cycles`."""
        return tuple(rule for rule in self.rules if rule.about == frame)


def feed_contract(spec: AnySpec, feed_name: str) -> FeedContract:
    """The contract of one of the flywheel's feeds."""
    feed = spec.feeds[feed_name]
    ledger = LEDGERS[feed.kind]
    rules = [schema_rule(ledger.name, _types(ledger)), *_rules_of(spec, feed.kind)]
    if "cycle" in ledger.partition_by:
        # What insights are made of says all it has to say when it comes in.
        window = 1 if isinstance(spec, InsightSpec) else spec.measurement_window
        if feed.expected_within is not None:
            rules.append(fresh_rule(feed.expected_within, window))
        rules.append(volume_rule(window))
    measures = _measures(spec) if feed.kind == "metrics" and isinstance(spec, FlywheelSpec) else ()
    return FeedContract(spec.name, feed_name, feed, ledger, tuple(rules), measures)


def contracts_of(spec: AnySpec, kinds: Iterable[str] | None = None) -> list[FeedContract]:
    """The contracts of a flywheel's feeds in the order of its YAML; only those of some kinds, if given.

    Of an insight flywheel tickets have one. Its reviews are of themes, and their contract is about outputs.
    """
    wanted = set(kinds) if kinds is not None else set(LEDGERS)
    if isinstance(spec, InsightSpec):
        wanted &= {"tickets"}
    return [feed_contract(spec, name) for name, feed in spec.feeds.items() if feed.kind in wanted]


def _rules_of(spec: AnySpec, kind: str) -> list[Rule]:
    if kind == "metrics":
        assert isinstance(spec, FlywheelSpec)
        return _metric_rules(spec)
    return {"reviews": _review_rules, "briefs": _brief_rules, "outputs": _link_rules, "tickets": _ticket_rules}[kind]()


def _metric_rules(spec: FlywheelSpec) -> list[Rule]:
    measures = _measures(spec)
    rates = [
        rate_rule(name, metric.successes, metric.exposure)
        for name, metric in spec.metrics.items()
        if isinstance(metric, RateMetric)
        # A rate of two measures that a feed does not give both has no row to be held against, and passes.
        and metric.successes in measures
        and metric.exposure in measures
    ]
    least = {name: number for metric in spec.metrics.values() for name, number in metric.least.items()}
    others = set(measures).difference(*(metric.whole for metric in spec.metrics.values()))
    counted = sorted(set(measures) - others)
    return [
        complete_rule(("output_id", "measure", "measured_on", "value"), numbers=("value",)),
        unique_rule(
            ("batch_id", "source_row", "output_id", "measured_on", "measure"),
            "a row of a file says one thing of an output, day and measure",
        ),
        *([whole_counts_rule("value", of=counted if others else None)] if counted else []),
        *(least_rule("value", name, number) for name, number in sorted(least.items())),
        *rates,
        known_outputs_rule(),
    ]


def _review_rules() -> list[Rule]:
    return [
        complete_rule(("output_id", "reviewer", "decision", "reviewed_on")),
        unique_rule(("batch_id", "source_row"), _ONE_ROW_ONE_FACT),
        one_of_rule("decision", DECISIONS),
        share_rule("edit_similarity"),
        known_outputs_rule(),
    ]


def _brief_rules() -> list[Rule]:
    return [
        complete_rule(("brief_id", "segment", "title")),
        unique_rule(("batch_id", "source_row", "brief_id"), "a row of a file is one brief"),
    ]


def _link_rules() -> list[Rule]:
    return [
        complete_rule(("external_id", "output_id", "output_cycle")),
        unique_rule(
            ("batch_id", "external_id", "output_id"), "a file links an id to an output once", cycle="output_cycle"
        ),
        known_outputs_rule(cycle="output_cycle"),
    ]


def _ticket_rules() -> list[Rule]:
    return [
        complete_rule(("ticket_id", "created_at", "segment", "text")),
        unique_rule(("batch_id", "source_row"), _ONE_ROW_ONE_FACT),
    ]


def _measures(spec: FlywheelSpec) -> tuple[str, ...]:
    """What files of metrics may count; what reviews count comes from reviews."""
    return tuple(sorted(spec.measures - set(REVIEW_MEASURES)))


def _types(ledger: TableContract) -> dict[str, str]:
    own: pa.Schema = ledger.schema
    return {name: kind for name, (kind, _) in view_columns(ledger).items() if name in own.names}
