"""`--from` and `--to`: the days of a file whose rows say none, by `ingest` and by `restate`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from flywheel_pipelines.cli import restating, shared
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

DAYS = ("--from", "2026-01-06", "--to", "2026-01-09")
OF_FEED = ("--flywheel", NAME, "--feed", "mailer")


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenWorld]:
    """A flywheel whose mailer exports no days."""
    world = played.copy_to(tmp_path)
    leads = {"kind": "briefs", "path": "leads/*.csv", "columns": {"date": "week"}}
    world.configure(feeds={"leads": leads, "mailer": {"kind": "metrics", "path": "mailer/*.csv"}})
    monkeypatch.setattr(shared, "DEFS_DIR", world.root / "defs")
    monkeypatch.setattr(restating, "DEFS_DIR", world.root / "defs")
    with world.in_force():
        yield world


@pytest.fixture
def export(world: WrittenWorld) -> Path:
    output = world.rows(tables.PUBLISHED_OUTPUTS, WEEKS[0])[0]["output_id"]
    path = world.root / "export.csv"
    path.write_text(f"output_id,sends,replies\n{output},40,3\n", encoding="utf-8")
    return path


def test_ingest_counts_the_file_on_the_last_of_its_days(run: Run, world: WrittenWorld, export: Path) -> None:
    assert run("ingest", str(export), *OF_FEED, *DAYS).code == 0
    [header] = [row for row in world.lake.read(tables.BATCHES, NAME).to_pylist() if row["source"] == "export.csv"]
    assert (header["n_rows"], header["first_day"], header["last_day"]) == (1, date(2026, 1, 6), date(2026, 1, 9))
    ledger = world.lake.read(tables.METRIC_LEDGER, NAME, WEEKS[0]).to_pylist()
    assert {row["measured_on"] for row in ledger if row["batch_id"] == header["batch_id"]} == {date(2026, 1, 9)}


def test_restate_takes_the_days_of_its_file(run: Run, world: WrittenWorld, export: Path) -> None:
    said = run("restate", str(export), *OF_FEED, *DAYS, "--dry-run")
    assert said.code == 0
    assert "holds 1 usable rows" in " ".join(said.out.split())


def test_control_without_days_the_file_is_refused(run: Run, world: WrittenWorld, export: Path) -> None:
    assert run("restate", str(export), *OF_FEED, "--dry-run").code != 0


def test_days_without_a_file_are_refused(run: Run, world: WrittenWorld) -> None:
    said = run("restate", "--flywheel", NAME, "--cycles", WEEKS[0].isoformat(), *DAYS)
    assert said.code != 0
    assert "there is none" in said.err
