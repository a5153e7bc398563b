"""What commands do for an insight flywheel, from its sample files on, and where they say that they are not for it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.insight.following import close_cycles
from flywheel_pipelines.loop.insight.sorting import sort_tickets
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.loop.writing import writers_from_environment
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT
from flywheel_pipelines.spec import load_insight
from flywheel_pipelines_tests.cli.runner import Run

NAME = "support_insights"
SPEC = load_insight(DEFS_DIR / NAME / "defs.yaml")
SAMPLE = PROJECT_ROOT / "data" / "samples" / NAME / "simulated-tickets-2026-01-05.csv"


def turn_first_cycle(data: Path) -> Lake:
    lake = Lake(data / "lake")
    recorder = Recorder(lake, NAME)
    sort_tickets(SPEC, recorder, [SPEC.start], writers_from_environment({}, data / "journal", datetime.now(UTC)))
    close_cycles(SPEC, recorder, [SPEC.start])
    return lake


def test_a_cycle_from_the_sample_files_to_its_page(run: Run, empty: Path) -> None:
    landed = run("ingest", SAMPLE, "--flywheel", NAME, "--feed", "desk")
    assert (landed.code, "336 rows" in landed.said) == (0, True)
    assert "no cycle was closed yet" in run("report", "--flywheel", NAME).said
    lake = turn_first_cycle(empty)
    (row,) = [one for one in run("status", "--json").json if one["flywheel"] == NAME]
    assert (row["data"], row["n_closed"], row["lift"], row["n_stale"]) == ("synthetic", 1, None, 0)
    assert run("status").code == 0
    written = run("report", "--flywheel", NAME, "--json").json
    assert [line["n_tickets"] for line in written["lines"]] == [336]
    assert Path(written["page"]).is_file()
    assert "simulated tickets" in run("report", "--flywheel", NAME).said

    sheet = empty / "back.csv"
    rows = theme_sheet_rows(lake, NAME, SPEC.start)
    write_sheet(sheet, [{**row, "decision": "accepted", "reviewer": "pm-1"} for row in rows], written_as="csv")
    taken = run("review", "import", sheet, "--flywheel", NAME)
    assert f"{len(rows)} accepted" in taken.said
    assert f"job {NAME}__close" in taken.said
    (row,) = [one for one in run("status", "--json").json if one["flywheel"] == NAME]
    assert row["n_stale"] == 1


@pytest.mark.parametrize("command", [("audit",), ("restate", "--cycles", "2026-01-05:2026-01-05")])
def test_commands_about_outputs_say_that_there_are_none(run: Run, empty: Path, command: tuple[str, ...]) -> None:
    ran = run(*command, "--flywheel", NAME)
    assert ran.code != 0
    assert "is an insight flywheel" in ran.said
