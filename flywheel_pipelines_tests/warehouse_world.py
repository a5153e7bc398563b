"""One lake that has everything the warehouse tells of, published once for all tests that only read it.

- `news` and `mail`: the lakes worked out by hand (`lake_samples`, `lake.written_samples`).
- `mixed`: a ledger drawn by lot, with every kind of metric, exports that replace days, ties, and reviews.
- `offers`: a written flywheel that was played, corrected and closed again; `corpora` keeps what was in force
  whenever a cycle was opened.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.closing import close_cycles
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.simulation.season import DagsterStage, Season, play
from flywheel_pipelines.spec import FlywheelSpec
from flywheel_pipelines_tests.corrections import write_correction
from flywheel_pipelines_tests.lake.written_samples import write_written_lake
from flywheel_pipelines_tests.lake_samples import rows, write_sample_lake
from flywheel_pipelines_tests.written_world import NAME, SETTINGS, WEEKS, WrittenWorld

MIXED = "mixed"
N_PLAYED = 4
CORRECTED_AT = datetime(2026, 3, 1, tzinfo=UTC)
MIXED_SPEC = FlywheelSpec.model_validate(
    {
        **SETTINGS,
        "name": MIXED,
        "metrics": {
            "ctr": {"kind": "rate", "successes": "clicks", "exposure": "views"},
            "margin": {"kind": "mean", "amount": "euros", "exposure": "orders"},
            "reopened": {"kind": "count", "events": "reopens"},
            "calls": {"kind": "count", "events": "rings", "exposure": "hours"},
            "wait": {"kind": "duration", "time": "waited", "exposure": "tickets", "unit": "hours", "better": "lower"},
            "top3": {"kind": "top_k", "position": "place", "k": 3},
            "acceptance": {"kind": "rate", "successes": "accepted_as_is", "exposure": "reviews"},
        },
        "floor": {"metric": "ctr", "above": "mean", "min_exposure": 30, "confidence": 0.8},
        "measurement_window": 2,
    }
)
MEASURES = (
    "clicks", "views", "euros", "orders", "reopens", "rings", "hours", "waited", "tickets", "place", "accepted_as_is",
    "reviews", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class WarehouseWorld:
    """A data folder whose file is published."""

    root: Path

    @property
    def written(self) -> WrittenWorld:
        return WrittenWorld(self.root)

    @property
    def paths(self) -> DataPaths:
        return self.written.paths

    @property
    def lake(self) -> Lake:
        return self.written.lake

    @property
    def corpora(self) -> dict[str, list[str]]:
        """The references of `offers` as they stood when a cycle was about to be opened, by that cycle."""
        return json.loads((self.root / "corpora.json").read_text(encoding="utf-8"))

    @classmethod
    def make(cls, root: Path) -> None:
        """Fill the lake and publish."""
        world = cls(root)
        _play_and_correct(WrittenWorld.make(root))
        write_sample_lake(world.lake)
        write_written_lake(world.lake)
        write_mixed_lake(world.lake)
        publish(world.paths)


def _play_and_correct(world: WrittenWorld) -> None:
    season = Season.of(world.flywheel, N_PLAYED, world.audience())
    opened_with: dict[str, list[str]] = {}

    def on_cycle(cycle: date, done: int, total: int) -> None:
        if done < total:
            opened_with[str(cycle)] = _references(world, world.flywheel.previous(cycle))

    with world.in_force(), dg.DagsterInstance.ephemeral() as instance:
        play(season, DagsterStage(world.flywheel, world.definitions(), instance), world.lake, world.paths, on_cycle)
    (world.root / "corpora.json").write_text(json.dumps(opened_with), encoding="utf-8")
    path = world.root / "mailer" / "correction.csv"
    write_correction(world, WEEKS[1], path, n_outputs=3)
    land_file(world.lake, world.spec, "mailer", path, recorded_at=CORRECTED_AT)
    close_cycles(world.flywheel, Recorder(world.lake, NAME), season.cycles)


def _references(world: WrittenWorld, cycle: date) -> list[str]:
    found = world.rows(tables.REFERENCE_CORPUS, cycle)
    return [row["reference_id"] for row in sorted(found, key=lambda row: row["rank"])]


def write_mixed_lake(lake: Lake, seed: int = 7, n_batches: int = 24) -> None:
    """Three weeks of four outputs, and batches of facts about them, drawn by lot."""
    lot = random.Random(seed)
    for week in range(3):
        open_mixed_week(lake, week)
    for number in range(n_batches):
        append_mixed(lake, lot, number)


def open_mixed_week(lake: Lake, week: int) -> None:
    """Four outputs of a week of `mixed`, three of them published."""
    cycle = WEEKS[week]
    at: dict[str, Any] = {"flywheel": MIXED, "cycle": cycle}
    manifest = {"prompt_version": "p", "settings": MIXED_SPEC.model_dump_json(), "config_hash": "c", "attempt": 1}
    lake.write(tables.CYCLE_MANIFEST, rows(tables.CYCLE_MANIFEST, [manifest]), **at)
    outputs = [{"output_id": f"{week}-{number}", "brief_id": f"{week}-{number}"} for number in range(4)]
    briefs = [{"brief_id": output["brief_id"], "n_candidates": 1} for output in outputs]
    lake.write(tables.BRIEFS, rows(tables.BRIEFS, briefs), **at)
    generated = [output | {"producer": "archive", "attempt": 1, "rank": 1} for output in outputs]
    lake.write(tables.GENERATED_OUTPUTS, rows(tables.GENERATED_OUTPUTS, generated), **at)
    # The last one never went out.
    published = [output | {"arm": arm, "weight": 1 / 3} for output in outputs[:3] for arm in ("control", "flywheel")]
    lake.write(
        tables.PUBLISHED_OUTPUTS,
        rows(tables.PUBLISHED_OUTPUTS, [{**one, "brief_id": f"{week}", "choice": "all"} for one in published]),
        **at,
    )


def append_mixed(lake: Lake, lot: random.Random, number: int) -> None:
    """Append a batch of facts about the first three weeks of `mixed`, drawn by lot."""
    # Few instants, so that batches of one instant compete; their ids are not in the order of their numbers.
    recorded_at = datetime(2026, 1, 6, tzinfo=UTC) + timedelta(days=4 * (number // 2), hours=lot.choice([0, 0, 5]))
    fact = {"batch_id": f"{lot.randrange(16**6):06x}", "recorded_at": recorded_at}
    week = lot.randrange(3)
    about = {"cycle": WEEKS[week]}
    days = [WEEKS[week] + timedelta(days=day) for day in range(3)]
    measured = [
        {"output_id": f"{week}-{lot.randrange(4)}", "measure": lot.choice(MEASURES), "measured_on": lot.choice(days)}
        | {"value": float(lot.randrange(9)), "feed": lot.choice(["mailer", "shop", None]), "source_row": row}
        | fact
        for row in range(1, 31)
    ]
    facts = {tables.METRIC_LEDGER: _dated(tables.METRIC_LEDGER, measured, about)}
    if number % 3 == 0:
        first = lot.choice(days)
        range_ = {"feed": lot.choice(["mailer", "shop"]), "first_day": first, "last_day": max(first, lot.choice(days))}
        facts[tables.METRIC_REPLACEMENTS] = _dated(
            tables.METRIC_REPLACEMENTS, [range_ | fact | {"source_row": 0}], about
        )
    if number % 4 == 0:
        said = {"output_id": f"{week}-{lot.randrange(4)}", "reviewer": lot.choice(["r1", "r2"])}
        said |= {"decision": lot.choice(["accepted", "edited", "rejected"]), "reviewed_on": recorded_at.date()}
        facts[tables.REVIEWS] = _dated(tables.REVIEWS, [said | fact | {"source_row": 1}], about)
    header = fact | {"source": f"batch {number}", "n_rows": 30, "n_quarantined": 0, "feed": "mailer"}
    lake.append_batch(MIXED, header, facts)


def _dated(contract: TableContract, records: Iterable[Mapping[str, Any]], about: Mapping[str, date]) -> pa.Table:
    table = rows(contract, records)
    return table.append_column("cycle", pa.array([about["cycle"]] * len(table), pa.date32()))
