"""From tables of the lake to the facts of the audit.

Here: counting. Not here: what the counts mean (`audit`), or how far back to look (the caller decides).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.momentum.audit import Evidence


@dataclass(frozen=True)
class AuditInputs:
    """Tables over the window that is audited, each as its contract says, with `cycle`.

    `first_measurements` are rows of `metric_ledger` of the first cycle that has any; `momentum` holds the rows of the
    cycle that is closed, `corpus` its references.
    """

    generated: pa.Table
    published: pa.Table
    performance: pa.Table
    scored: pa.Table
    corpus: pa.Table
    prompts: pa.Table
    momentum: pa.Table
    thresholds: pa.Table
    first_measurements: pa.Table


def gather_evidence(inputs: AuditInputs, *, metric: str, closed_at: datetime, matured: set[date]) -> Evidence:
    """The facts as of a close.

    Args:
        inputs: what is looked at.
        metric: the floor's metric.
        closed_at: the end of the cycle that is closed (UTC), the moment of the audit.
        matured: cycles whose measurement window had passed by then.
    """
    valued = inputs.performance.filter((pc.field("metric") == metric) & pc.field("value").is_valid())
    measured = set(valued["output_id"].to_pylist())
    outputs = dict(zip(inputs.published["output_id"].to_pylist(), inputs.published["cycle"].to_pylist(), strict=True))
    mature = {output for output, cycle in outputs.items() if cycle in matured}
    promoted = set(inputs.scored.filter(pc.field("decision") == "promote")["output_id"].to_pylist())
    references = set(inputs.corpus["reference_id"].to_pylist())
    newest = max(_known(inputs.performance, "known_at"), default=None)
    cumulative = [row for row in inputs.momentum.to_pylist() if row["scope"] == "cumulative"]
    return Evidence(
        n_generated=inputs.generated.num_rows,
        n_categorised=_count_complete(inputs.generated, ("text", "segment", "brief_id")),
        n_published_mature=len(mature),
        n_tracked=len(mature & measured),
        n_references=len(references),
        n_references_proven=len(references & promoted & outputs.keys()),
        n_prompt_refreshes=inputs.prompts.num_rows,
        n_prompt_versions=len(set(inputs.prompts["prompt_version"].to_pylist())),
        longest_refresh_gap_days=_longest_gap(inputs.prompts["cycle"].to_pylist(), closed_at.date()),
        n_measured=len(measured),
        feedback_lag_days=max(0.0, (closed_at - newest).total_seconds() / 86_400) if newest else None,
        threshold_recorded_at=min(_known(inputs.thresholds, "recorded_at"), default=None),
        first_metric_recorded_at=min(_known(inputs.first_measurements, "recorded_at"), default=None),
        lift_lower=cumulative[0]["anytime_lower"] if cumulative else None,
    )


def _known(table: pa.Table, column: str) -> list[datetime]:
    return [value for value in table[column].unique().to_pylist() if value is not None]


def _count_complete(table: pa.Table, columns: tuple[str, ...]) -> int:
    condition = pc.field(columns[0]) != ""
    for column in columns[1:]:
        condition = condition & (pc.field(column) != "")
    return table.filter(condition).num_rows


def _longest_gap(cycles: list[date], until: date) -> float | None:
    """Days between refreshes in a row; the last one counts up to `until`, less the length of its own cycle."""
    if not cycles:
        return None
    ordered = sorted(cycles)
    steps = [(later - earlier).days for earlier, later in zip(ordered, [*ordered[1:], until], strict=True)]
    return float(max(steps))
