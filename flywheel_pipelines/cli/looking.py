"""Commands that only look: status, audit, trace, sql, report, spec."""

from __future__ import annotations

from typing import Annotated

import typer

from flywheel_pipelines.cli.shared import (
    ARCHIVE_FLYWHEEL,
    FlywheelName,
    Json,
    any_spec_named,
    app,
    err,
    out,
    print_json,
    spec_named,
)
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, DataPaths


@app.command()
def status(as_json: Json = False) -> None:
    """Where every flywheel stands: cycles closed, lift so far, audit, quarantine, stale cycles."""
    from flywheel_pipelines.overview import flywheel_status
    from flywheel_pipelines.terminal import status_table

    rows = flywheel_status(DataPaths.from_environment(), DEFS_DIR)
    if as_json:
        print_json(rows)
        return
    out.print(status_table(rows))


@app.command()
def audit(flywheel: FlywheelName = ARCHIVE_FLYWHEEL, as_json: Json = False) -> None:
    """The seven-item audit as of the last closed cycle; fewer than four yes is a treadmill."""
    from flywheel_pipelines.overview import latest_audit
    from flywheel_pipelines.terminal import audit_table

    cycle, rows, verdict, words = latest_audit(DataPaths.from_environment(), spec_named(flywheel))
    if as_json:
        print_json({"flywheel": flywheel, "cycle": cycle, "verdict": verdict, "items": rows})
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
        print_json(asdict(found))
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
        print_json([dict(zip(names, row, strict=True)) for row in rows])
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
def report(flywheel: FlywheelName = "content", as_json: Json = False) -> None:
    """Write the page and the momentum plot of a flywheel to data/reports/; of an insight flywheel, its newest page."""
    from flywheel_pipelines.report.insight_page import write_insight_report
    from flywheel_pipelines.report.page import write_report
    from flywheel_pipelines.spec import InsightSpec
    from flywheel_pipelines.terminal import insight_table, momentum_table, parts_table

    paths, spec = DataPaths.from_environment(), any_spec_named(flywheel)
    if isinstance(spec, InsightSpec):
        learned = write_insight_report(paths, spec)
        if as_json:
            print_json(learned.as_dict())
            return
        out.print(insight_table(learned))
        out.print(f"Page: {learned.page}", soft_wrap=True)
        return
    written = write_report(paths, spec)
    if as_json:
        print_json(written.as_dict())
        return
    out.print(momentum_table(written.summary, written.title))
    out.print(parts_table(written.part_lines))
    out.print(f"Page: {written.page}\nPlot: {written.plot}")
