"""One flywheel as a page (HTML) and a picture (PNG) in `data/reports/`.

Here: what the page says, in words and rounded numbers. Not here: the numbers themselves (`momentum`, the dbt marts) or
how the page looks (`page.html.j2`).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jinja2

from flywheel_pipelines.feedback.quarantine import count_open
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.momentum.parts import part_lines
from flywheel_pipelines.momentum.plot import momentum_plot
from flywheel_pipelines.momentum.summary import Summary, summarise
from flywheel_pipelines.overview import latest_audit
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.published import query
from flywheel_pipelines.spec import FlywheelSpec, LlmProducer

TEMPLATE = "page.html.j2"
SHOWN_REFERENCES = 6
Rows = list[dict[str, Any]]

_COSTS = """
with cycles as (
    select cycle, ntile(4) over (order by cycle) as quarter
    from (select distinct cycle from costs where flywheel = $flywheel)
)
select
    quarter,
    sum(n_requests)::bigint as requests,
    sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0))::bigint as tokens,
    sum(n_published)::bigint as published,
    sum(n_promoted)::bigint as promoted,
    -- One unknown cost makes the sum unknown.
    case when bool_and(cost is not null or n_requests = 0) then sum(cost) end as cost
from costs
inner join cycles using (cycle)
where flywheel = $flywheel and arm = 'all'
group by rollup (quarter)
order by quarter nulls last
"""


@dataclass(frozen=True)
class FlywheelReport:
    """What a flywheel has come to, and where its page and its picture are."""

    flywheel: str
    is_synthetic: bool
    n_cycles: int
    summary: Summary
    parts: Rows
    audit: Rows
    audit_words: str
    audit_verdict: str
    costs: Rows
    best_reference: str | None
    plot: Path
    page: Path

    @property
    def part_lines(self) -> Rows:
        """What moved the lift, in words; empty without ablation arms."""
        return list(part_lines(self.parts))

    @property
    def cost_lines(self) -> Rows:
        """Effort and cost in words, by quarters and in all."""
        return cost_lines(self.costs)

    @property
    def cost_note(self) -> str:
        """How to read them."""
        return cost_note(self.costs, is_synthetic=self.is_synthetic)

    @property
    def title(self) -> str:
        """Heading of the momentum table."""
        return f"Momentum of {self.flywheel} over the control, {'simulated' if self.is_synthetic else 'real'} data"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; lifts are fractions, costs US dollars."""
        return {
            "flywheel": self.flywheel,
            "is_synthetic": self.is_synthetic,
            "cycles_run": self.n_cycles,
            **self.summary.as_dict(),
            "parts": self.parts,
            "audit": {"verdict": self.audit_verdict, "items": self.audit},
            "costs": self.costs,
            "page": str(self.page),
            "plot": str(self.plot),
        }


def write_report(paths: DataPaths, spec: FlywheelSpec) -> FlywheelReport:
    """Write `data/reports/<flywheel>.html` and `<flywheel>_momentum.png`, and say what is in them.

    Raises:
        FlywheelError: no cycle was closed yet, or nothing was published yet.
    """
    lake = Lake(paths.lake)
    last, audited, audit_verdict, audit_words = latest_audit(paths, spec)
    closed = lake.cycles(tables.MOMENTUM, spec.name)
    manifest = lake.read(tables.CYCLE_MANIFEST, spec.name, last, columns=["is_synthetic"])
    is_synthetic = any(manifest["is_synthetic"].to_pylist())
    summary = summarise(lake.read(tables.BRIEF_OUTCOMES, spec.name), better=spec.metric.better, rival=spec.arms.rival)
    label = "simulated" if is_synthetic else None
    picture = momentum_plot(
        lake.read(tables.MOMENTUM, spec.name), flywheel=spec.name, label=label, rival=spec.arms.rival
    )
    corpus = lake.read(tables.REFERENCE_CORPUS, spec.name, last).sort_by("rank").to_pylist()
    parts = _parts(lake, spec.name, last)
    costs = _costs(paths, spec.name)
    html = _render(
        flywheel=spec.name,
        description=spec.description,
        is_synthetic=is_synthetic,
        n_cycles=len(closed),
        first_cycle=closed[0],
        last_cycle=last,
        metric=spec.floor.metric,
        summary=summary,
        rival=spec.arms.rival,
        control_is=_control_in_words(spec),
        plot=base64.b64encode(picture).decode(),
        momentum=momentum_lines(summary),
        parts=part_lines(parts),
        costs=cost_lines(costs),
        cost_note=cost_note(costs, is_synthetic=is_synthetic),
        audit=audited,
        audit_words=audit_words,
        references=[row | {"quality": f"{row['quality']:+.0%}"} for row in corpus[:SHOWN_REFERENCES]],
        n_quarantined=count_open(lake, spec.name),
    )
    return FlywheelReport(
        flywheel=spec.name,
        is_synthetic=is_synthetic,
        n_cycles=len(closed),
        summary=summary,
        parts=parts,
        audit=audited,
        audit_words=audit_words,
        audit_verdict=audit_verdict,
        costs=costs,
        best_reference=corpus[0]["reference_id"] if corpus else None,
        plot=_write(paths.reports / f"{spec.name}_momentum.png", picture),
        page=_write(paths.reports / f"{spec.name}.html", html.encode()),
    )


