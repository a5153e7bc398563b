"""A data directory with a flywheel in it: replaying a small archive, running its jobs, comparing its files."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.feedback.archive import ArchiveBatch, find_mapping, read_archive
from flywheel_pipelines.feedback.files import read_header
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, DEFS_DIR, DataPaths
from flywheel_pipelines.simulation import replay as replay_module
from flywheel_pipelines.simulation.replay import Feedback, ReplayPlan, run_replay
from flywheel_pipelines.simulation.synthetic_archive import START, make_synthetic_archive
from flywheel_pipelines.spec import FlywheelSpec, load_spec
from flywheel_pipelines_tests.instances import new_instance

FLYWHEEL = "archive_headlines"
N_WEEKS = 8
WEEKS = [START + timedelta(weeks=number) for number in range(N_WEEKS + 4)]
"""The cycles of the archive and four beyond it."""
CLOSED = WEEKS[:N_WEEKS]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@cache
def definitions() -> dg.Definitions:
    """The project's definitions, loaded once: that takes seconds."""
    from flywheel_pipelines.definitions import defs

    return defs()


def spec() -> FlywheelSpec:
    return load_spec(DEFS_DIR / FLYWHEEL / "defs.yaml")


def batch_of(archive: Path) -> ArchiveBatch:
    return read_archive(archive, find_mapping(read_header(archive))[1], cadence=Cadence.WEEKLY)


@contextmanager
def quick_replays(*, publish: bool, keep_runs: bool) -> Iterator[None]:
    """Replays without what takes three quarters of their time: publishing, and Dagster's book of runs on disk."""
    execute = replay_module.execute_job

    def execute_flywheel(job: dg.JobDefinition, *others: Any) -> None:
        if job.name.startswith(FLYWHEEL):
            execute(job, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay_module, "load_definitions", definitions)
        if not publish:
            patch.setattr(replay_module, "execute_job", execute_flywheel)
        if not keep_runs:
            patch.setattr(replay_module, "open_instance", lambda _: dg.DagsterInstance.ephemeral())
        yield


@dataclass(frozen=True)
class SmallWorld:
    """One data directory, with its own Dagster home."""

    root: Path

    @classmethod
    def make(cls, root: Path, **archive: Any) -> SmallWorld:
        """A folder with a synthetic archive in it; nothing has run yet."""
        world = cls(root)
        size = {"weeks": N_WEEKS, "briefs_per_week": 8, "candidates_per_brief": 3, "seed": 3, "n_broken": 3}
        make_synthetic_archive(world.archive, **{**size, **archive})
        return world

    @property
    def archive(self) -> Path:
        return self.root / "archive.csv.gz"

    @property
    def paths(self) -> DataPaths:
        return DataPaths(self.root / "data")

    @property
    def lake(self) -> Lake:
        return Lake(self.paths.lake)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """The environment names this data directory and its Dagster home."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(DATA_DIR_VARIABLE, str(self.paths.root))
            patch.setenv("DAGSTER_HOME", str(self.paths.root / "dagster_home"))
            yield

    def replay(
        self,
        archive: ArchiveBatch | None = None,
        *,
        feedback: Feedback = "full",
        publish: bool = False,
        keep_runs: bool = False,
    ) -> ReplayPlan:
        """Replay the archive, or another one, into this data directory."""
        plan = ReplayPlan(spec(), archive or batch_of(self.archive), feedback, is_synthetic=True)
        with self.in_force(), quick_replays(publish=publish, keep_runs=keep_runs):
            run_replay(plan, self.paths)
        return plan

    def choices(self) -> dict[date, dict[str, str]]:
        """Per cycle and brief, the candidate that was chosen."""
        found = self.lake.read(
            tables.GENERATED_OUTPUTS, FLYWHEEL, columns=["cycle", "brief_id", "candidate_id"], where="rank = 1"
        )
        chosen: dict[date, dict[str, str]] = {}
        for row in found.to_pylist():
            chosen.setdefault(row["cycle"], {})[row["brief_id"]] = row["candidate_id"]
        return chosen

    def copy_to(self, root: Path) -> SmallWorld:
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return SmallWorld(root)

    def open(self, cycle: date, **config: Any) -> dg.ExecuteInProcessResult:
        """Run the job that opens a cycle; `config` is the run config of the manifest."""
        return self._run("open", {"cycle_manifest": config}, cycle)

    def close(
        self, first: date, last: date | None = None, *, cutoff: datetime | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run the job that closes a cycle, or a range of cycles as one run, as a backfill does."""
        known = {"knowledge_cutoff": cutoff.isoformat()} if cutoff else {}
        return self._run("close", {"performance_metrics": known, "momentum": {"plot": False}}, first, last)

    def _run(
        self, verb: str, config: Mapping[str, Mapping[str, Any]], first: date, last: date | None = None
    ) -> dg.ExecuteInProcessResult:
        job = definitions().resolve_job_def(f"{FLYWHEEL}__{verb}")
        ops = {f"{FLYWHEEL}__{asset}": {"config": dict(values)} for asset, values in config.items()}
        where: dict[str, Any] = {"partition_key": first.isoformat()}
        if last is not None:
            where = {
                "tags": {
                    "dagster/asset_partition_range_start": first.isoformat(),
                    "dagster/asset_partition_range_end": last.isoformat(),
                }
            }
        with self.in_force(), new_instance() as instance:
            return job.execute_in_process(
                run_config={"ops": ops, **QUIET}, instance=instance, raise_on_error=False, **where
            )

    def correct(self, cycle: date, *, factor: float = 3.0, recorded_at: datetime | None = None) -> str:
        """Append a correction of one output's clicks to the ledger; returns the output's id."""
        known = self.lake.read(tables.METRIC_LEDGER, FLYWHEEL, cycle).to_pylist()
        row = next(row for row in known if row["measure"] == "clicks" and row["value"] > 0)
        at = recorded_at or datetime(2025, 1, 1, tzinfo=UTC)
        corrected = {**row, "value": row["value"] * factor, "batch_id": f"correction-{cycle}", "recorded_at": at}
        header = {
            "batch_id": corrected["batch_id"], "source": "a correction", "recorded_at": at, "n_rows": 1,
            "n_quarantined": 0, "first_cycle": cycle, "last_cycle": cycle,
        }  # fmt: skip
        schema = tables.METRIC_LEDGER.schema.insert(0, pa.field("cycle", pa.date32()))
        self.lake.append_batch(
            FLYWHEEL, header, {tables.METRIC_LEDGER: pa.Table.from_pylist([corrected], schema=schema)}
        )
        return row["output_id"]

    def fingerprint(self, *without: str) -> dict[str, str]:
        """The hash of every file of the lake, by path; tables named in `without` are left out."""
        return fingerprint(self.paths.lake, *without)


def fingerprint(folder: Path, *without: str) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in without:
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Paths that came, went or have other bytes."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def changed_cycles(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[date]]:
    """Per table, the cycles of `changed_files`."""
    found: dict[str, set[date]] = {}
    for path in changed_files(before, after):
        table, *parts = Path(path).parts
        cycle = next((date.fromisoformat(part[6:]) for part in parts if part.startswith("cycle=")), None)
        if cycle is not None:
            found.setdefault(table, set()).add(cycle)
    return {table: sorted(cycles) for table, cycles in sorted(found.items())}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the first failed step told the person who reads it."""
    failed = next(event for event in result.all_events if event.is_step_failure)
    data = failed.step_failure_data
    return (data.user_failure_data.description if data.user_failure_data else str(data.error)) or ""
