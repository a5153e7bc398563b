"""Pulling the feeds of a flywheel that have a source of their own: which feeds, which days, into which folder.

Not here: reading a source and writing the file (`feedback.sources`), landing it (`feedback.landing`), or asking when
(`components/pull_job.py`, `cli/pulling.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flywheel_pipelines.cycles import cycle_of, shift_cycle
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.sources import TIMEOUT, inbox_folder, is_pulled, period_of, pull
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.spec import FlywheelSpec


@dataclass(frozen=True)
class Pulled:
    """One feed's pull: the file it ended in, or none."""

    feed: str
    first_day: date
    last_day: date
    path: Path | None
    period: tuple[date, date] | None
    """Days that the file speaks for, also those without a row; None where that is unknown."""

    @property
    def n_rows(self) -> int:
        """Rows in the file."""
        import pyarrow.parquet as pq

        return pq.read_metadata(self.path).num_rows if self.path else 0

    @property
    def words(self) -> str:
        """What came of it, in one sentence."""
        days = f"{self.first_day} to {self.last_day}"
        if self.path is None:
            return f"Feed {self.feed}: its source has no rows for {days}, so no file was written."
        return f"Feed {self.feed}: {self.n_rows:,} rows for {days} are in {self.path}."


def pulled_feeds(spec: FlywheelSpec) -> list[str]:
    """The feeds of a flywheel that come from a source."""
    return [name for name, feed in spec.feeds.items() if is_pulled(feed)]


def default_days(spec: FlywheelSpec, today: date) -> tuple[date, date]:
    """From the first day of the oldest cycle that is still measured, to today: measurement_window cycles and this one.

    `today` is a day of UTC, as cycles are.
    """
    first = shift_cycle(cycle_of(today, spec.cadence), spec.cadence, -spec.measurement_window)
    return min(max(first, spec.start), today), today


def pull_feed(
    spec: FlywheelSpec,
    feed_name: str,
    paths: DataPaths,
    *,
    today: date,
    environment: Mapping[str, str],
    first_day: date | None = None,
    last_day: date | None = None,
    timeout: float = TIMEOUT,
) -> Pulled:
    """Pull one feed into `inbox/<flywheel>/<feed>`; days that are not given are those of `default_days`.

    Raises:
        FlywheelError: there is no such feed, it has no source, or the source cannot be read.
    """
    if feed_name not in spec.feeds:
        known = ", ".join(pulled_feeds(spec)) or "none with a source"
        raise FlywheelError(f"Feed {feed_name!r} of {spec.name}: there is none of that name; there are {known}.")
    first, last = default_days(spec, today)
    first, last = first_day or min(first, last_day or first), last_day or max(last, first_day or last)
    feed, folder = spec.feeds[feed_name], inbox_folder(paths.inbox, spec.name, feed_name)
    path = pull(
        feed,
        first,
        last,
        folder,
        name=feed_name,
        environment=environment,
        data_folder=paths.root,
        timeout=timeout,
    )
    return Pulled(feed_name, first, last, path, period_of(feed, path) if path else None)
