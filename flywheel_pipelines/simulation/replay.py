"""Replay of an archive of A/B tests: every week of it becomes a cycle of a flywheel, through the real Dagster jobs.

A cycle is opened, which chooses a candidate per brief; only then are that cycle's measurements appended to the ledger;
then the cycle is closed. Feedback of a week is therefore not in the lake when its choices are made.

Here: the order of events and what is delivered when. Not here: reading archives (`feedback.archive`), how good the
choices were (`evaluation.py`), anything the assets do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.cycles import cycle_range, cycle_start
from flywheel_pipelines.errors import CycleOrderError, FlywheelError
from flywheel_pipelines.feedback.archive import ArchiveBatch
from flywheel_pipelines.feedback.archive.mapping import Measures
from flywheel_pipelines.instance import open_instance
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.learning.frames import TEMPLATE_SOURCE
from flywheel_pipelines.loop.embedding import SOURCE as EMBEDDINGS
from flywheel_pipelines.loop.restatements import SOURCE as RESTATEMENT
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.simulation.dagster_runs import execute_job, load_definitions, replace_earlier
from flywheel_pipelines.simulation.few_flushes import few_flushes
from flywheel_pipelines.spec import Embeddings, FlywheelSpec, RateMetric

Feedback = Literal["full", "partial"]
OnCycle = Callable[[date, int, int], None]
SOURCE_PREFIX = "replay of "
OWN_SOURCES = ("quality floor in *", "prompt", TEMPLATE_SOURCE, f"{RESTATEMENT} *", f"{EMBEDDINGS} *")
"""Patterns of what opening a cycle records; a flywheel that holds more than this and a replay is somebody's own."""


@dataclass(frozen=True)
class ReplayPlan:
    """What is replayed, on what, and how much of it the flywheel may see.

    `feedback`: full measures every candidate, as an A/B test does; partial measures only the chosen one and one drawn
    at random, as ordinary publishing would.
    `embeddings`: what the scoring model learns from besides words, instead of what the YAML says; None leaves it.
    """

    spec: FlywheelSpec
    archive: ArchiveBatch
    feedback: Feedback
    is_synthetic: bool = False
    embeddings: Embeddings | None = None
    embedding_model: str | None = None

    @property
    def cycles(self) -> list[date]:
        """Every cycle from the archive's first to its last; one without briefs is still opened and closed."""
        known = self.archive.cycles
        return list(cycle_range(known[0], known[-1], self.spec.cadence))

    def check(self, source: Path | str) -> None:
        """Refuse an archive that this flywheel cannot be replayed on, before anything is written.

        Raises:
            CycleOrderError: the archive begins before the flywheel does, or ends in the future.
            FlywheelError: its counts have names that the flywheel's metric does not look for.
        """
        first, last = self.archive.cycles[0], self.archive.cycles[-1]
        if first < self.spec.start:
            raise CycleOrderError(
                f"{source}: its first cycle is {first}, before the flywheel {self.spec.name} starts "
                f"({self.spec.start}). Set start: {first} in flywheel_pipelines/defs/{self.spec.name}/defs.yaml."
            )
        if last > datetime.now(UTC).date():
            raise CycleOrderError(
                f"{source}: its last cycle is {last}, which has not begun. Correct the dates, or cycle_format in the "
                "mapping."
            )
        found, wanted = self.archive.measures, counted_by(self.spec)
        if (found.successes, found.exposure) != (wanted.successes, wanted.exposure):
            raise FlywheelError(
                f"{source}: its counts are recorded as {found.successes} and {found.exposure}, but the metric "
                f"{self.spec.floor.metric} of {self.spec.name} looks for {wanted.successes} and {wanted.exposure}, so "
                f"nothing could be learned. Write recorded_as: {{successes: {wanted.successes}, "
                f"exposure: {wanted.exposure}}} in the mapping, or leave recorded_as out."
            )


def counted_by(spec: FlywheelSpec) -> Measures:
    """What the flywheel's metric counts. Raises FlywheelError when it is no rate, which is all that an archive has."""
    metric = spec.metric
    if not isinstance(metric, RateMetric):
        raise FlywheelError(
            f"{spec.name}: its floor is about {spec.floor.metric}, a {metric.kind}, but an archive of A/B tests counts "
            "successes and exposures. Replay it with a flywheel whose floor.metric is of kind rate."
        )
    return Measures(successes=metric.successes, exposure=metric.exposure)


