"""Giving the files of briefs back, with what was published written into them: one file for each of `handback.per`.

Here: which file and row each output belongs to. Not here: writing into a file (`production.handback`), or the outbox's
own files (`production.outbox`). The originals are read where they came in, in the inbox; one that is gone is named and
nothing else is held up by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flywheel_pipelines.cycles import cycle_of
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.feeds.briefs import period_of_briefs, read_briefs
from flywheel_pipelines.lake.tables import BRIEF_LEDGER
from flywheel_pipelines.lake.writing import write_bytes_atomically
from flywheel_pipelines.loop.recorder import Shown
from flywheel_pipelines.production.briefs import one_of_each
from flywheel_pipelines.production.content import leaves
from flywheel_pipelines.production.handback import with_cells
from flywheel_pipelines.spec import FlywheelSpec

PLAIN = ".csv"
"""Files that can be given back; packed ones and other forms are read, and not written."""


def hand_back(
    spec: FlywheelSpec, cycle: date, exported: Sequence[Mapping[str, Any]], inbox: Path, outbox: Path
) -> Shown:
    """Write every file of the cycle's briefs with its outputs, below `outbox/<flywheel>/<cycle>/`.

    Args:
        spec: a flywheel with `handback`.
        cycle: the cycle.
        exported: rows of its outbox.
        inbox: where the originals are.
        outbox: where they go.
    """
    by_brief = {row["brief_id"]: row for row in exported}
    written, rows = list[str](), 0
    for path in _originals(spec, cycle, inbox):
        for name, cells in _cells(spec, cycle, path, by_brief).items():
            target = outbox / spec.name / cycle.isoformat() / f"{path.stem}{f'.{name}' if name else ''}{PLAIN}"
            assert spec.handback is not None
            try:
                data = with_cells(path.read_bytes(), cells, list(spec.handback.columns))
            except FlywheelError as error:
                raise FlywheelError(f"{path}: {error}") from error
            write_bytes_atomically(target, data)
            written.append(str(target))
            rows += len(cells)
    if not written and exported:
        return {"handed_back": f"none: no file of {spec.briefs.feed} about this cycle is in the inbox any more"}
    return {"handed_back": written, "rows_written": rows}


def _originals(spec: FlywheelSpec, cycle: date, inbox: Path) -> Iterator[Path]:
    feed = spec.feeds[spec.briefs.feed]
    for path in sorted(inbox.glob(feed.path or "")):
        if path.suffix.lower() != PLAIN:
            continue
        period = period_of_briefs(path, feed)
        if period is None or cycle_of(period[0], spec.cadence) == cycle:
            yield path


def _cells(
    spec: FlywheelSpec, cycle: date, path: Path, by_brief: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[int, dict[str, str]]]:
    """File -> row -> header -> text, of the rows of one original that have an output; a brief's first row has it."""
    assert spec.handback is not None
    per, cells = spec.handback.per, dict[str, dict[int, dict[str, str]]]()
    feed = spec.feeds[spec.briefs.feed]
    read = read_briefs(
        path, feed, flywheel=spec.name, cadence=spec.cadence, recorded_at=datetime.min.replace(tzinfo=UTC)
    )
    first: dict[str, dict[str, Any]] = {}
    for row in sorted(read.facts[BRIEF_LEDGER].to_pylist(), key=lambda row: row["source_row"]):
        if row["cycle"] == cycle:
            first.setdefault(row["brief_id"], row)
    for row in first.values():
        for brief, values in one_of_each(row, spec.briefs.each):
            output = by_brief.get(str(brief["brief_id"]))
            if output is not None:
                name = values[per] if per else ""
                cells.setdefault(name, {})[row["source_row"]] = _texts(spec.handback.columns, output)
    return cells


def _texts(columns: Mapping[str, str], output: Mapping[str, Any]) -> dict[str, str]:
    parts = {".".join(map(str, path)): value for path, value in leaves(output["content"])}
    known = {**{name: output[name] for name in ("output_id", "text", "locale")}, **parts}
    missing = sorted(set(columns.values()) - known.keys())
    if missing:
        raise FlywheelError(
            f"handback.columns: an output has no field {', '.join(missing)}; there are {', '.join(known)}."
        )
    return {header: str(known[name]) for header, name in columns.items()}
