"""Whether the DuckDB file that analysts open knows what has been closed. Not here: publishing it (`publish`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import PART, Lake, content_hash
from flywheel_pipelines.lake.tables import MOMENTUM, THEME_LEARNING
from flywheel_pipelines.paths import DataPaths

WRITTEN_LAST = (MOMENTUM, THEME_LEARNING)
"""What a close writes last, by kind of flywheel."""


@dataclass(frozen=True)
class Freshness:
    """The published file beside the lake.

    Attributes:
        published_at: when the file was put in place; None when there is none.
        behind: per flywheel, the cycles that were closed or closed again since then.
        closed: every closed cycle of every flywheel, as one hash: it changes whenever something is closed anew.
    """

    published_at: datetime | None
    behind: dict[str, list[date]]
    closed: str

    @property
    def is_fresh(self) -> bool:
        """Whether the file knows everything that has been closed."""
        return not self.behind

    @property
    def words(self) -> str:
        """In a sentence."""
        if self.is_fresh:
            return "The published file knows every cycle that was closed."
        since = f"since it was published ({self.published_at:%Y-%m-%d %H:%M} UTC)" if self.published_at else "so far"
        parts = [f"{flywheel}: {len(cycles)}, newest {cycles[-1]}" for flywheel, cycles in self.behind.items()]
        state = "does not know the cycles closed" if self.published_at else "is not there, and cycles were closed"
        return f"The published file {state} {since} ({'; '.join(parts)}). Run the job warehouse__publish."


def freshness(paths: DataPaths) -> Freshness:
    """The published file, against the partitions that each close writes last."""
    lake = Lake(paths.lake)
    published = paths.published_file.stat().st_mtime if paths.published_file.exists() else None
    behind: dict[str, list[date]] = {}
    versions = []
    for table in WRITTEN_LAST:
        for flywheel in _closed(lake, table):
            cycles = lake.cycles(table, flywheel)
            versions += [flywheel, *lake.versions(table, flywheel, cycles).values()]
            changed = {
                cycle: (lake.partition_dir(table, flywheel=flywheel, cycle=cycle) / PART).stat().st_mtime
                for cycle in cycles
            }
            late = [cycle for cycle, at in changed.items() if published is None or at > published]
            if late:
                behind[flywheel] = late
    at = datetime.fromtimestamp(published, UTC) if published is not None else None
    return Freshness(at, behind, content_hash(*versions))


def closed_flywheels(lake: Lake) -> list[str]:
    """The flywheels of which some cycle was closed, by name."""
    return sorted({name for table in WRITTEN_LAST for name in _closed(lake, table)})


def _closed(lake: Lake, table: TableContract) -> list[str]:
    return sorted(path.name.removeprefix("flywheel=") for path in (lake.root / table.name).glob("flywheel=*"))
