"""The picture of many seasons: how far each way gets ahead of the treadmill, cycle by cycle.

Here: one figure as PNG bytes. Not here: playing the seasons (`seasons`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from flywheel_pipelines.momentum.plot import CARD, GRID, INK, QUIET

# Told apart by colour-blind readers as well (M. Okabe and K. Ito, "Color universal design", 2008), and by their dashes.
LOOKS = (
    ("#0f6e56", "-"),
    ("#a8412b", "-"),
    ("#0072b2", (0, (6, 2))),
    ("#565d66", (0, (1, 1.5))),
    ("#b0790a", (0, (4, 2, 1, 2))),
)


class Season(Protocol):
    """What the picture needs of one season."""

    @property
    def flywheel(self) -> str:
        """Name of the flywheel."""
        ...

    @property
    def way(self) -> str:
        """How it was played."""
        ...

    @property
    def lifts(self) -> tuple[float, ...]:
        """Cumulative lift after each cycle, a fraction; NaN while there is none."""
        ...


def seasons_plot(played: Sequence[Season]) -> bytes:
    """Draw the cumulative lift over the control arm by cycle: mean over seeds, and the middle half of them as a band.

    Returns:
        A PNG with one panel per flywheel. Cycles in which no season has a lift yet are left out.
    """
    flywheels, ways = list(dict.fromkeys(s.flywheel for s in played)), list(dict.fromkeys(s.way for s in played))
    with style.context("default"):
        figure = Figure(figsize=(5.6 * len(flywheels), 4.6), dpi=120, facecolor=CARD, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(flywheels), sharey=True, squeeze=False)[0]
        for axes, flywheel in zip(panels, flywheels, strict=True):
            for way, (colour, dashes) in zip(ways, LOOKS, strict=False):
                lifts = [season.lifts for season in played if (season.flywheel, season.way) == (flywheel, way)]
                _draw_way(axes, np.array(lifts), way, colour, dashes)
            _dress(axes, f"{flywheel}, simulated audiences")
        panels[0].set_ylabel("cumulative lift over the control arm", color=INK)
        n_seeds = len(played) // (len(flywheels) * len(ways))
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center",
            ncols=min(len(ways), 3 * len(flywheels)), frameon=False,
            labelcolor=INK, title=f"mean of {n_seeds} seed{'s' if n_seeds > 1 else ''}; band: the middle half of them",
        )  # fmt: skip
        buffer = io.BytesIO()
        canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _draw_way(
    axes: Axes, lifts: np.ndarray, way: str, colour: str, dashes: str | tuple[int, tuple[float, ...]]
) -> None:
    """One line with its band; `lifts` has shape (seeds, cycles), NaN where there is no lift yet."""
    known = ~np.isnan(lifts).all(axis=0)
    cycles = np.arange(1, lifts.shape[1] + 1)[known]
    low, high = np.nanquantile(lifts[:, known], [0.25, 0.75], axis=0)
    axes.fill_between(cycles, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.plot(cycles, np.nanmean(lifts[:, known], axis=0), color=colour, linestyle=dashes, linewidth=2, label=way)


def _dress(axes: Axes, title: str) -> None:
    axes.set_facecolor(CARD)
    axes.set_title(title, color=INK, loc="left", fontsize=11)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.grid(axis="y", color=GRID)
    axes.set_xlabel("cycle", color=INK)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.tick_params(colors=QUIET)
    for spine in axes.spines.values():
        spine.set_visible(False)