def run_replay(plan: ReplayPlan, paths: DataPaths, *, on_cycle: OnCycle = lambda *_: None) -> None:
    """Replay every cycle in order, then publish the DuckDB file once.

    An earlier replay of the same flywheel is replaced. Each cycle is a partition of the flywheel's own assets, in the
    Dagster instance of this data directory, so the UI shows them afterwards.

    Raises:
        FlywheelError: a step failed, the published file did not pass its tests, or the flywheel holds data that did
            not come from a replay.
    """
    lake = Lake(paths.lake)
    with few_flushes(), open_instance(paths) as instance:
        definitions = load_definitions()
        own = (f"{SOURCE_PREFIX}*", *OWN_SOURCES)
        replace_earlier(lake, instance, definitions, plan.spec.name, own=own, what="replay")
        deliver_candidates(lake, plan)
        opening = definitions.resolve_job_def(f"{plan.spec.name}__open")
        closing = definitions.resolve_job_def(f"{plan.spec.name}__close")
        cycles = plan.cycles
        for number, cycle in enumerate(cycles):
            on_cycle(cycle, number, len(cycles))
            execute_job(opening, instance, [cycle], _open_config(plan, cycle), "replay")
            deliver_feedback(lake, plan, cycle)
            execute_job(closing, instance, [cycle], _close_config(is_last=cycle == cycles[-1]), "replay")
        on_cycle(cycles[-1], len(cycles), len(cycles))
        execute_job(definitions.resolve_job_def("warehouse__publish"), instance, [], {}, "replay")


def _open_config(plan: ReplayPlan, cycle: date) -> dict[str, dict[str, Any]]:
    config = {
        "recorded_at": cycle_start(cycle).isoformat(),
        "publish": "all" if plan.feedback == "full" else "choice",
        "is_synthetic": plan.is_synthetic,
        "embeddings": plan.embeddings,
        "embedding_model": plan.embedding_model,
    }
    # Vectors are facts of the cycle's opening, too; recorded now they would be news about the past.
    produced = {"recorded_at": config["recorded_at"]}
    return {tables.CYCLE_MANIFEST.name: config, tables.GENERATED_OUTPUTS.name: produced}


def _close_config(*, is_last: bool) -> dict[str, dict[str, Any]]:
    return {table.name: {"plot": is_last} for table in (tables.SCORED_OUTPUTS, tables.MOMENTUM)}


def deliver_candidates(lake: Lake, plan: ReplayPlan) -> None:
    """Everything about the archive but what its candidates achieved."""
    archive = plan.archive
    header = {**archive.header, "source": SOURCE_PREFIX + archive.source}
    facts = {tables.ARCHIVE_CANDIDATES: archive.candidates, tables.QUARANTINE: archive.quarantine}
    lake.append_batch(plan.spec.name, header, {table: rows for table, rows in facts.items() if rows.num_rows})


def deliver_feedback(lake: Lake, plan: ReplayPlan, cycle: date) -> None:
    """What the published outputs of one cycle achieved, recorded at the end of the cycle."""
    published = set(lake.read(tables.PUBLISHED_OUTPUTS, plan.spec.name, cycle)["output_id"].to_pylist())
    generated = lake.read(tables.GENERATED_OUTPUTS, plan.spec.name, cycle, columns=["output_id", "candidate_id"])
    by_candidate = {row["candidate_id"]: row["output_id"] for row in generated.to_pylist()}
    rows = []
    batch_id = content_hash(plan.archive.batch_id, cycle, plan.feedback)
    for measured in measurements_of(plan.archive, cycle):
        output_id = by_candidate[measured["candidate_id"]]
        if output_id not in published:
            continue
        common = {
            "cycle": cycle,
            "output_id": output_id,
            "measured_on": measured["measured_on"],
            "batch_id": batch_id,
            "recorded_at": measured["recorded_at"],
            "source_row": measured["source_row"],
        }
        names = plan.archive.measures
        rows.append({**common, "measure": names.successes, "value": float(measured["successes"])})
        rows.append({**common, "measure": names.exposure, "value": float(measured["exposure"])})
    if not rows:
        return
    schema = tables.METRIC_LEDGER.schema.insert(0, pa.field("cycle", pa.date32()))
    header = {
        "batch_id": batch_id,
        "source": f"{SOURCE_PREFIX}{plan.archive.source}, feedback of {cycle}",
        "recorded_at": max(row["recorded_at"] for row in rows),
        "n_rows": len(rows),
        "n_quarantined": 0,
        "first_cycle": cycle,
        "last_cycle": cycle,
    }
    lake.append_batch(plan.spec.name, header, {tables.METRIC_LEDGER: pa.Table.from_pylist(rows, schema=schema)})


def measurements_of(archive: ArchiveBatch, cycle: date) -> list[dict[str, Any]]:
    """Rows of the archive's measurements that are about one cycle."""
    return archive.measurements.filter(pc.field("cycle") == cycle).to_pylist()