def _control_in_words(spec: FlywheelSpec) -> str:
    """What the control arm does, for whoever reads the page."""
    if spec.arms.pools_segments:
        return "The control arm is one size for all: it learns as well, and does not tell segments apart."
    if isinstance(spec.producer, LlmProducer):
        return "The control arm is the treadmill: the same model, the first prompt, no references."
    return "The control arm is the treadmill: it chooses at random."


def momentum_lines(summary: Summary) -> Rows:
    """Lift by quarters of the briefs, of the last half, and over all, in words."""
    parts = [
        (f"quarter {number}", part.briefs, part.lift, part.interval) for number, part in enumerate(summary.quarters, 1)
    ]
    half = sum(part.briefs for part in summary.quarters[2:])
    parts.append(("last half", half, summary.last_half_lift, summary.last_half_interval))
    parts.append(("all", summary.briefs, summary.lift, summary.interval))
    return [
        {"label": label, "briefs": f"{briefs:,}", "lift": _percent(lift), "interval": _interval(ends)}
        for label, briefs, lift, ends in parts
    ]


def cost_lines(costs: Rows) -> Rows:
    """Effort and cost by quarters of the cycles and in all, in words; what is unknown says so."""
    return [
        {
            "label": f"quarter {row['quarter']}" if row["quarter"] else "all",
            **{key: f"{row[key]:,}" for key in ("requests", "tokens", "published", "promoted")},
            "tokens_per_published": _ratio(row["tokens"], row["published"], "{:,.0f}"),
            "cost": _dollars(row["cost"]),
            "cost_per_promoted": _ratio(row["cost"], row["promoted"], "${:,.4f}"),
        }
        for row in costs
    ]


def cost_note(costs: Rows, *, is_synthetic: bool) -> str:
    """How to read the costs."""
    if any(row["cost"] is None for row in costs):
        return "A cost is unknown while a model has no price: write producer.prices in the flywheel's YAML."
    if is_synthetic:
        return "Tokens as the offline writer counts them; dollars as if at the example prices of the YAML."
    return "Tokens as the endpoint counted them; dollars at the YAML's prices."


def _parts(lake: Lake, flywheel: str, cycle: date) -> Rows:
    """What each part contributed up to a cycle; the carried sums stay in the table."""
    rows = lake.read(tables.MOMENTUM_PARTS, flywheel, cycle).drop_columns(["cycle", "strata", "lift_strata"])
    return rows.to_pylist()


def _costs(paths: DataPaths, flywheel: str) -> Rows:
    names, rows = query(paths, _COSTS, {"flywheel": flywheel})
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return found if any(row["requests"] for row in found) else []


def _render(**values: object) -> str:
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(TEMPLATE).render(**values)


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".writing-{path.name}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
    return path


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1%}"


def _interval(ends: Sequence[float] | None) -> str:
    return "too few briefs" if ends is None else f"{ends[0]:+.1%} to {ends[1]:+.1%}"


def _ratio(part: float | None, whole: int, form: str) -> str:
    return "–" if part is None or not whole else form.format(part / whole)


def _dollars(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.2f}"
