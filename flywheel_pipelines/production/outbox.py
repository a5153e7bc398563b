"""The outbox: what a cycle published, as files for the system that sends or posts it.

Here: which rows an export has and which of them are new, their form as CSV and JSON lines, and writing both files. Not
here: choosing what goes out (`arms`), sending it, and what comes back (`feedback`). Arms are left out on purpose: who
sends should not be able to treat them differently; `published_outputs` has them for analysts.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import EXPORTS
from flywheel_pipelines.lake.writing import write_bytes_atomically
from flywheel_pipelines.production.content import Path as ContentPath
from flywheel_pipelines.production.content import leaves

TRACKING_TAG = "output_id"
FIXED_COLUMNS = (TRACKING_TAG, "brief_id", "segment", "locale", "export", "exported_at", "is_simulated", "text")
PEOPLE_COLUMNS = ("brief_id", "segment", "title", "why", "draft")
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
# JSON allows these three as they are, but many readers of lines break at them.
_LINE_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
_PLURAL = re.compile(r"(?<=[^s])s$")


@dataclass(frozen=True)
class ExportFacts:
    """A batch of facts for the ledger `exports`: which outputs went out with which export."""

    header: dict[str, object]
    rows: pa.Table


@dataclass(frozen=True)
class Export:
    """The rows of a cycle's outbox, and the facts to append before they are written; None when nothing is new."""

    rows: list[dict[str, Any]]
    facts: ExportFacts | None
    n_new: int


def export_rows(
    published: pa.Table,
    generated: pa.Table,
    briefs: pa.Table,
    exports: pa.Table,
    *,
    flywheel: str,
    cycle: date,
    recorded_at: datetime,
    is_simulated: bool,
) -> Export:
    """What a cycle's outbox holds now.

    Each output stands in the first export that it went out with; outputs that no export had yet form the next one,
    recorded at `recorded_at`. The same published outputs therefore give the same rows, whenever it is asked. An output
    published for two arms stands once.

    Args:
        published: the cycle's rows of `published_outputs`.
        generated: its rows of `generated_outputs`, for the content.
        briefs: its rows of `briefs`, for the locale.
        exports: its rows of the ledger `exports`.
        flywheel: name of the flywheel.
        cycle: the cycle.
        recorded_at: instant (UTC) of this export.
        is_simulated: whether the cycle runs on synthetic or simulated data.

    Returns:
        Rows in order of export and output id, with FIXED_COLUMNS and `content` (None without parts).
    """
    known = {(row["output_id"], row["arm"]): (row["export"], row["recorded_at"]) for row in exports.to_pylist()}
    number = 1 + max((export for export, _ in known.values()), default=0)
    going_out = sorted((row["output_id"], row["arm"]) for row in published.to_pylist())
    new = [key for key in going_out if key not in known]
    facts = _facts(new, number, flywheel, cycle, recorded_at) if new else None
    known |= dict.fromkeys(new, (number, recorded_at))
    content = dict(zip(generated["output_id"].to_pylist(), generated["content"].to_pylist(), strict=True))
    locales = dict(zip(briefs["brief_id"].to_pylist(), briefs["locale"].to_pylist(), strict=True))
    rows: dict[str, dict[str, Any]] = {}
    for row in published.to_pylist():
        export, at = known[row["output_id"], row["arm"]]
        if row["output_id"] in rows and rows[row["output_id"]]["export"] <= export:
            continue
        parts = content.get(row["output_id"])
        rows[row["output_id"]] = {
            "output_id": row["output_id"],
            "brief_id": row["brief_id"],
            "segment": row["segment"],
            "locale": locales.get(row["brief_id"]),
            "export": export,
            "exported_at": at.astimezone(UTC).isoformat(),
            "is_simulated": is_simulated,
            "text": row["text"],
            "content": json.loads(parts) if parts is not None else None,
        }
    ordered = sorted(rows.values(), key=lambda row: (row["export"], row["output_id"]))
    return Export(ordered, facts, sum(row["export"] == number for row in ordered))


def rows_for_people(published: pa.Table, generated: pa.Table, briefs: pa.Table) -> list[dict[str, Any]]:
    """Briefs that nothing went out for, which a person answers: why, and the best draft, in order of brief.

    Args:
        published: the cycle's rows of `published_outputs`.
        generated: its rows of `generated_outputs`.
        briefs: its rows of `briefs`.

    Returns:
        Rows with PEOPLE_COLUMNS; briefs that nobody wrote for have no draft, and say so.
    """
    answered = set(published["brief_id"].to_pylist())
    drafts: dict[str, dict[str, Any]] = {}
    for row in sorted(generated.to_pylist(), key=lambda row: (row["brief_id"], row["rank"], row["output_id"])):
        if not row["is_superseded"]:
            drafts.setdefault(row["brief_id"], row)
    rows = []
    for brief in sorted(briefs.to_pylist(), key=lambda row: row["brief_id"]):
        if brief["brief_id"] in answered:
            continue
        draft = drafts.get(brief["brief_id"])
        rows.append(
            {
                "brief_id": brief["brief_id"],
                "segment": brief["segment"],
                "title": brief["title"],
                "why": draft["blocked"] if draft else "no draft: the request was not answered",
                "draft": draft["text"] if draft else None,
            }
        )
    return rows


