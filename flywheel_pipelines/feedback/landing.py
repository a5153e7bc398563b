"""Landing one file of a feed: read it by its kind, and append what it says to the ledgers.

The one door for all kinds of feeds, also for rows that leave quarantine. Not here: reading rows (`feeds`), or finding
files.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import cast

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError, InputFileError
from flywheel_pipelines.feedback.attribution import attribute
from flywheel_pipelines.feedback.feeds import FeedBatch, Incoming, Release, read_briefs, read_reviews, read_tickets
from flywheel_pipelines.feedback.feeds.batch import (
    WHOLE_FILE,
    Days,
    PutAside,
    batch_header,
    batch_id_of,
    problems_of,
    quarantine_table,
)
from flywheel_pipelines.feedback.feeds.briefs import period_of_briefs
from flywheel_pipelines.feedback.feeds.built_in import feed_named
from flywheel_pipelines.feedback.feeds.document_briefs import read_document_briefs
from flywheel_pipelines.feedback.feeds.fixes import read_fixes
from flywheel_pipelines.feedback.feeds.metric_columns import measures_of
from flywheel_pipelines.feedback.feeds.outputs import read_outputs
from flywheel_pipelines.feedback.files import RowProblem, check_file, shown
from flywheel_pipelines.feedback.measuring import read_measurements
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS, QUARANTINE, QUARANTINE_EVENTS
from flywheel_pipelines.spec import AnySpec, FlywheelSpec

__all__ = ["Release", "land_file", "measures_of", "read_file", "record_unusable_file"]


def land_file(
    lake: Lake,
    spec: AnySpec,
    feed_name: str,
    path: Path,
    *,
    recorded_at: datetime,
    source: str | None = None,
    period: Days | None = None,
    release: Release | None = None,
) -> tuple[FeedBatch, bool]:
    """Append a file's rows to the ledgers; the batch, and whether it is new (the same file twice is one batch).

    Args:
        lake: where to.
        spec: the flywheel.
        feed_name: one of its feeds.
        path: the file.
        recorded_at: when it became known.
        source: what `batches` says it came from; None: the name of the file.
        period: first and last day that a file without dates is about.
        release: the rows of the quarantine that the file hands in again; their events land in the same batch.

    Raises:
        FlywheelError: the flywheel has no such feed.
        InputFileError: the file cannot be used at all; nothing is written.
    """
    batch = read_file(
        lake, spec, feed_name, path, recorded_at=recorded_at, source=source, period=period, release=release
    )
    facts = {table: rows for table, rows in batch.facts.items() if rows.num_rows}
    if release is not None:
        facts[QUARANTINE_EVENTS] = _events(release, batch.batch_id, recorded_at)
    return batch, lake.append_batch(spec.name, batch.header, facts, batch.parts)


def read_file(
    lake: Lake,
    spec: AnySpec,
    feed_name: str,
    path: Path,
    *,
    recorded_at: datetime,
    source: str | None = None,
    period: Days | None = None,
    release: Release | None = None,
) -> FeedBatch:
    """The batch that `land_file` would append, with the same arguments and errors; nothing is written."""
    check_feed(spec, feed_name)
    check_file(path)
    # Readers of the kinds that an insight flywheel has ask a spec for what both kinds of specs have.
    incoming = Incoming(lake, cast(FlywheelSpec, spec), feed_name, path, recorded_at, period, release, source)
    return _READERS[incoming.feed.kind](incoming)


def record_unusable_file(
    lake: Lake,
    spec: AnySpec,
    feed_name: str,
    path: Path,
    error: InputFileError,
    *,
    recorded_at: datetime,
    source: str | None = None,
) -> tuple[FeedBatch, bool]:
    """Put a file aside that cannot be used at all, so that it shows; the batch, and whether it is new.

    The file as it is now is one batch, whatever the error says: it is named after its bytes.
    """
    check_feed(spec, feed_name)
    try:
        check_file(path)
        content = batch_id_of(Incoming(lake, cast(FlywheelSpec, spec), feed_name, path, recorded_at))
    except (OSError, InputFileError):
        # Also a pipe, which would keep us waiting, and a name that no table can hold.
        content = shown(str(path))
    batch_id = content_hash("unusable", content, feed_name)
    problem = RowProblem(0, WHOLE_FILE, shown(path.name), str(error))
    aside = [PutAside([problem], "unreadable")]
    header = batch_header(
        batch_id, shown(source or path.name), recorded_at, feed_name, n_rows=0, n_late=0, aside=aside, cycles=()
    )
    facts = {QUARANTINE: quarantine_table(header, aside)}
    batch = FeedBatch(header, facts, problems_of(aside), 0, 1)
    return batch, lake.append_batch(spec.name, header, facts)


def check_feed(spec: AnySpec, feed_name: str) -> None:
    """Raises FlywheelError, naming the feeds there are, when the flywheel has none of that name."""
    if feed_named(spec, feed_name) is None:
        known = ", ".join(spec.feeds) or "none"
        raise FlywheelError(
            f"Feed {feed_name!r} of {spec.name}: there is none of that name; there are {known}. "
            "Feeds are declared under the key feeds of the flywheel's defs.yaml."
        )


def _briefs(incoming: Incoming) -> FeedBatch:
    spec = incoming.spec
    if incoming.feed.documents is not None:
        return read_document_briefs(incoming, lambda cycle: incoming.lake.has(PUBLISHED_OUTPUTS, spec.name, cycle))
    period = period_of_briefs(incoming.path, incoming.feed, incoming.period)
    # Days from a file's name say what its rows mean, so they are part of what the batch is.
    how = [f"{period[0]} {period[1]}"] if period else []
    constraints = spec.guardrails.constraints
    if constraints is not None and constraints.of_brief is not None:
        how.append(constraints.of_brief.model_dump_json())
    return read_briefs(
        incoming.path,
        incoming.feed,
        flywheel=spec.name,
        cadence=spec.cadence,
        recorded_at=incoming.recorded_at,
        feed_name=incoming.feed_name,
        batch_id=batch_id_of(incoming, spec.name, spec.cadence, *how),
        source=incoming.source_name,
        period=period,
        constraints=constraints,
    )


def _outputs(incoming: Incoming) -> FeedBatch:
    return read_outputs(
        incoming,
        lambda texts: attribute(incoming.lake, incoming.spec, incoming.feed.model_copy(update=_BY_ID), texts),
    )


_BY_ID = {"join": "output_id"}

# Kinds of feeds and who reads them; a reader takes an Incoming, reads the lake at most, and writes nothing.
_READERS: dict[str, Callable[[Incoming], FeedBatch]] = {
    "briefs": _briefs,
    "metrics": read_measurements,
    "outputs": _outputs,
    "reviews": read_reviews,
    "tickets": read_tickets,
    "fixes": read_fixes,
}


def _events(release: Release, batch_id: str, recorded_at: datetime) -> pa.Table:
    rows = [
        {
            "quarantined_batch": quarantined_batch,
            "quarantined_row": quarantined_row,
            "event": release.event,
            "decided_by": release.decided_by,
            "note": release.note,
            "batch_id": batch_id,
            "recorded_at": recorded_at,
            "source_row": number,
        }
        for number, (quarantined_batch, quarantined_row) in enumerate(release.rows, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE_EVENTS.schema)
