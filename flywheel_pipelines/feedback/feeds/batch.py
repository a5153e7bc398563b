"""What reading one file of a feed yields: facts per ledger, and the header under which they count.

Not here: what a row must say (`briefs`, `metrics`, `outputs`, ...), or writing to the lake (`feedback.landing`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa

from flywheel_pipelines.feedback.feeds.built_in import feed_named
from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.parts import LedgerPart
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import QUARANTINE
from flywheel_pipelines.spec import FeedSpec, FlywheelSpec

ProblemCode = Literal["unreadable", "invalid", "unmatched", "ambiguous", "held", "conflict", "stale"]
Days = tuple[date, date]
WHOLE_FILE = "(file)"
"""Stands in for the column name when the file as a whole cannot be used."""


@dataclass(frozen=True)
class Release:
    """Rows of the quarantine that are handed in again, and why.

    Attributes:
        rows: (batch_id, source_row) of each row in quarantine, in the order of the rows of the file handed in.
        event: released, when a person decided; matched, when their output became known.
        decided_by: who decided; the pipeline itself for matched.
        note: why, in their words.
    """

    rows: tuple[tuple[str, int], ...]
    event: Literal["released", "matched"]
    decided_by: str
    note: str | None = None


@dataclass(frozen=True)
class Incoming:
    """One file on its way in, and everything that decides how it is read.

    Attributes:
        lake: where it will land; readers look up in it what is known already.
        spec: the flywheel.
        feed_name: the feed that the file came by.
        path: the file.
        recorded_at: when it became known.
        period: the days that a file without dates is about, when somebody said so.
        release: set when the rows come from quarantine.
        source: where it comes from, in words; None: the name of the file.
    """

    lake: Lake
    spec: FlywheelSpec
    feed_name: str
    path: Path
    recorded_at: datetime
    period: Days | None = None
    release: Release | None = None
    source: str | None = None

    @property
    def source_name(self) -> str:
        """What `batches` and `quarantine` say it came from."""
        return self.source or self.path.name

    @property
    def feed(self) -> FeedSpec:
        """The feed's settings."""
        feed = feed_named(self.spec, self.feed_name)
        assert feed is not None, self.feed_name
        return feed


@dataclass(frozen=True)
class FeedBatch:
    """One file of a feed, ready for `Lake.append_batch(flywheel, batch.header, batch.facts)`.

    Attributes:
        header: the row of `batches`. Its batch_id is a hash of the file's bytes and of how the feed reads them, so the
            same file twice is one batch whenever it is read.
        facts: rows per ledger, with a `cycle` column where the ledger has cycles; quarantine is among them.
        problems: what is wrong with the rows put aside, one entry per row and column.
        n_rows: rows of the file that were accepted.
        n_quarantined: rows of the file that were put aside. Together they are all rows of the file.
        parts: rows of ledgers that are too many for one table, cycle by cycle; for the last argument of `append_batch`.
        known_cycles: of a batch that the lake has already and that was not read again, the cycles it touched.
    """

    header: Mapping[str, object]
    facts: Mapping[TableContract, pa.Table]
    problems: tuple[RowProblem, ...]
    n_rows: int
    n_quarantined: int
    parts: Mapping[TableContract, Sequence[LedgerPart]] = field(default_factory=dict)
    known_cycles: tuple[date, ...] = ()

    @property
    def batch_id(self) -> str:
        """The id under which the facts count."""
        return str(self.header["batch_id"])

    @property
    def cycles(self) -> list[date]:
        """The cycles that the facts touch, in order."""
        tables = (table for table in self.facts.values() if "cycle" in table.column_names)
        cycles = {cycle for table in tables for cycle in table.column("cycle").unique().to_pylist()}
        return sorted(cycles.union(self.known_cycles) | {part.cycle for parts in self.parts.values() for part in parts})


@dataclass(frozen=True, slots=True)
class PutAside:
    """One row put aside: everything that is wrong with it, and what it said.

    Attributes:
        problems: one entry per wrong column; all are about one row.
        code: what kind of problem it is (see the contract of `quarantine`).
        cells: the row's cells by their headers; None when it could not be split.
    """

    problems: Sequence[RowProblem]
    code: ProblemCode
    cells: Mapping[str, str | None] | None = None


