"""A lake of the outreach flywheel in which outputs are published by hand, and rows are put aside by landing files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from flywheel_pipelines.feedback.feeds import FeedBatch
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.quarantine import Choice, QuarantinedRow, open_rows
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DEFS_DIR
from flywheel_pipelines.spec import FlywheelSpec, load_spec
from flywheel_pipelines_tests.lake_samples import rows

FLYWHEEL = "outreach"
CYCLE = date(2026, 1, 5)
AT = datetime(2026, 2, 2, tzinfo=UTC)
HEADER = "tracking_tag,sent_on,sends,opens,replies,unsubscribes"


@dataclass(frozen=True)
class Desk:
    """Where rows are put aside and taken up again."""

    root: Path

    @property
    def lake(self) -> Lake:
        return Lake(self.root / "lake")

    @property
    def spec(self) -> FlywheelSpec:
        return load_spec(DEFS_DIR / FLYWHEEL / "defs.yaml")

    def publish(self, *output_ids: str, cycle: date = CYCLE) -> None:
        """Publish outputs in a cycle, in place of those that were there."""
        records = [
            {"output_id": one, "arm": "flywheel", "brief_id": one, "segment": "s", "text": one, "choice": "best"}
            for one in output_ids
        ]
        self.lake.write(
            tables.PUBLISHED_OUTPUTS, rows(tables.PUBLISHED_OUTPUTS, records), flywheel=FLYWHEEL, cycle=cycle
        )

    def land(self, *lines: str, hours: int = 0, header: str = HEADER, feed: str = "mailer") -> FeedBatch:
        """Land a file (of measurements, by default), so many hours after AT."""
        path = self.root / f"{feed}-{hours}.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return land_file(self.lake, self.spec, feed, path, recorded_at=AT + timedelta(hours=hours))[0]

    def open(self, **choice: Any) -> list[QuarantinedRow]:
        return open_rows(self.lake, FLYWHEEL, Choice(**choice))

    def ids(self, **choice: Any) -> list[str]:
        return [row.row_id for row in self.open(**choice)]

    def events(self) -> list[dict[str, Any]]:
        return self.lake.read(tables.QUARANTINE_EVENTS, FLYWHEEL).to_pylist()

    def known(self, measure: str = "replies") -> dict[tuple[str, date], float]:
        """The latest value of a measure per output and day."""
        ledger = self.lake.read(tables.METRIC_LEDGER, FLYWHEEL).sort_by("recorded_at").to_pylist()
        return {(row["output_id"], row["measured_on"]): row["value"] for row in ledger if row["measure"] == measure}


def line(output_id: str, day: str = "2026-01-06", sends: object = 40, replies: object = 3) -> str:
    return f"{output_id},{day},{sends},10,{replies},0"


def problems(found: Sequence[QuarantinedRow]) -> list[tuple[int, str | None]]:
    return [(row.source_row, row.problem) for row in found]
