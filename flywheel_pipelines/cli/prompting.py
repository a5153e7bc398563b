"""Commands around the library of prompts: what is in it, what changed, and a person's own change."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from rich.text import Text

from flywheel_pipelines.cli.shared import FlywheelName, Json, app, err, out, print_json, spec_named
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.paths import DEFS_DIR, DataPaths

if TYPE_CHECKING:
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.flywheel import Flywheel
    from flywheel_pipelines.loop.library import LibraryEntry

prompt = typer.Typer(help="The library of prompts: list, show, diff, edit, propose.", no_args_is_help=True)
app.add_typer(prompt, name="prompt")
Version = Annotated[
    str | None, typer.Argument(help="A frame, by its version or the beginning of it; default: the champion.")
]


@prompt.command("list")
def list_frames(flywheel: FlywheelName, as_json: Json = False) -> None:
    """Every frame: who made it, from which, its role, the cycles that used it, and its lift where it is known."""
    from flywheel_pipelines.loop.library import read_library
    from flywheel_pipelines.terminal import rows_table

    store, _ = _open(flywheel)
    entries = read_library(store, flywheel)
    if as_json:
        print_json([_as_dict(entry) for entry in entries])
        return
    if not entries:
        out.print(f"{flywheel}: no prompt was registered yet. Opening the first cycle registers the YAML's own.")
        return
    names = ["frame", "parent", "author", "role", "cycles used", "lift", "note"]
    out.print(rows_table(names, [_in_line(entry) for entry in entries]))


@prompt.command("show")
def show_frame(flywheel: FlywheelName, version: Version = None, as_json: Json = False) -> None:
    """One frame: its guidelines with what supports them, its template, its evidence."""
    from flywheel_pipelines.loop.library import entry_named

    store, found = _open(flywheel)
    entry = entry_named(store, found, version)
    if as_json:
        print_json(_as_dict(entry) | {"template": entry.row["template"]})
        return
    row = entry.row
    named = f" ({row['author_name']})" if row["author_name"] else ""
    head = f"frame {entry.version}, by {row['author']}{named}, from {row['parent_version'] or 'nothing'}"
    out.print(Text(f"{head}; {entry.role}", style="bold"), soft_wrap=True)
    out.print(Text(f"{row['note']}\nused: {_used(entry)}; lift: {_lift(entry) or 'not known'}"), soft_wrap=True)
    for number, guideline in enumerate(entry.frame.guidelines, start=1):
        support = f"  [{', '.join(guideline.supports)}]" if guideline.supports else ""
        out.print(Text.assemble(f"{number}. {guideline.text}", (support, "dim")), soft_wrap=True)
    out.print(Text(f"evidence: {row['evidence']}", style="dim"), soft_wrap=True)
    out.print(Text(row["template"]), soft_wrap=True)


@prompt.command("diff")
def diff_frames(
    flywheel: FlywheelName,
    version: Version = None,
    against: Annotated[str | None, typer.Option(help="The frame before; default: its parent.")] = None,
) -> None:
    """What one frame changes: a unified diff of its template and guidelines against its parent."""
    from flywheel_pipelines.learning.frames import frame_diff
    from flywheel_pipelines.loop.library import entry_named

    store, found = _open(flywheel)
    entry = entry_named(store, found, version)
    named = against or entry.row["parent_version"]
    before = entry_named(store, found, named).frame if named else None
    text = frame_diff(before, entry.frame)
    # For patch and pipes: nothing is coloured or wrapped.
    typer.echo(text or f"{entry.version} and {named} do not differ.")


@prompt.command("edit")
def edit_frame(
    flywheel: FlywheelName,
    note: Annotated[str, typer.Option(help="Why; kept with the frame.")],
    base: Annotated[str | None, typer.Option("--from", help="The frame to change; default: the champion.")] = None,
    template: Annotated[
        Path | None, typer.Option(help="Take the template from this file instead of opening $EDITOR.")
    ] = None,
    guidelines: Annotated[
        Path | None, typer.Option(help="Take the guidelines from this file, one a line, instead of opening $EDITOR.")
    ] = None,
    author_name: Annotated[
        str | None, typer.Option("--author-name", help="A pseudonym, such as editor-3; names are replaced by one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change a frame in $EDITOR, or from files; the result goes on trial like any other proposal."""
    from flywheel_pipelines.feedback.reviews.reviewers import pseudonym_of
    from flywheel_pipelines.loop.library import as_document, edited, entry_named, from_document, register_edit

    if not note.strip():
        raise FlywheelError("--note: is empty. Say in a few words why the prompt is changed.")
    store, found = _open(flywheel)
    _register_yaml(store, found)
    entry = entry_named(store, found, base)
    if template is None and guidelines is None:
        changed = click.edit(as_document(entry.frame), extension=".md")
        if changed is None:
            raise FlywheelError("The editor saved nothing, so nothing was registered.")
        frame = from_document(changed, entry.frame)
    else:
        frame = edited(
            entry.frame,
            template=None if template is None else _text(template, "--template"),
            guidelines=None if guidelines is None else _text(guidelines, "--guidelines").splitlines(),
        )
    proposal = register_edit(
        found,
        store,
        frame,
        entry.version,
        note=" ".join(note.split()),
        author_name=pseudonym_of(author_name)[0] if author_name else None,
        now=datetime.now(UTC),
    )
    if as_json:
        print_json({"frame_version": frame.version, "parent_version": entry.version, "from": proposal.proposed_for})
        return
    out.print(f"Frame {frame.version} is registered. It can go on trial from cycle {proposal.proposed_for} on.")
    if not found.spec.arms.challenger:
        err.print(
            "No brief is set aside for trials, so it waits. Write arms: {challenger: 0.2} into the YAML.",
            style="yellow",
            markup=False,
        )


