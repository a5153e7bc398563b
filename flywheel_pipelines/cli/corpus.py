"""Commands about references: corpus list, show, pin, ban, lift."""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel_pipelines.cli.shared import FlywheelName, Json, app, out, print_json, spec_named
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.lake.store import Lake

corpus = typer.Typer(
    help="The references that the next prompt shows: look at them, keep some in (pin) or out (ban).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(corpus, name="corpus")

Ids = Annotated[list[str], typer.Argument(help="Ids of published outputs, as `list` shows them.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in a few words.")]
By = Annotated[str | None, typer.Option("--by", help="Who rules; default: your name on this machine.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="First cycle whose close counts it, YYYY-MM-DD; default: the newest with a corpus."),
]
Cycle = Annotated[str | None, typer.Option("--cycle", help="As of the close of this cycle; default: the newest.")]
_WIDTH = 70


@corpus.command("list")
def list_references(flywheel: FlywheelName, cycle: Cycle = None, as_json: Json = False) -> None:
    """The references as of a close, best first, and the rulings that stand now."""
    from flywheel_pipelines.feedback.rulings import rulings_now
    from flywheel_pipelines.terminal import rows_table

    lake, name = _lake(), spec_named(flywheel).name
    chosen = _cycle(lake, name, cycle)
    rows, rulings = _references(lake, name, chosen), rulings_now(lake, name)
    if as_json:
        print_json({"flywheel": name, "cycle": chosen, "references": rows, "rulings": rulings})
        return
    out.print(f"{name}, as of the close of cycle {chosen}: {len(rows)} references")
    columns = ("rank", "reference_id", "segment", "since", "quality", "reason", "by_people", "depth", "text")
    if rows:
        out.print(rows_table(list(columns), [tuple(_cell(row[column]) for column in columns) for row in rows]))
    if rulings:
        named = ("output_id", "ruling", "effective_from", "person", "reason")
        out.print("Rulings that stand:")
        out.print(rows_table(list(named), [tuple(_cell(row[column]) for column in named) for row in rulings]))


@corpus.command()
def show(
    output_id: Annotated[str, typer.Argument(help="Id of an output.")], flywheel: FlywheelName, as_json: Json = False
) -> None:
    """Everything about one output as a reference: when it was in, why it entered and left, and what people ruled."""
    from flywheel_pipelines.feedback.rulings import source_of
    from flywheel_pipelines.lake.tables import CORPUS_RULINGS, REFERENCE_CHANGES
    from flywheel_pipelines.terminal import rows_table

    lake, name = _lake(), spec_named(flywheel).name
    source = source_of(lake, name, output_id)
    where = "reference_id = '" + output_id.replace("'", "''") + "'"
    changes = [row for row in lake.read(REFERENCE_CHANGES, name, where=where).to_pylist() if row["change"] != "kept"]
    rulings = [row for row in lake.read(CORPUS_RULINGS, name).to_pylist() if row["output_id"] == output_id]
    entry = next(
        (row for row in _references(lake, name, _cycle(lake, name, None)) if row["reference_id"] == output_id), None
    )
    if as_json:
        print_json(
            {"output_id": output_id, "source_cycle": source, "reference": entry, "changes": changes, "rulings": rulings}
        )
        return
    stands = f"reference number {entry['rank']} now" if entry else "no reference now"
    out.print(f"{output_id}, published in cycle {source}: {stands}.")
    if entry:
        out.print(entry["text"], markup=False, style="dim")
        if entry["family"]:
            out.print(f"Stands for its near-duplicates {', '.join(entry['family'])}.")
    if changes:
        named = ("cycle", "change", "reason", "words")
        out.print(rows_table(list(named), [tuple(row[column] for column in named) for row in changes]))
    if rulings:
        said = ("cycle", "ruling", "person", "reason", "recorded_at")
        out.print(rows_table(list(said), [tuple(row[column] for column in said) for row in rulings]))


@corpus.command()
def pin(ids: Ids, flywheel: FlywheelName, reason: Reason, by: By = None, first: From = None) -> None:
    """Keep outputs in the corpus, also when there is too little evidence yet; evidence against still takes them out."""
    _rule(flywheel, ids, "pin", reason, by, first)


@corpus.command()
def ban(ids: Ids, flywheel: FlywheelName, reason: Reason, by: By = None, first: From = None) -> None:
    """Keep outputs out of the corpus, however well they do."""
    _rule(flywheel, ids, "ban", reason, by, first)


@corpus.command()
def lift(ids: Ids, flywheel: FlywheelName, reason: Reason, by: By = None, first: From = None) -> None:
    """Take back a pin or a ban."""
    _rule(flywheel, ids, "lift", reason, by, first)


def _rule(flywheel: str, ids: list[str], ruling: str, reason: str, by: str | None, first: str | None) -> None:
    from flywheel_pipelines.cycles import cycle_of
    from flywheel_pipelines.feedback.rulings import rule
    from flywheel_pipelines.lake.tables import MOMENTUM

    lake, spec = _lake(), spec_named(flywheel)
    wanted = _date("--from", first)
    if wanted is not None and wanted != cycle_of(wanted, spec.cadence):
        raise FlywheelError(f"--from: {wanted} does not begin a cycle; that cycle is {cycle_of(wanted, spec.cadence)}.")
    start = rule(
        lake,
        spec.name,
        ids,
        ruling,
        person=by or getpass.getuser(),
        reason=reason,
        recorded_at=datetime.now(UTC),
        effective_from=wanted,
    )
    out.print(f"Recorded for {len(set(ids))} output(s) of {spec.name}: {ruling}, from cycle {start} on.")
    closed = lake.cycles(MOMENTUM, spec.name)
    if start in closed:
        out.print(
            f"It counts once that cycle is closed again: flywheel restate --flywheel {spec.name} "
            f"--cycles {start}:{closed[-1]}",
            soft_wrap=True,
        )
    else:
        out.print(f"It counts once that cycle is closed: job {spec.name}__close.", soft_wrap=True)


def _references(lake: Lake, flywheel: str, cycle: date) -> list[dict[str, Any]]:
    """The corpus of one close in order of rank, each with the cycle it has been in since."""
    from flywheel_pipelines.lake.tables import REFERENCE_CHANGES, REFERENCE_CORPUS

    changes = lake.read(REFERENCE_CHANGES, flywheel, cycle).to_pylist()
    since = {row["reference_id"]: row["since"] for row in changes if row["change"] != "left"}
    rows = lake.read(REFERENCE_CORPUS, flywheel, cycle).to_pylist()
    return [{**row, "since": since.get(row["reference_id"])} for row in sorted(rows, key=lambda row: row["rank"])]


def _lake() -> Lake:
    from flywheel_pipelines.lake.store import Lake

    return Lake(DataPaths.from_environment().lake)


def _cycle(lake: Lake, flywheel: str, wanted: str | None) -> date:
    """The cycle asked for. Raises FlywheelError when it has no corpus."""
    from flywheel_pipelines.lake.tables import REFERENCE_CORPUS

    cycles = lake.cycles(REFERENCE_CORPUS, flywheel)
    if not cycles:
        raise FlywheelError(
            f"{flywheel}: no cycle was closed yet, so there is no corpus. Run `flywheel demo`, or the jobs "
            f"{flywheel}__open and {flywheel}__close."
        )
    chosen = _date("--cycle", wanted) or cycles[-1]
    if chosen not in cycles:
        raise FlywheelError(f"--cycle: {chosen} has no corpus; closed are {cycles[0]} to {cycles[-1]}.")
    return chosen


def _date(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise FlywheelError(f"{option}: found {text!r}; expected the first day of a cycle, e.g. 2026-01-05.") from None


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:+.1%}"
    text = " ".join(str(value).split()) if isinstance(value, str) else value
    return text if not isinstance(text, str) or len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
