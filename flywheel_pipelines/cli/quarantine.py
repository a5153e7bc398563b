"""Commands about rows that could not be used: quarantine list, show, release, discard."""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel_pipelines.cli.shared import Json, any_spec_named, app, out, print_json
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.feedback.quarantine import Choice, QuarantinedRow
    from flywheel_pipelines.lake.store import Lake

quarantine = typer.Typer(
    help="Rows that could not be used, each with the reason: look at them, hand them in again, or discard them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(quarantine, name="quarantine")

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of rows, as `list` shows them, e.g. 1f3a77c0:12.")]
Flywheel = Annotated[str | None, typer.Option("--flywheel", help="Only rows of this flywheel; default: of all.")]
Feed = Annotated[str | None, typer.Option("--feed", help="Only rows of this feed.")]
Problem = Annotated[
    str | None,
    typer.Option(
        "--problem",
        help="Only rows with this problem: unreadable, invalid, unmatched, ambiguous, held, conflict, stale.",
    ),
]
Batch = Annotated[str | None, typer.Option("--batch", help="Only rows of the batch whose id starts like this.")]
Since = Annotated[str | None, typer.Option("--since", help="Only rows put aside on this day (UTC) or later.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides; default: your name on this machine.")]


@quarantine.command(name="list")
def list_rows(
    flywheel: Flywheel = None,
    feed: Feed = None,
    problem: Problem = None,
    batch: Batch = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 40,
    as_json: Json = False,
) -> None:
    """The rows that are in quarantine now, oldest first, with the reason."""
    from flywheel_pipelines.terminal_quarantine import open_table

    rows = _open(_lake(), _flywheels(flywheel), _choice(feed, problem, batch, since))
    if as_json:
        print_json([_as_dict(row) for row in rows])
        return
    out.print(open_table(rows, limit))


@quarantine.command()
def show(ids: Annotated[list[str], typer.Argument(help="Ids of rows.")], as_json: Json = False) -> None:
    """Everything about single rows: what is wrong, their cells, and what became of them."""
    from flywheel_pipelines.feedback.quarantine import rows_named
    from flywheel_pipelines.terminal_quarantine import row_view

    rows = rows_named(_lake(), _flywheels(None), ids)
    if as_json:
        print_json([_as_dict(row) for row in rows])
        return
    for row in rows:
        out.print(row_view(row))
        out.print()


@quarantine.command()
def release(
    ids: Ids = None,
    flywheel: Flywheel = None,
    feed: Feed = None,
    problem: Problem = None,
    batch: Batch = None,
    since: Since = None,
    by: By = None,
    note: Annotated[str | None, typer.Option("--note", help="Why.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="COLUMN=VALUE", help="Correct this column in every row; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
) -> None:
    """Hand rows in again. What is wrong again is in quarantine again; what was held is not held again."""
    from flywheel_pipelines.feedback import releasing
    from flywheel_pipelines.terminal import next_steps
    from flywheel_pipelines.terminal_quarantine import released_view

    lake = _lake()
    rows = _chosen(lake, ids, flywheel, _choice(feed, problem, batch, since))
    done, now = [], datetime.now(UTC)
    for name in sorted({row.flywheel for row in rows}):
        done += releasing.release(
            lake,
            any_spec_named(name),
            [row for row in rows if row.flywheel == name],
            recorded_at=now,
            decided_by=by or _me(),
            note=note,
            changes=_pairs(changes or []),
            dry_run=dry_run,
        )
    out.print(released_view(done, dry_run=dry_run))
    if dry_run:
        out.print("Nothing was written. Without --dry-run it is.", style="dim")
    elif touched := sorted({row.flywheel for row in rows if any(one.batch.n_rows for one in done)}):
        jobs = " or ".join(f"{name}__close" for name in touched)
        purpose = f"how many cycles wait to be closed again; the sensor of the inbox, or the job {jobs}, does it"
        out.print(next_steps([("flywheel status", purpose)]))


@quarantine.command()
def discard(
    note: Annotated[str, typer.Option("--note", help="Why; it stays with the rows.")],
    ids: Ids = None,
    flywheel: Flywheel = None,
    feed: Feed = None,
    problem: Problem = None,
    batch: Batch = None,
    since: Since = None,
    by: By = None,
) -> None:
    """Close rows without using them. Nothing is deleted: they stay in the table, with the note."""
    from flywheel_pipelines.feedback.releasing import discard as discard_rows

    lake = _lake()
    if not note.strip():
        raise FlywheelError("--note: empty; say why the rows are not used.")
    rows = _chosen(lake, ids, flywheel, _choice(feed, problem, batch, since))
    for name in sorted({row.flywheel for row in rows}):
        of_flywheel = [row for row in rows if row.flywheel == name]
        discard_rows(lake, name, of_flywheel, recorded_at=datetime.now(UTC), decided_by=by or _me(), note=note)
    out.print(f"{len(rows):,} row{'s' if len(rows) != 1 else ''} discarded; the note stays with them.")


def _lake() -> Lake:
    from flywheel_pipelines.lake.store import Lake

    return Lake(DataPaths.from_environment().lake)


def _flywheels(flywheel: str | None) -> list[str]:
    if flywheel is not None:
        return [any_spec_named(flywheel).name]
    from flywheel_pipelines.overview import find_insights, find_specs

    return [spec.name for spec in (*find_specs(DEFS_DIR), *find_insights(DEFS_DIR))]


def _choice(feed: str | None, problem: str | None, batch: str | None, since: str | None) -> Choice:
    from flywheel_pipelines.feedback.quarantine import Choice

    try:
        first = date.fromisoformat(since) if since else None
    except ValueError:
        raise FlywheelError(f"--since: found {since!r}; expected a day such as 2026-01-05.") from None
    return Choice(feed, problem, batch, first)


def _open(lake: Lake, flywheels: list[str], choice: Choice) -> list[QuarantinedRow]:
    from flywheel_pipelines.feedback.quarantine import open_rows

    return [row for flywheel in flywheels for row in open_rows(lake, flywheel, choice)]


def _chosen(lake: Lake, ids: list[str] | None, flywheel: str | None, choice: Choice) -> list[QuarantinedRow]:
    """The rows of the ids, or all open ones that the options choose; never all of them by leaving both out."""
    from flywheel_pipelines.feedback.quarantine import Choice, rows_named

    chooses = choice != Choice()
    if ids and chooses:
        raise FlywheelError("Name rows by their ids, or choose them by options (--feed, --problem, ...), not both.")
    if not ids and not chooses:
        raise FlywheelError(
            "No rows were chosen. Name them (`flywheel quarantine list` shows their ids), or choose them by --feed, "
            "--problem, --batch or --since."
        )
    if ids:
        return rows_named(lake, _flywheels(flywheel), ids)
    rows = _open(lake, _flywheels(flywheel), choice)
    if not rows:
        raise FlywheelError("No row in quarantine fits these options; `flywheel quarantine list` shows what there is.")
    return rows


def _pairs(changes: list[str]) -> dict[str, str]:
    pairs = {}
    for change in changes:
        column, separator, value = change.partition("=")
        if not separator or not column:
            raise FlywheelError(f"--set: found {change!r}; expected COLUMN=VALUE, e.g. --set Sent=40.")
        pairs[column] = value
    return pairs


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def _as_dict(row: QuarantinedRow) -> dict[str, object]:
    return {
        "id": row.row_id,
        "flywheel": row.flywheel,
        "feed": row.feed,
        "problem": row.problem,
        "batch_id": row.batch_id,
        "source": row.source,
        "source_row": row.source_row,
        "recorded_at": row.recorded_at,
        "wrong": [{"field": one.field, "found": one.found, "reason": one.reason} for one in row.wrong],
        "cells": row.cells,
        "event": row.event,
    }
