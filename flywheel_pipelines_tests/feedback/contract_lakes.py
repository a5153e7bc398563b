"""Small lakes for the tests of contracts: a flywheel with feeds of every kind, and facts written past landing.

The facts are written as files of the ledgers, without the checks that landing and the lake make, since a contract is
there for what came past those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from flywheel_pipelines.cycles import cycle_end, cycle_start
from flywheel_pipelines.feedback.contracts import Findings, check_feed, feed_contract
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake, write_atomically
from flywheel_pipelines.lake.tables import TableContract
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines_tests.lake_samples import rows

NAME = "letters"
START = date(2026, 1, 5)
WEEKS = [START + timedelta(weeks=number) for number in range(12)]
N_OUTPUTS = 4
SETTINGS: dict[str, Any] = {
    "name": NAME,
    "start": START.isoformat(),
    "briefs": {"feed": "leads"},
    "producer": {"kind": "llm", "model": "gpt-5-mini"},
    "metrics": {
        "reply_rate": {"kind": "rate", "successes": "replies", "exposure": "sends"},
        "as_is": {"kind": "rate", "successes": "accepted_as_is", "exposure": "reviews"},
    },
    "floor": {"metric": "reply_rate", "above": "mean", "min_exposure": 30},
    "feeds": {
        "leads": {"kind": "briefs", "path": "leads/*.csv"},
        "mailer": {"kind": "metrics", "path": "mailer/*.csv", "expected_within": 1},
        "desk": {"kind": "reviews", "path": "desk/*.csv"},
        "ids": {"kind": "outputs", "path": "ids/*.csv"},
        "support": {"kind": "tickets", "path": "support/*.csv"},
    },
}


def letters(**mailer: Any) -> FlywheelSpec:
    """The flywheel; keys of its feed `mailer` may be changed."""
    feeds = SETTINGS["feeds"] | {"mailer": SETTINGS["feeds"]["mailer"] | mailer}
    return parse_spec(SETTINGS | {"feeds": feeds}, "defs.yaml")


def output_id(week: date, number: int = 0) -> str:
    """Id of an output: two are published in every week."""
    return f"{week:%m%d}-{number}"


@dataclass
class ContractLake:
    """A lake in a folder, with some weeks published."""

    root: Path
    spec: FlywheelSpec = field(default_factory=letters)

    @property
    def lake(self) -> Lake:
        return Lake(self.root)

    def publish(self, weeks: Iterable[date]) -> ContractLake:
        """Publish the outputs of some weeks."""
        for week in weeks:
            records = [
                {"output_id": output_id(week, number), "brief_id": f"b{number}", "arm": "flywheel", "weight": 1.0}
                for number in range(N_OUTPUTS)
            ]
            published = rows(tables.PUBLISHED_OUTPUTS, records)
            self.lake.write(tables.PUBLISHED_OUTPUTS, published, flywheel=NAME, cycle=week)
        return self

    def put(
        self,
        feed: str,
        table: TableContract,
        facts: Iterable[Mapping[str, Any]],
        *,
        cycle: date | None,
        batch: str,
        recorded_at: datetime | None = None,
        source: str | None = None,
        schema: pa.Schema | None = None,
        n_quarantined: int = 0,
    ) -> None:
        """Write one file of a ledger as it is, and its row in `batches`."""
        at = recorded_at or cycle_end(cycle or START, self.spec.cadence)
        same = {"batch_id": batch, "recorded_at": at}
        made = [{"source_row": number, "feed": feed} | dict(fact) | same for number, fact in enumerate(facts, start=1)]
        header = same | {
            "source": source or f"{batch}.csv", "n_rows": len(made), "n_quarantined": n_quarantined,
            "first_cycle": cycle if made else None, "last_cycle": cycle if made else None, "feed": feed,
        }  # fmt: skip
        self.lake.append_batch(NAME, header, {})
        # After its batch: an append removes what an earlier attempt at it left behind.
        if made:
            loose = pa.schema([one.with_nullable(True) for one in schema or table.schema])
            where = {"cycle": cycle} if "cycle" in table.partition_by else {}
            folder = self.lake.partition_dir(table, flywheel=NAME, **where)  # type: ignore[arg-type]
            records = [{name: record.get(name) for name in loose.names} for record in made]
            write_atomically(folder / f"{batch}.parquet", pa.Table.from_pylist(records, schema=loose))

    def measure(self, week: date, **more: Any) -> None:
        """Forty sends and four replies of every output of a week, on its Tuesday."""
        day = week + timedelta(days=1)
        facts = [
            measurement(output_id(week, number), measure, value, day) | {"source_row": number + 1}
            for number in range(N_OUTPUTS)
            for measure, value in (("sends", 40.0), ("replies", 4.0))
        ]
        self.put("mailer", tables.METRIC_LEDGER, facts, cycle=week, **({"batch": f"mail-{week}", **more}))  # type: ignore[arg-type]

    def quarantine(self, feed: str, batch: str, count: int, problem: str = "invalid") -> None:
        """Put rows 1001, 1002, ... of a batch into quarantine."""
        records = [
            {"batch_id": batch, "source_row": 1000 + number, "source": f"{batch}.csv", "field": "Sent", "found": "many",
             "reason": "not a number", "feed": feed, "problem": problem}
            for number in range(1, count + 1)
        ]  # fmt: skip
        folder = self.lake.partition_dir(tables.QUARANTINE, flywheel=NAME)
        write_atomically(folder / f"{batch}.parquet", rows(tables.QUARANTINE, records))

    def decide(
        self,
        batch: str,
        quarantined: Iterable[int],
        event: str,
        *,
        recorded_at: datetime | None = None,
        wrong_again: int = 0,
    ) -> None:
        """Decide about rows in quarantine, in a batch of its own; so many of those released are wrong again."""
        at = recorded_at or cycle_start(WEEKS[-1])
        own = f"{event}-{batch}-{min(quarantined)}"
        records = [
            {"quarantined_batch": batch, "quarantined_row": row, "event": event, "decided_by": "ana",
             "batch_id": own, "recorded_at": at, "source_row": number}
            for number, row in enumerate(quarantined, start=1)
        ]  # fmt: skip
        header = {
            "batch_id": own, "source": "export.csv", "recorded_at": at, "n_rows": len(records) - wrong_again,
            "n_quarantined": wrong_again, "feed": "mailer", "first_cycle": START, "last_cycle": START,
        }  # fmt: skip
        self.lake.append_batch(NAME, header, {tables.QUARANTINE_EVENTS: rows(tables.QUARANTINE_EVENTS, records)})
        if wrong_again:
            self.quarantine("mailer", own, wrong_again)

    def check(self, feed: str, *weeks: date, cutoff: datetime | None = None) -> Findings:
        """Hold a feed against its contract for closing some weeks."""
        contract = feed_contract(self.spec, feed)
        return check_feed(
            self.lake, contract, weeks, mature_after=self.spec.measurement_window, knowledge_cutoff=cutoff
        )


def measurement(output: str | None, measure: str | None, value: float | None, day: date | None) -> dict[str, Any]:
    """One fact of `metric_ledger`."""
    return {"output_id": output, "measure": measure, "value": value, "measured_on": day}


def broken(findings: Findings) -> dict[str, int]:
    """Name of each broken rule and how many rows break it."""
    return {result.rule.name: result.n_failed for result in findings.rules if not result.passed}
