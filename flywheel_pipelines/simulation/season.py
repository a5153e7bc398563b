"""A season: some cycles of a flywheel before a simulated audience, in the order in which they would really happen.

Every cycle is opened, which writes and publishes; the audience sees what was published; what it reported by the end of
the cycle lands as a file in the inbox and from there in the ledger; then every cycle that the file touched is closed
again, up to the present one. Feedback of a cycle is therefore not in the lake when its choices are made, arrives late,
and is corrected later.

Here: that order, on a stage that is either Dagster (the demo) or the very same steps without it (many seeds).
Not here: the audience (`audience`), the steps (`loop`), or what came of it (`report`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import dagster as dg

from flywheel_pipelines.cycles import cycle_end, cycle_range, cycle_start
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop import closing, opening
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.loop.proposing import propose_prompts
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.loop.writing import Writers
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.audience_files import reports_of
from flywheel_pipelines.simulation.dagster_runs import execute_job

OnCycle = Callable[[date, int, int], None]
TAG = "demo"
SAMPLES, SIMULATED = "sample briefs", "simulated audience"
"""What `batches` says of facts that no business brought."""


class Stage(Protocol):
    """Where the cycles of a flywheel are opened and closed."""

    def open(self, cycle: date, options: OpenOptions) -> None:
        """Open one cycle."""
        ...

    def close(self, cycles: Sequence[date], *, is_last: bool) -> None:
        """Close a range of cycles, in order."""
        ...


@dataclass(frozen=True)
class PlainStage:
    """The steps of the loop, one after the other, without Dagster."""

    flywheel: Flywheel
    store: Lake
    writers: Writers
    outbox: Path

    def open(self, cycle: date, options: OpenOptions) -> None:
        """See `Stage`."""
        recorder = Recorder(self.store, self.flywheel.name)
        opening.collect_briefs(self.flywheel, recorder, [cycle])
        if self.flywheel.has_proposals:
            propose_prompts(self.flywheel, recorder, [cycle], self.writers, options.now())
        opening.pin_manifest(self.flywheel, recorder, [cycle], options, self.writers)
        opening.generate(self.flywheel, recorder, [cycle], self.writers, now=options.now())
        opening.publish_outputs(self.flywheel, recorder, [cycle], outbox=self.outbox, now=options.now())

    def close(self, cycles: Sequence[date], *, is_last: bool) -> None:
        """See `Stage`."""
        closing.close_cycles(self.flywheel, Recorder(self.store, self.flywheel.name), cycles)


@dataclass(frozen=True)
class DagsterStage:
    """The flywheel's own Dagster jobs, so that the UI shows every run afterwards."""

    flywheel: Flywheel
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def open(self, cycle: date, options: OpenOptions) -> None:
        """See `Stage`."""
        recorded_at = options.now().isoformat()
        manifest: dict[str, Any] = {"recorded_at": recorded_at, "is_synthetic": options.is_synthetic}
        if options.floor is not None:
            manifest["floor"] = options.floor
        config = {
            tables.CYCLE_MANIFEST.name: manifest,
            tables.GENERATED_OUTPUTS.name: {"recorded_at": recorded_at},
            tables.PUBLISHED_OUTPUTS.name: {"recorded_at": recorded_at},
        }
        if self.flywheel.has_proposals:
            config[tables.PROPOSED_PROMPT.name] = {"recorded_at": recorded_at}
        self._run("open", [cycle], config)

    def close(self, cycles: Sequence[date], *, is_last: bool) -> None:
        """See `Stage`."""
        self._run(
            "close", cycles, {table.name: {"plot": is_last} for table in (tables.SCORED_OUTPUTS, tables.MOMENTUM)}
        )

    def _run(self, verb: str, cycles: Sequence[date], config: dict[str, dict[str, Any]]) -> None:
        job = self.definitions.resolve_job_def(f"{self.flywheel.name}__{verb}")
        execute_job(job, self.instance, cycles, config, TAG)


@dataclass(frozen=True)
class Season:
    """What is played: a flywheel, its cycles, its audience, and the floor (None: the YAML's; "off": none)."""

    flywheel: Flywheel
    cycles: tuple[date, ...]
    audience: Audience
    floor: str | None = None

    @classmethod
    def of(cls, flywheel: Flywheel, n_cycles: int, audience: Audience, floor: str | None = None) -> Season:
        """The first `n_cycles` cycles of a flywheel."""
        last = flywheel.spec.start
        for _ in range(n_cycles - 1):
            last = cycle_end(last, flywheel.spec.cadence).date()
        return cls(flywheel, tuple(cycle_range(flywheel.spec.start, last, flywheel.spec.cadence)), audience, floor)


def play(season: Season, stage: Stage, store: Lake, paths: DataPaths, on_cycle: OnCycle = lambda *_: None) -> None:
    """Play a season from the first cycle to the last; the briefs must have been delivered."""
    for number, cycle in enumerate(season.cycles):
        on_cycle(cycle, number, len(season.cycles))
        started = cycle_start(cycle)
        stage.open(cycle, OpenOptions(recorded_at=started, floor=season.floor, is_synthetic=True))
        touched = deliver_feedback(season, cycle, store, paths)
        first = min([*touched, cycle])
        stage.close(list(cycle_range(first, cycle, season.flywheel.spec.cadence)), is_last=cycle == season.cycles[-1])
    on_cycle(season.cycles[-1], len(season.cycles), len(season.cycles))


def deliver_briefs(
    flywheel: Flywheel, path: Path, store: Lake, recorded_at: datetime, inbox: Path | None = None
) -> None:
    """Land a file of sample briefs in the ledger; where it is to be handed back, it lies in the inbox from then on."""
    spec = flywheel.spec
    if spec.handback is not None and inbox is not None:
        folder = (inbox / (spec.feeds[spec.briefs.feed].path or "")).parent
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(shutil.copy(path, folder))
    land_file(store, spec, spec.briefs.feed, path, recorded_at=recorded_at, source=f"{SAMPLES}, {path.name}")


def deliver_feedback(season: Season, cycle: date, store: Lake, paths: DataPaths) -> list[date]:
    """Show the audience what a cycle published and land what has arrived by its end; returns the cycles it is about."""
    spec = season.flywheel.spec
    season.audience.publish_seen(cycle, store.read(tables.PUBLISHED_OUTPUTS, spec.name, cycle))
    recorded_at, touched = cycle_end(cycle, spec.cadence), set[date]()
    for report in reports_of(spec, season.audience.kind):
        path = paths.inbox / spec.name / report.feed_name / f"simulated-{cycle}{report.suffix}"
        export = season.audience.export(cycle, report.measures, in_cells=report.in_cells)
        if report.write(path, export):
            source = f"{SIMULATED}, {path.name}"
            batch, _ = land_file(store, spec, report.feed_name, path, recorded_at=recorded_at, source=source)
            touched.update(batch.cycles)
    return sorted(touched)
