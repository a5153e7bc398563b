"""What the commands share: the app, its options, printing, progress, and finding a flywheel by name."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR

if TYPE_CHECKING:
    from flywheel_pipelines.spec import AnySpec, FlywheelSpec

app = typer.Typer(
    help="Turn one-off AI output into a compounding loop, and see with a control arm whether it compounds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ARCHIVE_FLYWHEEL = "archive_headlines"
USAGE_ERROR = 2
OnCycle = Callable[[date | None, int, int], None]
"""Told the cycle that is being run (None: several at once), how many are done, and how many there are."""
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]
FirstDay = Annotated[
    str | None, typer.Option("--from", help="First day that a file without a column of dates is about.")
]
LastDay = Annotated[str | None, typer.Option("--to", help="Last day that it is about.")]
FlywheelName = Annotated[str, typer.Option("--flywheel", help="Name of the flywheel.")]


def print_error(text: str) -> None:
    """An error in the words of its own, on standard error."""
    # Soft wrap leaves paths, and YAML to paste, in one piece where nobody watches a terminal.
    err.print(Text.assemble(("error: ", "red"), text), soft_wrap=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"flywheel-pipelines {version('flywheel-pipelines')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command. The data directory is `data/`, or where FLYWHEEL_DATA_DIR points."""


@contextmanager
def progress(what: str) -> Iterator[OnCycle]:
    """A progress bar with the time left, on standard error; a line every tenth step where nobody watches a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(f"preparing {what}", total=None)
        shown = -1

        def on_cycle(cycle: date | None, done: int, total: int) -> None:
            nonlocal shown
            label = "publishing" if done == total else f"cycle {cycle}" if cycle else f"{what} closed"
            progress.update(task, description=label, completed=done, total=total)
            tenth = done * 10 // total
            if not err.is_terminal and tenth > shown:
                err.print(f"{label} ({done} of {total})")
                shown = tenth

        yield on_cycle


def spec_named(flywheel: str) -> FlywheelSpec:
    """The spec of a flywheel below `defs/`. Raises FlywheelError when there is none of that name that has outputs."""
    from flywheel_pipelines.spec import InsightSpec

    found = any_spec_named(flywheel)
    if isinstance(found, InsightSpec):
        raise FlywheelError(
            f"--flywheel: {flywheel} is an insight flywheel: it sorts tickets, and has no outputs, which this command "
            "is about. status, ingest, report, review import and quarantine know it; its sheets are in data/reviews/."
        )
    return found


def any_spec_named(flywheel: str) -> AnySpec:
    """The spec of a flywheel of any kind below `defs/`. Raises FlywheelError when there is none of that name."""
    from flywheel_pipelines.overview import find_insights, find_specs

    known: dict[str, AnySpec] = {spec.name: spec for spec in (*find_specs(DEFS_DIR), *find_insights(DEFS_DIR))}
    if flywheel not in known:
        raise FlywheelError(f"--flywheel: found {flywheel!r}; there are {', '.join(known)} below {DEFS_DIR}.")
    return known[flywheel]


def days_of(first: str | None, last: str | None) -> tuple[date, date] | None:
    """The days of --from and --to; one of them alone is that day. Raises FlywheelError for what is no range of days."""
    if first is None and last is None:
        return None
    try:
        days = date.fromisoformat(first or last or ""), date.fromisoformat(last or first or "")
    except ValueError:
        raise FlywheelError(f"--from, --to: found {first} and {last}; expected days such as 2026-01-05.") from None
    if days[0] > days[1]:
        raise FlywheelError(f"--from, --to: {days[0]} comes after {days[1]}. Write the first day first.")
    return days


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(_finite(value), default=_as_json, indent=2, allow_nan=False) + "\n")


def _finite(value: object) -> object:
    """The value with null for numbers that JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _as_json(value: object) -> object:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)
