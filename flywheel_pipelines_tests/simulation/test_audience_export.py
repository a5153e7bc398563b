"""What the simulated audience reports: late, inflated by bots, with broken rows, and right in the end."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import Cadence, cycle_end
from flywheel_pipelines.feedback.feeds import FeedBatch, read_metrics
from flywheel_pipelines.feedback.performance import performance_view
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import METRIC_LEDGER, METRIC_REPLACEMENTS, PUBLISHED_OUTPUTS
from flywheel_pipelines.llm.offline.grammar import WriterBrief, compose, draw_choices
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.audience_export import Export, export_name, write_export
from flywheel_pipelines.simulation.market import READERS, RECIPIENTS, AudienceKind, MarketSettings
from flywheel_pipelines.spec import FeedSpec, RateMetric

MONDAY = date(2026, 1, 5)
WEEKS = [MONDAY + timedelta(weeks=week) for week in range(18)]
N_PUBLISHING, N_OUTPUTS = 4, 15
"""Outputs go out in the first weeks; in the weeks after them everything arrives."""
HEADERS = {"output_id": "Tracking tag", "date": "Day"}
FEED = FeedSpec(kind="metrics", path="*.csv", columns=HEADERS)
ROUGH = MarketSettings(broken_rows=0.1, bot_outputs=0.4)


def published(week: date) -> list[dict[str, object]]:
    rng = random.Random(week.toordinal())
    brief = WriterBrief(keyword="shift planning", product="Rota Board", facts=("Saves 3 hours a week",))
    return [
        {
            "output_id": f"{week:%m%d}output{number:02d}",
            "brief_id": f"{week}-{number}",
            "segment": ("north", "south")[number % 2],
            "text": compose(draw_choices(rng), brief, rng).messages(),
        }
        for number in range(N_OUTPUTS)
    ]


def shown(kind: AudienceKind, settings: MarketSettings = ROUGH, seed: int = 5) -> Audience:
    people = Audience(kind, seed=seed, settings=settings)
    for week in WEEKS[:N_PUBLISHING]:
        people.publish_seen(week, published(week))
    return people


def outputs() -> dict[str, date]:
    return {str(row["output_id"]): week for week in WEEKS[:N_PUBLISHING] for row in published(week)}


def rates_of(kind: AudienceKind) -> list[RateMetric]:
    return [
        RateMetric(kind="rate", successes=response.measure, exposure=traffic.measure)
        for traffic in kind.traffic
        for response in traffic.responses
    ]


def read_back(folder: Path, export: Export, kind: AudienceKind) -> FeedBatch:
    path = folder / export_name(export.cycle)
    assert write_export(path, export, HEADERS)
    recorded_at = cycle_end(export.cycle, Cadence.WEEKLY)
    return read_metrics(
        path, FEED, measures=kind.measures, outputs=outputs(), recorded_at=recorded_at, metrics=rates_of(kind)
    )


def totals_in_lake(lake: Lake, kind: AudienceKind) -> dict[str, dict[str, int]]:
    """Latest-known totals by output and measure, through the same view that closing a cycle uses."""
    found: dict[str, dict[str, int]] = {}
    rates = {rate.successes: rate for rate in rates_of(kind)}
    for week in WEEKS[:N_PUBLISHING]:
        filler = {"arm": "control", "predicted": 0.0, "weight": 1.0, "probability": 1.0, "choice": "drawn"}
        rows = [{**filler, **row} for row in published(week)]
        view = performance_view(
            lake.read(METRIC_LEDGER, "simulated", week),
            lake.read(METRIC_REPLACEMENTS, "simulated", week),
            pa.Table.from_pylist(rows, schema=PUBLISHED_OUTPUTS.schema),
            rates,
            knowledge_cutoff=None,
            matures_at=cycle_end(week, Cadence.WEEKLY),
            latest_batch=lake.latest_batch("simulated"),
        )
        for row in view.to_pylist():
            totals = found.setdefault(row["output_id"], {})
            totals[row["metric"]] = int(row["numerator"])
            totals[rates[row["metric"]].exposure] = int(row["exposure"])
    return found


@pytest.mark.parametrize("kind", (READERS, RECIPIENTS), ids=lambda kind: kind.name)
def test_once_everything_has_arrived_the_ledger_holds_the_clean_totals(tmp_path: Path, kind: AudienceKind) -> None:
    people, lake = shown(kind), Lake(tmp_path / "lake")
    n_aside = 0
    for week in WEEKS:
        export = people.export(week)
        if export.rows:
            batch = read_back(tmp_path, export, kind)
            lake.append_batch("simulated", batch.header, batch.facts)
            n_aside += batch.n_quarantined
        if week == WEEKS[N_PUBLISHING - 1]:
            early = totals_in_lake(lake, kind)
    truth = {output_id: people.settled(output_id) for output_id in outputs()}
    assert totals_in_lake(lake, kind) == truth
    # The control: while corrections are outstanding, the ledger is not there yet.
    assert early != truth
    assert n_aside > 20


@pytest.mark.parametrize("kind", (READERS, RECIPIENTS), ids=lambda kind: kind.name)
def test_every_row_that_was_broken_is_put_aside_for_its_reason_and_no_other(tmp_path: Path, kind: AudienceKind) -> None:
    people = shown(kind)
    seen_ways = set()
    for week in WEEKS[:6]:
        export = people.export(week)
        batch = read_back(tmp_path, export, kind)
        planted = [(broken.source_row, HEADERS.get(broken.field, broken.field)) for broken in export.broken]
        assert [(problem.source_row, problem.field) for problem in batch.problems] == planted
        seen_ways |= {broken.what for broken in export.broken}
    assert len(seen_ways) == 7


def test_the_share_of_broken_rows_is_the_one_of_the_settings() -> None:
    people = [shown(RECIPIENTS, seed=seed) for seed in range(4)]
    exports = [some.export(week) for some in people for week in WEEKS]
    # Rows that come again are whole, so a little less than a tenth of all rows is broken.
    share = sum(len(export.broken) for export in exports) / sum(len(export.rows) for export in exports)
    assert 0.08 < share < 0.105


def test_without_damage_no_row_is_broken() -> None:
    people = shown(RECIPIENTS, MarketSettings(broken_rows=0))
    assert not any(people.export(week).broken for week in WEEKS)


def test_a_part_of_the_replies_arrives_a_week_later() -> None:
    people = shown(RECIPIENTS, MarketSettings(broken_rows=0, bot_outputs=0))
    known = [_reported(people, WEEKS[: weeks + 1], "replies", WEEKS[0]) for weeks in range(4)]
    settled = sum(people.settled(str(row["output_id"]))["replies"] for row in published(WEEKS[0]))
    assert known[0] < known[1] == known[2] == known[3] == settled
    assert 0.6 < known[0] / settled < 0.9


def test_bots_inflate_sends_and_opens_until_they_are_found() -> None:
    people = shown(RECIPIENTS, MarketSettings(broken_rows=0, bot_outputs=1))
    ids = [str(row["output_id"]) for row in published(WEEKS[0])]
    for measure in ("sends", "opens"):
        known = [_reported(people, WEEKS[: weeks + 1], measure, WEEKS[0]) for weeks in range(7)]
        settled = sum(people.settled(one)[measure] for one in ids)
        assert known[2] > settled
        assert known[-1] == settled


def test_bots_never_reply() -> None:
    with_bots = shown(RECIPIENTS, MarketSettings(broken_rows=0, bot_outputs=1))
    without = shown(RECIPIENTS, MarketSettings(broken_rows=0, bot_outputs=0))
    for weeks in range(1, 6):
        assert _reported(with_bots, WEEKS[:weeks], "replies", WEEKS[0]) == _reported(
            without, WEEKS[:weeks], "replies", WEEKS[0]
        )


def test_nothing_is_reported_before_it_happened_or_without_end() -> None:
    people = shown(READERS)
    for week in WEEKS:
        # Damaged dates aside, a day lies before the end of the cycle whose end it is reported at.
        damaged = {broken.source_row for broken in people.export(week).broken}
        days = [row[1] for number, row in enumerate(people.export(week).rows, 1) if number not in damaged]
        assert all(day < (week + timedelta(weeks=1)).isoformat() for day in days)
    assert people.export(MONDAY - timedelta(weeks=1)).rows == ()
    assert people.export(WEEKS[-1]).rows == ()


def test_an_export_does_not_depend_on_what_is_published_later_or_on_earlier_exports() -> None:
    asked_in_order, asked_late, asked_early = (
        shown(RECIPIENTS),
        shown(RECIPIENTS),
        Audience(RECIPIENTS, seed=5, settings=ROUGH),
    )
    in_order = [asked_in_order.export(week) for week in WEEKS[:3]]
    assert asked_late.export(WEEKS[2]) == in_order[2]
    asked_early.publish_seen(WEEKS[0], published(WEEKS[0]))
    assert asked_early.export(WEEKS[0]) == in_order[0]


# -- files -----------------------------------------------------------------------------------------------------------
def test_the_batch_that_the_ledger_knows_says_simulated(tmp_path: Path) -> None:
    batch = read_back(tmp_path, shown(RECIPIENTS).export(MONDAY), RECIPIENTS)
    assert batch.header["source"] == "simulated-2026-01-05.csv"


def test_every_row_of_the_file_says_that_it_is_simulated(tmp_path: Path) -> None:
    export = shown(RECIPIENTS, MarketSettings(broken_rows=0)).export(MONDAY)
    write_export(tmp_path / "mailer" / "simulated.csv", export)
    with (tmp_path / "mailer" / "simulated.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert rows
    assert {row["source"] for row in rows} == {"simulated"}


def test_a_file_speaks_the_headers_of_its_feed_and_has_the_same_bytes_again(tmp_path: Path) -> None:
    export = shown(RECIPIENTS).export(MONDAY)
    write_export(tmp_path / "one.csv", export, HEADERS)
    write_export(tmp_path / "two.csv", shown(RECIPIENTS).export(MONDAY), HEADERS)
    content = (tmp_path / "one.csv").read_bytes()
    assert content.splitlines()[0] == b"Tracking tag,Day,sends,replies,opens,unsubscribes,source"
    assert content == (tmp_path / "two.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv", "two.csv"]


def test_when_nothing_arrived_there_is_no_file(tmp_path: Path) -> None:
    assert not write_export(tmp_path / "none.csv", shown(RECIPIENTS).export(WEEKS[-1]))
    assert list(tmp_path.iterdir()) == []


def _reported(people: Audience, weeks: Iterable[date], measure: str, of_cycle: date) -> int:
    """The sum of a measure as it was known after these weeks, for the outputs of one cycle."""
    latest: dict[tuple[str, str], int] = {}
    for week in weeks:
        export = people.export(week)
        position = export.columns.index(measure)
        latest |= {(row[0], row[1]): int(row[position]) for row in export.rows}
    ids = {str(row["output_id"]) for row in published(of_cycle)}
    return sum(value for (output_id, _), value in latest.items() if output_id in ids)
