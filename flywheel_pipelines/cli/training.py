"""Commands around training sets: export, validate, submit a fine-tuning job, see how it stands."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel_pipelines.cli.shared import FlywheelName, Json, app, out, print_json, spec_named
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.llm.finetuning import Job
    from flywheel_pipelines.llm.provider import Provider

training = typer.Typer(
    help="Hand proven outputs on to train a model: export, validate, submit, status.", no_args_is_help=True
)
app.add_typer(training, name="training")
Cycle = Annotated[
    str | None, typer.Option(help="First day of a closed cycle, YYYY-MM-DD; default: the latest that was closed.")
]
BROKEN = 1


@training.command("export")
def export(
    flywheel: FlywheelName,
    cycle: Cycle = None,
    out_path: Annotated[Path | None, typer.Option("--out", help="Folder; default: data/training.")] = None,
    as_json: Json = False,
) -> None:
    """Write the training set as of the close of a cycle: JSON lines for SFT and preferences, and a data card."""
    from flywheel_pipelines.learning.training_card import file_name
    from flywheel_pipelines.learning.training_sets import KINDS, SPLITS
    from flywheel_pipelines.loop.flywheel import Flywheel
    from flywheel_pipelines.loop.training import export_training_set
    from flywheel_pipelines.spec import TrainingSetsSpec

    spec, paths = spec_named(flywheel), DataPaths.from_environment()
    lake = _lake(paths)
    chosen = _closed_cycle(lake, spec.name, cycle)
    settings = spec.training_sets or TrainingSetsSpec()
    made = export_training_set(Flywheel(spec), lake, chosen, out_path or paths.training, settings)
    lines = {file_name(kind, split): len(made.training_set.of(kind, split)) for kind in KINDS for split in SPLITS}
    if as_json:
        print_json(
            {"folder": str(made.folder), "cycle": chosen, "lines": lines, "removed": dict(made.training_set.removed)}
        )
        return
    out.print(f"{made.folder}: the training set of {spec.name} as of the close of {chosen}.", soft_wrap=True)
    for name, count in lines.items():
        out.print(f"  {name}: {count} lines")
    for why, count in made.training_set.removed.items():
        out.print(f"  removed {count}: {why}", soft_wrap=True)
    out.print(f"Read {made.folder / 'card.md'} before any of it leaves the house.", soft_wrap=True)


@training.command("validate")
def validate(
    file: Annotated[Path, typer.Argument(help="A file of JSON lines, SFT or preferences.")],
    kind: Annotated[str | None, typer.Option(help="sft or preference; default: by the first line.")] = None,
    as_json: Json = False,
) -> None:
    """Say row by row what keeps a file from being taken by the provider's documented format."""
    from flywheel_pipelines.llm.training_files import check_file, kind_of

    try:
        content = file.read_bytes()
    except OSError as error:
        raise FlywheelError(f"{file}: cannot be read ({error.strerror}). Name a file of JSON lines.") from None
    if kind not in (None, "sft", "preference"):
        raise FlywheelError(f"--kind: found {kind!r}; allowed are sft and preference.")
    of_kind = "sft" if kind == "sft" else "preference" if kind == "preference" else kind_of(content)
    # Ten are asked of what is learned from; a validation file may be shorter.
    fewest: dict[str, Any] = {"min_examples": 1} if ".validation." in file.name else {}
    findings = check_file(content, of_kind, **fewest)
    if as_json:
        listed = [
            {"row": one.row, "field": one.field, "found": one.found, "expected": one.expected} for one in findings
        ]
        print_json({"file": str(file), "kind": of_kind, "is_valid": not findings, "findings": listed})
    else:
        for one in findings:
            out.print(f"{file}: {one}", soft_wrap=True, markup=False)
        n_lines = content.count(b"\n")
        out.print(
            f"{file}: {len(findings)} things to put right."
            if findings
            else f"{file}: {n_lines} lines of {of_kind}, valid.",
            soft_wrap=True,
        )
    if findings:
        raise typer.Exit(BROKEN)


