"""The `flywheel` command.

Here: arguments, progress and exit codes. Not here: the work (the layers, `simulation`) and how results look
(`terminal`). Modules that are slow to import are imported by the command that needs them.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT, DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.simulation.replay import Feedback, OnCycle
    from flywheel_pipelines.simulation.report import ReplayReport
    from flywheel_pipelines.spec import FlywheelSpec

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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]
FlywheelName = Annotated[str, typer.Option("--flywheel", help="Name of the flywheel.")]


def main() -> NoReturn:
    """Run the command; errors that the user can put right end with their text and exit code 2."""
    try:
        app()
    except FlywheelError as error:
        _print_error(str(error))
        sys.exit(USAGE_ERROR)
    except OSError as error:
        _print_error(f"the operating system refused: {error}")
        sys.exit(USAGE_ERROR)
    sys.exit(0)


def _print_error(text: str) -> None:
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


@app.command()
def demo(
    archive: Annotated[Path | None, typer.Option(help="A real archive to run on instead of a synthetic one.")] = None,
    weeks: Annotated[int, typer.Option(min=8, max=260, help="Weeks of the synthetic archive.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic archive.")] = 1,
) -> None:
    """Run a whole flywheel on a small [bold]synthetic[/bold] archive: momentum, audit, and what to do next."""
    from flywheel_pipelines.simulation.synthetic_archive import make_synthetic_archive

    paths = DataPaths.from_environment()
    is_synthetic = archive is None
    if archive is None:
        archive = paths.inbox / "synthetic_archive.csv.gz"
        archive.parent.mkdir(parents=True, exist_ok=True)
        make_synthetic_archive(archive, weeks=weeks, seed=seed)
        out.print(f"Synthetic archive of {weeks} weeks written to {archive}: nobody wrote or clicked these headlines.")
    _replay(archive, None, "full", ARCHIVE_FLYWHEEL, is_synthetic=is_synthetic, as_json=False)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Archive of A/B tests: CSV, TSV (plain or gzipped) or Parquet.")],
    mapping: Annotated[Path | None, typer.Option(help="YAML that says what its columns mean.")] = None,
    feedback: Annotated[
        str, typer.Option(help="full: all candidates are measured. partial: the chosen one and one control.")
    ] = "full",
    flywheel: FlywheelName = ARCHIVE_FLYWHEEL,
    as_json: Json = False,
) -> None:
    """Replay an archive week by week: choose before the clicks are read, learn after."""
    if feedback not in {"full", "partial"}:
        raise FlywheelError(f"--feedback: found {feedback!r}; allowed are full and partial.")
    _replay(file, mapping, feedback, flywheel, is_synthetic=False, as_json=as_json)  # type: ignore[arg-type]


def _replay(
    file: Path, mapping: Path | None, feedback: Feedback, flywheel: str, *, is_synthetic: bool, as_json: bool
) -> None:
    from flywheel_pipelines.simulation.report import replay_and_report

    paths = DataPaths.from_environment()
    with _progress("cycles") as on_cycle:
        report = replay_and_report(
            file,
            mapping_file=mapping,
            feedback=feedback,
            spec=_spec(flywheel),
            paths=paths,
            is_synthetic=is_synthetic,
            on_cycle=on_cycle,
        )
    if as_json:
        _print_json(report.as_dict())
        return
    _show_replay(report, paths)


def _show_replay(report: ReplayReport, paths: DataPaths) -> None:
    from flywheel_pipelines.terminal import audit_table, momentum_table, next_steps

    out.print()
    out.print(report.intake)
    out.print(momentum_table(report.summary, report.title))
    out.print(report.summary.words, style="bold")
    if report.feedback == "partial":
        out.print("Judged on all candidates of the archive, also those that the flywheel never saw.", style="dim")
    out.print()
    out.print(audit_table(report.audit, report.audit_words))
    out.print(f"\nMomentum plot: {report.plot}\nDuckDB file:   {paths.published_file}\n")
    out.print(
        next_steps(
            [
                ("make dev", "the same cycles as partitions in the Dagster UI, http://127.0.0.1:3000"),
                (
                    '.venv/bin/flywheel sql -c "select cycle, lift, cumulative_lift from momentum"',
                    "ask the published DuckDB file",
                ),
                (
                    f".venv/bin/flywheel trace {report.example_output}",
                    "what produced the best reference, and what used it",
                ),
                (".venv/bin/flywheel status", "where every flywheel stands"),
                ("make demo ARCHIVE=path", "the same on an archive of your own"),
            ]
        )
    )


@app.command()
def status(as_json: Json = False) -> None:
    """Where every flywheel stands: cycles closed, lift so far, audit, quarantine, stale cycles."""
    from flywheel_pipelines.overview import flywheel_status
    from flywheel_pipelines.terminal import status_table

    rows = flywheel_status(DataPaths.from_environment(), DEFS_DIR)
    if as_json:
        _print_json(rows)
        return
    out.print(status_table(rows))


@app.command()
def audit(flywheel: FlywheelName = ARCHIVE_FLYWHEEL, as_json: Json = False) -> None:
    """The seven-item audit as of the last closed cycle; fewer than four yes is a treadmill."""
    from flywheel_pipelines.overview import latest_audit
    from flywheel_pipelines.terminal import audit_table

    cycle, rows, verdict, words = latest_audit(DataPaths.from_environment(), _spec(flywheel))
    if as_json:
        _print_json({"flywheel": flywheel, "cycle": cycle, "verdict": verdict, "items": rows})
        return
    out.print(f"{flywheel}, as of the close of cycle {cycle}")
    out.print(audit_table(rows, words))


@app.command()
def trace(output_id: Annotated[str, typer.Argument(help="Id of an output.")], as_json: Json = False) -> None:
    """What produced an output, how it did, and what it became a reference for."""
    from dataclasses import asdict

    from flywheel_pipelines.published import trace as find_trace
    from flywheel_pipelines.terminal import trace_tree

    found = find_trace(DataPaths.from_environment(), output_id)
    if as_json:
        _print_json(asdict(found))
        return
    out.print(trace_tree(found))


@app.command()
def sql(
    command: Annotated[str | None, typer.Option("-c", "--command", help="Run one query and leave.")] = None,
    as_json: Json = False,
) -> None:
    """Query the published DuckDB file, read-only; without -c, an interactive prompt."""
    from flywheel_pipelines.published import query
    from flywheel_pipelines.terminal import rows_table

    paths = DataPaths.from_environment()
    if command is None:
        _interactive(paths)
        return
    names, rows = query(paths, command)
    if as_json:
        _print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    out.print(rows_table(names, rows))


def _interactive(paths: DataPaths) -> None:
    from flywheel_pipelines.published import open_published, query
    from flywheel_pipelines.terminal import rows_table

    open_published(paths).close()
    out.print(f"{paths.published_file}, read-only. End a query with ; and the prompt with Ctrl-D.", style="dim")
    lines: list[str] = []
    while True:
        try:
            lines.append(input("sql> " if not lines else "...> "))
        except (EOFError, KeyboardInterrupt):
            out.print()
            return
        if not lines[-1].rstrip().endswith(";"):
            continue
        try:
            out.print(rows_table(*query(paths, "\n".join(lines))))
        except FlywheelError as error:
            err.print(str(error), style="red", markup=False)
        lines = []


@app.command()
def spec() -> None:
    """Every key of a flywheel's YAML, with its default and what it means."""
    from flywheel_pipelines.spec import FlywheelSpec, explain_keys
    from flywheel_pipelines.terminal import rows_table

    out.print(rows_table(["key", "default", "meaning"], explain_keys(FlywheelSpec)))


