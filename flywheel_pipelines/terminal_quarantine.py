"""What people see of the quarantine in a terminal. Here: tables and words. Not here: finding or changing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flywheel_pipelines.feedback.quarantine import QuarantinedRow
from flywheel_pipelines.feedback.releasing import Released
from flywheel_pipelines.terminal import BAD, GOOD, QUIET, next_steps

SHORTENED = 120
"""Characters of a reason in the list; `show` has all of it."""
WHAT_TO_DO = {
    "unreadable": "correct the file and hand it in again, then discard these",
    "invalid": "correct the file, or the cell: `flywheel quarantine release ID --set COLUMN=VALUE`",
    "unmatched": "handed in again by itself once a feed of outputs, or an opened cycle, makes the output known",
    "ambiguous": "handed in again by itself once one output is left; or release it with the right id by --set",
    "held": "look whether it is true: `flywheel quarantine release ID`, or `discard ID --note TEXT`",
    "conflict": "decide which review counts: release the one, discard the other",
    "stale": "review the text as it is now, then discard these",
}


def open_table(rows: Sequence[QuarantinedRow], limit: int) -> RenderableType:
    """The open rows, oldest first, by flywheel; what kinds there are, and what to do about each."""
    if not rows:
        return Text("Nothing is in quarantine.", style=GOOD)
    parts: list[RenderableType] = []
    for flywheel in sorted({row.flywheel for row in rows}):
        of_flywheel = [row for row in rows if row.flywheel == flywheel]
        parts.append(Text.assemble((f"{flywheel}: ", "bold"), f"{_count(of_flywheel)} in quarantine"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", no_wrap=True, style="bold")
    table.add_column("put aside", no_wrap=True)
    table.add_column("feed", overflow="fold", max_width=14)
    table.add_column("problem", no_wrap=True)
    table.add_column("what is wrong", overflow="fold", min_width=40)
    for row in rows[:limit]:
        table.add_row(
            row.row_id,
            f"{row.recorded_at:%Y-%m-%d}",
            Text(row.feed or "archive"),
            row.problem or "–",
            _in_short(row),
        )
    parts.append(table)
    if len(rows) > limit:
        parts.append(
            Text(f"{limit:,} of {len(rows):,} shown; --limit shows more, --feed and --problem fewer", style=QUIET)
        )
    parts.append(_what_to_do(rows))
    return Group(*parts)


def _count(rows: Sequence[QuarantinedRow]) -> str:
    kinds = Counter(row.problem or "from an archive" for row in rows)
    by_kind = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
    return f"{len(rows):,} row{'s' if len(rows) != 1 else ''} ({by_kind})"


def _in_short(row: QuarantinedRow) -> Text:
    first, *others = row.wrong
    more = f" (and {len(others)} more)" if others else ""
    reason = first.reason if len(first.reason) <= SHORTENED else f"{first.reason[: SHORTENED - 1]}…"
    found = f" {first.found!r}" if first.found else ""
    return Text.assemble((f"{first.field}{found}", "cyan"), f"{more}: {reason}")


def _what_to_do(rows: Sequence[QuarantinedRow]) -> RenderableType:
    kinds = [kind for kind in WHAT_TO_DO if any(row.problem == kind for row in rows)]
    what = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    what.add_column(style="bold", no_wrap=True)
    what.add_column(overflow="fold")
    for kind in kinds:
        what.add_row(kind, WHAT_TO_DO[kind])
    steps = next_steps([(f"flywheel quarantine show {rows[0].row_id}", "all of one row, with its cells")])
    return Group(Text(""), what, Text(""), steps) if kinds else steps


def row_view(row: QuarantinedRow) -> RenderableType:
    """Everything about one row."""
    head = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    head.add_column(style="bold", no_wrap=True)
    head.add_column(overflow="fold")
    number = f"row {row.source_row} of {row.source}" if row.source_row else row.source
    for name, value in (
        ("row", f"{row.row_id} (batch {row.batch_id})"),
        ("came from", number),
        ("flywheel", row.flywheel),
        ("feed", row.feed or "none: it came with an archive"),
        ("put aside", f"{row.recorded_at:%Y-%m-%d %H:%M} UTC"),
        ("problem", row.problem or "–"),
        ("state", _state(row.event)),
    ):
        head.add_row(name, Text(value))
    parts: list[RenderableType] = [head]
    for wrong in row.wrong:
        parts.append(Text.assemble("\n", (wrong.field, "cyan"), ": ", (wrong.found or "(empty)", "bold")))
        parts.append(Text(f"  {wrong.reason}"))
    if row.cells is not None:
        cells = Table(title="Its cells", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
        cells.add_column("column")
        cells.add_column("cell", overflow="fold")
        for header, value in row.cells.items():
            is_wrong = any(wrong.field == header for wrong in row.wrong)
            cells.add_row(Text(header), Text(value or "", style=BAD if is_wrong else ""))
        parts += [Text(""), cells]
    if row.is_open and row.problem in WHAT_TO_DO:
        parts.append(Text(f"What to do: {WHAT_TO_DO[row.problem].replace(' ID', f' {row.row_id}')}.", style=QUIET))
    return Group(*parts)


def _state(event: Mapping[str, Any] | None) -> str:
    if event is None:
        return "open"
    note = f": {event['note']}" if event["note"] else ""
    return f"{event['event']} by {event['decided_by']} on {event['recorded_at']:%Y-%m-%d %H:%M} UTC{note}"


def released_view(done: Sequence[Released], *, dry_run: bool) -> RenderableType:
    """What handing rows in again did, or would do."""
    parts: list[RenderableType] = []
    for one in done:
        again = one.again
        would, was = ("would be handed in", "would land") if dry_run else ("handed in again", "landed")
        cycles = one.batch.cycles
        about = f" about the cycles {cycles[0]} to {cycles[-1]}" if cycles and one.batch.n_rows else ""
        feed = str(one.batch.header["feed"])
        parts.append(
            Text.assemble(
                f"{len(one.rows):,} row{'s' if len(one.rows) != 1 else ''} of feed ", (feed, "bold"), f" {would}: ",
                (f"{one.batch.n_rows:,} {was}", GOOD if one.batch.n_rows else ""), about,
                (f"; {len(again):,} in quarantine again" if again else "", BAD), ".",
            )
        )  # fmt: skip
        for row, reason in again[:5]:
            number = one.rows.index(row) + 1
            now = row.row_id if dry_run else f"{row.row_id} is now {one.batch.batch_id[:8]}:{number}"
            parts.append(Text(f"  {now}, {reason}"))
        if len(again) > 5:
            parts.append(Text(f"  and {len(again) - 5:,} more", style=QUIET))
    return Group(*parts)
