"""The picture of a cycle's scores: where its outputs lie against the floor they had to beat.

Here: one figure as PNG bytes, equal for equal input. Not here: the numbers (`judgement.py`) and where it is shown.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from flywheel_pipelines.learning.gate_plot import CARD, GRID, INK, QUIET

COLOURS = {"promote": "#0f6e56", "hold": "#8a8f98", "reject": "#a8412b"}
FLOOR_COLOUR = "#3b5ba5"
MOST_INTERVALS = 60
"""Outputs up to which each is drawn with its interval; beyond, they become a histogram."""


def score_plot(scored: pa.Table, *, title: str) -> bytes | None:
    """Draw the expected value of every output of a cycle, coloured by decision, and the floor.

    Args:
        scored: SCORED_OUTPUTS of one cycle.
        title: a line above the picture.

    Returns:
        A PNG, an opaque card that is readable on a dark page and on a light one; None without outputs.
    """
    rows = sorted(scored.to_pylist(), key=lambda row: (row["posterior_mean"], row["output_id"]))
    if not rows:
        return None
    with style.context("default"):
        figure = Figure(figsize=(9.6, 3.8), dpi=120, facecolor=CARD)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.06, 0.15, 0.91, 0.68), facecolor=CARD)
        (_intervals if len(rows) <= MOST_INTERVALS else _histogram)(axes, rows)
        _floor(axes, rows)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=QUIET, labelsize=9, length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.set_xlabel(f"{rows[0]['metric']}, expected after feedback", color=QUIET, fontsize=9.5)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False, labelcolor=INK, fontsize=9)
        axes.set_title(title, loc="left", color=INK, fontsize=11)
        buffer = io.BytesIO()
        canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _intervals(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for decision, colour in COLOURS.items():
        places = [place for place, row in enumerate(rows) if row["decision"] == decision]
        if not places:
            continue
        chosen = [rows[place] for place in places]
        means = np.array([row["posterior_mean"] for row in chosen])
        ends = np.array([[row["lower"], row["upper"]] for row in chosen]).T
        axes.errorbar(
            means, places, xerr=np.abs(ends - means), fmt="o", color=colour, ecolor=colour, elinewidth=1.2,
            markersize=4.5, alpha=0.9, label=f"{decision} ({len(places)})",
        )  # fmt: skip
    axes.set_yticks([])


def _histogram(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    values = {name: [row["posterior_mean"] for row in rows if row["decision"] == name] for name in COLOURS}
    shown = {name: found for name, found in values.items() if found}
    axes.hist(
        list(shown.values()), bins=40, stacked=True, color=[COLOURS[name] for name in shown],
        label=[f"{name} ({len(found)})" for name, found in shown.items()],
    )  # fmt: skip


def _floor(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """A line where all outputs had one floor, a band where each segment has its own."""
    levels = sorted({row["floor_level"] for row in rows if row["floor_level"] is not None})
    if not levels:
        return
    if len(levels) > 1:
        axes.axvspan(levels[0], levels[-1], color=FLOOR_COLOUR, alpha=0.15, linewidth=0, zorder=0)
    axes.axvline(float(np.median(levels)), color=FLOOR_COLOUR, linewidth=1.8, linestyle=(0, (5, 3)), label="floor")
