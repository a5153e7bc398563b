"""What customers said in a cycle, as a page (HTML) and as Markdown in `data/reports/`.

Here: choosing what a product manager reads, in words and rounded numbers. Not here: the numbers (`learning.themes`), or
how the page looks (`themes.html.j2`).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jinja2

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.report.theme_plots import movers_plot
from flywheel_pipelines.spec import InsightSpec

TOP, LONGEST_QUOTE = 8, 300
Rows = list[dict[str, Any]]
_MARKDOWN = """# What customers say: {{ r.flywheel }}

Cycle {{ r.cycle }}{% if r.is_synthetic %}, simulated tickets{% endif %}. {{ r.headline }}

## Where the pain is moving
{% for one in r.movers %}
- **{{ one.movement }}**: {{ one.name }}: {{ one.words }}
{%- else %}
Nothing moved beyond chance.
{%- endfor %}

## Top themes
{% for one in r.top %}
### {{ one.name }} ({{ one.n_tickets }} tickets, {{ one.share }})

{{ one.summary }}
{% for quote, ticket in one.quotes %}
> {{ quote | replace("\n", "\n> ") }} (ticket {{ ticket }})
{% endfor %}
{%- endfor %}
## Effects of fixes
{% for one in r.fixes %}
- {{ one.what }} ({{ one.theme }}, {{ one.shipped_on }}): **{{ one.verdict }}**, {{ one.words }}. {{ one.reason }}
{%- else %}
No fix has shipped in the cycles looked at.
{%- endfor %}

## New in this cycle
{% for one in r.new %}
- **{{ one.name }}** ({{ one.status }}, {{ one.theme_id }}): {{ one.summary }}
{%- else %}
No new theme.
{%- endfor %}

## What the machine was unsure about
{% for one in r.unsure %}
- {{ one }}
{%- else %}
Nothing worth telling.
{%- endfor %}

## What it took

