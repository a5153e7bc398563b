"""Commands that make the file of the analysts and hand it on: publish, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from flywheel_pipelines.cli.shared import Json, app, err, out, print_json
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.exporting import ExportReport
    from flywheel_pipelines.lake.publish import PublishReport


@app.command()
def publish(
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Make and test every cycle anew, not only those that the lake has changed since the last publish.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish what the lake holds now as the DuckDB file; when a test fails, the file stays as it was.

    The job warehouse__publish does the same. Readers need not be stopped: who has the old file open keeps it.
    """
    from flywheel_pipelines.lake.publish import publish as write_audit_publish

    with err.status("publishing ..."):
        report = write_audit_publish(DataPaths.from_environment(), full=full)
    if as_json:
        print_json(
            {
                "path": report.path,
                "bytes": report.n_bytes,
                "seconds": round(report.seconds, 1),
                "cycles_made_anew": report.n_cycles,
                "rows": report.mart_rows,
                "warnings": [warning.explain() for warning in report.warnings],
            }
        )
        return
    _show_publish(report)


def _show_publish(report: PublishReport) -> None:
    cycles = "every cycle" if report.n_cycles is None else f"{report.n_cycles:,} cycle(s)"
    out.print(
        f"{report.path} ({report.n_bytes / 1e6:,.1f} MB): {cycles} made anew in {report.seconds:.0f} s.", soft_wrap=True
    )
    for warning in report.warnings:
        out.print(warning.explain(), style="yellow", soft_wrap=True, markup=False)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="The file to make, or the folder for Parquet and CSV.")],
    form: Annotated[
        str, typer.Option("--format", help="duckdb: one file that needs no lake. parquet, csv: one file per table.")
    ] = "duckdb",
    table: Annotated[list[str] | None, typer.Option(help="Only this table (parquet, csv); may be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Hand on what was published, to where the lake is not: a portable DuckDB file, Parquet, or CSV."""
    from flywheel_pipelines.exporting import Form
    from flywheel_pipelines.exporting import export as write_export

    if form not in get_args(Form):
        raise FlywheelError(f"--format: found {form!r}; allowed are {', '.join(get_args(Form))}.")
    with err.status("exporting ...") as status:

        def on_table(name: str, done: int, total: int) -> None:
            status.update(f"{name} ({done} of {total})")
            if not err.is_terminal:
                err.print(f"{name} ({done} of {total})")

        paths = DataPaths.from_environment()
        report = write_export(paths, target, form, tables=table or (), overwrite=force, on_table=on_table)  # type: ignore[arg-type]
    if as_json:
        print_json(report.as_dict())
        return
    _show(report)


def _show(report: ExportReport) -> None:
    from flywheel_pipelines.terminal import rows_table

    out.print(rows_table(["table", "rows"], [(table.name, table.n_rows) for table in report.tables]))
    out.print(f"{report.path} ({report.n_bytes / 1e6:,.1f} MB)", soft_wrap=True)
    if report.form == "duckdb":
        out.print(f'duckdb {report.path} -c "select * from momentum"', style="dim", soft_wrap=True)
    else:
        out.print(f"Columns: {report.path / 'README.md'}", soft_wrap=True)
