"""What an insight flywheel learned so far, and where its pages are.

Here: rows and words from the lake. Not here: printing them (`terminal`), or one cycle's page (`themes`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.report.theme_plots import acceptance
from flywheel_pipelines.report.themes import write_theme_report
from flywheel_pipelines.spec import InsightSpec


@dataclass(frozen=True)
class InsightReport:
    """What was learned, by cycle, the verdicts on fixes, and the page of the last closed cycle."""

    flywheel: str
    is_synthetic: bool
    last: date
    lines: list[dict[str, Any]]
    fixes: list[dict[str, Any]]
    page: Path
    markdown: Path

    @property
    def words(self) -> str:
        """What became of tokens per ticket."""
        told = [line for line in self.lines if line["tokens_per_ticket"] is not None]
        if not told:
            return "No cycle had a ticket."
        second, last = told[min(1, len(told) - 1)], told[-1]
        placed = f"In the last cycle {last['share_by_library']:.0%} of the tickets were placed without a model."
        if second is last:
            return placed
        return (
            f"From cycle {second['cycle']} to {last['cycle']} questions went from {second['tokens_per_ticket']:.1f} to "
            f"{last['tokens_per_ticket']:.1f} tokens per ticket; without a library, from "
            f"{second['control_tokens_per_ticket']:.1f} to {last['control_tokens_per_ticket']:.1f}. {placed}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"words": self.words}


def write_insight_report(paths: DataPaths, spec: InsightSpec) -> InsightReport:
    """Write the page of the last closed cycle anew. Raises FlywheelError when none was closed."""
    lake = Lake(paths.lake)
    closed = lake.cycles(tables.THEME_LEARNING, spec.name)
    if not closed:
        raise FlywheelError(
            f"{spec.name}: no cycle was closed yet, so there is nothing to report. Put tickets into its inbox and run "
            f"the job {spec.name}__catch_up, or run `flywheel demo`."
        )
    learned = lake.read(tables.THEME_LEARNING, spec.name, CycleWindow(last=closed[-1])).to_pylist()
    control = {row["cycle"]: row for row in learned if row["arm"] == "control"}
    lines = [_line(row, control[row["cycle"]]) for row in learned if row["arm"] == "flywheel"]
    page, markdown = write_theme_report(spec, lake, closed[-1], paths.reports)
    fixes = lake.read(tables.FIX_EFFECTS, spec.name, closed[-1]).to_pylist()
    return InsightReport(spec.name, spec.is_synthetic, closed[-1], lines, fixes, page, markdown)


def _line(row: dict[str, Any], control: dict[str, Any]) -> dict[str, Any]:
    n = row["n_tickets"]
    return {
        "cycle": row["cycle"],
        "n_tickets": n,
        "share_by_library": row["n_by_library"] / n if n else None,
        "n_new": row["n_new"],
        "acceptance_rate": acceptance(row),
        "tokens_per_ticket": row["tokens"] / n if n else None,
        "control_tokens_per_ticket": control["tokens"] / n if n else None,
    }