@training.command("submit")
def submit(
    flywheel: FlywheelName,
    method: Annotated[str, typer.Option(help="supervised (learns answers) or dpo (learns preferences).")],
    model: Annotated[str, typer.Option(help="The model to tune, as the provider knows it.")],
    cycle: Cycle = None,
    suffix: Annotated[str | None, typer.Option(help="Part of the tuned model's name, at most 64 characters.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Once more, where the same job has ended.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask: it sends the files to the provider, and costs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Upload the exported files and start a fine-tuning job; the same set, method and model are started once."""
    from flywheel_pipelines.learning.training_card import file_name
    from flywheel_pipelines.llm.finetuning import METHODS, TrainingFiles, submit_job
    from flywheel_pipelines.loop.training import training_folder

    spec, paths = spec_named(flywheel), DataPaths.from_environment()
    if method != "supervised" and method != "dpo":
        raise FlywheelError(f"--method: found {method!r}; allowed are supervised and dpo.")
    if suffix is not None and not 1 <= len(suffix) <= 64:
        raise FlywheelError(f"--suffix: found {len(suffix)} characters; expected 1 to 64.")
    provider, lake = _provider(), _lake(paths)
    chosen = _closed_cycle(lake, spec.name, cycle)
    folder = training_folder(paths.training, spec.name, chosen)
    kind = METHODS[method]
    files = TrainingFiles(spec.name, chosen, folder / file_name(kind, "train"), folder / file_name(kind, "validation"))
    if not files.training.exists():
        raise FlywheelError(
            f"{files.training}: is not there. Run: flywheel training export --flywheel {spec.name} --cycle {chosen}"
        )
    if not yes and not typer.confirm(
        f"Send {files.training} to {provider.name} and tune {model} on it? It costs what the provider charges.",
        err=True,
    ):
        raise typer.Exit(BROKEN)
    submitted = submit_job(
        files,
        method=method,
        base_model=model,
        provider=provider,
        lake=lake,
        lock=paths.training / spec.name / ".submitting",
        now=lambda: datetime.now(UTC),
        suffix=suffix,
        again=again,
    )
    if as_json:
        print_json({"how": submitted.how, **_as_dict(submitted.job)})
        return
    words = {
        "started": "started",
        "found": "was started by an earlier run that did not live to record it",
        "known": "was started before; nothing was sent",
    }
    out.print(f"Job {submitted.job.job_id} at {provider.name} {words[submitted.how]}.", soft_wrap=True)
    out.print(f"See how it stands: flywheel training status --flywheel {spec.name}", soft_wrap=True)


@training.command("status")
def status(flywheel: FlywheelName, as_json: Json = False) -> None:
    """How the fine-tuning jobs of a flywheel stand, and how to write with the model that came of one."""
    from flywheel_pipelines.llm.finetuning import known_jobs, look_at_jobs
    from flywheel_pipelines.terminal import rows_table

    name, lake = spec_named(flywheel).name, _lake(DataPaths.from_environment())
    under_way = [job for job in known_jobs(lake, name) if not job.is_ended]
    jobs = look_at_jobs(lake, name, _provider(), lambda: datetime.now(UTC)) if under_way else known_jobs(lake, name)
    if as_json:
        print_json({"flywheel": name, "jobs": [_as_dict(job) for job in jobs]})
        return
    if not jobs:
        out.print(f"{name}: no fine-tuning job was submitted yet.")
        return
    columns = ("set_cycle", "method", "base_model", "job_id", "event", "tuned_model")
    out.print(rows_table(list(columns), [tuple(getattr(job, column) or "" for column in columns) for job in jobs]))
    for job in jobs:
        if job.error:
            out.print(f"{job.job_id}: {job.error}", soft_wrap=True, markup=False)
        if job.tuned_model:
            out.print(
                f"Write with it: producer: {{kind: llm, model: '{job.tuned_model}'}} in the YAML of {name}; it counts "
                "from the next cycle that is opened.",
                soft_wrap=True,
                markup=False,
            )


def _lake(paths: DataPaths) -> Lake:
    from flywheel_pipelines.lake.store import Lake

    return Lake(paths.lake)


def _closed_cycle(lake: Lake, flywheel: str, named: str | None) -> date:
    from flywheel_pipelines.lake import tables

    if named is not None:
        try:
            return date.fromisoformat(named)
        except ValueError:
            raise FlywheelError(
                f"--cycle: found {named!r}; expected the first day of a cycle, e.g. 2026-01-05."
            ) from None
    closed = lake.cycles(tables.SCORED_OUTPUTS, flywheel)
    if not closed:
        raise FlywheelError(f"{flywheel}: no cycle was closed yet, so nothing is proven. Close a cycle first.")
    return closed[-1]


def _provider() -> Provider:
    from flywheel_pipelines.llm.provider import provider_from_environment

    provider = provider_from_environment(os.environ)
    if provider is None:
        raise FlywheelError(
            "No provider: OPENAI_BASE_URL and OPENAI_API_KEY are not set. Set them to the provider that is to tune the "
            "model. To try the way without one: flywheel offline-llm, which simulates jobs and trains nothing."
        )
    return provider


def _as_dict(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__dataclass_fields__}
