"""`flywheel review export|import|status` on a replayed flywheel."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from openpyxl import load_workbook

from flywheel_pipelines.cli.reviewing import _feed_for
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.reviews.sheet import COLUMNS
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.feedback.reviews.desks import make_spec
from flywheel_pipelines_tests.small_world import CLOSED, FLYWHEEL, SmallWorld, changed_files

NAMED = ("--flywheel", FLYWHEEL)
EDITORS = {"kind": "reviews", "path": "e/*"}


def exported(run: Run, world: SmallWorld, *options: str) -> Path:
    path = world.root / "sheet.csv"
    assert run("review", "export", *NAMED, "--format", "csv", "--out", path, *options).code == 0
    return path


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle))


def fill_in(path: Path, *said: dict[str, str]) -> None:
    """Decide on the first rows of a sheet."""
    rows = rows_in(path)
    rows = [{**row, **cells} for row, cells in zip(rows, said, strict=False)] + rows[len(said) :]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list[str](COLUMNS))
        writer.writeheader()
        writer.writerows(rows)


def test_a_sheet_holds_the_outputs_of_the_latest_cycle(run: Run, there: SmallWorld, tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    said = run("review", "export", *NAMED, "--out", path).said
    published = there.lake.read(tables.PUBLISHED_OUTPUTS, FLYWHEEL, CLOSED[-1])
    ids = [str(row[0].value) for row in load_workbook(path)["reviews"].iter_rows(min_row=2)]
    assert sorted(ids) == sorted(set(published["output_id"].to_pylist()))
    assert f"{len(ids)} outputs of cycle {CLOSED[-1]} to review" in said
    assert "outputs of other cycles wait too" in said


def test_a_cycle_can_be_named_and_json_says_where(run: Run, there: SmallWorld, tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    said = run("review", "export", *NAMED, "--cycle", str(CLOSED[0]), "--out", path, "--json").json
    assert (said["path"], said["cycle"], said["rows"] > 0) == (str(path), str(CLOSED[0]), True)


def test_a_sheet_that_is_there_is_not_written_over(run: Run, there: SmallWorld, tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    path.write_text("reviews in it")
    refused = run("review", "export", *NAMED, "--out", path)
    assert (refused.code, path.read_text()) == (2, "reviews in it")
    assert "Import it first" in refused.said
    assert run("review", "export", *NAMED, "--out", path, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "ods"), "allowed are xlsx and csv"),
        (("--cycle", "last week"), "expected the first day of a cycle"),
        (("--cycle", "2001-01-01"), "nothing was published in cycle 2001-01-01"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_words(
    run: Run, there: SmallWorld, options: tuple[str, str], words: str
) -> None:
    refused = run("review", "export", *NAMED, *options)
    assert refused.code == 2
    assert words in refused.said


def test_a_sheet_comes_back_row_by_row(run: Run, copied: SmallWorld) -> None:
    path = exported(run, copied)
    n_rows = len(rows_in(path))
    fill_in(
        path,
        {"decision": "accepted", "reviewer": "anna@example.com"},
        {"decision": "edited", "final_text": "=Better", "reviewer": "editor-1"},
        {"decision": "edited", "reviewer": "editor-1"},
    )
    said = run("review", "import", path, *NAMED).said
    assert f"1 accepted, 1 edited, 0 rejected; {n_rows - 3} not reviewed; 1 row(s) put aside." in said
    assert "row 4, decision (edited): edited, but final_text is empty" in said
    assert "1 row(s) named their reviewer by something else than a code" in said
    assert f"flywheel restate {' '.join(NAMED)} --cycles {CLOSED[-1]}:{CLOSED[-1]}" in said
    landed = copied.lake.read(tables.REVIEWS, FLYWHEEL).to_pylist()
    assert sorted(str(row["final_text"]) for row in landed) == ["=Better", "None"]
    assert len(rows_in(exported(run, copied, "--overwrite"))) == n_rows - 2


def test_a_conflict_is_told_with_what_the_first_said_and_shows_in_the_status(run: Run, copied: SmallWorld) -> None:
    path = exported(run, copied)
    fill_in(path, {"decision": "rejected", "reviewer": "editor-1", "comment": "too long"})
    run("review", "import", path, *NAMED)
    fill_in(path, {"decision": "accepted", "reviewer": "editor-2", "comment": ""})
    second = run("review", "import", path, *NAMED, "--json").json
    (problem,) = second["problems"]
    assert (problem["row"], problem["column"], second["quarantined"]) == (1, "decision", 1)
    assert "editor-1 said rejected" in problem["reason"]
    status = run("review", "status", *NAMED)
    assert "1 conflict row(s)" in status.said
    as_json = run("review", "status", *NAMED, "--json").json
    assert as_json["in_quarantine"] == {"conflict": 1, "stale": 0}
    assert (as_json["cycles"][-1]["rejected"], as_json["cycles"][-1]["accepted"]) == (1, 0)


def test_the_same_sheet_again_adds_nothing_and_says_so(run: Run, copied: SmallWorld) -> None:
    path = exported(run, copied)
    fill_in(path, {"decision": "accepted"})
    run("review", "import", path, *NAMED)
    before = copied.fingerprint()
    assert "nothing was added" in run("review", "import", path, *NAMED).said
    assert changed_files(before, copied.fingerprint()) == []


def test_a_file_of_something_else_is_refused_and_changes_nothing(run: Run, copied: SmallWorld) -> None:
    path = copied.root / "notes.csv"
    path.write_text("note\nfine\n")
    before = copied.fingerprint()
    refused = run("review", "import", path, *NAMED)
    assert refused.code == 2
    assert "no column for output_id" in refused.said
    assert changed_files(before, copied.fingerprint()) == []


# -- which feed reads a file -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("feeds", "header", "named", "chosen"),
    [
        ({}, "anything", None, "review_sheet"),
        ({"editors": EDITORS}, "output_id,decision", None, "editors"),
        ({"editors": EDITORS}, "output_id,decision,draft_hash", None, "review_sheet"),
        ({"editors": EDITORS, "others": EDITORS}, "output_id,decision", "others", "others"),
        ({"editors": EDITORS}, "output_id,decision", "review_sheet", "review_sheet"),
    ],
)
def test_which_feed_reads_a_file(
    tmp_path: Path, feeds: dict[str, dict[str, str]], header: str, named: str | None, chosen: str
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(header + "\n")
    assert _feed_for(make_spec(feeds=feeds), path, named) == chosen


@pytest.mark.parametrize(("named", "words"), [(None, "several feeds of kind reviews"), ("mailer", "review_sheet")])
def test_control_where_it_is_open_which_feed_is_meant_one_must_be_named(
    tmp_path: Path, named: str | None, words: str
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("output_id,decision\n")
    with pytest.raises(FlywheelError, match=words):
        _feed_for(make_spec(feeds={"editors": EDITORS, "others": EDITORS}), path, named)
