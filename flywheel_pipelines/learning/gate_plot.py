"""The picture of the gate: what every frame on trial achieved against the champion, cycle by cycle.

Here: one figure as PNG bytes, equal for equal input. Not here: the numbers (`gate.py`) and where the picture is shown.
"""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from flywheel_pipelines.learning.gate_state import CHALLENGER, CHAMPION, PREDECESSOR, RETIRED

CARD, INK, QUIET, GRID = "#f6f5f1", "#22272e", "#565d66", "#dcdad3"
COLOURS = ("#0f6e56", "#a8412b", "#3b5ba5", "#7a5c00")


def gate_plot(rows: pa.Table) -> bytes | None:
    """Draw estimates over the champion with their anytime-valid intervals, one colour a frame.

    Args:
        rows: PROMPT_GATE with the `cycle` column; any number of cycles.

    Returns:
        A PNG; None where no comparison with an interval was made.
    """
    drawn = [row for row in rows.sort_by("cycle").to_pylist() if _is_drawn(row)]
    if not drawn:
        return None
    frames = list(dict.fromkeys(_frame(row) for row in drawn))
    with style.context("default"):
        figure = Figure(figsize=(9.6, 4.2), dpi=120, facecolor=CARD)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.075, 0.11, 0.9, 0.75), facecolor=CARD)
        for number, frame in enumerate(frames):
            mine = [row for row in drawn if _frame(row) == frame]
            estimates = [row["estimate"] for row in mine]
            below = [row["estimate"] - row["lower"] for row in mine]
            above = [row["upper"] - row["estimate"] for row in mine]
            axes.errorbar(
                [row["cycle"] for row in mine], estimates, yerr=(below, above), fmt="o", capsize=3,
                color=COLOURS[number % len(COLOURS)], label=frame[:8],
            )  # fmt: skip
            for row in mine:
                if row["decision"] != "keep":
                    place = (row["cycle"], row["upper"])
                    axes.annotate(row["decision"].replace("_", " "), place, ha="center", color=INK, fontsize=9)
        axes.axhline(0, color=QUIET, linewidth=1.4, linestyle=(0, (5, 3)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.tick_params(colors=QUIET, labelsize=9, length=0)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=6, frameon=False, labelcolor=INK, fontsize=9)
        axes.set_title("Frames over the champion, intervals valid at all looks", loc="left", color=INK, fontsize=11)
        buffer = io.BytesIO()
        canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _is_drawn(row: dict[str, Any]) -> bool:
    decided = row["role"] == CHAMPION and row["decision"] in ("promote", "roll_back")
    return row["lower"] is not None and (decided or row["role"] in (CHALLENGER, PREDECESSOR, RETIRED))


def _frame(row: dict[str, Any]) -> str:
    return str(row["frame_version"])
