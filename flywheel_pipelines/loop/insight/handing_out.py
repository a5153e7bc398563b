"""The sheet of themes that goes out to people. Not here: taking it in again, which is done as with every sheet."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.spec import InsightSpec


def hand_out_sheet(spec: InsightSpec, store: Lake, cycle: date, folder: Path) -> Path | None:
    """Write the review sheet of a cycle's new themes; one that is there may hold reviews already, and stays.

    Returns:
        Where the sheet is; None when nothing waits for a review.
    """
    path = folder / spec.name / f"{cycle}.xlsx"
    rows = theme_sheet_rows(store, spec.name, cycle)
    if not rows:
        return None
    if not path.exists():
        write_sheet(path, rows, written_as="xlsx")
    return path
