"""Reading a file of reviews: what people said of published outputs, and the texts that they left.

Here: one row of a sheet or an export into a fact of `reviews`, or put aside with what to do. Not here: which review
holds (`feedback.reviews.latest`), or writing a sheet (`feedback.reviews.sheet`).

Decisions:
- A review belongs to the cycle that published its output, whenever it was made.
- decision is accepted, edited or rejected. Left blank beside a final text it follows from that: the draft again is
  accepted, anything else edited. How lines end, and blanks at their ends, make no edit.
- A row that says nothing (no decision, no text, no comment) was not reviewed. It is left out, and counted.
- Whoever reviews an output first decides; the same reviewer may correct it, others may agree. Who disagrees is put
  aside (`conflict`): which of two people is right is for people to say. Released from quarantine, such a row holds.
- A sheet remembers the draft by its hash. When that is not what is published, the review is of another text (`stale`).
- Reviewers are stored under pseudonyms, also in quarantine (`feedback.reviews.reviewers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from flywheel_pipelines.feedback.feeds.batch import FeedBatch, Incoming, ProblemCode, RowsInProgress, batch_id_of
from flywheel_pipelines.feedback.feeds.moments import parse_moment
from flywheel_pipelines.feedback.feeds.rows import (
    AGAIN,
    CellError,
    FeedRow,
    checked_name,
    checked_text,
    headers_of,
    read_rows,
)
from flywheel_pipelines.feedback.files import RowProblem, shown
from flywheel_pipelines.feedback.reviews.drafts import Draft, find_drafts, is_same_text
from flywheel_pipelines.feedback.reviews.latest import ACCEPTED, DECISIONS, EDITED, REJECTED, agree, standing_reviews
from flywheel_pipelines.feedback.reviews.reviewers import pseudonym_of, without_addresses
from flywheel_pipelines.feedback.reviews.sheet import DRAFT_HASH, as_text_file, as_written
from flywheel_pipelines.feedback.reviews.similarity import edit_similarity
from flywheel_pipelines.lake.tables import REVIEWS

REQUIRED = ("output_id",)
OPTIONAL = ("decision", "final_text", "comment", "reviewer", "date", "draft", DRAFT_HASH)
WORDS = ("final_text", "comment", "draft")
"""Columns whose text counts as it stands, blanks at its ends included."""


@dataclass(frozen=True)
class ReviewBatch(FeedBatch):
    """One file of reviews. Rows that were left out since they say nothing are in neither count of rows.

    Attributes:
        decisions: accepted rows by decision.
        n_blank: rows without a review.
        n_pseudonyms: rows whose reviewer was written as something that could be a name or an address.
    """

    decisions: Mapping[str, int] = field(default_factory=dict)
    n_blank: int = 0
    n_pseudonyms: int = 0


class _NotUsedError(Exception):
    """A row that is put aside: what for, and the problem of one of its cells."""

    def __init__(self, code: ProblemCode, name: str, reason: str) -> None:
        super().__init__(reason)
        self.code: ProblemCode = code
        self.name, self.reason = name, reason


@dataclass(frozen=True)
class _Row:
    """One row as the sheet's author wrote it, its reviewer by pseudonym."""

    row: FeedRow
    cells: Mapping[str, str | None]
    """By our names; words with the blanks at their ends."""
    reviewer: str
    is_replaced: bool

    @property
    def output_id(self) -> str:
        return self.cells.get("output_id") or ""

    @property
    def says_nothing(self) -> bool:
        return not any(self.cells.get(name) for name in ("decision", "final_text", "comment"))


def read_reviews(incoming: Incoming) -> ReviewBatch:
    """Read one file of reviews, CSV or workbook, into facts for `reviews`.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for output_id, or neither of decision and
            final_text.
    """
    with as_text_file(incoming.path) as text:
        source = replace(incoming, path=text.path, source=incoming.source_name)
        return _Reading(source, text.formulas).batch()


