"""Feeds that come from a database or from what a dlt pipeline has loaded, pulled into files of the inbox.

Here: one pull, from the source to one Parquet file in the folder that the feed's files go to. From there the file goes
through the same door as any other (`feedback.landing`), so that dedup, quarantine and ledgers are the same.
Not here: which days are pulled when (`loop.pulling`), or landing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.sources.dlt_tables import table_rows
from flywheel_pipelines.feedback.sources.pulled_file import pulled_days, workplace, write_pulled
from flywheel_pipelines.feedback.sources.secrets import url_from
from flywheel_pipelines.feedback.sources.sql import asks_for_days, query_rows
from flywheel_pipelines.spec.feeds import FeedSpec

__all__ = ["TIMEOUT", "inbox_folder", "is_pulled", "period_of", "pull"]

TIMEOUT = 600.0
"""Seconds that a query may take, unless told otherwise."""


def is_pulled(feed: FeedSpec) -> bool:
    """Whether a feed's rows come from a source rather than in files that somebody drops."""
    return feed.sql is not None or feed.dlt is not None


def inbox_folder(inbox: Path, flywheel: str, feed: str) -> Path:
    """Where the files of a pulled feed lie: `inbox/<flywheel>/<feed>`; all of them end in `.parquet`."""
    return inbox / flywheel / feed


def period_of(feed: FeedSpec, path: Path) -> tuple[date, date] | None:
    """The days that a pulled file speaks for, also those it has no row of; None where that is unknown.

    A query without :first_day and :last_day, and a dlt table without a column for the date, give whatever there is.
    """
    if feed.sql is not None and not asks_for_days(feed.sql.query):
        return None
    return pulled_days(path) if is_pulled(feed) else None


def pull(
    feed: FeedSpec,
    first_day: date,
    last_day: date,
    folder: Path,
    *,
    name: str,
    environment: Mapping[str, str],
    data_folder: Path,
    timeout: float = TIMEOUT,
) -> Path | None:
    """Write what the feed's source says about some days into one Parquet file; None when it says nothing.

    The same rows give the same file, also when they are pulled again. A pull that fails leaves nothing behind.

    Args:
        feed: a feed with the key sql or dlt.
        first_day: the first day that is asked for.
        last_day: the last one.
        folder: where the file goes; other files in it stay.
        name: the feed's name, for errors.
        environment: where the URL of a database is.
        data_folder: what a relative `dlt.pipelines_dir` is relative to.
        timeout: seconds that a query may take.

    Raises:
        FlywheelError: a dependency, the variable, the connection, the query or the table is not as it must be.
    """
    if first_day > last_day:
        raise FlywheelError(f"Feed {name}: from {first_day} to {last_day} is no range of days. Exchange the two.")
    if feed.sql is not None:
        url = url_from(environment, feed.sql.url_variable, feed=name)
        source = query_rows(feed.sql, url, first_day, last_day, feed=name, timeout=timeout)
    elif feed.dlt is not None:
        source = table_rows(feed.dlt, feed, first_day, last_day, feed=name, data_folder=data_folder)
    else:
        raise FlywheelError(
            f"Feed {name}: comes in files ({feed.path}), so there is nothing to pull. Drop them into the inbox, or "
            "give the feed the key sql or dlt instead of path."
        )
    with workplace(folder, feed=name) as place, source as rows:
        return write_pulled(rows, place, folder, first_day, last_day)
