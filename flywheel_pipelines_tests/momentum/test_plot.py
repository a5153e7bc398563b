"""The picture is a PNG that depends on the numbers and on nothing else."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import date, timedelta

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest

from flywheel_pipelines.momentum import plot
from flywheel_pipelines.momentum.lift import momentum_rows
from flywheel_pipelines.momentum.plot import momentum_plot
from flywheel_pipelines_tests.momentum.worlds import click_counts, outcomes


def history(n_cycles: int, briefs: int = 12, lift: float = 0.1) -> pa.Table:
    random = np.random.default_rng(6)
    rows, previous = [], None
    for number in range(n_cycles):
        flywheel, control = click_counts(random, briefs, briefs, briefs, lift)
        previous = momentum_rows(outcomes(flywheel, control), previous, metric="click_rate", better="higher")
        cycle = date(2026, 1, 5) + timedelta(weeks=number)
        rows.append(previous.append_column("cycle", pa.array([cycle, cycle], pa.date32())))
    return pa.concat_tables(rows)


@pytest.mark.parametrize(
    "table",
    [history(1).slice(0, 0), history(1), history(1, briefs=3), history(3, briefs=0), history(26)],
    ids=["no cycles", "one cycle", "too few briefs", "no briefs", "half a year"],
)
def test_any_history_gives_a_png_without_a_warning(table: pa.Table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert momentum_plot(table, flywheel="outreach").startswith(b"\x89PNG")


def test_equal_numbers_give_equal_bytes_whatever_style_is_set():
    table = history(8)
    picture = momentum_plot(table, flywheel="outreach")
    with mpl.rc_context({"font.size": 30, "savefig.dpi": 40, "axes.facecolor": "black"}):
        assert momentum_plot(table.take([*range(15, -1, -1)]), flywheel="outreach") == picture
    assert momentum_plot(history(9), flywheel="outreach") != picture


def test_the_label_is_drawn_into_the_picture():
    table = history(8)
    assert momentum_plot(table, flywheel="demo", label="synthetic") != momentum_plot(table, flywheel="demo")


def test_pyplot_and_its_state_stay_out():
    code = "import sys; import flywheel_pipelines.momentum.plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(first: str, second: str) -> float:
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_every_ink_has_adequate_contrast_on_the_card():
    inks = (plot.INK, plot.QUIET, plot.FLYWHEEL_COLOUR, plot.TREADMILL_COLOUR)
    assert all(_contrast(ink, plot.CARD) >= 4.5 for ink in inks)
    assert _contrast(plot.GRID, plot.CARD) < 4.5
