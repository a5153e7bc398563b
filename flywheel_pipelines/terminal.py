"""What people see in a terminal. Here: tables, trees and words made from results. Not here: computing any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from flywheel_pipelines.metric_words import changed_value
from flywheel_pipelines.momentum.summary import Slice, Summary
from flywheel_pipelines.published import Trace

if TYPE_CHECKING:
    from flywheel_pipelines.loop.restating import Preview
    from flywheel_pipelines.report.insight_page import InsightReport
    from flywheel_pipelines.spec import Metric

GOOD, BAD, QUIET = "green", "red", "dim"
MAX_ROWS = 200
MAX_UPRIGHT_ROWS = 20
COLUMN_GAP = 3
FOLDED_WIDTH = 24
"""A text column may become this narrow before a table gives way to blocks of lines."""


def percent(value: float | None, *, signed: bool = True) -> str:
    """A fraction as a percentage with one decimal; a dash when there is none."""
    if value is None:
        return "–"
    return f"{100 * value:+.1f}%" if signed else f"{100 * value:.1f}%"


def interval(ends: tuple[float, float] | None) -> str:
    """A 95% interval in percent."""
    return "too few briefs" if ends is None else f"[{percent(ends[0])}, {percent(ends[1])}]"


def momentum_table(summary: Summary, title: str) -> RenderableType:
    """Lift and hit rate over all briefs and by quarters of them."""
    table = Table(box=box.SIMPLE_HEAD)
    # Where a brief has one output there is no best one to hit.
    has_hits = summary.hit_rate is not None
    for name in ("in cycle order", "briefs", "lift", "95% interval", *(("hit rate", "chance") if has_hits else ())):
        table.add_column(name, justify="left" if name.startswith("in ") else "right")
    n_cells = len(table.columns) - 1
    for number, quarter in enumerate(summary.quarters, start=1):
        table.add_row(f"quarter {number}", *_slice_cells(quarter)[:n_cells])
    table.add_section()
    half = (percent(summary.last_half_lift), interval(summary.last_half_interval))
    table.add_row("last half", str(sum(part.briefs for part in summary.quarters[2:])), *half)
    whole = (percent(summary.lift), interval(summary.interval))
    rates = (percent(summary.hit_rate, signed=False), percent(summary.chance, signed=False))
    table.add_row("all", *(f"{summary.briefs:,}", *whole, *rates)[:n_cells], style="bold")
    # As the table's own title it would wrap at the table's width.
    return Group(Text(title, style="bold"), table)


def parts_table(lines: Sequence[dict[str, Any]]) -> RenderableType:
    """What moved the lift, in words already; nothing without ablation arms."""
    if not lines:
        return Text("")
    table = Table(box=box.SIMPLE_HEAD, title="What moved it", title_justify="left", title_style="bold")
    for name in ("part", "briefs", "contribution", "lift over the control without it"):
        table.add_column(name)
    for line in lines:
        table.add_row(line["part"], line["briefs"], line["contribution"], line["lift_without"])
    return table


def _slice_cells(part: Slice) -> tuple[str, ...]:
    return (
        f"{part.briefs:,}",
        percent(part.lift),
        interval(part.interval),
        percent(part.hit_rate, signed=False),
        percent(part.chance, signed=False),
    )


def audit_table(rows: Sequence[dict[str, Any]], words: str) -> RenderableType:
    """The seven questions with the number that decided each."""
    table = Table(title="Audit: flywheel or treadmill?", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("question")
    table.add_column("evidence")
    for row in rows:
        mark = Text("yes", style=GOOD) if row["passed"] else Text("no", style=BAD)
        table.add_row(mark, row["question"], row["evidence"])
    return Group(table, Text(words, style="bold"))


def cost_table(lines: Sequence[dict[str, Any]], title: str, note: str) -> RenderableType:
    """Effort and cost by quarters of the cycles, in words already; nothing where no model was asked."""
    if not lines:
        return Text("")
    heads = ("tokens", "published", "tokens per published", "promoted", "cost", "cost per promoted")
    table = Table("in cycle order", box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for head in heads:
        table.add_column(head, justify="right")
    for line in lines:
        table.add_row(line["label"], *(line[head.replace(" ", "_")] for head in heads))
    return Group(table, Text(note, style="dim"))


def insight_table(report: InsightReport) -> RenderableType:
    """What an insight flywheel learned, cycle by cycle, and the verdicts on fixes; fits 80 columns."""
    data = "simulated tickets" if report.is_synthetic else "real tickets"
    title = f"{report.flywheel}: {data}, themes, and tokens per ticket"
    table = Table("cycle", box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for head in ("tickets", "no model", "new", "accepted", "tokens", "control"):
        table.add_column(head, justify="right")
    for line in report.lines:
        tokens = (line["tokens_per_ticket"], line["control_tokens_per_ticket"])
        table.add_row(
            str(line["cycle"]),
            str(line["n_tickets"]),
            percent(line["share_by_library"], signed=False),
            str(line["n_new"]),
            percent(line["acceptance_rate"], signed=False),
            *("–" if one is None else f"{one:.1f}" for one in tokens),
        )
    verdicts = (f"  {fix['what']}: {fix['verdict']}. {fix['reason']}" for fix in report.fixes)
    return Group(table, Text(report.words, style="bold"), *(Text(words) for words in verdicts))


def status_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """One line per flywheel, and below the table what needs somebody's attention; fits 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("flywheel", overflow="fold")
    for name in ("data", "closed", "lift", "95% interval", "audit"):
        table.add_column(name, justify="left" if name == "data" else "right", no_wrap=True)
    for row in rows:
        ends = (row["lower"], row["upper"]) if row["lower"] is not None else None
        table.add_row(
            row["flywheel"],
            row["data"],
            f"{row['n_closed']}",
            percent(row["lift"]),
            interval(ends) if row["n_closed"] and row["n_audit_passed"] is not None else "–",
            f"{row['n_audit_passed']} of 7" if row["n_closed"] and row["n_audit_passed"] is not None else "–",
        )
    return Group(table, *(Text(f"  {row['flywheel']}: {note}") for row in rows for note in _notes(row)))


