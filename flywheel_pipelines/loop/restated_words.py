"""What a close tells people about corrections: what changed, by which files, and how well these files matched.

Here: words, numbers and Markdown for the assets' metadata. Not here: finding the changes (`restatements`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.loop.recorder import Markdown, Shown
from flywheel_pipelines.metric_words import changed_value
from flywheel_pipelines.spec import Metric

MOST_SHOWN = 12
TEXT_WIDTH = 70


def about_batches(batches: pa.Table) -> Shown:
    """Rates of the rows that feeds brought about some cycles (rows of `batches`); nothing where no feed brought any.

    matched: rows accepted, of those that could be read as far as their output. late: of the accepted ones, those about
    a cycle whose measurement window had passed. unmatched: rows without an output of their own.
    """
    # A batch may stand in several ledgers.
    rows = list({row["batch_id"]: row for row in batches.to_pylist() if row["feed"] is not None}.values())
    if not rows:
        return {}
    accepted, unmatched, late = (sum(row[name] or 0 for row in rows) for name in ("n_rows", "n_unmatched", "n_late"))
    attributed = accepted + unmatched
    return {
        "matched_rate": round(accepted / attributed, 4) if attributed else 0.0,
        "late_rate": round(late / accepted, 4) if accepted else 0.0,
        "unmatched_rate": round(unmatched / attributed, 4) if attributed else 0.0,
        "rows_in_quarantine": sum(row["n_quarantined"] for row in rows),
    }


def about_metrics(changes: pa.Table, metrics: Mapping[str, Metric]) -> Shown:
    """How many values of closed cycles changed, and the largest changes (rows of `momentum.restatements`).

    Values are written as their metric has them; those of a metric that the YAML no longer names, as plain numbers.
    """
    if not changes.num_rows:
        return {"values_changed": 0}
    rows = sorted(changes.to_pylist(), key=_size, reverse=True)
    lines = [
        f"| {row['cycle']} | {row['output_id']} | {row['metric']} | "
        f"{changed_value(row['old_value'], row['new_value'], metrics.get(row['metric']), row['metric'])} | "
        f"{changed_value(row['new_value'], row['old_value'], metrics.get(row['metric']), row['metric'])} | "
        f"{_count(row['old_exposure'])} | {_count(row['new_exposure'])} |"
        for row in rows[:MOST_SHOWN]
    ]
    head = ["cycle", "output", "metric", "was", "is", "of", "now of"]
    return {
        "values_changed": changes.num_rows,
        "cycles_restated": len(set(changes["cycle"].to_pylist())),
        "largest_changes": _table(head, lines, changes.num_rows),
    }


def about_decisions(store: Lake, flywheel: str, flips: pa.Table) -> Shown:
    """How many decisions flipped, and which, with the beginning of the output's text."""
    judged_before = flips.filter(pc.field("old_decision").is_valid())
    shown: Shown = {"decisions_flipped": judged_before.num_rows}
    if not flips.num_rows:
        return shown
    rows = sorted(flips.to_pylist(), key=lambda row: (row["old_decision"] is None, -_size(row), row["output_id"]))
    texts = _texts(store, flywheel, rows[:MOST_SHOWN])
    lines = [
        f"| {row['cycle']} | {row['output_id']} | {row['old_decision'] or 'not judged'} | "
        f"{row['new_decision'] or 'not judged'} | {_chance(row['old_value'])} | {_chance(row['new_value'])} | "
        f"{texts.get(row['output_id'], '')} |"
        for row in rows[:MOST_SHOWN]
    ]
    head = ["cycle", "output", "was", "is", "above the floor was", "is", "text"]
    return shown | {"flipped": _table(head, lines, flips.num_rows)}


def _texts(store: Lake, flywheel: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The beginnings of some outputs' texts, fit for a cell."""
    found: dict[str, str] = {}
    for cycle in {row["cycle"] for row in rows}:
        wanted = [row["output_id"] for row in rows if row["cycle"] == cycle]
        published = store.read(
            tables.PUBLISHED_OUTPUTS, flywheel, CycleWindow(cycle, cycle), columns=["output_id", "text"]
        )
        for row in published.filter(pc.field("output_id").isin(wanted)).to_pylist():
            found.setdefault(row["output_id"], _cell(row["text"]))
    return found


def _size(row: dict[str, Any]) -> float:
    """How much a change matters: the change of the value; what came or went is put first."""
    if row["old_value"] is None or row["new_value"] is None:
        return float("inf") if (row["old_value"] is None) != (row["new_value"] is None) else 0.0
    return abs(row["new_value"] - row["old_value"])


def _table(head: list[str], lines: list[str], n_rows: int) -> Markdown:
    rest = [f"\n{n_rows - len(lines)} more in the table `restatements`"] if n_rows > len(lines) else []
    return Markdown("\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *lines, *rest]))


def _cell(text: str) -> str:
    on_one_line = " ".join(text.replace("|", "\\|").split())
    return on_one_line if len(on_one_line) <= TEXT_WIDTH else f"{on_one_line[: TEXT_WIDTH - 1]}…"


def _chance(value: float | None) -> str:
    """A probability, e.g. 94%."""
    return "" if value is None else f"{value:.0%}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
