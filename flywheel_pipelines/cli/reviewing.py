"""Commands around reviews: a sheet out, a sheet in, how far they are."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from flywheel_pipelines.cli.shared import FlywheelName, Json, any_spec_named, app, out, print_json, spec_named
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.feedback.feeds.reviews import ReviewBatch
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.spec import AnySpec

review = typer.Typer(help="Let people review what went out, in a sheet: export, import, status.", no_args_is_help=True)
app.add_typer(review, name="review")


@review.command("export")
def export_sheet(
    flywheel: FlywheelName,
    cycle: Annotated[str | None, typer.Option(help="First day of the cycle, YYYY-MM-DD; default: the latest.")] = None,
    written_as: Annotated[str, typer.Option("--format", help="xlsx or csv.")] = "xlsx",
    out_path: Annotated[
        Path | None, typer.Option("--out", help="Where to; default: data/reviews/FLYWHEEL/CYCLE.xlsx.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sheet that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a review sheet: one row per published output of a cycle that nobody has reviewed."""
    from flywheel_pipelines.feedback.reviews.desk import review_progress, sheet_rows
    from flywheel_pipelines.feedback.reviews.sheet import FORMATS, write_sheet

    if written_as not in FORMATS:
        raise FlywheelError(f"--format: found {written_as!r}; allowed are {' and '.join(FORMATS)}.")
    name, paths = spec_named(flywheel).name, DataPaths.from_environment()
    lake = _lake(paths)
    progress = review_progress(lake, name)
    if not progress:
        raise FlywheelError(f"{name}: nothing was published yet, so there is nothing to review. Open a cycle first.")
    chosen = _cycle(cycle) or progress[-1].cycle
    rows = sheet_rows(lake, name, chosen)
    path = out_path or paths.root / "reviews" / name / f"{chosen}.{written_as}"
    if path.exists() and not overwrite:
        raise FlywheelError(
            f"{path}: is already there, perhaps with reviews in it. Import it first (flywheel review import {path} "
            f"--flywheel {name}), name another file with --out, or replace it with --overwrite."
        )
    elsewhere = sum(about.open for about in progress if about.cycle != chosen)
    if rows:
        write_sheet(path, rows, written_as=written_as)
    if as_json:
        print_json(
            {"path": str(path) if rows else None, "cycle": chosen, "rows": len(rows), "open_elsewhere": elsewhere}
        )
        return
    if rows:
        out.print(f"{path}: {len(rows)} outputs of cycle {chosen} to review.", soft_wrap=True)
        out.print(f"When done: flywheel review import {path} --flywheel {name}", soft_wrap=True)
    else:
        out.print(f"Every output of cycle {chosen} is reviewed; no sheet was written.")
    if elsewhere:
        out.print(
            f"{elsewhere} outputs of other cycles wait too: flywheel review status --flywheel {name}", soft_wrap=True
        )


