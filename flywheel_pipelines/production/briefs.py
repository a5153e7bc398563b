"""Briefs of a cycle: the list of things to produce.

Here: briefs of existing candidates, and briefs that were handed in. Not here: reading files, or producing anything.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.tables import BRIEFS

OWN = ("locale", "segment")
"""What a brief says of itself; everything else is a field."""
TITLE_LIMIT = 120
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


def briefs_from_ledger(ledger: pa.Table, each: Mapping[str, Sequence[str]] | None = None) -> pa.Table:
    """The briefs of one cycle (contract `briefs`), sorted by id: the latest recorded row of each.

    `ledger` follows the contract `brief_ledger`. Of rows recorded at one instant the one further down its file counts.
    With `each`, every brief is wanted once for each combination of its values (`one_of_each`).
    """
    latest: dict[str, dict[str, object]] = {}
    for row in sorted(ledger.to_pylist(), key=lambda row: (row["recorded_at"], row["source_row"])):
        latest[row["brief_id"]] = {name: row[name] for name in ("brief_id", "segment", "title", "locale", "fields")}
    return wanted_briefs(latest.values(), each or {})


def briefs_from_outputs(published: pa.Table, briefs: pa.Table) -> list[dict[str, Any]]:
    """What another flywheel published in a cycle, as briefs: one for each output, called by the output's id.

    Args:
        published: its rows of `published_outputs`.
        briefs: its rows of `briefs`, for the languages.

    Returns:
        Briefs with the output's text as their field `article`, and its first line as their title.
    """
    locales = dict(zip(briefs["brief_id"].to_pylist(), briefs["locale"].to_pylist(), strict=True))
    found = {row["output_id"]: row for row in published.to_pylist()}
    return [
        {
            "brief_id": output_id,
            "segment": row["segment"],
            "title": next((line for line in row["text"].splitlines() if line.strip()), output_id)[:TITLE_LIMIT],
            "locale": locales.get(row["brief_id"]),
            "fields": json.dumps({"article": row["text"]}, ensure_ascii=False),
        }
        for output_id, row in sorted(found.items())
    ]


def wanted_briefs(rows: Iterable[Mapping[str, Any]], each: Mapping[str, Sequence[str]]) -> pa.Table:
    """The briefs of one cycle (contract `briefs`), sorted by id, each once for every combination of `each`."""
    wanted = [brief for row in rows for brief, _ in one_of_each(row, each)]
    made = [{**brief, "n_candidates": 0} for brief in sorted(wanted, key=lambda brief: str(brief["brief_id"]))]
    return pa.Table.from_pylist(made, schema=BRIEFS.schema)


def one_of_each(
    brief: Mapping[str, Any], each: Mapping[str, Sequence[str]]
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The brief once for each combination of values, and the values: `lamp` in `locale: [en, de]` is two briefs.

    Their ids end in the values (`lamp.de`). `locale` and `segment` are the brief's own; other names become fields of
    the brief, in place of what the file says.
    """
    for combination in itertools.product(*each.values()):
        values = dict(zip(each, combination, strict=True))
        one = {**brief, "brief_id": ".".join([brief["brief_id"], *combination])}
        one |= {name: values[name] for name in OWN if name in values}
        own = {name: value for name, value in values.items() if name not in OWN}
        if own:
            one["fields"] = json.dumps({**json.loads(brief["fields"] or "{}"), **own}, ensure_ascii=False)
        yield one, values
