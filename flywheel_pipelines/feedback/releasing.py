"""Rows leave quarantine: handed in again, matched when their output has become known, or discarded.

Here: writing chosen rows as a file again, what it would do, and their events. Not here: which rows there are
(`quarantine`), or what a row must say (the feeds).

Rows and their events land in one batch, all or nothing: a kill leaves rows open or closed, never lost and never open
twice. What is wrong again is in quarantine again, under the new batch. Nothing is ever deleted.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, cast

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError, InputFileError
from flywheel_pipelines.feedback.feeds import FeedBatch, Release
from flywheel_pipelines.feedback.feeds.batch import Days
from flywheel_pipelines.feedback.feeds.built_in import feed_named
from flywheel_pipelines.feedback.landing import land_file, read_file
from flywheel_pipelines.feedback.overtaken import overtaken
from flywheel_pipelines.feedback.quarantine import Choice, QuarantinedRow, latest_events, open_rows
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import QUARANTINE, QUARANTINE_EVENTS
from flywheel_pipelines.spec import AnySpec

PIPELINE = "pipeline"
"""Who decides when an output has become known."""
_SUFFIXES = re.compile(r"(\.(csv|tsv|txt|jsonl|ndjson|json|parquet|xlsx|gz|zip))+$", re.IGNORECASE)


@dataclass(frozen=True)
class Released:
    """What handing rows in again did, or would do: one batch, and the rows that it took, in the order of its file."""

    rows: tuple[QuarantinedRow, ...]
    batch: FeedBatch
    is_new: bool

    @property
    def again(self) -> list[tuple[QuarantinedRow, str]]:
        """The rows that are in quarantine again, each with what is wrong now."""
        wrong = {problem.source_row: problem for problem in reversed(self.batch.problems)}
        return [
            (self.rows[number - 1], f"{problem.field}: {problem.reason}") for number, problem in sorted(wrong.items())
        ]


@dataclass(frozen=True)
class _Bundle:
    """Rows that were cut from files alike and can be handed in as one."""

    feed: str
    source: str
    headers: tuple[str, ...]
    rows: tuple[QuarantinedRow, ...]
    period: Days | None
    """The days that their files were about, where their rows say none."""

    def write(self, folder: Path) -> Path:
        """The rows as a CSV file with their own headers; named after their file, whose name may hold a date."""
        stem = _SUFFIXES.sub("", Path(self.source).name) or "released"
        path = folder / f"{stem}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.headers)
            writer.writerows([(row.cells or {}).get(header) or "" for header in self.headers] for row in self.rows)
        return path


def release(
    lake: Lake,
    spec: AnySpec,
    rows: Sequence[QuarantinedRow],
    *,
    recorded_at: datetime,
    decided_by: str,
    note: str | None = None,
    changes: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> list[Released]:
    """Hand rows in again because a person says so; what was held is not held again.

    Rows of one feed with the same headers are one batch.

    Args:
        lake: where they are and go.
        spec: their flywheel.
        rows: open rows of that flywheel.
        recorded_at: the instant of the decision, from which on the rows count.
        decided_by: who decided.
        note: why.
        changes: cells to correct in every row, by header.
        dry_run: only say what would happen.

    Raises:
        FlywheelError: a row is not open any more or cannot be handed in again, or has no such column; nothing is
            written.
    """
    _check_open(lake, spec.name, rows)
    bundles = _bundles(lake, spec, [_changed(row, changes or {}) for row in rows])
    return [
        _hand_in(lake, spec, bundle, "released", recorded_at, decided_by, note, dry_run=dry_run) for bundle in bundles
    ]


def retry_unmatched(lake: Lake, spec: AnySpec, recorded_at: datetime) -> list[FeedBatch]:
    """Hand in again the rows whose output has become known; the batches, which may be none.

    To be called after a feed of outputs has landed and after a cycle was published. Rows that would be unmatched again
    stay as they are; rows that match and have something else wrong are in quarantine again, with that reason.
    """
    waiting = [
        row
        for problem in ("unmatched", "ambiguous")
        for row in open_rows(lake, spec.name, Choice(problem=problem))
        if row.feed and feed_named(spec, row.feed) and row.cells and any(row.cells.values())
    ]
    batches = []
    # Oldest first, so that of two reports of a day the later one is the lower row, which counts.
    for bundle in _bundles(lake, spec, waiting):
        try:
            tried = _hand_in(lake, spec, bundle, "matched", recorded_at, PIPELINE, None, dry_run=True)
        except InputFileError:
            # The feed names other columns by now. These rows wait for a person, and keep nobody else waiting: a cycle
            # is published and a file lands whatever the quarantine holds.
            continue
        still = {number for number, code in _codes(tried.batch).items() if code in ("unmatched", "ambiguous")}
        late = overtaken(lake, spec.name, bundle.feed, bundle.rows, tried.batch)
        for number, batch_id in late.items():
            note = f"its output has become known, and batch {batch_id} has said the day anew since"
            row = bundle.rows[number - 1]
            discard(lake, spec.name, [row], recorded_at=recorded_at, decided_by=PIPELINE, note=note)
        left = still.union(late)
        known = tuple(row for number, row in enumerate(bundle.rows, start=1) if number not in left)
        if known:
            note = "its output has become known"
            done = _hand_in(
                lake, spec, replace(bundle, rows=known), "matched", recorded_at, PIPELINE, note, dry_run=False
            )
            batches.append(done.batch)
    return batches


def matched_by(lake: Lake, spec: AnySpec, feed_name: str, recorded_at: datetime) -> int:
    """Rows of the quarantine that found their output by what a feed has landed; 0 for feeds that name no outputs."""
    feed = feed_named(spec, feed_name)
    if feed is None or feed.kind != "outputs":
        return 0
    return sum(batch.n_rows for batch in retry_unmatched(lake, spec, recorded_at))


def discard(
    lake: Lake,
    flywheel: str,
    rows: Sequence[QuarantinedRow],
    *,
    recorded_at: datetime,
    decided_by: str,
    note: str,
) -> bool:
    """Close rows without using them; False when there was nothing to close. They stay in the table, with the note.

    Raises:
        FlywheelError: a row is not open any more.
    """
    _check_open(lake, flywheel, rows)
    if not rows:
        return False
    keys = sorted(row.key for row in rows)
    batch_id = content_hash("discard", flywheel, *keys)
    events = [
        {
            "quarantined_batch": quarantined_batch,
            "quarantined_row": quarantined_row,
            "event": "discarded",
            "decided_by": decided_by,
            "note": note,
            "batch_id": batch_id,
            "recorded_at": recorded_at,
            "source_row": number,
        }
        for number, (quarantined_batch, quarantined_row) in enumerate(keys, start=1)
    ]
    header = {
        "batch_id": batch_id,
        "source": f"discarded by {decided_by}",
        "recorded_at": recorded_at,
        "n_rows": 0,
        "n_quarantined": 0,
        "first_cycle": None,
        "last_cycle": None,
    }
    return lake.append_batch(
        flywheel, header, {QUARANTINE_EVENTS: pa.Table.from_pylist(events, schema=QUARANTINE_EVENTS.schema)}
    )


def _hand_in(
    lake: Lake,
    spec: AnySpec,
    bundle: _Bundle,
    event: Literal["released", "matched"],
    recorded_at: datetime,
    decided_by: str,
    note: str | None,
    *,
    dry_run: bool,
) -> Released:
    """Land the rows of a bundle through the door that every file takes, or only read them as it would."""
    handed_in = Release(tuple(row.key for row in bundle.rows), event, decided_by, note)
    with tempfile.TemporaryDirectory(prefix="released-") as folder:
        path = bundle.write(Path(folder))
        if dry_run:
            batch = read_file(
                lake,
                spec,
                bundle.feed,
                path,
                recorded_at=recorded_at,
                source=bundle.source,
                period=bundle.period,
                release=handed_in,
            )
            return Released(bundle.rows, batch, is_new=False)
        batch, is_new = land_file(
            lake,
            spec,
            bundle.feed,
            path,
            recorded_at=recorded_at,
            source=bundle.source,
            period=bundle.period,
            release=handed_in,
        )
    return Released(bundle.rows, batch, is_new)


def _codes(batch: FeedBatch) -> dict[int, str]:
    rows = batch.facts.get(QUARANTINE)
    if rows is None:
        return {}
    return dict(zip(rows["source_row"].to_pylist(), rows["problem"].to_pylist(), strict=True))


def _bundles(lake: Lake, spec: AnySpec, rows: Sequence[QuarantinedRow]) -> list[_Bundle]:
    """The rows by feed, headers and the days of their file; by file, too, where its name holds a date."""
    periods = {batch_id: _period_of(lake, spec.name, batch_id) for batch_id in {row.batch_id for row in rows}}
    bundles: dict[tuple[str, str, tuple[str, ...], Days | None], list[QuarantinedRow]] = {}
    for row in sorted(rows, key=lambda row: (row.recorded_at, row.key)):
        feed, headers = _usable(spec, row)
        settings = feed_named(spec, feed)
        source = row.source if settings is not None and settings.file_date else ""
        bundles.setdefault((feed, source, headers, periods[row.batch_id]), []).append(row)
    return [
        _Bundle(feed, source or _sources(of_bundle), headers, tuple(of_bundle), period)
        for (feed, source, headers, period), of_bundle in bundles.items()
    ]


def _period_of(lake: Lake, flywheel: str, batch_id: str) -> Days | None:
    """The days that the file of a batch was about, however they were told: its rows are cut off from them."""
    header = lake.batch_header(flywheel, batch_id)
    if header is None or header["first_day"] is None:
        return None
    return cast(Days, (header["first_day"], header["last_day"]))


def _sources(rows: Sequence[QuarantinedRow]) -> str:
    names = sorted({row.source for row in rows})
    return names[0] if len(names) == 1 else f"{len(names)} files, from quarantine"


def _usable(spec: AnySpec, row: QuarantinedRow) -> tuple[str, tuple[str, ...]]:
    """Feed and headers of a row that can be handed in again. Raises FlywheelError when it cannot."""
    if row.feed is None or feed_named(spec, row.feed) is None:
        came = f"by the feed {row.feed!r}, which {spec.name} no longer has" if row.feed else "with an archive"
        raise FlywheelError(
            f"Row {row.row_id} came {came}, so it cannot be handed in by itself. Correct the file and hand it in "
            f"again, then `flywheel quarantine discard {row.row_id} --note TEXT`."
        )
    if not row.cells or not any(row.cells.values()):
        raise FlywheelError(
            f"Row {row.row_id} of {row.source} could not be split into cells, or all of them are empty, so there is "
            f"nothing to hand in. Correct the file and hand it in again, then `flywheel quarantine discard "
            f"{row.row_id} --note TEXT`."
        )
    return row.feed, tuple(row.cells)


def _check_open(lake: Lake, flywheel: str, rows: Sequence[QuarantinedRow]) -> None:
    """Raises FlywheelError when a row has an event by now, whoever read it when."""
    events = latest_events(lake, flywheel)
    for row in rows:
        if event := events.get(row.key):
            raise FlywheelError(
                f"Row {row.row_id} is not in quarantine any more: it was {event['event']} by {event['decided_by']} on "
                f"{event['recorded_at']:%Y-%m-%d %H:%M} UTC. Nothing was changed."
            )


def _changed(row: QuarantinedRow, changes: Mapping[str, str]) -> QuarantinedRow:
    if not changes:
        return row
    unknown = [header for header in changes if header not in (row.cells or {})]
    if unknown:
        raise FlywheelError(
            f"--set: row {row.row_id} has no column {', '.join(unknown)}; "
            f"it has {', '.join(row.cells or ()) or 'none'}."
        )
    return replace(row, cells={**(row.cells or {}), **changes})
