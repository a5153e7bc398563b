"""Commands of those who keep a deployment: backup, restore, health."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel_pipelines.cli.shared import Json, app, out, print_json
from flywheel_pipelines.paths import DEFS_DIR, DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.health import Finding


WithoutBooks = Annotated[
    bool, typer.Option("--without-books", help="Leave out what a PostgreSQL server keeps of Dagster's books.")
]


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="The folder to make; nothing is overwritten.")],
    without_books: WithoutBooks = False,
    as_json: Json = False,
) -> None:
    """Copy the data directory and Dagster's books to a new folder, with a digest of every file."""
    from contextlib import ExitStack

    from flywheel_pipelines.backups import back_up

    paths, now = DataPaths.from_environment(), datetime.now(UTC)
    with ExitStack() as stack:
        elsewhere, dump, refuse = False, None, lambda: None
        # Without a home nothing ever ran, and looking would make one.
        if paths.dagster_home.is_dir():
            from flywheel_pipelines.books import books_of
            from flywheel_pipelines.dagster_state import books_are_elsewhere, refuse_while_runs_work
            from flywheel_pipelines.instance import SETTINGS, in_words, open_instance

            instance = stack.enter_context(open_instance(paths))
            stack.enter_context(in_words(paths.dagster_home / SETTINGS))
            books = None if without_books else books_of(instance)
            elsewhere = books is None and books_are_elsewhere(instance)
            dump = books.dump if books else None
            refuse = lambda: refuse_while_runs_work(instance)  # noqa: E731
        made = back_up(
            paths,
            target,
            now,
            version("flywheel-pipelines"),
            runs_are_elsewhere=elsewhere,
            dump_books=dump,
            refuse_while_busy=refuse,
        )
    if as_json:
        counted = {"files": len(made.files), "bytes": made.size}
        print_json({"target": target, **counted, "runs_are_elsewhere": elsewhere, "has_books": made.has_books})
        return
    out.print(f"{target}: {len(made.files):,} files, {made.size:,} bytes.", soft_wrap=True)
    if made.has_books:
        out.print("Dagster's runs and events are in it, as a dump of their database.")
    if elsewhere:
        out.print(
            "Dagster's runs and events are kept by a database server and are not in it: dump that with pg_dump, now, "
            "before a run starts.",
            style="yellow",
        )


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `flywheel backup` has made.")],
    replace: Annotated[bool, typer.Option("--replace", help="Set aside what is there, instead of refusing.")] = False,
    without_books: WithoutBooks = False,
    as_json: Json = False,
) -> None:
    """Put a backup back, once every file of it was compared with its digest. Stop daemon and webserver first."""
    from flywheel_pipelines.restoring import restore as put_back

    paths, now = DataPaths.from_environment(), datetime.now(UTC)
    _refuse_beside_a_daemon(paths, now)
    done = put_back(paths, source, now, replace=replace, with_books=not without_books)
    books_are_back = done.contents.has_books and not without_books
    if as_json:
        print_json(
            {
                "data": paths.root,
                "created_at": done.contents.created_at,
                "files": len(done.contents.files),
                "set_aside": done.set_aside,
                "runs_are_elsewhere": done.contents.runs_are_elsewhere,
                "books_are_back": books_are_back,
            }
        )
        return
    out.print(
        f"{paths.root}: {len(done.contents.files):,} files as of {done.contents.created_at}, each as its digest says.",
        soft_wrap=True,
    )
    if done.set_aside:
        out.print(f"What was there is now in {done.set_aside}; delete it when you are sure.", soft_wrap=True)
    if books_are_back:
        out.print("Dagster's runs and events are back in their database.")
    if done.contents.runs_are_elsewhere or (done.contents.has_books and without_books):
        out.print("Dagster's runs and events were not restored: restore a dump of their database, too.", style="yellow")


def _refuse_beside_a_daemon(paths: DataPaths, now: datetime) -> None:
    """Raises BackupError while a daemon works on the home that is about to be replaced."""
    if not (paths.dagster_home / "dagster.yaml").is_file():
        return
    from flywheel_pipelines.dagster_state import refuse_beside_a_daemon
    from flywheel_pipelines.instance import open_instance

    with open_instance(paths) as instance:
        refuse_beside_a_daemon(instance, paths.dagster_home, now)


@app.command()
def health(
    as_json: Json = False,
    stuck_after: Annotated[float, typer.Option(min=0, help="Hours after which a run counts as stuck.")] = 6,
    min_free: Annotated[float, typer.Option(min=0, help="GiB that must be free on the disk.")] = 1,
) -> None:
    """Whether daemon, runs, turns, published file and disk are well. Exit code 1 when one is not."""
    from flywheel_pipelines.health import file_findings, yaml_finding
    from flywheel_pipelines.overview import read_specs
    from flywheel_pipelines.terminal import rows_table

    paths, now = DataPaths.from_environment(), datetime.now(UTC)
    findings = _findings_of_books(paths, now, timedelta(hours=stuck_after))
    specs, refused = read_specs(DEFS_DIR)
    findings += [yaml_finding(refused), *file_findings(paths, specs, now, int(min_free * 2**30))]
    is_well = all(finding.is_well for finding in findings)
    if as_json:
        print_json({"is_well": is_well, "checked_at": now, "findings": [asdict(finding) for finding in findings]})
    else:
        out.print(
            rows_table(["", "what", "found"], [["ok" if f.is_well else "RED", f.name, f.words] for f in findings])
        )
    if not is_well:
        raise typer.Exit(1)


def _findings_of_books(paths: DataPaths, now: datetime, stuck_after: timedelta) -> list[Finding]:
    """What Dagster's books tell; one red finding when they cannot be opened, as without their server."""
    from flywheel_pipelines.health import books_finding, daemon_finding, runs_finding

    if not (paths.dagster_home / "dagster.yaml").is_file():
        return [daemon_finding({}, 0)]
    from flywheel_pipelines.dagster_state import HEARTBEAT_SECONDS, daemon_ages, working_runs
    from flywheel_pipelines.instance import SETTINGS, BooksError, in_words, open_instance

    try:
        with open_instance(paths) as instance, in_words(paths.dagster_home / SETTINGS):
            ages, runs = daemon_ages(instance, now), working_runs(instance)
    except BooksError as error:
        return [books_finding(str(error))]
    return [books_finding(None), daemon_finding(ages, HEARTBEAT_SECONDS), runs_finding(runs, now, stuck_after)]
