"""What lies on the desk: outputs that wait for a review, as rows of a sheet, and how far the reviews are.

Here: the rows of a sheet and the counts per cycle. Not here: files (`sheet`), and what comes back
(`feedback.feeds.reviews`). Arms are left out on purpose: who reviews should not be able to treat them differently.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.quarantine import Choice, open_rows
from flywheel_pipelines.feedback.reviews.drafts import draft_hash, find_drafts, theme_draft
from flywheel_pipelines.feedback.reviews.latest import DECISIONS, latest_reviews
from flywheel_pipelines.feedback.reviews.sheet import DRAFT_HASH
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.lake.tables import (
    BRIEFS,
    PUBLISHED_OUTPUTS,
    REVIEWS,
    THEME_CANDIDATES,
    THEME_EVENTS,
    THEME_LIBRARY,
)

MERGE_SUGGESTED = "merge_suggested"


@dataclass(frozen=True)
class CycleReviews:
    """How far the reviews of a cycle are, as the ledger knows now; counts are of outputs."""

    cycle: date
    published: int
    accepted: int
    edited: int
    rejected: int

    @property
    def open(self) -> int:
        """Outputs that nobody has reviewed."""
        return self.published - self.accepted - self.edited - self.rejected


def sheet_rows(lake: Lake, flywheel: str, cycle: date) -> list[dict[str, str | None]]:
    """One row per published output of the cycle that nobody has reviewed, by brief and output id.

    Raises:
        FlywheelError: nothing was published in the cycle.
    """
    published = lake.read(PUBLISHED_OUTPUTS, flywheel, cycle)
    if not published.num_rows:
        known = lake.cycles(PUBLISHED_OUTPUTS, flywheel)
        span = f"cycles from {known[0]} to {known[-1]} were published" if known else "no cycle was ever opened"
        raise FlywheelError(f"--cycle: nothing was published in cycle {cycle} of {flywheel}; {span}.")
    latest = latest_reviews(lake.read(REVIEWS, flywheel, cycle), published, knowledge_cutoff=None)
    reviewed = set(latest["output_id"].to_pylist())
    briefs = {row["brief_id"]: row for row in lake.read(BRIEFS, flywheel, cycle).to_pylist()}
    waiting = {row["output_id"]: row for row in published.to_pylist() if row["output_id"] not in reviewed}
    return [
        {
            "output_id": output["output_id"],
            "brief": briefs.get(output["brief_id"], {}).get("title", output["brief_id"]),
            "segment": output["segment"],
            "locale": briefs.get(output["brief_id"], {}).get("locale"),
            "draft": output["text"],
            DRAFT_HASH: draft_hash(output["text"]),
        }
        for output in sorted(waiting.values(), key=lambda row: (row["brief_id"], row["output_id"]))
    ]


def theme_sheet_rows(lake: Lake, flywheel: str, cycle: date) -> list[dict[str, str | None]]:
    """One row per theme that a cycle founded and nobody has reviewed; its quotes stand where an output has its brief.

    accepted keeps the name, edited gives it the first line of final_text (or merges it: `merge into th-...`), rejected
    says that it is no theme. Below stand the pairs of accepted themes that may have become one, in the first cycle that
    suggests it: a suggestion that nobody takes up is not put before people again.
    """
    reviewed = set(lake.read(REVIEWS, flywheel, cycle)["output_id"].to_pylist())
    drafts = {
        row["theme_id"]: (row, theme_draft(row["name"], row["summary"]))
        for row in lake.read(THEME_CANDIDATES, flywheel, cycle).to_pylist()
        if row["theme_id"] not in reviewed
    }
    rows = [
        _theme_row(theme_id, "\n".join(row["quotes"]), f"{len(row['member_ids'])} tickets", draft)
        for theme_id, (row, draft) in sorted(drafts.items())
    ]
    return rows + [row for row in _merge_rows(lake, flywheel, cycle) if row["output_id"] not in drafts]


def _theme_row(theme_id: str, brief: str, segment: str, draft: str) -> dict[str, str | None]:
    return {
        "output_id": theme_id,
        "brief": brief,
        "segment": segment,
        "locale": None,
        "draft": draft,
        DRAFT_HASH: draft_hash(draft),
    }


def _merge_rows(lake: Lake, flywheel: str, cycle: date) -> list[dict[str, str | None]]:
    events = lake.read(THEME_EVENTS, flywheel, CycleWindow(last=cycle)).to_pylist()
    suggested = [row for row in events if row["event"] == MERGE_SUGGESTED]
    before = {(row["theme_id"], row["other_id"]) for row in suggested if row["cycle"] < cycle}
    new = {
        row["theme_id"]: row
        for row in suggested
        if row["cycle"] == cycle and (row["theme_id"], row["other_id"]) not in before
    }
    if not new:
        return []
    names = {row["theme_id"]: row["name"] for row in lake.read(THEME_LIBRARY, flywheel, cycle).to_pylist()}
    drafts = find_drafts(lake, flywheel, new.keys())
    return [
        _theme_row(
            theme_id,
            f"May be one with {names[row['other_id']]!r}: {row['detail']}. To merge them, write edited, and into "
            f"final_text: merge into {row['other_id']}",
            "merge?",
            drafts[theme_id].text,
        )
        for theme_id, row in sorted(new.items())
        if theme_id in drafts and row["other_id"] in names
    ]


def review_progress(lake: Lake, flywheel: str) -> list[CycleReviews]:
    """Every published cycle, in order."""
    return [_progress(lake, flywheel, cycle) for cycle in lake.cycles(PUBLISHED_OUTPUTS, flywheel)]


def _progress(lake: Lake, flywheel: str, cycle: date) -> CycleReviews:
    published = lake.read(PUBLISHED_OUTPUTS, flywheel, cycle, columns=["output_id"])
    latest = latest_reviews(lake.read(REVIEWS, flywheel, cycle), published, knowledge_cutoff=None)
    counted = Counter(latest["decision"].to_pylist())
    accepted, edited, rejected = (counted[decision] for decision in DECISIONS)
    return CycleReviews(cycle, len(set(published["output_id"].to_pylist())), accepted, edited, rejected)


def waiting_problems(lake: Lake, flywheel: str) -> dict[str, int]:
    """Rows in quarantine with a problem that only reviews have."""
    return {problem: len(open_rows(lake, flywheel, Choice(problem=problem))) for problem in ("conflict", "stale")}