@app.command()
def init(name: Annotated[str, typer.Argument(help="Name of the new flywheel, e.g. product_descriptions.")]) -> None:
    """Write a commented defs.yaml for a new flywheel."""
    from flywheel_pipelines.starter import write_starter

    path = write_starter(name, DEFS_DIR / name / "defs.yaml")
    out.print(f"Wrote {path}. Edit it, check it with `.venv/bin/dg check yaml`, and look at it with `make dev`.")


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> NoReturn:
    """Start the Dagster UI and daemon on this data directory."""
    from flywheel_pipelines.instance import prepare_home

    prepare_home(DataPaths.from_environment())
    dagster = str(Path(sys.executable).with_name("dagster"))
    workspace = str(PROJECT_ROOT / "workspace.yaml")
    os.execv(dagster, [dagster, "dev", "-w", workspace, "-h", host, "-p", str(port)])


@contextmanager
def _progress(what: str) -> Iterator[OnCycle]:
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

        def on_cycle(cycle: date, done: int, total: int) -> None:
            label = "publishing" if done == total else f"cycle {cycle}"
            progress.update(task, description=label, completed=done, total=total)
            if not err.is_terminal and (done % max(total // 10, 1) == 0 or done == total):
                err.print(f"{label} ({done} of {total})")

        yield on_cycle


def _spec(flywheel: str) -> FlywheelSpec:
    from flywheel_pipelines.overview import find_specs

    known = {spec.name: spec for spec in find_specs(DEFS_DIR)}
    if flywheel not in known:
        raise FlywheelError(f"--flywheel: found {flywheel!r}; there are {', '.join(known)} below {DEFS_DIR}.")
    return known[flywheel]


def _print_json(value: object) -> None:
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


if __name__ == "__main__":
    main()
