"""Landing one file of a feed: read it by its kind, and append what it says to the ledgers.

Not here: reading rows (`feeds`), or finding files.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.feeds import FeedBatch, read_briefs, read_metrics
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS
from flywheel_pipelines.spec import FlywheelSpec


def land_file(
    lake: Lake, spec: FlywheelSpec, feed_name: str, path: Path, *, recorded_at: datetime, source: str | None = None
) -> tuple[FeedBatch, bool]:
    """Append a file's rows to the ledgers; the batch, and whether it is new (the same file twice is one batch).

    Args:
        lake: where to.
        spec: the flywheel.
        feed_name: one of its feeds.
        path: the file.
        recorded_at: when it became known.
        source: what `batches` says it came from; None: the name of the file.

    Raises:
        FlywheelError: the flywheel has no such feed.
        InputFileError: the file cannot be used at all; nothing is written.
    """
    if feed_name not in spec.feeds:
        known = ", ".join(spec.feeds) or "none"
        raise FlywheelError(
            f"Feed {feed_name!r} of {spec.name}: there is none of that name; there are {known}. "
            "Feeds are declared under the key feeds of the flywheel's defs.yaml."
        )
    feed = spec.feeds[feed_name]
    if feed.kind == "briefs":
        batch = read_briefs(path, feed, flywheel=spec.name, cadence=spec.cadence, recorded_at=recorded_at)
    else:
        published = lake.read(PUBLISHED_OUTPUTS, spec.name, columns=["output_id", "cycle"])
        batch = read_metrics(
            path,
            feed,
            measures=measures_of(spec),
            outputs=dict(zip(published["output_id"].to_pylist(), published["cycle"].to_pylist(), strict=True)),
            recorded_at=recorded_at,
            rates=list(spec.metrics.values()),
        )
    header = {**batch.header, "source": source or batch.header["source"]}
    facts = {table: rows for table, rows in batch.facts.items() if rows.num_rows}
    return batch, lake.append_batch(spec.name, header, facts)


def measures_of(spec: FlywheelSpec) -> list[str]:
    """Everything that the flywheel's metrics count, in alphabetical order."""
    return sorted({name for metric in spec.metrics.values() for name in (metric.successes, metric.exposure)})
