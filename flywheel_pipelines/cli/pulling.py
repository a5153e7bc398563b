"""The command that reads a source: pull."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel_pipelines.cli.shared import FlywheelName, app, err, out, spec_named
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.loop.pulling import Pulled
    from flywheel_pipelines.spec import FlywheelSpec

DEFAULT_TIMEOUT = 600.0


@app.command()
def pull(
    flywheel: FlywheelName,
    feed: Annotated[str, typer.Option("--feed", help="Name of a feed that comes from a database or from dlt.")],
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day, e.g. 2026-01-05; default: what is measured.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day; default: today.")] = None,
    land: Annotated[bool, typer.Option("--land", help="Land it at once instead of leaving it to the sensor.")] = False,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that the query may take.")] = DEFAULT_TIMEOUT,
) -> None:
    """Read the source of a feed into one file of the inbox."""
    from flywheel_pipelines.loop.pulling import pull_feed

    now, paths, spec = datetime.now(UTC), DataPaths.from_environment(), spec_named(flywheel)
    pulled = pull_feed(
        spec,
        feed,
        paths,
        today=now.date(),
        environment=os.environ,
        first_day=_day("--from", first),
        last_day=_day("--to", last),
        timeout=timeout,
    )
    out.print(pulled.words, soft_wrap=True)
    if land:
        _land(spec, pulled, paths, now)


def _land(spec: FlywheelSpec, pulled: Pulled, paths: DataPaths, now: datetime) -> None:
    from flywheel_pipelines.feedback.landing import land_file
    from flywheel_pipelines.feedback.releasing import matched_by
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.inbox import name_in

    if pulled.path is None:
        return
    lake, source = Lake(paths.lake), name_in(paths.inbox, pulled.path)
    batch, is_new = land_file(
        lake, spec, pulled.feed, pulled.path, recorded_at=now, source=source, period=pulled.period
    )
    if is_new:
        touched = f" about the cycles {batch.cycles[0]} to {batch.cycles[-1]}" if batch.cycles else ""
        out.print(f"{batch.n_rows:,} rows landed{touched}; {batch.n_quarantined:,} are in quarantine.")
        for problem in batch.problems[:5]:
            err.print(f"  row {problem.source_row}, {problem.field}: {problem.reason}", markup=False)
    # Also for a file that is known: an attempt before this one may have ended in between.
    if matched := matched_by(lake, spec, pulled.feed, now):
        out.print(f"{matched:,} row(s) of the quarantine found their output.")
    elif not is_new:
        out.print("It was landed before; nothing changed.")


def _day(option: str, value: str | None) -> date | None:
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise FlywheelError(f"{option}: found {value!r}, expected a day such as 2026-01-05.") from None
