"""A lake with a few published drafts, and files of reviews about them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from flywheel_pipelines.feedback.feeds.built_in import REVIEW_SHEET
from flywheel_pipelines.feedback.feeds.reviews import ReviewBatch
from flywheel_pipelines.feedback.landing import Release, land_file
from flywheel_pipelines.feedback.reviews.desk import sheet_rows
from flywheel_pipelines.feedback.reviews.latest import latest_reviews
from flywheel_pipelines.feedback.reviews.sheet import COLUMNS, write_sheet
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines_tests.lake_samples import rows as rows_of

NAME = "letters"
WEEKS = (date(2026, 1, 5), date(2026, 1, 12))
NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
DRAFTS = {"aaaa": "Save nine hours a week.", "bbbb": "A rota,\nfor bakers.", "cccc": "=1+1 and 'more'"}
LATER_DRAFTS = {"dddd": "Next week's text."}


class Desk:
    """Two cycles: three drafts in the first, one in the second; `gone` was superseded in the first."""

    def __init__(self, root: Path, drafts: Mapping[str, str] = DRAFTS, **spec: Any) -> None:
        self.root, self.lake = root, Lake(root / "lake")
        self.spec = make_spec(**spec)
        self.publish(WEEKS[0], drafts, superseded={"gone": "An earlier attempt."})
        self.publish(WEEKS[1], LATER_DRAFTS)
        self._minutes = 0

    def publish(self, cycle: date, drafts: Mapping[str, str], superseded: Mapping[str, str] | None = None) -> None:
        at = {"flywheel": NAME, "cycle": cycle}
        same = {"brief_id": "b1", "segment": "bakeries", "arm": "flywheel", "variant": 0}
        briefs = [{"brief_id": "b1", "segment": "bakeries", "title": "Rota planning", "locale": "en"}]
        self.lake.write(tables.BRIEFS, rows_of(tables.BRIEFS, briefs), **at)
        published = [{"output_id": name, "text": text, **same} for name, text in drafts.items()]
        self.lake.write(tables.PUBLISHED_OUTPUTS, rows_of(tables.PUBLISHED_OUTPUTS, published), **at)
        generated = [
            {"output_id": name, "text": text, "is_superseded": name not in drafts, "reference_ids": [], **same}
            for name, text in {**drafts, **(superseded or {})}.items()
        ]
        self.lake.write(tables.GENERATED_OUTPUTS, rows_of(tables.GENERATED_OUTPUTS, generated), **at)

    def file(self, *records: Mapping[str, str], name: str = "reviews.csv") -> Path:
        """A plain CSV with the columns that the records name."""
        columns = list(dict.fromkeys(column for record in records for column in record))
        lines = io.StringIO(newline="")
        writer = csv.DictWriter(lines, columns, restval="")
        writer.writeheader()
        writer.writerows(records)
        path = self.root / name
        path.write_text(lines.getvalue(), encoding="utf-8", newline="")
        return path

    def land(
        self, *records: Mapping[str, str], feed: str = REVIEW_SHEET, release: Release | None = None
    ) -> ReviewBatch:
        """Hand in a plain CSV, a minute after the one before."""
        return self.land_path(self.file(*records), feed=feed, release=release)

    def land_path(self, path: Path, *, feed: str = REVIEW_SHEET, release: Release | None = None) -> ReviewBatch:
        self._minutes += 1
        at = NOW + timedelta(minutes=self._minutes)
        batch, _ = land_file(self.lake, self.spec, feed, path, recorded_at=at, release=release)
        assert isinstance(batch, ReviewBatch)
        return batch

    def sheet(self, cycle: date = WEEKS[0]) -> list[dict[str, str | None]]:
        """The rows of the cycle's sheet, to be filled in."""
        return sheet_rows(self.lake, NAME, cycle)

    def land_sheet(self, rows: Iterable[Mapping[str, str | None]], written_as: str = "xlsx") -> ReviewBatch:
        path = self.root / f"sheet.{written_as}"
        write_sheet(path, list(rows), written_as=written_as)
        return self.land_path(path)

    def reviews(self) -> list[dict[str, Any]]:
        return self.lake.read(tables.REVIEWS, NAME).to_pylist()

    def quarantine(self) -> list[dict[str, Any]]:
        return self.lake.read(tables.QUARANTINE, NAME).to_pylist()


def make_spec(**changes: Any) -> FlywheelSpec:
    settings: dict[str, Any] = {
        "name": NAME,
        "start": WEEKS[0].isoformat(),
        "producer": {"kind": "archive"},
        "metrics": {
            "acceptance": {"kind": "rate", "successes": "accepted_as_is", "exposure": "reviews"},
            "edit_rate": {"kind": "rate", "successes": "edited", "exposure": "reviews", "better": "lower"},
        },
        "floor": {"metric": "acceptance", "above": 0.5, "min_exposure": 1},
    }
    return parse_spec({**settings, **changes}, "a test")


def review(output_id: str, decision: str = "", **cells: str) -> dict[str, str]:
    """One row as people write them."""
    return {"output_id": output_id, "decision": decision, "reviewer": "editor-1", **cells}


def filled_in(rows: Iterable[Mapping[str, str | None]], **cells: str) -> list[dict[str, str | None]]:
    """Rows of a sheet with the same cells filled in on each."""
    return [{**dict.fromkeys(COLUMNS), **row, **cells} for row in rows]


def only(batch: ReviewBatch) -> tuple[str, str]:
    """Column and reason of the only problem."""
    (problem,) = batch.problems
    return problem.field, problem.reason


def problem_code(desk: Desk) -> str:
    (row,) = desk.quarantine()
    return row["problem"]


def latest(desk: Desk, cutoff: datetime | None = None) -> dict[str, dict[str, Any]]:
    published = desk.lake.read(tables.PUBLISHED_OUTPUTS, NAME, WEEKS[0])
    ledger = desk.lake.read(tables.REVIEWS, NAME, WEEKS[0])
    return {row["output_id"]: row for row in latest_reviews(ledger, published, knowledge_cutoff=cutoff).to_pylist()}
