"""Reading a file of outputs: which ids and addresses a platform gave to what was published.

Not here: finding the output of a measurement by them (`feedback.attribution`).

Decisions:
- An external id may name several outputs (a campaign with two variants); measurements under it are ambiguous then.
- A row about an output that was never published is put aside as unmatched, and tried again once it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flywheel_pipelines.feedback.attribution import ADDRESS_LIMIT, ID_LIMIT, Found, Output
from flywheel_pipelines.feedback.feeds.batch import FeedBatch, Incoming, RowsInProgress, batch_id_of
from flywheel_pipelines.feedback.feeds.rows import FeedRow, checked_name, headers_of, read_rows
from flywheel_pipelines.feedback.files import RowProblem
from flywheel_pipelines.feedback.files.cells import CellError
from flywheel_pipelines.lake.tables import OUTPUT_LINKS

OUTPUT_ID, EXTERNAL_ID = "output_id", "external_id"


def read_outputs(incoming: Incoming, find: Callable[[list[str]], Mapping[str, Found]]) -> FeedBatch:
    """Read one file of outputs into facts for `output_links`.

    Args:
        incoming: the file.
        find: the output of each of some texts.

    Raises:
        InputFileError: the file cannot be used at all, or has no column for output_id or external_id.
    """
    path, feed = incoming.path, incoming.feed
    headers, _ = headers_of(path, feed, required=(OUTPUT_ID, EXTERNAL_ID))
    rows = read_rows(path, headers)
    batch = RowsInProgress(
        OUTPUT_LINKS, incoming.source_name, batch_id_of(incoming), incoming.recorded_at, incoming.feed_name
    )
    batch.put_unreadable(rows.unreadable)
    found = find(sorted({row.cells[OUTPUT_ID] or "" for row in rows}))
    for row in rows:
        fact, problems, is_stranger = _link(row, rows.headers, found[row.cells[OUTPUT_ID] or ""])
        if problems:
            batch.put_aside(problems, "unmatched" if is_stranger else "invalid", row.raw)
        else:
            batch.accept(row.source_row, [fact])
    return batch.finish()


def _link(row: FeedRow, headers: Mapping[str, str], output: Found) -> tuple[dict[str, object], list[RowProblem], bool]:
    """What a row says, what is wrong with it, and whether that is only that its output is not known."""
    problems: list[RowProblem] = []
    external_id = ""
    try:
        external_id = _checked_external_id(row.cells[EXTERNAL_ID])
    except CellError as error:
        problems.append(row.problem(headers[EXTERNAL_ID], EXTERNAL_ID, str(error)))
    if not isinstance(output, Output):
        problems.append(row.problem(headers[OUTPUT_ID], OUTPUT_ID, output.reason))
        return {}, problems, len(problems) == 1 and output.code == "unmatched"
    return (
        {"external_id": external_id, "output_id": output.output_id, "output_cycle": output.cycle},
        problems,
        False,
    )


def _checked_external_id(value: str | None) -> str:
    is_address = value is not None and "/" in value
    what = "the id or the address that the platform gave the output"
    return checked_name(value, what, ADDRESS_LIMIT if is_address else ID_LIMIT)
