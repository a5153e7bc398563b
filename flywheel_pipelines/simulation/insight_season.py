"""A season of an insight flywheel before simulated customers, through its own Dagster jobs.

In each cycle the simulated desk's tickets land, are sorted and closed, and a simulated reviewer, who knows every
ticket's true theme, fills in the sheet of new themes; fixes ship in the middle. At the end all cycles are closed once
more in one run, as known then. Tickets, reviewers and fixes are simulated, and files and reviewers say so.

Here: that order, and files. Not here: the world (`tickets`, `theme_reviewer`), or many seeds without Dagster
(`theme_season`).
"""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from flywheel_pipelines.cycles import cycle_end, cycle_range, shift_cycle
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.themes.records import Event, Ruling
from flywheel_pipelines.loop.inbox import InboxFile, Landed, land
from flywheel_pipelines.loop.insight.state import themes_in
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.simulation.dagster_runs import execute_job
from flywheel_pipelines.simulation.theme_reviewer import review_themes
from flywheel_pipelines.simulation.tickets import TicketWorld, WorldSettings
from flywheel_pipelines.spec import InsightSpec

MOST_CYCLES = 12
WORLD = WorldSettings(n_tickets=300, merged_at=4, fixed_at=6, fix_effect=0.1)
"""Small cycles, few of them: a fix that works leaves a tenth of its theme, or it could not be seen in the time."""
TICKETS_FEED, FIXES_FEED, REVIEWS_FEED = "tickets", "fixes", "reviews"
TAG, REVIEWER, FILES, PRODUCT = "demo", "simulated-1", "simulated-*", "shop"
NO_PLOT: Mapping[str, Any] = {"theme_learning": {"plot": False}, "theme_report": {"plot": False}}


@dataclass(frozen=True)
class InsightSeason:
    """Some cycles of one insight flywheel, and the world that its customers live in."""

    spec: InsightSpec
    n_cycles: int
    seed: int = 1

    @cached_property
    def world(self) -> TicketWorld:
        """The simulated world; its cycles are those of the flywheel."""
        return TicketWorld(self.seed, start=self.spec.start, settings=WORLD)

    @property
    def cycles(self) -> list[date]:
        """The cycles, in order."""
        return list(cycle_range(self.spec.start, self.last, self.spec.cadence))

    @property
    def last(self) -> date:
        """The last cycle."""
        return shift_cycle(self.spec.start, self.spec.cadence, self.n_cycles - 1)

    def feed(self, kind: str) -> str:
        """The flywheel's feed of a kind. Raises FlywheelError when it has none."""
        for name, feed in self.spec.feeds.items():
            if feed.kind == kind and feed.path is not None:
                return name
        raise FlywheelError(
            f"{self.spec.name}: no feed of kind {kind} with a path, which the simulated desk writes to."
        )

    def folder(self, kind: str, inbox: Path) -> Path:
        """Where the files of a feed lie."""
        return (inbox / (self.spec.feeds[self.feed(kind)].path or "")).parent


def play_insights(
    season: InsightSeason,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    paths: DataPaths,
    on_cycle: Callable[[date, int, int], None] = lambda *_: None,
) -> None:
    """Play a season: files in, sorted, closed, reviewed, cycle by cycle."""
    lake, name, truth = Lake(paths.lake), season.spec.name, dict[str, str]()
    with warnings.catch_warnings():
        # One run per cycle is what is wanted here, and what Dagster chooses when it warns.
        warnings.filterwarnings("ignore", r"Asset job \w+ materializes assets with varying BackfillPolicies")
        catch_up, close = (definitions.resolve_job_def(f"{name}__{verb}") for verb in ("catch_up", "close"))
    for number, cycle in enumerate(season.cycles, start=1):
        over = cycle_end(cycle, season.spec.cadence)
        truth |= _deliver_tickets(season, lake, paths, number, over)
        if number == season.world.settings.fixed_at:
            _deliver_fixes(season, lake, paths, cycle, over)
        execute_job(catch_up, instance, [cycle], NO_PLOT, TAG)
        _review(season, lake, paths, cycle, truth, number, over + timedelta(hours=8))
        on_cycle(cycle, number, season.n_cycles)
    execute_job(close, instance, season.cycles, {}, TAG)