def write_for_people(folder: Path, flywheel: str, cycle: date, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `<folder>/<flywheel>/<cycle>.people.csv`, whole or not at all; where all is answered, a header alone."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(PEOPLE_COLUMNS)
    writer.writerows([_cell(row[name]) for name in PEOPLE_COLUMNS] for row in rows)
    path = folder / flywheel / f"{cycle}.people.csv"
    write_bytes_atomically(path, lines.getvalue().encode())
    return path


def write_outbox(folder: Path, flywheel: str, cycle: date, rows: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """Write `<folder>/<flywheel>/<cycle>.csv` and `.jsonl`, each whole or not at all; equal rows give equal bytes."""
    paths = folder / flywheel / f"{cycle}.csv", folder / flywheel / f"{cycle}.jsonl"
    for path, text in zip(paths, (csv_text(rows), jsonl_text(rows)), strict=True):
        write_bytes_atomically(path, text.encode())
    return paths


def jsonl_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """One JSON object per line, exact: texts as they are, content nested as the output schema has it."""
    return "".join(json.dumps(row, ensure_ascii=False).translate(_LINE_BREAKS) + "\n" for row in rows)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV (RFC 4180 but for lines that end in LF), content in columns of its own, e.g. `message_1_subject`.

    A cell that begins with one of = + - @, a tab or a line break gets a leading apostrophe, which spreadsheets take for
    "this is text": otherwise they would compute what a model or a brief wrote there. Join on the JSON lines where that
    matters. Line breaks inside cells are LF.
    """
    columns = _content_columns(rows)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow([*FIXED_COLUMNS, *map(_cell, columns.values())])
    for row in rows:
        parts = dict(leaves(row["content"])) if _has_parts(row) else {}
        cells = [row[name] for name in FIXED_COLUMNS] + [parts.get(path) for path in columns]
        writer.writerow([_cell(value) for value in cells])
    return lines.getvalue()


def _facts(
    new: Sequence[tuple[str, str]], number: int, flywheel: str, cycle: date, recorded_at: datetime
) -> ExportFacts:
    batch_id = f"export-{content_hash(flywheel, cycle, number, json.dumps(new))}"
    rows = [
        {
            "cycle": cycle,
            "output_id": output_id,
            "arm": arm,
            "export": number,
            "batch_id": batch_id,
            "recorded_at": recorded_at,
            "source_row": position,
        }
        for position, (output_id, arm) in enumerate(new, start=1)
    ]
    header = {
        "batch_id": batch_id,
        "source": f"export {number} of cycle {cycle} to the outbox",
        "recorded_at": recorded_at,
        "n_rows": len(rows),
        "n_quarantined": 0,
        "first_cycle": cycle,
        "last_cycle": cycle,
    }
    return ExportFacts(header, pa.Table.from_pylist(rows, pa.schema([("cycle", pa.date32()), *EXPORTS.schema])))


def _has_parts(row: Mapping[str, Any]) -> bool:
    """Whether the content says more than the text already does."""
    return isinstance(row["content"], Mapping) and set(row["content"]) != {"text"}


def _content_columns(rows: Sequence[Mapping[str, Any]]) -> dict[ContentPath, str]:
    """The columns of all contents by path, fields in the order of the first row that has them, positions by number."""
    places: dict[ContentPath, int] = {}
    paths: dict[ContentPath, None] = {}
    for row in rows:
        for path, _ in leaves(row["content"]) if _has_parts(row) else ():
            paths[path] = None
            for end in range(1, len(path) + 1):
                places.setdefault(path[:end], len(places))
    ordered = sorted(
        paths,
        key=lambda path: [
            step if isinstance(step, int) else places[path[:end]] for end, step in enumerate(path, start=1)
        ],
    )
    columns: dict[ContentPath, str] = {}
    taken: set[str] = {*FIXED_COLUMNS}
    for path in ordered:
        name = _column_name(path)
        while name in taken:
            name = f"content_{name}"
        taken.add(name)
        columns[path] = name
    return columns


def _column_name(path: ContentPath) -> str:
    """`messages`, second, `subject` -> message_2_subject."""
    steps = [
        _PLURAL.sub("", step) if isinstance(following, int) else step
        for step, following in zip(path, [*path[1:], None], strict=True)
        if isinstance(step, str)
    ]
    names = iter(steps)
    return "_".join(str(step + 1) if isinstance(step, int) else next(names) for step in path)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    text = f"'{text}" if _FORMULA.match(text) else text
    return text.replace("\r\n", "\n").replace("\r", "\n")
