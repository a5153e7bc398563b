"""The momentum picture: the lift of every cycle, and the cumulative lift closing in on the truth.

Here: one figure as PNG bytes, equal for equal input. Not here: what the numbers mean (`intervals.py`) and where the
picture is shown.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import dates, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from flywheel_pipelines.momentum.intervals import TREADMILL, Lift, percent, verdict_words

# An opaque off-white card: dark ink on it has a contrast above 7:1, and the card stands out on a dark page and on a
# light one alike.
CARD, INK, QUIET, GRID = "#f6f5f1", "#22272e", "#565d66", "#dcdad3"
FLYWHEEL_COLOUR, TREADMILL_COLOUR = "#0f6e56", "#a8412b"
SIZE, DPI = (9.6, 4.8), 120
# Left, bottom, width, height of the axes: fixed, so that pictures of different cycles can be leafed through.
FRAME = (0.065, 0.09, 0.805, 0.68)


def momentum_plot(momentum: pa.Table, *, flywheel: str, label: str | None = None, rival: str = TREADMILL) -> bytes:
    """Draw the momentum of a flywheel.

    Args:
        momentum: MOMENTUM with the `cycle` column, as the lake reads it; any number of cycles, also none.
        flywheel: name of the flywheel, for the title.
        label: a word to print across the picture, e.g. 'synthetic', when the data are not of the real world.
        rival: what the control arm is, in words.

    Returns:
        A PNG. The lift axis holds the bands of the later half of the cycles and all dots but the wildest, which sit at
        the edge as triangles: the first weeks' intervals would flatten everything else.
    """
    cumulative, single = (_series(momentum, scope) for scope in ("cumulative", "cycle"))
    lift = _last_lift(cumulative)
    # Whatever style the process has set, the picture is the same.
    with style.context("default"):
        figure = Figure(figsize=SIZE, dpi=DPI, facecolor=CARD)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes(FRAME, facecolor=CARD)
        if len(cumulative["cycle"]):
            axes.set_ylim(*_limits(cumulative, single))
            _draw_cycles(axes, single)
            _draw_cumulative(axes, cumulative)
            _date_axis(axes, cumulative["cycle"])
            axes.legend(
                loc="lower right", bbox_to_anchor=(1.0, 1.003), ncols=3, frameon=False, labelcolor=INK, fontsize=9.5,
                handlelength=1.4, columnspacing=1.4, borderaxespad=0.2,
            )  # fmt: skip
        else:
            axes.set_ylim(-0.1, 0.1)
            axes.xaxis.set_major_locator(NullLocator())
        _dress(axes, rival)
        _label_lines(axes, lift, rival)
        _entitle(figure, flywheel, verdict_words(lift, rival), label)
        buffer = io.BytesIO()
        # Without the version of matplotlib in it, the file depends on the pixels alone.
        canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _series(momentum: pa.Table, scope: str) -> dict[str, np.ndarray]:
    """The columns of one scope in cycle order; cycles without a lift have NaN."""
    rows = momentum.filter(pc.field("scope") == scope).sort_by("cycle")
    numbers = {name: rows[name].to_numpy().astype(float) for name in ("lift", "n_briefs")}
    # The band that holds at every look: this picture is looked at after every cycle.
    numbers |= {end: rows[f"anytime_{end}"].to_numpy().astype(float) for end in ("lower", "upper")}
    return {"cycle": np.array(rows["cycle"].to_pylist(), dtype="datetime64[D]"), **numbers}


def _last_lift(cumulative: dict[str, np.ndarray]) -> Lift:
    if not len(cumulative["cycle"]):
        return Lift(None)
    ends = (cumulative[name][-1] for name in ("lift", "lower", "upper"))
    return Lift(*(None if np.isnan(end) else float(end) for end in ends))


def _limits(cumulative: dict[str, np.ndarray], single: dict[str, np.ndarray]) -> tuple[float, float]:
    later = slice(len(cumulative["cycle"]) // 2, None)
    shown = [cumulative[name][later] for name in ("lower", "upper")] + [cumulative["lift"], single["lift"]]
    known = np.concatenate([values[~np.isnan(values)] for values in shown] + [np.array([-0.02, 0.02])])
    low, high = np.quantile(known, [0.02, 0.98])
    last = [value for value in _last_lift(cumulative) if value is not None]
    low, high = min(low, 0.0, *last), max(high, 0.0, *last)
    margin = 0.12 * (high - low)
    return float(low - margin), float(high + margin)


def _draw_cycles(axes: Axes, single: dict[str, np.ndarray]) -> None:
    """Dots for single cycles, their area following the number of briefs; triangles at the edge for what lies beyond."""
    low, high = axes.get_ylim()
    inset = 0.025 * (high - low)
    known = ~np.isnan(single["lift"])
    sizes = 12 + 36 * single["n_briefs"] / max(single["n_briefs"].max(), 1.0)
    look = {"color": QUIET, "alpha": 0.5, "linewidths": 0, "zorder": 3}
    inside = known & (single["lift"] >= low) & (single["lift"] <= high)
    axes.scatter(
        single["cycle"][inside], single["lift"][inside], s=sizes[inside], label="one cycle", clip_on=False, **look
    )
    for beyond, marker, edge in (
        (known & (single["lift"] > high), "^", high - inset),
        (known & (single["lift"] < low), "v", low + inset),
    ):
        axes.scatter(single["cycle"][beyond], np.full(beyond.sum(), edge), s=26, marker=marker, **look)


def _draw_cumulative(axes: Axes, cumulative: dict[str, np.ndarray]) -> None:
    cycles, lower, upper = (cumulative[name] for name in ("cycle", "lower", "upper"))
    axes.plot(cycles, cumulative["lift"], color=FLYWHEEL_COLOUR, linewidth=2.6, label="all cycles so far", zorder=4)
    axes.fill_between(
        cycles,
        lower,
        upper,
        color=FLYWHEEL_COLOUR,
        alpha=0.18,
        linewidth=0,
        label="95% interval at all looks",
        zorder=2,
    )
    # The first cycle has no width to fill, and the last interval is what the verdict rests on.
    axes.vlines(cycles[-1:], lower[-1:], upper[-1:], color=FLYWHEEL_COLOUR, linewidth=2.6, alpha=0.45, zorder=4)
    axes.plot(cycles[-1:], cumulative["lift"][-1:], "o", color=FLYWHEEL_COLOUR, markersize=7, zorder=5)


def _date_axis(axes: Axes, cycles: np.ndarray) -> None:
    """A fortieth of the span on either side; every cycle has its tick while they are few."""
    pad = max((cycles[-1] - cycles[0]) // 40, np.timedelta64(2, "D"))
    axes.set_xlim(cycles[0] - pad, cycles[-1] + pad)
    if len(cycles) <= 6:
        axes.set_xticks(cycles)
        axes.xaxis.set_major_formatter(dates.DateFormatter("%Y-%m-%d"))
    else:
        locator = dates.AutoDateLocator(maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _dress(axes: Axes, rival: str) -> None:
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, labelsize=10, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.4g}%" if round(value, 6) else "0%"))
    axes.text(0, 1.035, f"Lift over {rival}", transform=axes.transAxes, color=QUIET, fontsize=9.5)


def _label_lines(axes: Axes, lift: Lift, rival: str) -> None:
    """The zero line, and names at the right end of both lines, kept apart where the lines meet."""
    axes.axhline(0, color=TREADMILL_COLOUR, linewidth=1.6, linestyle=(0, (5, 3)), zorder=3)
    low, high = axes.get_ylim()
    gap = 0.11 * (high - low)
    names = [(0.0, f"{rival.removeprefix('the ')}\n(control)", TREADMILL_COLOUR, 10.0)]
    if lift.value is not None:
        side = 1 if lift.value >= 0 else -1
        height = side * max(abs(lift.value), gap)
        names.append((height, percent(lift.value), FLYWHEEL_COLOUR, 14.0))
    for height, text, colour, size in names:
        axes.annotate(
            text, (1, height), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
            va="center", color=colour, fontsize=size, weight="bold" if size > 12 else "normal", annotation_clip=False,
        )  # fmt: skip


def _entitle(figure: Figure, flywheel: str, verdict: str, label: str | None) -> None:
    title = f"{flywheel}, {label} data" if label else flywheel
    figure.text(0.02, 0.945, title, va="center", color=INK, fontsize=15, weight="bold")
    figure.text(0.02, 0.878, verdict, va="center", color=INK, fontsize=11)
    if label:
        figure.text(
            0.47, 0.45, label.upper(), ha="center", va="center", rotation=18, fontsize=54, weight="bold", color=INK,
            alpha=0.08,
        )  # fmt: skip
