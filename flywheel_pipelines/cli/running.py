"""Commands that run cycles: demo, replay."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel_pipelines.cli.shared import (
    ARCHIVE_FLYWHEEL,
    FlywheelName,
    Json,
    any_spec_named,
    app,
    out,
    print_json,
    progress,
    spec_named,
)
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.report.insight_page import InsightReport
    from flywheel_pipelines.report.page import FlywheelReport
    from flywheel_pipelines.simulation.demo import DemoPlan
    from flywheel_pipelines.simulation.replay import Feedback
    from flywheel_pipelines.simulation.report import ReplayReport
    from flywheel_pipelines.spec import Embeddings

DEMO_FLYWHEELS = ["content", "outreach", "support_insights"]


@app.command()
def demo(
    flywheel: Annotated[
        list[str] | None, typer.Option(help="Flywheels to run; default: content, outreach, support_insights.")
    ] = None,
    cycles: Annotated[int, typer.Option(min=1, max=26, help="Cycles of each flywheel; at most 12 of insights.")] = 26,
    seed: Annotated[int, typer.Option(help="Seed of the simulated audience.")] = 1,
    world: Annotated[str, typer.Option(help="lively: readers have preferences. flat: they have none.")] = "lively",
    floor: Annotated[str, typer.Option(help="on: the YAML's floor. off: everything measured is fed back.")] = "on",
    recipe: Annotated[str | None, typer.Option(help="Run a recipe instead; `flywheel recipes` lists them.")] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Replay a real archive of A/B tests instead of simulating.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run whole flywheels offline before a [bold]simulated[/bold] audience: momentum, audit, costs, what to do next."""
    if archive is not None:
        _replay(archive, None, "full", ARCHIVE_FLYWHEEL, as_json=as_json)
        return
    for option, value, allowed in (("--world", world, ("lively", "flat")), ("--floor", floor, ("on", "off"))):
        if value not in allowed:
            raise FlywheelError(f"{option}: found {value!r}; allowed are {' and '.join(allowed)}.")
    from flywheel_pipelines.recipe_book import recipe_named
    from flywheel_pipelines.report.insight_page import write_insight_report
    from flywheel_pipelines.simulation.demo import DemoPlan, run_demo
    from flywheel_pipelines.simulation.insight_season import MOST_CYCLES, InsightSeason
    from flywheel_pipelines.spec import FlywheelSpec, InsightSpec

    paths = DataPaths.from_environment()
    if recipe is not None and flywheel:
        raise FlywheelError("--recipe and --flywheel: write one of them; a recipe is run by itself.")
    found = recipe_named(recipe) if recipe is not None else None
    if found is not None and (DEFS_DIR / found.name).exists():
        raise FlywheelError(f"--recipe: a copy of {recipe} is below defs/ already; run that: --flywheel {found.name}.")
    named = [] if found else [any_spec_named(name) for name in flywheel or DEMO_FLYWHEELS]
    specs = (found.spec,) if found else tuple(spec for spec in named if isinstance(spec, FlywheelSpec))
    insights = [spec for spec in named if isinstance(spec, InsightSpec)]
    plan = DemoPlan(
        specs,
        n_cycles=cycles,
        seed=seed,
        world="flat" if world == "flat" else "lively",
        floor=None if floor == "on" else floor,
        recipe=found,
        insights=tuple(InsightSeason(spec, min(cycles, MOST_CYCLES), seed) for spec in insights),
    )
    began = time.monotonic()
    with progress("cycles") as on_cycle:
        reports = run_demo(plan, paths, lambda done, total: on_cycle(None, done, total))
    learned = [write_insight_report(paths, spec) for spec in insights]
    if as_json:
        print_json([report.as_dict() for report in (*reports, *learned)])
        return
    _show_demo(plan, reports, learned, paths, time.monotonic() - began)


def _show_demo(
    plan: DemoPlan, reports: list[FlywheelReport], learned: list[InsightReport], paths: DataPaths, seconds: float
) -> None:
    from flywheel_pipelines.terminal import audit_table, cost_table, insight_table, momentum_table, next_steps

    for report in reports:
        out.print()
        out.print(momentum_table(report.summary, report.title))
        out.print(report.summary.words, style="bold")
        out.print()
        if report.cost_lines:
            out.print(cost_table(report.cost_lines, f"Effort and cost of {report.flywheel}", report.cost_note))
            out.print()
        out.print(audit_table(report.audit, report.audit_words))
    for one in learned:
        out.print()
        out.print(insight_table(one))
    out.print("\nTexts and reactions are simulated: nobody wrote, sent, read or clicked any of this.", style="yellow")
    for report in reports:
        out.print(f"Page of {report.flywheel}: {report.page}", soft_wrap=True)
        out.print(f"Plot of {report.flywheel}: {report.plot}", soft_wrap=True)
    for one in learned:
        out.print(f"Page of {one.flywheel}, cycle {one.last}: {one.page}", soft_wrap=True)
    out.print(f"DuckDB file: {paths.published_file}", soft_wrap=True)
    n_cycles = max([plan.n_cycles for _ in reports] + [season.n_cycles for season in plan.insights])
    out.print(f"{n_cycles} cycles took {seconds:.0f} s.\n")
    # Commands are longer than a terminal is wide, and one that is broken in two cannot be copied.
    best = reports[0].best_reference if reports else None
    out.print(next_steps(after_demo(plan, best)), soft_wrap=True)