def _notes(row: dict[str, Any]) -> list[str]:
    """What needs attention: a cycle that is open, rows put aside, cycles that a correction touched."""
    notes = []
    if row["open_cycle"]:
        notes.append(f"cycle {row['open_cycle']} is open")
    if row["n_quarantined"]:
        notes.append(f"{row['n_quarantined']:,} row(s) in quarantine: `flywheel quarantine list` shows them")
    if row["n_stale"]:
        notes.append(f"{row['n_stale']} cycle(s) are stale: close them again")
    # An insight flywheel has no briefs.
    changed = row.get("briefs_changed")
    if changed and changed["cycles"]:
        found = ", ".join(map(str, changed["cycles"]))
        notes.append(f"{changed['published_by']} has published anew since {found} was opened: open it again")
    return notes


def trace_tree(found: Trace) -> Tree:
    """What produced an output, how it did, and what it became a reference for."""
    output, cycle = found.output, found.cycle
    tree = Tree(f"[bold]{output['output_id']}[/bold]  {_plain(output['text'])}")
    made = tree.add("produced by")
    made.add(f"flywheel {output['flywheel']}, cycle {output['cycle']}, producer {output['producer']}")
    made.add(f"brief {_plain(output['brief_id'])}, segment {output['segment']}, candidate {output['variant'] + 1}")
    if output["model"]:
        simulated = ", simulated" if output["is_synthetic"] else ""
        made.add(f"model {_plain(output['model'])}{simulated}, attempt {output['attempt']}, {_effort(output)}")
    made.add(f"prompt {output['prompt_version']}, corpus {cycle['corpus_version']}")
    for reference in output["reference_ids"] or []:
        made.add(f"shown reference {reference}")
    model = cycle["scoring_model_version"][:16]
    made.add(f"scoring model {model}: predicted {output['predicted']:+.3f}, rank {output['rank']}")
    made.add(f"learning carried in from cycle {cycle['predecessor'] or 'none: this was the first'}")
    went = tree.add("published")
    went.add(f"arms: {', '.join(output['arms'] or []) or 'not published'}")
    if output["choice"]:
        went.add(f"{output['choice']}, which had a probability of {percent(output['probability'], signed=False)}")
    if output["blocked"]:
        went.add(f"blocked: {_plain(output['blocked'])}")
    judged = tree.add("judged")
    judged.add(f"{output['decision'] or 'not yet'}: {output['reason'] or 'no feedback was scored'}")
    judged.add(f"floor {cycle['threshold_version']}, registered before the first measurement it judges")
    became = tree.add("became a reference for")
    if found.reference is None:
        became.add("nothing: it never entered the reference corpus")
        return tree
    entry = found.reference
    became.add(f"the corpus of {entry['n_cycles']} cycle(s), {entry['first_cycle']} to {entry['last_cycle']}")
    became.add(f"best rank {entry['best_rank']}, {'current' if entry['is_current'] else 'no longer in it'}")
    for row in found.used_by:
        if row["kind"] == "prompt":
            became.add(f"{row['n']} prompt version(s), first rendered when cycle {row['first_cycle']} was closed")
        if row["kind"] == "cycle":
            became.add(f"{row['n']} later cycle(s) opened with it, {row['first_cycle']} to {row['last_cycle']}")
    return tree


