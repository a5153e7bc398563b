"""A lake with published outputs and a flywheel with feeds, small enough to say what lands from what by hand.

Cycle 0 published aaaa and bbbb, cycle 1 cccc, and so on with the letters; nothing else was opened or closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from flywheel_pipelines.feedback.feeds import FeedBatch
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.performance import known_measurements
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.spec import FlywheelSpec, parse_spec

NAME = "mail"
FIRST = date(2026, 1, 5)
WEEKS = [FIRST + timedelta(weeks=number) for number in range(12)]
PUBLISHED = {0: ("aaaa", "bbbb"), 1: ("cccc",), 2: ("dddd",), 6: ("eeee",)}
AT = datetime(2026, 4, 1, tzinfo=UTC)
REPLY_RATE = {"kind": "rate", "successes": "replies", "exposure": "sends"}


def mail_spec(**feeds: dict[str, Any]) -> FlywheelSpec:
    """A flywheel that counts replies of sends; `feeds` are metrics feeds unless they say otherwise."""
    attributes = {
        "name": NAME,
        "start": FIRST.isoformat(),
        "producer": {"kind": "archive"},
        "metrics": {"reply_rate": REPLY_RATE},
        "floor": {"metric": "reply_rate", "above": "mean", "min_exposure": 30},
        "feeds": {name: {"kind": "metrics", "path": f"{name}/*", **feed} for name, feed in feeds.items()},
    }
    return parse_spec(attributes, "a test")


def published_lake(root: Path, published: dict[int, Iterable[str]] | None = None) -> Lake:
    """A lake in which some weeks published some outputs."""
    lake = Lake(root / "lake")
    for week, outputs in (published or PUBLISHED).items():
        publish(lake, WEEKS[week], outputs)
    return lake


def publish(lake: Lake, cycle: date, outputs: Iterable[str]) -> None:
    """Publish outputs in a cycle."""
    same = {"arm": "flywheel", "segment": "all", "text": "Hello.", "choice": "best"}
    same |= {"predicted": 0.0, "weight": 1.0, "probability": 1.0}  # pyright: ignore[reportAssignmentType]
    rows = [{**same, "output_id": output, "brief_id": f"brief of {output}"} for output in outputs]
    data = pa.Table.from_pylist(rows, schema=tables.PUBLISHED_OUTPUTS.schema)
    lake.write(tables.PUBLISHED_OUTPUTS, data, flywheel=NAME, cycle=cycle)


class Desk:
    """Where files are handed in."""

    def __init__(self, root: Path, spec: FlywheelSpec, lake: Lake | None = None) -> None:
        """Without a lake of its own it gets the one of PUBLISHED."""
        self.root, self.spec = root, spec
        self.lake = lake or published_lake(root)

    def file(self, *lines: str, name: str = "file.csv") -> Path:
        """A file of these lines."""
        path = self.root / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def land(
        self, *lines: str, feed: str = "mailer", name: str = "file.csv", at: datetime = AT, **options: Any
    ) -> FeedBatch:
        """The batch of a file of these lines, landed."""
        path = self.file(*lines, name=name)
        return land_file(self.lake, self.spec, feed, path, recorded_at=at, **options)[0]

    def ledger(self, cycle: date | None = None) -> list[dict[str, Any]]:
        """Rows of the metric ledger."""
        return self.lake.read(tables.METRIC_LEDGER, NAME, cycle).to_pylist()

    def aside(self) -> list[tuple[int, str, str]]:
        """Row, column and kind of problem of everything in quarantine."""
        kept = self.lake.read(tables.QUARANTINE, NAME).to_pylist()
        return [(row["source_row"], row["field"], row["problem"]) for row in kept]

    def known(self, cutoff: datetime | None = None) -> dict[tuple[str, str, int], float]:
        """The value that counts by output, measure and day (days since FIRST)."""
        found = {}
        for cycle in self.lake.cycles(tables.METRIC_LEDGER, NAME):
            ledger = self.lake.read(tables.METRIC_LEDGER, NAME, cycle)
            replaced = self.lake.read(tables.METRIC_REPLACEMENTS, NAME, cycle)
            for row in known_measurements(ledger, replaced, cutoff).to_pylist():
                found[row["output_id"], row["measure"], (row["measured_on"] - FIRST).days] = row["value"]
        return found

    def header(self, batch: FeedBatch) -> dict[str, Any]:
        """The row of `batches` of a batch."""
        return dict(self.lake.batch_header(NAME, batch.batch_id) or {})