@dataclass
class RowsInProgress:
    """Rows of one file while they are being judged: what is accepted, and what is wrong with the rest."""

    ledger: TableContract
    source: str
    batch_id: str
    recorded_at: datetime
    feed_name: str | None = None
    period: Days | None = None
    accepted: list[dict[str, object]] = field(default_factory=list)
    aside: list[PutAside] = field(default_factory=list)
    n_accepted: int = 0
    n_late: int = 0

    def accept(self, source_row: int, facts: Sequence[Mapping[str, object]]) -> None:
        """Take what one row of the file says: one or more facts, each with its `cycle`."""
        same = {"batch_id": self.batch_id, "recorded_at": self.recorded_at, "source_row": source_row}
        self.accepted.extend({**fact, **same} for fact in facts)
        self.n_accepted += 1

    def put_aside(
        self, problems: Sequence[RowProblem], code: ProblemCode, cells: Mapping[str, str | None] | None
    ) -> None:
        """Put one row aside, with everything that is wrong with it and its cells by their headers."""
        self.aside.append(PutAside(problems, code, cells))

    def put_unreadable(self, problems: Iterable[RowProblem]) -> None:
        """Put rows aside that could not be read into cells."""
        self.aside.extend(unreadable(problems))

    def finish(self) -> FeedBatch:
        """The batch; its facts are in the order of the file."""
        by_cycle = [pa.field("cycle", pa.date32())] if "cycle" in self.ledger.partition_by else []
        facts = pa.Table.from_pylist(self.accepted, schema=pa.schema([*by_cycle, *self.ledger.schema]))
        cycles = facts.column("cycle").unique().to_pylist() if by_cycle else []
        header = batch_header(
            self.batch_id,
            self.source,
            self.recorded_at,
            self.feed_name,
            n_rows=self.n_accepted,
            n_late=self.n_late,
            aside=self.aside,
            cycles=cycles,
            period=self.period,
        )
        return FeedBatch(
            header=header,
            facts={self.ledger: facts, QUARANTINE: quarantine_table(header, self.aside)},
            problems=problems_of(self.aside),
            n_rows=self.n_accepted,
            n_quarantined=len({problem.source_row for row in self.aside for problem in row.problems}),
        )


def unreadable(problems: Iterable[RowProblem]) -> list[PutAside]:
    """Rows that could not be read into cells, one entry per row."""
    by_row: dict[int, list[RowProblem]] = {}
    for problem in problems:
        by_row.setdefault(problem.source_row, []).append(problem)
    return [PutAside(of_row, "unreadable") for of_row in by_row.values()]


def problems_of(aside: Iterable[PutAside]) -> tuple[RowProblem, ...]:
    """What is wrong, by row and column."""
    found = (problem for row in aside for problem in row.problems)
    return tuple(sorted(found, key=lambda problem: (problem.source_row, problem.field)))


def batch_header(
    batch_id: str,
    source: str,
    recorded_at: datetime,
    feed_name: str | None,
    *,
    n_rows: int,
    n_late: int,
    aside: Sequence[PutAside] | Mapping[str, int],
    cycles: Iterable[date],
    period: Days | None = None,
) -> dict[str, object]:
    """The row of `batches`; counts are of rows of the file.

    `aside` are rows, or how many there are of each problem; `period` are the days of a file whose rows say none.
    """
    by_code = dict(aside) if isinstance(aside, Mapping) else Counter(str(row.code) for row in aside)
    touched = sorted(set(cycles))
    return {
        "batch_id": batch_id,
        "source": source,
        "recorded_at": recorded_at,
        "n_rows": n_rows,
        "n_quarantined": sum(by_code.values()),
        "first_cycle": touched[0] if touched else None,
        "last_cycle": touched[-1] if touched else None,
        "feed": feed_name,
        "n_late": n_late,
        "n_unmatched": by_code.get("unmatched", 0) + by_code.get("ambiguous", 0),
        "n_held": by_code.get("held", 0),
        "first_day": period[0] if period else None,
        "last_day": period[1] if period else None,
    }


def quarantine_table(header: Mapping[str, object], aside: Iterable[PutAside]) -> pa.Table:
    """The rows put aside as rows of `quarantine`, one per wrong column."""
    rows = [
        {
            "batch_id": header["batch_id"],
            "recorded_at": header["recorded_at"],
            "source_row": problem.source_row,
            "source": header["source"],
            "field": problem.field,
            "found": problem.found,
            "reason": problem.reason,
            "feed": header["feed"],
            "problem": row.code,
            "cells": None if row.cells is None else json.dumps(row.cells, ensure_ascii=False),
        }
        for row in aside
        for problem in row.problems
    ]
    rows.sort(key=lambda row: (row["source_row"], row["field"]))
    return pa.Table.from_pylist(rows, schema=QUARANTINE.schema)


def feed_batch_id(path: Path, feed: FeedSpec, *how: object) -> str:
    """Hash of the file's bytes, the feed's settings, and whatever else decides how its rows are read."""
    with path.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    return content_hash("feed", content, feed.identity, *how)


def batch_id_of(incoming: Incoming, *how: object) -> str:
    """The id of a file that is landing; the same rows released again, from another batch, are another batch."""
    release = incoming.release
    handed_in = (release.event, release.rows) if release else None
    further = [item for item in (incoming.period, handed_in) if item is not None]
    return feed_batch_id(incoming.path, incoming.feed, *how, *further)