def _effort(output: dict[str, Any]) -> str:
    cost = "cost unknown" if output["request_cost"] is None else f"${output['request_cost']:.5f}"
    return cost if output["request_tokens"] is None else f"{output['request_tokens']:,} tokens, {cost}"


class RowsTable:
    """The result of a query: a table where its columns fit side by side, else one block of lines per row."""

    def __init__(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Column names and rows."""
        self.names, self.rows = list(names), rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is printed, which depends on the width of the terminal."""
        cells = [[_cell(value) for value in row] for row in self.rows[:MAX_ROWS]]
        widths = [max([len(name), *(self._needed(row[at]) for row in cells)]) for at, name in enumerate(self.names)]
        is_wide = sum(widths) + COLUMN_GAP * len(widths) > options.max_width
        shown = cells[:MAX_UPRIGHT_ROWS] if is_wide else cells
        yield self._upright(shown) if is_wide else self._table(shown, widths)
        first = f", the first {len(shown)} shown" if len(self.rows) > len(shown) else ""
        yield Text(f"{len(self.rows):,} row(s){first}", style=QUIET)

    @staticmethod
    def _needed(cell: Text) -> int:
        """Texts may be folded; a number, a date or an id that breaks over lines cannot be read."""
        length = len(cell.plain)
        return min(length, FOLDED_WIDTH) if " " in cell.plain else length

    def _table(self, cells: list[list[Text]], widths: list[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        for name, width in zip(self.names, widths, strict=True):
            table.add_column(Text(name), overflow="fold", min_width=width)
        for row in cells:
            table.add_row(*row)
        return table

    def _upright(self, cells: list[list[Text]]) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for number, row in enumerate(cells, start=1):
            if len(cells) > 1:
                table.add_row(Text(f"row {number}", style=QUIET), "")
            for name, cell in zip(self.names, row, strict=True):
                table.add_row(Text(name), cell)
        return table


def rows_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> RenderableType:
    """The result of a query."""
    return RowsTable(names, rows)


def next_steps(lines: Iterable[tuple[str, str]]) -> RenderableType:
    """Commands to try next, each on a line of its own so that it can be copied, with what they show."""
    steps = [Text.assemble((f"  {command}", "bold cyan"), f"\n      {purpose}") for command, purpose in lines]
    return Group(Text("What next", style="bold"), *steps)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("null", style=QUIET)
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    return Text(value.isoformat() if isinstance(value, date) else str(value))


def _plain(text: str) -> str:
    # Square brackets are markup to the terminal library; in data they are just brackets.
    return text.replace("[", "\\[")


def restatement_tables(found: Preview, shown: int = 10, metrics: Mapping[str, Metric] | None = None) -> RenderableType:
    """What a correction would change: metrics, decisions, references, prompts; the largest changes first.

    Values are written as their metric has them.
    """
    if found.first is None:
        return Text("No closed cycle is touched: nothing would be closed again, and nothing would change.")
    touched = ", ".join(str(cycle) for cycle in found.touched[:5]) + (", ..." if len(found.touched) > 5 else "")
    parts: list[RenderableType] = [
        Text(f"Cycles {found.first} to {found.last} would close again" + (f"; touched: {touched}." if touched else "."))
    ]
    if found.metrics:
        parts.append(_changed_metrics(found, shown, metrics or {}))
    if found.decisions:
        parts.append(_flipped_decisions(found, shown))
    for title, rows in (("would enter the corpus", found.corpus_in), ("would leave the corpus", found.corpus_out)):
        if rows:
            parts.append(_references(rows, title, shown))
    parts.append(Text(_in_words(found), style="bold"))
    return Group(*parts)


def _in_words(found: Preview) -> str:
    prompts = (
        f"the prompts that {len(found.prompts)} cycle(s) hand over change" if found.prompts else "no prompt changes"
    )
    flips = f"{len(found.promotions)} promotion(s), {len(found.demotions)} demotion(s)"
    return (
        f"{len(found.metrics):,} value(s) change; {flips}; {len(found.corpus_in)} reference(s) in, "
        f"{len(found.corpus_out)} out; {prompts}. Cumulative lift {percent(found.lift_before)} -> "
        f"{percent(found.lift_after)}."
    )


def _changed_metrics(found: Preview, shown: int, metrics: Mapping[str, Metric]) -> Table:
    table = _change_table(f"{len(found.metrics):,} value(s) would change", len(found.metrics), shown)
    for name in ("cycle", "output", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("was", "is", "of", "now of"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(found.metrics, key=_change, reverse=True)[:shown]:
        old, new, metric = row["old_value"], row["new_value"], metrics.get(row["metric"])
        values = (changed_value(one, other, metric, row["metric"]) for one, other in ((old, new), (new, old)))
        exposures = (_number(row[name]) for name in ("old_exposure", "new_exposure"))
        table.add_row(str(row["cycle"]), row["output_id"], row["metric"], *values, *exposures)
    return table


def _flipped_decisions(found: Preview, shown: int) -> Table:
    table = _change_table(f"{len(found.decisions):,} decision(s) would flip", len(found.decisions), shown)
    for name in ("cycle", "output", "was", "is"):
        table.add_column(name, no_wrap=True)
    for name in ("above the floor was", "is"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("text", no_wrap=True, overflow="ellipsis")
    for row in sorted(found.decisions, key=_change, reverse=True)[:shown]:
        words = (row["old_decision"] or "not judged", row["new_decision"] or "not judged")
        numbers = ("" if value is None else f"{value:.0%}" for value in (row["old_value"], row["new_value"]))
        table.add_row(
            str(row["cycle"]), row["output_id"], *words, *numbers, Text(" ".join((row["text"] or "").split()))
        )
    return table


def _references(rows: Sequence[dict[str, Any]], title: str, shown: int) -> Table:
    table = _change_table(f"{len(rows)} reference(s) {title}", len(rows), shown)
    for name in ("output", "of cycle", "segment"):
        table.add_column(name, no_wrap=True)
    table.add_column("text", no_wrap=True, overflow="ellipsis")
    for row in rows[:shown]:
        text = Text(" ".join(row["text"].split()))
        table.add_row(row["reference_id"], str(row["source_cycle"]), Text(row["segment"]), text)
    return table


def _change_table(title: str, n_rows: int, shown: int) -> Table:
    caption = f"{n_rows - shown:,} more with --json" if n_rows > shown else None
    return Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", caption=caption,
        caption_justify="left",
    )  # fmt: skip


def _change(row: dict[str, Any]) -> float:
    """How large a change is; what came or went is put first."""
    old, new = row["old_value"], row["new_value"]
    return float("inf") if old is None or new is None else abs(new - old)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
