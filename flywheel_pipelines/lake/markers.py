"""The batches of a flywheel that count: which there are, and when the newest was recorded.

A batch counts once its row in `batches` exists, a file of its own. Its name starts with the time and ends with the id,
so that most questions are answered by names. Here: those names, and what they say. Not here: the rows of a batch, or
writing it (`store`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from flywheel_pipelines.lake.files import PARQUET, names_in, small_file
from flywheel_pipelines.lake.tables import BATCHES

MARKER_TIME = "%Y%m%dT%H%M%SZ"


def marker_path(folder: Path, batch_id: str, recorded_at: datetime) -> Path:
    """Where the row of a batch stands, in the folder of a flywheel's batches."""
    return folder / f"{recorded_at:{MARKER_TIME}}-{batch_id}{PARQUET}"


def markers_in(folder: Path) -> dict[str, Path]:
    """The files of the batches that count, by id."""
    return {name.split("-", 1)[1]: folder / f"{name}{PARQUET}" for name in names_in(folder)}


def latest_recorded(folder: Path, up_to: datetime | None = None) -> datetime | None:
    """When the newest batch, or the newest up to an instant, was recorded (to the second); None before the first.

    Names are read, and the few batches of the very second of `up_to`: names carry whole seconds.
    """
    names = names_in(folder)
    if up_to is not None:
        second = f"{up_to.astimezone(UTC):{MARKER_TIME}}"
        names = [
            name
            for name in names
            if (at := name.split("-")[0]) < second or (at == second and _recorded_at(folder, name) <= up_to)
        ]
    newest = max(names, default=None)
    if newest is None:
        return None
    return datetime.strptime(newest.split("-")[0], MARKER_TIME).replace(tzinfo=UTC)


def _recorded_at(folder: Path, marker: str) -> datetime:
    return small_file(BATCHES, folder / f"{marker}{PARQUET}").column("recorded_at")[0].as_py()
