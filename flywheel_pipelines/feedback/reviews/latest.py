"""The latest-known view of reviews: what holds of an output, and what that counts as.

Here: the review that stands, agreement between two of them, and the measures they give. Not here: how reviews came in
(`feedback.feeds.reviews`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.feedback.reviews.drafts import is_same_text
from flywheel_pipelines.lake.tables import METRIC_LEDGER, REVIEWED_OUTPUTS
from flywheel_pipelines.spec import REVIEW_MEASURES

ACCEPTED, EDITED, REJECTED = "accepted", "edited", "rejected"
DECISIONS = (ACCEPTED, EDITED, REJECTED)
_COUNTED_AS = {"accepted_as_is": ACCEPTED, "edited": EDITED, "rejected": REJECTED}


def latest_reviews(reviews: pa.Table, published: pa.Table, *, knowledge_cutoff: datetime | None) -> pa.Table:
    """The latest-known review of every output that is published (contract `reviewed_outputs`).

    Args:
        reviews: rows of the ledger `reviews` for the cycle.
        published: its rows of `published_outputs`; reviews of what a later attempt replaced do not count.
        knowledge_cutoff: keep what was recorded up to here; None keeps everything.
    """
    known = reviews if knowledge_cutoff is None else reviews.filter(pc.field("recorded_at") <= knowledge_cutoff)
    current = set(published["output_id"].to_pylist())
    latest = {row["output_id"]: row for row in in_order(known.to_pylist()) if row["output_id"] in current}
    rows = [{**row, "known_at": row["recorded_at"]} for _, row in sorted(latest.items())]
    kept = [{name: row[name] for name in REVIEWED_OUTPUTS.columns} for row in rows]
    return pa.Table.from_pylist(kept, schema=REVIEWED_OUTPUTS.schema)


def standing_reviews(reviews: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Per output the review that others have to agree with: the first, as its author corrected it since.

    A later review that says the same leaves it standing. One that says something else takes its place: rows like that
    are in the ledger only when a person released them from quarantine.
    """
    standing: dict[str, Mapping[str, Any]] = {}
    for review in in_order(reviews):
        before = standing.get(review["output_id"])
        if before is None or before["reviewer"] == review["reviewer"] or not agree(before, review):
            standing[review["output_id"]] = review
    return standing


def agree(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two reviews of one output say the same: one decision, and for edits one text."""
    if first["decision"] != second["decision"]:
        return False
    return first["decision"] != EDITED or is_same_text(first["final_text"], second["final_text"])


def in_order(reviews: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Reviews as they became known: by recorded_at, then batch, then row."""
    return sorted(reviews, key=lambda row: (row["recorded_at"], row["batch_id"], row["source_row"]))


def reviewed_texts(texts: pa.Table, reviewed: pa.Table) -> pa.Table:
    """The texts that may become references: edited ones as they were left, rejected ones not at all.

    Args:
        texts: columns output_id and text, as they went out.
        reviewed: rows of `reviewed_outputs`; outputs without a review keep their text.
    """
    left = {row["output_id"]: row["final_text"] for row in reviewed.to_pylist() if row["decision"] == EDITED}
    rejected = reviewed.filter(pc.field("decision") == REJECTED)["output_id"].to_pylist()
    kept = texts.filter(~pc.field("output_id").isin(rejected)) if rejected else texts
    if not left:
        return kept
    rows = [(name, left.get(name, text)) for name, text in zip(*kept.to_pydict().values(), strict=True)]
    return pa.Table.from_pylist([{"output_id": name, "text": text} for name, text in rows], schema=kept.schema)


def with_reviews(ledger: pa.Table, reviewed: pa.Table, cycle: date) -> pa.Table:
    """Rows of `metric_ledger` for a cycle, and what its reviews count as beside them."""
    counted = review_measurements(reviewed, cycle)
    return (
        pa.concat_tables([ledger, counted.select(ledger.column_names).cast(ledger.schema)]) if len(counted) else ledger
    )


def review_measurements(reviewed: pa.Table, cycle: date) -> pa.Table:
    """What reviews count as (REVIEW_MEASURES), in the form of `metric_ledger`: per output one review and its decision.

    Two reviewers who agree are one review: what is measured is the output, not how often it was looked at.
    """
    rows = [
        {
            "cycle": cycle,
            "output_id": row["output_id"],
            "measure": measure,
            "measured_on": cycle,
            "value": 1.0 if _COUNTED_AS.get(measure, row["decision"]) == row["decision"] else 0.0,
            "feed": None,
            "batch_id": "reviews",
            "recorded_at": row["known_at"],
            "source_row": 0,
        }
        for row in reviewed.to_pylist()
        for measure in REVIEW_MEASURES
    ]
    return pa.Table.from_pylist(rows, schema=METRIC_LEDGER.schema.insert(0, pa.field("cycle", pa.date32())))