{{ r.effort }}
"""


@dataclass(frozen=True)
class ThemeReport:
    """What the page says."""

    flywheel: str
    cycle: date
    is_synthetic: bool
    headline: str
    movers: Rows
    top: Rows
    fixes: Rows
    new: Rows
    unsure: list[str]
    effort: str
    chart: str | None


def write_theme_report(spec: InsightSpec, store: Lake, cycle: date, folder: Path) -> tuple[Path, Path]:
    """Write a closed cycle's page and Markdown; their paths."""
    report = _report(spec, store, cycle)
    escaped = jinja2.Environment(
        loader=jinja2.PackageLoader("flywheel_pipelines.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    plain = jinja2.Environment(undefined=jinja2.StrictUndefined)
    page, markdown = (folder / spec.name / f"themes-{cycle}.{end}" for end in ("html", "md"))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(escaped.get_template("themes.html.j2").render(r=report), encoding="utf-8")
    markdown.write_text(plain.from_string(_MARKDOWN).render(r=report), encoding="utf-8")
    return page, markdown


def movers_of(store: Lake, flywheel: str, cycle: date) -> Rows:
    """The themes that moved beyond chance in a cycle, the surest first: rows of `theme_trends`."""
    rows = store.read(tables.THEME_TRENDS, flywheel, cycle).to_pylist()
    return sorted((row for row in rows if row["movement"] != "steady"), key=lambda row: row["q_value"])


def _report(spec: InsightSpec, store: Lake, cycle: date) -> ThemeReport:
    trends = store.read(tables.THEME_TRENDS, spec.name, cycle).to_pylist()
    library = {row["theme_id"]: row for row in store.read(tables.THEME_LIBRARY, spec.name, cycle).to_pylist()}
    named = {
        row["theme_id"]: row
        for row in store.read(tables.THEME_CANDIDATES, spec.name, CycleWindow(last=cycle)).to_pylist()
    }
    labels = store.read(tables.TICKET_THEMES, spec.name, cycle).to_pylist()
    own = [row for row in labels if row["ticket_cycle"] == cycle]
    events = store.read(tables.THEME_EVENTS, spec.name, cycle).to_pylist()
    fixes = store.read(tables.FIX_EFFECTS, spec.name, cycle).to_pylist()
    movers = movers_of(store, spec.name, cycle)
    unknown = sum(row["theme_id"] is None for row in own)
    head = f"{len(own)} tickets, {len(own) - unknown} of them in {sum(row['n_tickets'] > 0 for row in trends)} themes; "
    return ThemeReport(
        spec.name, cycle, spec.is_synthetic, head + f"{len(movers)} theme(s) moved beyond chance.",
        [{**row, "words": _moved(row)} for row in movers],
        [_top(row, library, named) for row in sorted(trends, key=lambda row: (-row["n_tickets"], row["theme_id"]))[:TOP]
         if row["n_tickets"]],
        [{**row, "words": _ratio(row)} for row in fixes],
        [row for row in library.values() if row["founded"] == cycle],
        _unsure(own, unknown, events, library, named, cycle),
        _effort(store.read(tables.THEME_LEARNING, spec.name, cycle).to_pylist()),
        base64.b64encode(chart).decode() if (chart := movers_plot(movers)) else None,
    )  # fmt: skip


def _moved(row: dict[str, Any]) -> str:
    span = f"{row['share_low']:.1%} to {row['share_high']:.1%}"
    return (
        f"{row['n_tickets']} tickets where {row['expected']:.1f} were to be expected; {row['share']:.1%} of all "
        f"({span}), q = {row['q_value']:.3f}"
    )


def _ratio(row: dict[str, Any]) -> str:
    return "too early" if row["ratio"] is None else f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _top(row: dict[str, Any], library: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    said = named.get(row["theme_id"], {"quotes": [], "quoted_ids": []})
    quotes = list(zip(said["quotes"], said["quoted_ids"], strict=True))
    return {**row, "share": f"{row['share']:.1%}", "summary": library[row["theme_id"]]["summary"], "quotes": quotes}


def _unsure(
    own: Rows, unknown: int, events: Rows, library: dict[str, Any], named: dict[str, Any], cycle: date
) -> list[str]:
    """What people may want to look at, in sentences."""
    told = []
    if unknown:
        told.append(f"{unknown} of {len(own)} tickets ({unknown / len(own):.0%}) are in no theme.")
    close = [row for row in own if row["how"] == "library" and row["probability"] < 0.7]
    if close:
        told.append(f"{len(close)} tickets were placed with a probability below 0.7.")
    waiting = [row["name"] for row in library.values() if row["status"] == "candidate"]
    if waiting:
        told.append(f"{len(waiting)} theme(s) wait for a person: {', '.join(sorted(waiting)[:5])}"
                    + (", ..." if len(waiting) > 5 else "."))  # fmt: skip
    for row in events:
        if row["event"] == "merge_suggested" and {row["theme_id"], row["other_id"]} <= library.keys():
            one, other = library[row["theme_id"]]["name"], library[row["other_id"]]["name"]
            told.append(f"{one} and {other} may be one theme: {row['detail']}.")
    refused = sum(row["n_refused"] for row in named.values() if row["cycle"] == cycle)
    if refused:
        told.append(f"{refused} quote(s) of the model stood in no ticket as given, and were left out.")
    return told


def _effort(rows: Rows) -> str:
    arms = {row["arm"]: row for row in rows}
    flywheel, control = arms["flywheel"], arms["control"]
    n = max(flywheel["n_tickets"], 1)
    return (
        f"{flywheel['n_by_library'] / n:.0%} of the tickets were placed without a model; {flywheel['n_new']} theme(s) "
        f"had to be named, {flywheel['tokens'] / n:.1f} tokens of questions per ticket. Without a library it would "
        f"have been {control['n_new']} themes and {control['tokens'] / n:.1f} tokens.{_decided(flywheel)}"
    )


def _decided(row: dict[str, Any]) -> str:
    """What people made of the new themes; empty before anybody decided."""
    said = {word: row[f"n_{word}"] or 0 for word in ("accepted", "merged", "rejected")}
    counts = ", ".join(f"{count} {word}" for word, count in said.items())
    return f" Of the new themes people decided {sum(said.values())}: {counts}." if any(said.values()) else ""
