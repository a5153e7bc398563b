"""Commands that set something up: recipes, init, ingest, dev, offline-llm."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flywheel_pipelines.cli.shared import FirstDay, Json, LastDay, any_spec_named, app, days_of, err, out, print_json
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT, DataPaths


@app.command()
def init(
    name: Annotated[
        str | None, typer.Argument(help="Name of the new flywheel, e.g. product_descriptions; default: the recipe's.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Copy a recipe; `flywheel recipes` lists them.")] = None,
) -> None:
    """Write a commented defs.yaml for a new flywheel, or copy a recipe as a start."""
    from flywheel_pipelines.recipe_book import copy_recipe, recipe_named
    from flywheel_pipelines.starter import write_starter

    if recipe is not None:
        path = copy_recipe(recipe_named(recipe), name or recipe, DEFS_DIR / (name or recipe))
    elif name is not None:
        path = write_starter(name, DEFS_DIR / name / "defs.yaml")
    else:
        raise FlywheelError("init: found neither a name nor a recipe. Write `flywheel init NAME`, or --recipe NAME.")
    out.print(f"Wrote {path}. Edit it, check it with `.venv/bin/dg check yaml`, and look at it with `make dev`.")


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes: flywheels to copy as a start, and what each needs."""
    from flywheel_pipelines.recipe_book import find_recipes

    found = find_recipes()
    if as_json:
        print_json([{"name": one.name, "description": one.spec.description, "needs": dict(one.needs)} for one in found])
        return
    for one in found:
        out.print(one.name, style="bold")
        out.print(f"  {one.spec.description}", markup=False, soft_wrap=True)
        for what, where in one.needs:
            out.print(f"  needs {what}: {where}", markup=False, soft_wrap=True)
    out.print("\nTry one: flywheel demo --recipe NAME. Copy one as a start: flywheel init --recipe NAME.")


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


@app.command()
def ingest(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet; plain, gzipped or zipped.")],
    flywheel: Annotated[str, typer.Option("--flywheel", help="Name of the flywheel.")],
    feed: Annotated[str, typer.Option("--feed", help="Name of one of its feeds.")],
    first: FirstDay = None,
    last: LastDay = None,
) -> None:
    """Land a file of a feed in the ledgers; rows that cannot be used go to quarantine."""
    from flywheel_pipelines.feedback.landing import land_file
    from flywheel_pipelines.feedback.releasing import matched_by
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.inbox import name_in

    paths, spec, now = DataPaths.from_environment(), any_spec_named(flywheel), datetime.now(UTC)
    lake, source = Lake(paths.lake), name_in(paths.inbox, file)
    batch, is_new = land_file(lake, spec, feed, file, recorded_at=now, source=source, period=days_of(first, last))
    if is_new:
        touched = f" about the cycles {batch.cycles[0]} to {batch.cycles[-1]}" if batch.cycles else ""
        out.print(f"{batch.n_rows:,} rows of {file} landed{touched}; {batch.n_quarantined:,} are in quarantine.")
        for problem in batch.problems[:5]:
            err.print(f"  row {problem.source_row}, {problem.field}: {problem.reason}", markup=False)
    # Also for a file that is known: an attempt before this one may have ended in between.
    if matched := matched_by(lake, spec, feed, now):
        out.print(f"{matched:,} row(s) of the quarantine found their output.")
    elif not is_new:
        out.print(f"{file} was ingested before; nothing changed.")


@app.command(name="offline-llm")
def offline_llm(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8099,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the offline writer: an OpenAI-compatible endpoint that [bold]simulates[/bold] a language model."""
    from flywheel_pipelines.llm.offline.server import serve

    serve(host, port, say=lambda words: out.print(words, markup=False, soft_wrap=True))
