"""What comes in for an insight flywheel (tickets, fixes, review sheets), and the sheet of themes that goes out.

Not here: reading files (`feedback.landing`), or what makes a file ready (`loop.inbox`).
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import cast

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.landing import land_file, record_unusable_file
from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.inbox import find_files
from flywheel_pipelines.spec import FlywheelSpec, InsightSpec


def land_inbox(spec: InsightSpec, store: Lake, inbox: Path, now: datetime) -> dict[str, object]:
    """Land every file that is ready; a file that was landed before adds nothing. What to tell people."""
    # Readers of these kinds ask a spec for its name, cadence and feeds, which both kinds of spec have.
    shared = cast(FlywheelSpec, spec)
    found = find_files(shared, inbox, now.timestamp())
    n_rows, n_aside, unusable = 0, 0, list(found.refused)
    for file in found.ready:
        try:
            batch, is_new = land_file(store, shared, file.feed, file.path, recorded_at=now, source=file.name)
        except InputFileError as error:
            record_unusable_file(store, shared, file.feed, file.path, error, recorded_at=now, source=file.name)
            unusable.append(str(error))
            continue
        n_rows += batch.n_rows if is_new else 0
        n_aside += batch.n_quarantined if is_new else 0
    return {
        "rows_landed": n_rows,
        "rows_put_aside": n_aside,
        "files_waiting": len(found.waiting),
        "not_usable": unusable,
    }


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
