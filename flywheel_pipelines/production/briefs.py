"""Briefs of a cycle. Here: from the existing candidates to the list of things to produce. Not here: producing them."""

from __future__ import annotations

import pyarrow as pa

from flywheel_pipelines.lake.tables import BRIEFS


def briefs_from_candidates(candidates: pa.Table) -> pa.Table:
    """One row per brief that has candidates (contract `briefs`); segment and title are those of its first candidate.

    `candidates` follows the contract `archive_candidates`, in key order.
    """
    first: dict[str, dict[str, object]] = {}
    for row in candidates.to_pylist():
        brief = first.setdefault(
            row["brief_id"],
            {"brief_id": row["brief_id"], "segment": row["segment"], "title": row["title"], "n_candidates": 0},
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
