"""A simulated support desk for tests of insight flywheels: files in an inbox, landing them, and runs of the jobs."""

from __future__ import annotations

import csv
import os
import time
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components import InsightFlywheelComponent
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.inbox import Landed, find_files, land
from flywheel_pipelines.simulation.dagster_runs import QUIET
from flywheel_pipelines.simulation.tickets import TicketWorld, WorldSettings
from flywheel_pipelines.spec import InsightSpec

WORLD = TicketWorld(5, settings=WorldSettings(n_tickets=250))
NAME = "desk_insights"
WEEKS = [WORLD.first_day(number) for number in (1, 2, 3)]


class TicketDesk:
    """A data directory, files in its inbox, and runs of the component's jobs."""

    def __init__(self, root: Path) -> None:
        self.root, self.lake = root, Lake(root / "lake")
        feeds = {
            "desk": {"kind": "tickets", "path": "t/*.csv"},
            "releases": {"kind": "fixes", "path": "f/*.csv"},
            "themes": {"kind": "reviews", "path": "r/*.csv"},
        }
        self.spec = InsightSpec.model_validate(
            {"name": NAME, "start": WEEKS[0], "producer": {"kind": "llm", "model": "gpt-5-mini"}, "feeds": feeds,
             "is_synthetic": True}
        )  # fmt: skip
        self.made = InsightFlywheelComponent(self.spec).build_defs(None)  # pyright: ignore[reportArgumentType]

    def drop(self, name: str, rows: list[dict[str, str]]) -> Path:
        """Put a file into the inbox; it is not landed."""
        path = self.root / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return self.settle(path)

    def settle(self, path: Path) -> Path:
        """Make it a file that nobody has changed for long, which the sensor takes."""
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def land(self, path: Path) -> None:
        """Land a file of the inbox, as the sensor does."""
        self.settle(path)
        found = {file.path: file for file in find_files(self.spec, self.root / "inbox", time.time()).ready}
        landed = Landed()
        land(self.lake, self.spec, found[path], datetime.now(UTC), landed)
        assert not landed.unusable, landed.words

    def put(self, name: str, rows: list[dict[str, str]]) -> None:
        """Put a file into the inbox and land it."""
        self.land(self.drop(name, rows))

    def tickets(self, number: int, part: slice = slice(None)) -> list[dict[str, str]]:
        """Some tickets of a cycle; every one gives an address away."""
        rows = [
            {"ticket_id": one.ticket_id, "created_at": str(one.day), "text": f"{one.text} Mail me: a{at}@example.com"}
            for at, (one, _) in enumerate(WORLD.tickets(number))
        ]
        return rows[part]

    def put_tickets(self, number: int, name: str, part: slice = slice(None)) -> None:
        self.put(name, self.tickets(number, part))

    @property
    def resources(self) -> dict[str, Any]:
        return {"lake": LakeResource(duckdb=DuckDBResource(database=":memory:")), "llm": LlmResource()}

    @cached_property
    def definitions(self) -> dg.Definitions:
        made = self.made
        return dg.Definitions(assets=made.assets, jobs=made.jobs, sensors=made.sensors, resources=self.resources)

    def run(self, verb: str, cycle: date, instance: dg.DagsterInstance | None = None) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def(f"{NAME}__{verb}")
        return job.execute_in_process(
            partition_key=str(cycle), instance=instance, run_config=QUIET, raise_on_error=False
        )

    def accept_all(self, cycle: date) -> int:
        rows = theme_sheet_rows(self.lake, NAME, cycle)
        path = self.root / "inbox" / "r" / f"{cycle}.csv"
        write_sheet(path, [{**row, "decision": "accepted", "reviewer": "pm-1"} for row in rows], written_as="csv")
        self.land(path)
        return len(rows)

    def read(self, table: tables.TableContract, cycle: date) -> list[dict]:
        return self.lake.read(table, NAME, cycle).to_pylist()

    def own_tickets(self, cycle: date) -> dict[str, dict]:
        rows = self.read(tables.TICKET_THEMES, cycle)
        return {row["ticket_id"]: row for row in rows if row["ticket_cycle"] == cycle}
