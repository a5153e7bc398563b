"""Briefs of a cycle: the list of things to produce.

Here: briefs of existing candidates, and briefs that were handed in. Not here: reading files, or producing anything.
"""

from __future__ import annotations

import pyarrow as pa

from flywheel_pipelines.lake.tables import BRIEFS

_NOT_SAID = {"locale": None, "fields": None}


def briefs_from_candidates(candidates: pa.Table) -> pa.Table:
    """One row per brief that has candidates (contract `briefs`); segment and title are those of its first candidate.

    `candidates` follows the contract `archive_candidates`, in key order.
    """
    first: dict[str, dict[str, object]] = {}
    for row in candidates.to_pylist():
        brief = first.setdefault(
            row["brief_id"],
            {**{name: row[name] for name in ("brief_id", "segment", "title")}, **_NOT_SAID, "n_candidates": 0},
        )
        brief["n_candidates"] = int(str(brief["n_candidates"])) + 1
    return pa.Table.from_pylist(list(first.values()), schema=BRIEFS.schema)


def latest_candidates(candidates: pa.Table) -> pa.Table:
    """The latest recorded row of each candidate, in the order of the contract's key."""
    latest: dict[tuple[str, str], dict[str, object]] = {}
    for row in candidates.to_pylist():
        key = (row["brief_id"], row["candidate_id"])
        known = latest.get(key)
        if known is None or row["recorded_at"] >= known["recorded_at"]:
            latest[key] = row
    return pa.Table.from_pylist(list(latest.values()), schema=candidates.schema)


def briefs_from_ledger(ledger: pa.Table) -> pa.Table:
    """The briefs of one cycle (contract `briefs`), sorted by id: the latest recorded row of each.

    `ledger` follows the contract `brief_ledger`. Of rows recorded at one instant the one further down its file counts.
    """
    latest: dict[str, dict[str, object]] = {}
    for row in sorted(ledger.to_pylist(), key=lambda row: (row["recorded_at"], row["source_row"])):
        latest[row["brief_id"]] = {name: row[name] for name in ("brief_id", "segment", "title", "locale", "fields")}
    rows = [{**latest[brief_id], "n_candidates": 0} for brief_id in sorted(latest)]
    return pa.Table.from_pylist(rows, schema=BRIEFS.schema)
