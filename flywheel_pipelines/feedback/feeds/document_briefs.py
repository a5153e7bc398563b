"""Reading a document as briefs: the whole of it, or each of its sections, with its passages.

Not here: the text of documents (`feedback.documents`), or briefs that come as rows of a table (`briefs`).

Decisions:
- A brief is called after its file, and its section: `ports.md`, `ports.md#customs`. The same file again in the same
  cycle corrects its briefs; a file of the same name from another folder does, too.
- The day is the one that is given, or the one in the file's name. A document without either is wanted in the cycle in
  which it lands, or in the next where that was published already: nobody would write about it any more.
- What is too long for a prompt is put aside with its size; the other sections of the file stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date

from flywheel_pipelines.cycles import cycle_of, shift_cycle
from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.documents import Limits, Piece, pieces_of, read_document
from flywheel_pipelines.feedback.feeds.batch import Days, FeedBatch, Incoming, RowsInProgress, batch_id_of
from flywheel_pipelines.feedback.feeds.briefs import DEFAULT_SEGMENT, titled
from flywheel_pipelines.feedback.files import RowProblem, shown
from flywheel_pipelines.feedback.files.periods import period_in_name
from flywheel_pipelines.lake.tables import BRIEF_LEDGER
from flywheel_pipelines.passages import PASSAGES, as_field, name_for_ids, passage_lines
from flywheel_pipelines.spec.feeds import DocumentsSpec

MOST_PIECES = 500
"""Sections that one file may have; a book has some dozens."""
BYTES_PER_TOKEN = 4
"""As prompts are estimated (`production.rendering`)."""


def read_document_briefs(incoming: Incoming, is_published: Callable[[date], bool]) -> FeedBatch:
    """Read one document into facts for `brief_ledger`.

    Args:
        incoming: the file, by a feed with `documents`.
        is_published: whether a cycle was published already.

    Raises:
        InputFileError: the file cannot be used at all.
    """
    path, spec, settings = incoming.path, incoming.spec, incoming.feed.documents
    assert settings is not None, incoming.feed_name
    period = _days(incoming)
    cycle = cycle_of(period[0] if period else incoming.recorded_at.astimezone(UTC).date(), spec.cadence)
    if period is None and is_published(cycle):
        cycle = shift_cycle(cycle, spec.cadence, 1)
    document, name = read_document(path), name_for_ids(path.name)
    pieces = pieces_of(document, name, Limits(settings.brief == "section", settings.passage))
    if len(pieces) > MOST_PIECES:
        raise InputFileError(
            f"{path}: has {len(pieces):,} sections, at most {MOST_PIECES} briefs are made of one file. Split it, or "
            "take it whole (documents: {brief: file})."
        )
    batch_id = batch_id_of(incoming, spec.name, spec.cadence, path.name, *([f"{period}"] if period else []))
    batch = RowsInProgress(
        BRIEF_LEDGER, incoming.source_name, batch_id, incoming.recorded_at, incoming.feed_name, period
    )
    title = document.title or path.stem
    for number, piece in enumerate(pieces, start=1):
        if (problem := _problem(number, piece, settings)) is not None:
            batch.put_aside([problem], "invalid", None)
        else:
            batch.accept(number, [{**_fact(piece, name, title), "cycle": cycle}])
    return batch.finish()


def _days(incoming: Incoming) -> Days | None:
    expression = incoming.feed.file_date
    return incoming.period or (period_in_name(incoming.path, expression) if expression else None)


def _fact(piece: Piece, name: str, title: str) -> dict[str, object]:
    fields = {"document": title, **({"section": piece.heading} if piece.heading else {})}
    return {
        "brief_id": f"{name}#{piece.place}" if piece.place else name,
        "segment": DEFAULT_SEGMENT,
        "title": titled(f"{title}: {piece.heading}" if piece.heading and piece.heading != title else title),
        "locale": None,
        "fields": json.dumps({**fields, PASSAGES: as_field(piece.passages)}, ensure_ascii=False),
    }


def _problem(number: int, piece: Piece, settings: DocumentsSpec) -> RowProblem | None:
    tokens = -(-len(passage_lines(piece.passages).encode()) // BYTES_PER_TOKEN)
    if tokens <= settings.max_tokens:
        return None
    instead = "Split the document, or raise documents.max_tokens and producer.max_prompt_tokens."
    if settings.brief == "file":
        instead = "Take its sections one by one (documents: {brief: section}), split it, or raise documents.max_tokens."
    return RowProblem(
        number,
        "section" if settings.brief == "section" else "document",
        shown(piece.heading or piece.passages[0].text, 80),
        f"about {tokens:,} tokens of text, at most {settings.max_tokens:,} are taken as one brief. {instead}",
    )