@prompt.command("propose")
def propose(flywheel: FlywheelName, as_json: Json = False) -> None:
    """Have the model propose a prompt now, as opening the next cycle would; opening it then asks nothing."""
    from flywheel_pipelines.cycles import shift_cycle
    from flywheel_pipelines.lake import tables
    from flywheel_pipelines.loop.library import latest_closed
    from flywheel_pipelines.loop.proposing import propose_prompts
    from flywheel_pipelines.loop.recorder import Recorder
    from flywheel_pipelines.loop.writing import writers_from_environment

    store, found = _open(flywheel)
    closed = latest_closed(store, found)
    if not found.has_proposals or closed is None:
        raise FlywheelError(
            f"{flywheel}: prompt.refresh is references, which proposes nothing. Write reflect or gepa there."
            if not found.has_proposals
            else f"{flywheel}: no cycle was closed yet, so there is nothing to propose from."
        )
    cycle = shift_cycle(closed, found.spec.cadence, 1)
    now = datetime.now(UTC)
    writers = writers_from_environment(os.environ, DataPaths.from_environment().journal)
    propose_prompts(found, Recorder(store, flywheel), [cycle], writers, now)
    row = store.read(tables.PROPOSED_PROMPT, flywheel, cycle).to_pylist()[0]
    if as_json:
        print_json(row)
        return
    out.print(f"Cycle {cycle}: {row['outcome']}. {row['reason']}", soft_wrap=True, markup=False)
    if row["frame_version"]:
        out.print(f"See it: flywheel prompt diff --flywheel {flywheel} {row['frame_version']}", soft_wrap=True)


def _open(name: str) -> tuple[Lake, Flywheel]:
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.loop.flywheel import Flywheel

    spec = spec_named(name)
    return Lake(DataPaths.from_environment().lake), Flywheel(spec, DEFS_DIR / spec.name)


def _register_yaml(store: Lake, flywheel: Flywheel) -> None:
    """Before the first cycle was opened, the YAML's frame is what there is to be changed."""
    from flywheel_pipelines.loop.prompts import register_yaml_frames

    register_yaml_frames(flywheel, store, flywheel.spec.start, datetime.now(UTC))


def _text(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FlywheelError(f"{option}: {path} cannot be read ({error}). Expected a text file in UTF-8.") from None


def _in_line(entry: LibraryEntry) -> tuple[Any, ...]:
    row = entry.row
    author = f"{row['author']} {row['author_name']}" if row["author_name"] else row["author"]
    return entry.version, row["parent_version"] or "-", author, entry.role, _used(entry), _lift(entry), row["note"]


def _used(entry: LibraryEntry) -> str:
    """For example `flywheel 12 (2026-01-05..2026-03-23)`."""
    parts = [f"{arm} {len(cycles)} ({cycles[0]}..{cycles[-1]})" for arm, cycles in entry.cycles.items()]
    return ", ".join(parts) or "never"


def _lift(entry: LibraryEntry) -> str:
    if entry.lift is None:
        return ""
    estimate, lower, upper = entry.lift
    ends = "" if lower is None or upper is None else f" [{lower:+.1%}, {upper:+.1%}]"
    return f"{estimate:+.1%}{ends}"


def _as_dict(entry: LibraryEntry) -> dict[str, Any]:
    row, lift = entry.row, entry.lift or (None, None, None)
    kept = ("frame_version", "parent_version", "author", "author_name", "note", "proposed_for", "recorded_at")
    return {
        **{name: row[name] for name in kept},
        "role": entry.role,
        "cycles": entry.cycles,
        "lift": dict(zip(("estimate", "lower", "upper"), lift, strict=True)),
        "guidelines": json.loads(row["guidelines"]),
        "evidence": json.loads(row["evidence"]),
    }