def after_demo(plan: DemoPlan, best_reference: str | None) -> list[tuple[str, str]]:
    """What to try after a demo: with what was played, and with a recipe nothing that asks for it below `defs/`."""
    names = [spec.name for spec in plan.specs]
    played = [*names, *(season.spec.name for season in plan.insights)]
    among = ", ".join(f"'{name}'" for name in names)
    sql = f"select flywheel, cycle, lift, cumulative_lift from momentum where flywheel in ({among})"
    again = "demo"
    if plan.recipe:
        again += f" --recipe {plan.recipe.folder.name}"
    elif played != DEMO_FLYWHEELS:
        again += "".join(f" --flywheel {name}" for name in played)
    in_the_ui = "the same cycles as partitions in the Dagster UI, http://127.0.0.1:3000"
    shown = [("make dev", in_the_ui)]
    if plan.recipe:
        copied = f".venv/bin/flywheel init --recipe {plan.recipe.folder.name}"
        shown = [(copied, "a flywheel of your own from it, below defs/"), ("make dev", f"after that, {in_the_ui}")]
    trace = (f".venv/bin/flywheel trace {best_reference}", "what produced the best reference, and what used it")
    verdicts = '.venv/bin/flywheel sql -c "from fix_effects select what, verdict, reason where is_latest"'
    asks = any(spec.producer.kind == "llm" for spec in plan.specs)
    otherwise = [
        (f".venv/bin/flywheel {again} --floor off", "the same with everything fed back, good or bad"),
        (f".venv/bin/flywheel {again} --world flat", "the same before readers without preferences"),
    ]
    real = ("OPENAI_API_KEY=... make dev", "the same flywheels written by a real model: open a cycle in the UI")
    return [
        *shown,
        *([(f'.venv/bin/flywheel sql -c "{sql}"', "ask the published DuckDB file")] if names else []),
        *([(verdicts, "whether the fixes worked")] if plan.insights else []),
        *([trace] if best_reference else []),
        *(otherwise if names else []),
        *([real] if asks else []),
    ]


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Archive of A/B tests: CSV, TSV (plain or gzipped) or Parquet.")],
    mapping: Annotated[Path | None, typer.Option(help="YAML that says what its columns mean.")] = None,
    feedback: Annotated[
        str, typer.Option(help="full: all candidates are measured. partial: the chosen one and one control.")
    ] = "full",
    embeddings: Annotated[
        str | None,
        typer.Option(help="none, local (extra `embeddings`) or endpoint, instead of what the YAML says."),
    ] = None,
    embedding_model: Annotated[
        str | None, typer.Option(help="With --embeddings endpoint: the model's name, as its endpoint knows it.")
    ] = None,
    flywheel: FlywheelName = ARCHIVE_FLYWHEEL,
    as_json: Json = False,
) -> None:
    """Replay an archive week by week: choose before the clicks are read, learn after."""
    if feedback not in {"full", "partial"}:
        raise FlywheelError(f"--feedback: found {feedback!r}; allowed are full and partial.")
    if embeddings not in {None, "none", "local", "endpoint"}:
        raise FlywheelError(f"--embeddings: found {embeddings!r}; allowed are none, local and endpoint.")
    if (embeddings == "endpoint") != (embedding_model is not None):
        raise FlywheelError("--embeddings endpoint and --embedding-model go together; write both or neither.")
    chosen = (embeddings, embedding_model)
    _replay(file, mapping, feedback, flywheel, chosen, as_json=as_json)  # type: ignore[arg-type]


def _replay(
    file: Path,
    mapping: Path | None,
    feedback: Feedback,
    flywheel: str,
    embeddings: tuple[Embeddings | None, str | None] = (None, None),
    *,
    as_json: bool,
) -> None:
    from flywheel_pipelines.simulation.report import replay_and_report

    paths = DataPaths.from_environment()
    with progress("cycles") as on_cycle:
        report = replay_and_report(
            file,
            mapping_file=mapping,
            feedback=feedback,
            spec=spec_named(flywheel),
            paths=paths,
            is_synthetic=False,
            on_cycle=on_cycle,
            embeddings=embeddings[0],
            embedding_model=embeddings[1],
        )
    if as_json:
        print_json(report.as_dict())
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
