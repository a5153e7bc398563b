"""Pictures of an insight flywheel: where the pain is moving, and what it learned.

Here: figures as PNG bytes, equal for equal input. Not here: the numbers (`learning.themes`, `loop.insight`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

UP, DOWN, INK, QUIET = "#b3402a", "#2a7d5f", "#1c2733", "#7b8896"
MARGIN = timedelta(days=3)
RISING = ("emerging", "growing")


def movers_plot(movers: Sequence[dict[str, Any]]) -> bytes | None:
    """Share now with its interval, and the share that was to be expected, of each moving theme.

    Args:
        movers: rows of `theme_trends` that are not steady, the surest first.

    Returns:
        A PNG; None when nothing moves.
    """
    if not movers:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.45 * len(movers)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(reversed(movers)):
        before = row["expected"] / row["n_all"] if row["n_all"] else 0.0
        colour = UP if row["movement"] in RISING else DOWN
        axes.plot([100 * row["share_low"], 100 * row["share_high"]], [place, place], color=colour, linewidth=2)
        axes.plot(100 * row["share"], place, "o", color=colour, markersize=8)
        axes.plot(100 * before, place, "|", color=INK, markersize=16, markeredgewidth=2)
    axes.set_yticks(range(len(movers)), [f"{row['name']} ({row['movement']})" for row in reversed(movers)])
    axes.set_ylim(-0.7, len(movers) - 0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel("share of all tickets in %: dot now, with 95% interval; bar where it was before")
    return _png(figure)


def learning_plot(rows: Sequence[dict[str, Any]]) -> bytes | None:
    """Share placed without a model, tokens per ticket of both arms, and share of new themes accepted, by cycle.

    Args:
        rows: of `theme_learning`, with the cycle, both arms, any number of cycles.

    Returns:
        A PNG; None without a cycle that had tickets.
    """
    arms: dict[str, list[dict[str, Any]]] = {"flywheel": [], "control": []}
    for row in sorted(rows, key=lambda row: row["cycle"]):
        if row["n_tickets"]:
            arms[row["arm"]].append(row)
    if not arms["flywheel"]:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    placed, tokens, accepted = figure.subplots(1, 3)
    ours = arms["flywheel"]
    placed.plot(
        [row["cycle"] for row in ours], [row["n_by_library"] / row["n_tickets"] for row in ours], "o-", color=DOWN
    )
    placed.set_title("tickets placed without a model")
    for arm, colour in (("flywheel", DOWN), ("control", QUIET)):
        there = arms[arm]
        values = [row["tokens"] / row["n_tickets"] for row in there]
        tokens.plot([row["cycle"] for row in there], values, "o-", color=colour, label=arm)
    tokens.set_title("tokens per ticket")
    tokens.legend(frameon=False)
    decided = [(row["cycle"], rate) for row in ours if (rate := acceptance(row)) is not None]
    accepted.plot([cycle for cycle, _ in decided], [rate for _, rate in decided], "o-", color=UP)
    accepted.set_title("new themes that people accepted")
    for axes in (placed, accepted):
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    tokens.set_ylim(bottom=0)
    for axes in (placed, tokens, accepted):
        axes.set_xlim(ours[0]["cycle"] - MARGIN, ours[-1]["cycle"] + MARGIN)
        axes.tick_params(axis="x", rotation=30, labelsize=8)
    return _png(figure)


def acceptance(row: dict[str, Any]) -> float | None:
    """Of the themes that a cycle founded, the share of those accepted among those decided; None before anybody did."""
    decided = [row[name] or 0 for name in ("n_accepted", "n_merged", "n_rejected")]
    return decided[0] / sum(decided) if sum(decided) else None


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    for axes in figure.axes:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()