class _Reading:
    """One file while its rows are judged against the drafts and the reviews that there are."""

    def __init__(self, incoming: Incoming, formulas: frozenset[tuple[int, str]]) -> None:
        self._incoming, self._formulas = incoming, formulas
        headers, _ = headers_of(incoming.path, incoming.feed, required=REQUIRED, optional=OPTIONAL)
        if not {"decision", "final_text"} & headers.keys():
            # Asked for as required, so that the error names the header found and what to write.
            headers_of(incoming.path, incoming.feed, required=("decision",))
        self._headers = headers
        self._found = read_rows(incoming.path, headers)
        self._rows = [self._row(row) for row in self._found]
        self._drafts = find_drafts(incoming.lake, incoming.spec.name, {row.output_id for row in self._rows})
        self._standing = self._reviews_known()

    def batch(self) -> ReviewBatch:
        incoming = self._incoming
        batch_id = batch_id_of(incoming, incoming.spec.name)
        rows = RowsInProgress(REVIEWS, incoming.source_name, batch_id, incoming.recorded_at, incoming.feed_name)
        rows.put_unreadable(
            replace(problem, found=without_addresses(problem.found)) for problem in self._found.unreadable
        )
        decisions: Counter[str] = Counter()
        n_blank = 0
        for row in self._rows:
            if row.says_nothing and not self._draft_was_changed(row):
                n_blank += 1
                continue
            problems, code, fact = self._judged(row)
            if problems:
                rows.put_aside(problems, code, self._kept_cells(row))
                continue
            rows.accept(row.row.source_row, [fact])
            decisions[str(fact["decision"])] += 1
        return ReviewBatch(
            **vars(rows.finish()),
            decisions={decision: decisions[decision] for decision in DECISIONS},
            n_blank=n_blank,
            n_pseudonyms=sum(row.is_replaced for row in self._rows),
        )

    def _row(self, row: FeedRow) -> _Row:
        cells = dict(row.cells)
        for name in WORDS:
            if cells.get(name) is not None:
                cells[name] = row.raw[self._headers[name]]
        if DRAFT_HASH in self._headers:
            cells = {name: as_written(text) for name, text in cells.items()}
        reviewer, is_replaced = pseudonym_of(cells.get("reviewer"))
        return _Row(row, cells, reviewer, is_replaced)

    def _reviews_known(self) -> dict[str, Mapping[str, Any]]:
        """What stands in the ledger about the outputs of the file."""
        lake, flywheel = self._incoming.lake, self._incoming.spec.name
        known = [
            review
            for cycle in sorted({draft.cycle for draft in self._drafts.values()})
            for review in lake.read(REVIEWS, flywheel, cycle).to_pylist()
            if review["output_id"] in self._drafts
        ]
        return standing_reviews(known)

    def _kept_cells(self, row: _Row) -> dict[str, str | None]:
        """The row as it can be handed in again, without the name of a person."""
        cells = dict(row.row.raw)
        if row.is_replaced:
            cells[self._headers["reviewer"]] = row.reviewer
        return cells

    # -- one row --------------------------------------------------------------------------------------------------
    def _judged(self, row: _Row) -> tuple[list[RowProblem], ProblemCode, dict[str, Any]]:
        """Everything that is wrong with the cells; else why the row does not count; else its fact."""
        invalid: ProblemCode = "invalid"
        problems: list[RowProblem] = []
        fact: dict[str, Any] = {"reviewer": row.reviewer, "comment": None}
        draft = self._drafts.get(row.output_id)
        checks = {
            "output_id": lambda: checked_name(row.cells["output_id"], "the id of the output that was reviewed"),
            "decision": lambda: self._decision(row, draft),
            "final_text": lambda: checked_text(row.cells.get("final_text")),
            "comment": lambda: checked_text(row.cells.get("comment")),
            "date": lambda: self._reviewed_on(row),
        }
        for name, check in checks.items():
            try:
                self._refuse_formula(row, name)
                fact[name] = check()
            except CellError as error:
                problems.append(self._problem(row, name, str(error)))
        if problems:
            return problems, invalid, {}
        try:
            self._check_draft(row, draft)
            assert draft is not None
            return [], invalid, self._fact(row, draft, fact)
        except _NotUsedError as reason:
            return [self._problem(row, reason.name, reason.reason)], reason.code, {}

    def _problem(self, row: _Row, name: str, reason: str) -> RowProblem:
        header = self._headers.get(name, name)
        return RowProblem(row.row.source_row, header, shown(row.cells.get(name)), reason)

    def _refuse_formula(self, row: _Row, name: str) -> None:
        if (row.row.source_row, self._headers.get(name, name)) in self._formulas:
            raise CellError(
                "holds a formula, and nothing is computed here; expected text. Copy the cell and paste it as a value, "
                "or format it as text and write it again."
            )

    def _reviewed_on(self, row: _Row) -> date:
        if row.cells.get("date") is None:
            return self._incoming.recorded_at.date()
        formats = self._incoming.feed.dates
        return parse_moment(row.cells["date"], formats, not_after=self._incoming.recorded_at).date()

    def _decision(self, row: _Row, draft: Draft | None) -> str:
        """accepted, edited or rejected, and that it goes with the final text."""
        said, final = (row.cells.get("decision") or "").casefold(), row.cells.get("final_text")
        if said and said not in DECISIONS:
            raise CellError(f"not a decision; expected accepted, edited or rejected. {AGAIN}")
        if self._draft_was_changed(row) and said != REJECTED and final is None:
            raise CellError(
                "the draft was changed in the sheet, where it is only to be read. Write the corrected text into "
                f"final_text and edited as the decision, or restore the draft. {AGAIN}"
            )
        if not said and final is None:
            raise CellError(f"empty beside a comment; expected accepted, edited or rejected. {AGAIN}")
        if said == EDITED and final is None:
            raise CellError(f"edited, but final_text is empty; expected the whole text as it should be. {AGAIN}")
        is_draft = final is None or (draft is not None and is_same_text(final, draft.text))
        if said == EDITED and is_draft:
            raise CellError(f"edited, but final_text is the draft; write accepted, or the edited text. {AGAIN}")
        if said in (ACCEPTED, REJECTED) and not is_draft and draft is not None:
            raise CellError(f"{said}, but final_text is not the draft; write edited, or empty final_text. {AGAIN}")
        return said or (ACCEPTED if is_draft else EDITED)

    def _draft_was_changed(self, row: _Row) -> bool:
        """Whether the sheet is of today's draft and yet shows another text in its place."""
        draft, seen = self._drafts.get(row.output_id), row.cells.get("draft")
        if draft is None or seen is None or row.cells.get(DRAFT_HASH) != draft.hash:
            return False
        return not is_same_text(seen, draft.text)

    def _check_draft(self, row: _Row, draft: Draft | None) -> None:
        if draft is None:
            raise _NotUsedError(
                "unmatched",
                "output_id",
                "no published output has this id; expected one as it stands in the review sheet or the outbox. Correct "
                "the id, or hand the row in again once the output is published.",
            )
        if draft.is_superseded:
            raise _NotUsedError(
                "stale",
                "output_id",
                f"a later attempt of cycle {draft.cycle} took the place of this output, so the review is of a text "
                "that is no more. Export the sheet again and review the present one.",
            )
        seen_hash, seen = row.cells.get(DRAFT_HASH), row.cells.get("draft")
        if (seen_hash and seen_hash != draft.hash) or (not seen_hash and seen and not is_same_text(seen, draft.text)):
            raise _NotUsedError(
                "stale",
                DRAFT_HASH if seen_hash else "draft",
                "the draft in this sheet is not the text that is published under this id, so the review is of another "
                "text. Export the sheet again and review the present one.",
            )

    def _fact(self, row: _Row, draft: Draft, checked: Mapping[str, Any]) -> dict[str, Any]:
        decision = checked["decision"]
        final = checked["final_text"] if decision == EDITED else None
        incoming = self._incoming
        fact = {
            "cycle": draft.cycle,
            "output_id": draft.output_id,
            "reviewer": row.reviewer,
            "decision": decision,
            "final_text": final,
            "comment": checked["comment"],
            "edit_similarity": None if decision == REJECTED else 1.0,
            "reviewed_on": checked["date"],
        }
        before = self._standing.get(draft.output_id)
        disagrees = before is not None and before["reviewer"] != row.reviewer and not agree(before, fact)
        is_decided = incoming.release is not None and incoming.release.event == "released"
        if before is not None and disagrees and not is_decided:
            raise _NotUsedError("conflict", "decision", _conflict(before, fact))
        if before is None or disagrees or before["reviewer"] == row.reviewer:
            self._standing[draft.output_id] = fact
        if final is not None:
            fact["edit_similarity"] = edit_similarity(draft.text, final)
        return fact


def _conflict(before: Mapping[str, Any], fact: Mapping[str, Any]) -> str:
    comment = f" ({shown(before['comment'], 120)})" if before["comment"] else ""
    other = ", with another text" if before["decision"] == fact["decision"] else ""
    return (
        f"{before['reviewer']} said {before['decision']} on {before['reviewed_on']}{comment}; {fact['reviewer']} says "
        f"{fact['decision']}{other}. The first review stands. Agree on one: {before['reviewer']} may hand in a "
        "corrected row, or release this row from quarantine when it is right, or discard it."
    )
