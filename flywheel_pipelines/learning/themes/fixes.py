"""Whether a product fix made its theme smaller: difference in differences against comparable themes.

The measure is the log of how often the theme is written about, relative to comparable themes, in the cycles after the
fix over the cycles before it. Total volume, weekdays and everything else that moves all themes alike cancels out. What
moves single themes does not, so the same measure is taken of every comparable theme as though it had been fixed at the
time (placebos), and their spread beyond chance (by its median, since some of them have fates of their own) widens the
interval: inference with one treated group and many controls
(T. Conley and C. Taber, Review of Economics and Statistics 93, 2011), with Student's t for the number of controls.

The cycle in which a fix ships counts on neither side. Weeks arrive and the effect is looked at again each time, so the
error budget is divided among the looks that there can be (Bonferroni): the intervals of all looks hold together, and so
does what they have in common, which is the interval that is given. A theme that was
falling or rising by itself before the fix is told apart by its slope before it: without a break in it there is no
evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

Verdict = Literal["worked", "no evidence", "worse"]
PRE_TREND_ERROR = 0.2
"""Two-sided level at which a slope before the fix counts; it must also make up half of the effect over the window."""
HALF = 0.5
"""Added to every count (Haldane and Anscombe), so that a theme that is gone has a finite effect."""


@dataclass(frozen=True)
class FixSettings:
    """How the effect of a fix is estimated."""

    cycles_before: int = 8
    cycles_after: int = 8
    """At most; later cycles say little about the fix."""
    min_cycles_after: int = 2
    """Fewest cycles after the fix for a first look."""
    min_before: int = 10
    """Fewest tickets before the fix, of the theme and of each control."""
    min_controls: int = 5
    error: float = 0.05
    """Probability of a wrong verdict over all looks at one fix."""


@dataclass(frozen=True)
class FixEffect:
    """`ratio` is the theme's share after the fix over before, relative to the controls; None where nothing can be said.

    `reason` says in words what the verdict rests on.
    """

    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    n_before: int
    n_after: int
    n_controls: int
    cycles_after: int
    reason: str


def fix_effect(
    counts: np.ndarray, theme: int, shipped: int, settings: FixSettings, *, not_controls: frozenset[int] = frozenset()
) -> FixEffect:
    """The effect of one fix as it is known at the last cycle.

    Args:
        counts: tickets by theme and cycle, shape (themes, cycles).
        theme: index of the theme that the fix is about.
        shipped: index of the cycle in which it shipped.
        settings: windows and error.
        not_controls: other themes that fixes were shipped for in these cycles.
    """
    before = counts[:, max(0, shipped - settings.cycles_before) : shipped]
    after = counts[:, shipped + 1 : shipped + 1 + settings.cycles_after]
    pre, n_after = before.sum(axis=1), after.shape[1]
    controls = [
        at for at in range(len(counts)) if at != theme and at not in not_controls and pre[at] >= settings.min_before
    ]
    told = (
        f"{int(pre[theme])} tickets in {before.shape[1]} cycles before and {int(after[theme].sum())} in {n_after} after"
    )
    lacking = [
        (n_after, settings.min_cycles_after, "full cycles since it shipped"),
        (int(pre[theme]), settings.min_before, "tickets before it shipped"),
        (len(controls), settings.min_controls, "comparable themes"),
    ]
    numbers = (int(pre[theme]), int(after[theme].sum()), len(controls), n_after)
    for found, needed, what in lacking:
        if found < needed:
            return FixEffect(None, None, None, "no evidence", *numbers, f"{found} {what}; {needed} are needed.")
    looks = [
        _look(pre, after[:, :end].sum(axis=1), theme, controls, settings)
        for end in range(settings.min_cycles_after, n_after + 1)
    ]
    effect = looks[-1][0]
    low, high = max(value - half for value, half in looks), min(value + half for value, half in looks)
    reason = f"{told}, against {len(controls)} comparable themes."
    if low > high:
        # The looks contradict each other: the effect did not last, or came late.
        low, high = effect - looks[-1][1], effect + looks[-1][1]
        reason += " It changed over the cycles since, so only the last look counts."
    verdict: Verdict = "worked" if high < 0 else "worse" if low > 0 else "no evidence"
    if verdict != "no evidence" and _was_moving(before, theme, controls, effect):
        verdict, reason = "no evidence", reason + " The theme was moving this way before the fix."
    return FixEffect(math.exp(effect), math.exp(low), math.exp(high), verdict, *numbers, reason)


def _look(
    pre: np.ndarray, post: np.ndarray, theme: int, controls: list[int], settings: FixSettings
) -> tuple[float, float]:
    """The log effect at one look, and half the width of its interval."""
    all_pre, all_post = pre[controls].sum(), post[controls].sum()
    of_pre, of_post = pre[controls], post[controls]
    placebo, chance = _log_ratio(of_pre, of_post, all_pre - of_pre, all_post - of_post)
    effect, own = _log_ratio(pre[[theme]], post[[theme]], all_pre, all_post)
    beyond = max(0.0, _robust_variance(placebo) - float(chance.mean()))
    error = math.sqrt(float(own[0]) + beyond * (1 + 1 / len(controls)))
    n_looks = settings.cycles_after - settings.min_cycles_after + 1
    return float(effect[0]), _critical(settings.error / n_looks, len(controls) - 1) * error


def _robust_variance(values: np.ndarray) -> float:
    """By the median distance from the median: few controls that were born, merged or had their season do not count."""
    return (1.4826 * float(np.median(np.abs(values - np.median(values))))) ** 2


def _log_ratio(
    pre: np.ndarray, post: np.ndarray, others_pre: np.ndarray, others_post: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logs of the ratios of ratios of some themes, and their variances by chance (delta method on Poisson counts)."""
    cells = [post + HALF, pre + HALF, others_post + HALF, others_pre + HALF]
    value = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    return value, 1 / cells[0] + 1 / cells[1] + 1 / cells[2] + 1 / cells[3]


def _was_moving(before: np.ndarray, theme: int, controls: list[int], effect: float) -> bool:
    """Whether the theme's log share relative to the controls had a slope in the effect's direction that explains it."""
    n = before.shape[1]
    if n < 4:
        return False
    y = np.log((before[theme] + HALF) / (before[controls].sum(axis=0) + HALF))
    t = np.arange(n) - (n - 1) / 2
    slope = float((t * y).sum() / (t * t).sum())
    left = y - y.mean() - slope * t
    error = math.sqrt(float((left**2).sum()) / (n - 2) / float((t * t).sum()))
    return (
        slope * effect > 0
        and abs(slope) > _critical(PRE_TREND_ERROR, n - 2) * error
        and abs(slope) * n >= abs(effect) / 2
    )


@cache
def _critical(error: float, degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - error / 2, degrees))