@review.command("import")
def import_sheet(
    file: Annotated[Path, typer.Argument(help="The sheet that came back: XLSX, or CSV in UTF-8.")],
    flywheel: FlywheelName,
    feed: Annotated[
        str | None, typer.Option(help="Feed of kind reviews that says how the file is read; not needed for our sheets.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take in a review sheet, or another file of reviews; rows that cannot be used are named with what to do."""
    from flywheel_pipelines.feedback.feeds.reviews import ReviewBatch
    from flywheel_pipelines.feedback.landing import land_file
    from flywheel_pipelines.loop.inbox import name_in

    spec, paths = any_spec_named(flywheel), DataPaths.from_environment()
    name = _feed_for(spec, file, feed)
    lake = _lake(paths)
    source = name_in(paths.inbox, file)
    batch, is_new = land_file(lake, spec, name, file, recorded_at=datetime.now(UTC), source=source)
    assert isinstance(batch, ReviewBatch)
    if as_json:
        print_json(_as_dict(batch, name, is_new))
        return
    _show_import(batch, spec, lake, is_new)


@review.command("status")
def status(flywheel: FlywheelName, as_json: Json = False) -> None:
    """How many outputs of each cycle are reviewed, and what waits for a person to decide."""
    from flywheel_pipelines.feedback.reviews.desk import review_progress, waiting_problems
    from flywheel_pipelines.terminal import rows_table

    lake, name = _lake(DataPaths.from_environment()), spec_named(flywheel).name
    progress, waiting = review_progress(lake, name), waiting_problems(lake, name)
    columns = ("cycle", "published", "accepted", "edited", "rejected", "open")
    if as_json:
        cycles = [{column: getattr(about, column) for column in columns} for about in progress]
        print_json({"flywheel": name, "cycles": cycles, "in_quarantine": waiting})
        return
    if not progress:
        out.print(f"{name}: nothing was published yet.")
        return
    out.print(rows_table(list(columns), [tuple(getattr(about, column) for column in columns) for about in progress]))
    if any(waiting.values()):
        said = " and ".join(f"{count} {problem}" for problem, count in waiting.items() if count)
        out.print(
            f"In quarantine: {said} row(s). Look at them: flywheel quarantine list --flywheel {name}", soft_wrap=True
        )


def _lake(paths: DataPaths) -> Lake:
    from flywheel_pipelines.lake.store import Lake

    return Lake(paths.lake)


def _cycle(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise FlywheelError(f"--cycle: found {text!r}; expected the first day of a cycle, e.g. 2026-01-05.") from None


def _feed_for(spec: AnySpec, file: Path, named: str | None) -> str:
    """The feed that was named; else the built-in one for our own sheets; else the flywheel's only one for reviews."""
    from flywheel_pipelines.feedback.feeds.built_in import REVIEW_SHEET, feed_named
    from flywheel_pipelines.feedback.reviews.sheet import is_own_sheet

    declared = [name for name, feed in spec.feeds.items() if feed.kind == "reviews"]
    if named is not None:
        feed = feed_named(spec, named)
        if feed is None or feed.kind != "reviews":
            known = ", ".join([*declared, REVIEW_SHEET])
            raise FlywheelError(f"--feed: found {named!r}; feeds of kind reviews of {spec.name} are {known}.")
        return named
    if not declared or is_own_sheet(file):
        return REVIEW_SHEET
    if len(declared) > 1:
        raise FlywheelError(
            f"{file}: is no review sheet of ours, and {spec.name} has several feeds of kind reviews. Name one with "
            f"--feed: {', '.join(declared)}."
        )
    return declared[0]


def _as_dict(batch: ReviewBatch, feed: str, is_new: bool) -> dict[str, object]:
    return {
        "batch_id": batch.batch_id,
        "feed": feed,
        "is_new": is_new,
        "cycles": batch.cycles,
        **batch.decisions,
        "left_blank": batch.n_blank,
        "reviewers_replaced": batch.n_pseudonyms,
        "quarantined": batch.n_quarantined,
        "problems": [
            {"row": problem.source_row, "column": problem.field, "found": problem.found, "reason": problem.reason}
            for problem in batch.problems
        ],
    }


def _show_import(batch: ReviewBatch, spec: AnySpec, lake: Lake, is_new: bool) -> None:
    if not is_new:
        out.print("This file is in the lake already, so nothing was added. What it holds:", style="yellow")
    counts = ", ".join(f"{count} {decision}" for decision, count in batch.decisions.items())
    out.print(f"{counts}; {batch.n_blank} not reviewed; {batch.n_quarantined} row(s) put aside.")
    if batch.n_pseudonyms:
        out.print(f"{batch.n_pseudonyms} row(s) named their reviewer by something else than a code; replaced.")
    for problem in batch.problems:
        # The first row of the file is the header, so the number is the one that the spreadsheet shows.
        place = f"row {problem.source_row + 1}, {problem.field}"
        found = f" ({problem.found})" if problem.found else ""
        out.print(Text.assemble((f"{place}{found}: ", "yellow"), problem.reason), soft_wrap=True)
    if batch.n_quarantined:
        out.print(f"Rows put aside: flywheel quarantine list --flywheel {spec.name}", soft_wrap=True)
    if batch.cycles and is_new:
        out.print(
            f"Reviews count once their cycles are closed (again): {_how_to_close(spec, lake, batch)}", soft_wrap=True
        )


def _how_to_close(spec: AnySpec, lake: Lake, batch: ReviewBatch) -> str:
    """What to run: what a cycle teaches is carried into all that follow, so these are closed again with it."""
    from flywheel_pipelines.lake.tables import MOMENTUM

    closed = lake.cycles(MOMENTUM, spec.name)
    touched = [cycle for cycle in batch.cycles if cycle in set(closed)]
    if not touched:
        return f"job {spec.name}__close"
    return f"flywheel restate --flywheel {spec.name} --cycles {touched[0]}:{closed[-1]}"