def ticket_rows(season: InsightSeason, number: int) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The tickets of a cycle as a desk exports them, and the true theme of each by its id."""
    pairs = list(season.world.tickets(number))
    columns = season.spec.feeds[season.feed(TICKETS_FEED)].columns
    rows = [
        {
            columns.get("ticket_id", "ticket_id"): ticket.ticket_id,
            columns.get("created_at", "created_at"): f"{season.world.when(ticket):%Y-%m-%dT%H:%M:%SZ}",
            columns.get("segment", "segment"): PRODUCT,
            columns.get("text", "text"): ticket.text,
        }
        for ticket, _ in pairs
    ]
    return rows, {ticket.ticket_id: name for ticket, name in pairs}


def fix_rows(season: InsightSeason, day: date) -> list[dict[str, str]]:
    """The fixes of the world, as they ship on a day; whether one works nobody says."""
    return [
        {"date": day.isoformat(), "theme": fix.theme, "what": f"Simulated release {number}: {fix.theme}"}
        for number, fix in enumerate(season.world.fixes, start=1)
    ]


def _deliver_tickets(
    season: InsightSeason, lake: Lake, paths: DataPaths, number: int, recorded_at: datetime
) -> dict[str, str]:
    rows, truth = ticket_rows(season, number)
    path = season.folder(TICKETS_FEED, paths.inbox) / f"simulated-{season.cycles[number - 1]}.csv"
    write_rows(path, rows)
    _land(season, lake, paths, TICKETS_FEED, path, recorded_at)
    return truth


def _deliver_fixes(season: InsightSeason, lake: Lake, paths: DataPaths, cycle: date, recorded_at: datetime) -> None:
    path = season.folder(FIXES_FEED, paths.inbox) / "simulated-fixes.csv"
    write_rows(path, fix_rows(season, cycle + timedelta(days=1)))
    _land(season, lake, paths, FIXES_FEED, path, recorded_at)


def _review(
    season: InsightSeason,
    lake: Lake,
    paths: DataPaths,
    cycle: date,
    truth: Mapping[str, str],
    number: int,
    recorded_at: datetime,
) -> None:
    """The sheet of a cycle as it comes back."""
    rows = theme_sheet_rows(lake, season.spec.name, cycle)
    if not rows:
        return
    suggested = [
        Event(row["event"], row["theme_id"], row["other_id"])
        for row in lake.read(tables.THEME_EVENTS, season.spec.name, cycle).to_pylist()
    ]
    library = themes_in(lake, season.spec, cycle)
    rulings = review_themes(library, suggested, truth, lambda name: season.world.truth_of(name, number))
    said = {ruling.theme_id: ruling for ruling in rulings}
    filled = [
        {**row, **_filled(said[row["output_id"] or ""], row["draft"] or "")} for row in rows if row["output_id"] in said
    ]
    path = season.folder(REVIEWS_FEED, paths.inbox) / f"simulated-{cycle}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sheet(path, filled, written_as="csv")
    _land(season, lake, paths, REVIEWS_FEED, path, recorded_at)


def _filled(ruling: Ruling, draft: str) -> dict[str, str | None]:
    """A ruling as people write it into a sheet."""
    if ruling.decision == "rejected":
        return {"decision": "rejected", "reviewer": REVIEWER}
    below = draft.split("\n", 1)[-1]
    text = f"merge into {ruling.into}" if ruling.into else f"{ruling.name}\n{below}"
    return {"decision": "edited", "final_text": text, "reviewer": REVIEWER}


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a CSV with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _land(season: InsightSeason, lake: Lake, paths: DataPaths, kind: str, path: Path, recorded_at: datetime) -> None:
    # Left alone since, so that the sensor of the inbox finds it landed.
    os.utime(path, (recorded_at.timestamp(), recorded_at.timestamp()))
    name, status = path.relative_to(paths.inbox).as_posix(), path.stat()
    landed = Landed()
    land(
        lake,
        season.spec,
        InboxFile(season.feed(kind), path, name, status.st_size, status.st_mtime),
        recorded_at,
        landed,
    )
    if landed.unusable or landed.n_quarantined:
        raise FlywheelError(f"{path}: a simulated file was refused: {landed.words}")
