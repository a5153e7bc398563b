"""What the simulated audience reports, in the form that each feed of metrics reads.

Here: which feed gets which measures, and writing a report as test cases in JUnit XML or as events in JSON lines. Beside
it: what is reported, and
the CSV file (`audience_export`). Not here: reading (`feedback`). Every file says simulated.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.feeds.metric_columns import measures_in
from flywheel_pipelines.simulation.audience_export import Export, Row, write_export
from flywheel_pipelines.simulation.market import SOURCE, AudienceKind
from flywheel_pipelines.spec import FeedSpec, FlywheelSpec

JUNIT, JSON_LINES = ".xml", ".jsonl"
SHOWN_AGAIN = 5
"""Of so many sessions one sees an output twice, and is one exposure all the same."""
_COUNTED, _PASSED, _FAILED, _SECONDS = "run", "passed", "failed", "seconds"
"""Columns of test cases (`feedback.files.junit_rows`) that a simulated report can fill."""


@dataclass(frozen=True)
class FeedReport:
    """What one feed of metrics gets from the audience."""

    feed_name: str
    feed: FeedSpec
    measures: tuple[str, ...]
    kind: AudienceKind

    @property
    def suffix(self) -> str:
        """How the names of its files end."""
        return Path(self.feed.path or "").suffix if self._lines is not None else ".csv"

    @property
    def in_cells(self) -> bool:
        """Whether a count is a number in a cell, and not a number of cases or events."""
        return self._lines is None

    def write(self, path: Path, export: Export) -> bool:
        """Write a report, whole or not at all; False when nothing arrived, and then there is no file.

        Raises:
            FlywheelError: the feed asks for something that such a file cannot be made to say.
        """
        if self._lines is None:
            return write_export(path, export, self.feed.columns)
        if not export.rows:
            return False
        text = "\n".join(self._lines(export)) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".writing-{uuid.uuid4().hex}")
        try:
            unfinished.write_text(text, encoding="utf-8")
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        return True

    @property
    def _lines(self) -> Callable[[Export], Iterator[str]] | None:
        suffix = Path(self.feed.path or "").suffix
        if suffix == JUNIT:
            return self._junit
        return self._events if suffix == JSON_LINES and self.feed.sessions is not None else None

    def _events(self, export: Export) -> Iterator[str]:
        """Each row as sessions: what a response counts comes in the first ones, with its amounts in equal parts."""
        names = {name: self.feed.columns.get(name, name) for name in ("output_id", "date", "event", "session", "count")}
        event_of = {measure: event for event, measure in reversed(self.feed.events.items())}
        for number, row in enumerate(export.rows):
            cells = dict(zip(export.columns, row, strict=True))
            at = f"{cells['date']}T12:00:00Z" if "T" in self.feed.dates[0] else cells["date"]
            same = {names["output_id"]: cells["output_id"], names["date"]: at, "source": SOURCE}
            counts = {name: int(cells[name]) for name in self.measures}
            for measure, session, amount in self._in_sessions(counts):
                own = {names["session"]: f"{cells['date']} {number}-{session}", names["event"]: event_of[measure]}
                yield json.dumps(same | own | ({} if amount is None else {names["count"]: amount}))

    def _in_sessions(self, counts: Mapping[str, int]) -> Iterator[tuple[str, int, int | None]]:
        """Measure, number of the session and amount of each event."""
        for traffic in self.kind.traffic:
            n_shown = counts.get(traffic.measure, 0)
            for session in range(n_shown):
                yield traffic.measure, session, None
                if session % SHOWN_AGAIN == 0:
                    yield traffic.measure, session, None
            for response in traffic.responses:
                n_done = min(counts.get(response.measure, 0), n_shown)
                yield from ((response.measure, session, None) for session in range(n_done))
                for amount in response.amounts:
                    parts = split(counts.get(amount.measure, 0), n_done)
                    yield from ((amount.measure, session, part) for session, part in enumerate(parts))

    def _junit(self, export: Export) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>'
        yield f'<testsuites name="{SOURCE}">'
        for row in export.rows:
            yield from self._suite(row, export.columns)
        yield "</testsuites>"

    def _suite(self, row: Row, columns: Sequence[str]) -> Iterator[str]:
        """One row as a suite: so many test cases, so many of them passed, which took so long together."""
        counts = self._by_column(row, columns)
        n_cases = counts.get(_COUNTED, 0)
        n_passed = counts.get(_PASSED, n_cases - counts.get(_FAILED, 0))
        seconds = list(split(counts.get(_SECONDS, 0), n_cases))
        cells = dict(zip(columns, row, strict=True))
        tag = self.feed.columns.get("output_id", "output_id")
        yield f'<testsuite name="{SOURCE}" timestamp={quoteattr(cells["date"] + "T12:00:00")}>'
        if cells["output_id"]:
            yield f"<properties><property name={quoteattr(tag)} value={quoteattr(cells['output_id'])}/></properties>"
        for number in range(n_cases):
            case = f'<testcase classname="{SOURCE}" name="case_{number}" time="{seconds[number]}"'
            yield f"{case}/>" if number < n_passed else f'{case}><failure message="{SOURCE}"/></testcase>'
        yield "</testsuite>"

    def _by_column(self, row: Row, columns: Sequence[str]) -> dict[str, int]:
        counts = {}
        for name, cell in zip(columns, row, strict=True):
            if name not in self.measures:
                continue
            header = self.feed.columns.get(name, name)
            if header not in (_COUNTED, _PASSED, _FAILED, _SECONDS):
                raise FlywheelError(
                    f"feeds.{self.feed_name}.columns.{name}: {header} is nothing that simulated test cases say; there "
                    f"are {_COUNTED}, {_PASSED}, {_FAILED} and {_SECONDS}."
                )
            counts[header] = int(cell)
        return counts


def reports_of(spec: FlywheelSpec, kind: AudienceKind) -> list[FeedReport]:
    """One report for each feed of metrics: the only one gets everything, else each what it reads."""
    feeds = [(name, feed) for name, feed in spec.feeds.items() if feed.kind == "metrics"]
    reports = []
    for name, feed in feeds:
        wanted = kind.measures if len(feeds) == 1 else measures_in(feed, spec)
        reports.append(FeedReport(name, feed, tuple(one for one in kind.measures if one in wanted), kind))
    return reports


def split(whole: int, n: int) -> Iterator[int]:
    """A whole number in `n` parts that differ by one at most, larger ones first."""
    for number in range(n):
        yield whole // n + (number < whole % n)
