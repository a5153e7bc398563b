"""What a close tells people about the corpus and the prompt: what came in, what left, signs of collapse, a diff.

Here: Markdown for the asset's metadata. Not here: choosing (`choosing`) or the numbers (`learning`).
"""

from __future__ import annotations

import difflib

import pyarrow as pa

from flywheel_pipelines.learning.reference_changes import ENTERED, KEPT, LEFT
from flywheel_pipelines.loop.recorder import Markdown, Shown

MOST_SHOWN = 24
MOST_DIFFERENCES = 200
TEXT_WIDTH = 160


def about_changes(changes: pa.Table) -> Shown:
    """What came in and what left at one close (REFERENCE_CHANGES), each with its text and the reason."""
    rows = sorted(changes.to_pylist(), key=lambda row: (row["rank"] or row["rank_before"] or 0, row["reference_id"]))
    shown: Shown = {change: sum(row["change"] == change for row in rows) for change in (ENTERED, KEPT, LEFT)}
    for change, title in ((ENTERED, "came_in"), (LEFT, "went_out")):
        lines = [
            f"| {row['reference_id']} | {_cell(row['segment'])} | {row['reason']} | {_cell(row['words'])} | "
            f"{_cell(row['text'])} |"
            for row in rows
            if row["change"] == change
        ]
        head = ["| reference | segment | reason | in words | text |", "|---|---|---|---|---|"]
        more = [f"\n... and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
        shown[title] = Markdown("\n".join([*head, *lines[:MOST_SHOWN], *more]) if lines else "none")
    return shown


def about_signs(signs: pa.Table) -> Shown:
    """The signs of collapse over some cycles (COLLAPSE_SIGNS), one line per cycle, and the newest as numbers."""
    rows = signs.to_pylist()
    columns = ("distinct_2", "similarity", "mean_depth", "human_share")
    cycles = sorted({row["cycle"] for row in rows})
    by_key = {(row["cycle"], row["scope"]): row for row in rows}
    lines = ["| cycle | " + " | ".join(f"{scope} {name}" for scope in ("corpus", "outputs") for name in columns) + " |"]
    lines.append("|---" * (1 + 2 * len(columns)) + "|")
    for cycle in cycles:
        cells = [_number(by_key[cycle, scope][name]) for scope in ("corpus", "outputs") for name in columns]
        lines.append(f"| {cycle} | " + " | ".join(cells) + " |")
    newest = [row for row in rows if row["cycle"] == cycles[-1]]
    # As numbers, so that the UI draws them over the cycles.
    numbers: Shown = {
        f"{row['scope']}_{name}": round(row[name], 4) for row in newest for name in columns if row[name] is not None
    }
    return numbers | {"trends": Markdown("\n".join(lines))}


def about_prompt(before: str | None, text: str) -> Shown:
    """A prompt, and what differs from the one before it as lines that left and came; `before` is None for the first."""
    shown: Shown = {"prompt": Markdown(code_block(text))}
    if before is None:
        return {"prompt_diff": Markdown("the first prompt"), **shown}
    lines = list(difflib.unified_diff(before.splitlines(), text.splitlines(), "before", "now", lineterm="", n=2))
    came = sum(line.startswith("+") for line in lines[2:])
    left = sum(line.startswith("-") for line in lines[2:])
    cut = lines[:MOST_DIFFERENCES] + (
        [f"... and {len(lines) - MOST_DIFFERENCES} more lines"] * (len(lines) > MOST_DIFFERENCES)
    )
    diff = Markdown(code_block("\n".join(cut), "diff") if lines else "nothing changed")
    return {"prompt_diff": diff, "prompt_lines_in": came, "prompt_lines_out": left, **shown}


def code_block(text: str, language: str = "") -> str:
    """A text in a fence that is longer than any within it."""
    runs = [run for run in "".join(c if c == "`" else " " for c in text).split() if len(run) > 2]
    fence = "`" * (max((len(run) for run in runs), default=2) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|")
    return plain if len(plain) <= TEXT_WIDTH else plain[: TEXT_WIDTH - 1] + "…"
