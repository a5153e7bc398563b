"""The lift of one mean over another, and how sure one can be of it, from sums that can be carried along.

Here: the sums over briefs that a lift needs, the ratio of two means with its interval, and the verdict in words.
Not here: how briefs get their values (`lift.py`), and intervals that stay valid when looked at every week: these hold
for one look at a number of briefs that was not chosen by its result.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

from flywheel_pipelines.sequential import covariance_from_sums, variance_from_sums

Better = Literal["higher", "lower"]
SpinVerdict = Literal["spinning", "unproven", "losing", "unmeasured"]

# Below this many briefs in an arm the interval is left out: it still covered 95% in simulation at 5, but it was wider
# than 100 points and often unbounded. From 8 on it covered 93-97% (spread between briefs of 30% and 60%, arms of
# 8 to 400, paired and not); the lowest are lopsided arms of 40 against 10 with 60% spread.
MINIMUM_BRIEFS = 8


@dataclass(frozen=True)
class BriefSums:
    """Everything a lift needs to know of the briefs behind it; sums of two sets of briefs add up to those of both.

    The unit is the brief: `flywheel` is the sum over briefs of the flywheel arm's value, `control` that of the control
    arm. The `*_both` sums run over the briefs that are in both arms, which is what makes a comparison paired.
    """

    n_flywheel: int = 0
    n_control: int = 0
    n_both: int = 0
    n_contrasts: int = 0
    flywheel: float = 0.0
    control: float = 0.0
    flywheel_squares: float = 0.0
    control_squares: float = 0.0
    products_both: float = 0.0
    flywheel_both: float = 0.0
    control_both: float = 0.0
    hits: float = 0.0
    chances: float = 0.0

    @classmethod
    def of(
        cls, flywheel: np.ndarray, control: np.ndarray, hit: np.ndarray | None = None, chance: np.ndarray | None = None
    ) -> BriefSums:
        """Sums over briefs; each array has one entry per brief, NaN where the brief has no such value.

        `math.fsum` rounds once, so the result does not depend on the order of the briefs.
        """
        in_flywheel, in_control = ~np.isnan(flywheel), ~np.isnan(control)
        both = in_flywheel & in_control
        f, c, f_both, c_both = flywheel[in_flywheel], control[in_control], flywheel[both], control[both]
        contrasted = np.zeros(0) if hit is None else hit[~np.isnan(hit)]
        chances = np.zeros(0) if hit is None or chance is None else chance[~np.isnan(hit)]
        return cls(
            n_flywheel=len(f),
            n_control=len(c),
            n_both=len(f_both),
            n_contrasts=len(contrasted),
            flywheel=math.fsum(f),
            control=math.fsum(c),
            flywheel_squares=math.fsum(f * f),
            control_squares=math.fsum(c * c),
            products_both=math.fsum(f_both * c_both),
            flywheel_both=math.fsum(f_both),
            control_both=math.fsum(c_both),
            hits=math.fsum(contrasted),
            chances=math.fsum(chances),
        )

    def __add__(self, other: BriefSums) -> BriefSums:
        return BriefSums(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def n_briefs(self) -> int:
        """Distinct briefs in either arm."""
        return self.n_flywheel + self.n_control - self.n_both

    @property
    def hit_rate(self) -> float | None:
        """Share of contrasted briefs whose choice was the best measured."""
        return self.hits / self.n_contrasts if self.n_contrasts else None

    @property
    def chance_rate(self) -> float | None:
        """The hit rate that random choices would have had on the same briefs."""
        return self.chances / self.n_contrasts if self.n_contrasts else None

    def carried(self) -> list[float]:
        """The real-valued sums in contract order: what the next cycle adds to, beside the counts."""
        return [getattr(self, name) for name in CARRIED]


CARRIED = tuple(field.name for field in fields(BriefSums) if not field.name.startswith("n_"))


class Lift(NamedTuple):
    """A lift as a fraction (0.067 is +6.7%), positive meaning better, with a 95% interval; None where unknown."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


def lift_of(sums: BriefSums, better: Better, confidence: float = 0.95) -> Lift:
    """Mean over briefs of the flywheel's value / mean over briefs of the control's value - 1, with its interval.

    The interval is Fieller's for the ratio of two means (E. C. Fieller, "Some problems in interval estimation",
    J. R. Stat. Soc. B 16, 1954): all ratios r for which `mean(f) - r mean(c)` lies within t standard errors of 0. It
    needs no assumption on the denominator being large and takes in the covariance of briefs that are in both arms. t
    has the degrees of freedom of Satterthwaite (Biometrics Bulletin 2, 1946) over three independent groups: briefs in
    both arms, in the flywheel arm only, in the control arm only. With all briefs in both that is n - 1, with none
    in both it is Welch's.

    For a metric where lower is better the sign is turned: a lift of 0.25 then says the flywheel's mean lies 25% below
    the control's, and 1 (nothing left) is the most it can be.

    Returns:
        Lift with all None when an arm is empty or the control's mean is not positive (a ratio says nothing then); with
        `lower` and `upper` None when an arm has fewer than MINIMUM_BRIEFS briefs, the briefs show no variation
        at all, or the control's mean is too uncertain for a bounded interval.
    """
    if not sums.n_flywheel or not sums.n_control or sums.control <= 0:
        return Lift(None)
    ratio = (sums.flywheel / sums.n_flywheel) / (sums.control / sums.n_control)
    sign = 1.0 if better == "higher" else -1.0
    value = sign * (ratio - 1)
    interval = _fieller(sums, ratio, confidence)
    if interval is None:
        return Lift(value)
    ends = sorted(sign * (end - 1) for end in interval)
    return Lift(value, ends[0], ends[1])


def _fieller(sums: BriefSums, ratio: float, confidence: float) -> tuple[float, float] | None:
    """Both ends of Fieller's interval of the ratio of means, or None where an honest interval cannot be given."""
    n_f, n_c, n_b = sums.n_flywheel, sums.n_control, sums.n_both
    if min(n_f, n_c) < MINIMUM_BRIEFS:
        return None
    mean_f, mean_c = sums.flywheel / n_f, sums.control / n_c
    var_f = variance_from_sums(sums.flywheel, sums.flywheel_squares, n_f)
    var_c = variance_from_sums(sums.control, sums.control_squares, n_c)
    cov = covariance_from_sums(
        sums.flywheel_both, sums.control_both, sums.products_both, sums.n_both, limit=math.sqrt(var_f * var_c)
    )
    # Variance of mean(f) - ratio mean(c), split into the three independent groups of briefs.
    both = n_b * (var_f / n_f**2 - 2 * ratio * cov / (n_f * n_c) + ratio**2 * var_c / n_c**2)
    flywheel_only = (n_f - n_b) * var_f / n_f**2
    control_only = (n_c - n_b) * ratio**2 * var_c / n_c**2
    total = both + flywheel_only + control_only
    if total <= 1e-12 * (var_f / n_f + ratio**2 * var_c / n_c) or total <= 0:
        return None
    degrees = total**2 / sum(
        part**2 / (n - 1) for part, n in ((both, n_b), (flywheel_only, n_f), (control_only, n_c)) if n > 1
    )
    # special.stdtrit is the t quantile without the half millisecond that scipy.stats spends on checking arguments.
    t_squared = float(special.stdtrit(degrees, (1 + confidence) / 2)) ** 2
    a = mean_c**2 - t_squared * var_c / n_c
    if a <= 0:
        return None
    b = mean_f * mean_c - t_squared * n_b * cov / (n_f * n_c)
    c = mean_f**2 - t_squared * var_f / n_f
    root = math.sqrt(max(b * b - a * c, 0.0))
    return (b - root) / a, (b + root) / a


def spin_verdict(lift: Lift) -> SpinVerdict:
    """'spinning' when the whole interval lies above zero, 'losing' when all of it lies below, else not proven."""
    if lift.value is None:
        return "unmeasured"
    if lift.lower is not None and lift.lower > 0:
        return "spinning"
    if lift.upper is not None and lift.upper < 0:
        return "losing"
    return "unproven"


TREADMILL = "the treadmill"
"""What the control arm is called where nothing else is said."""


def verdict_words(lift: Lift, rival: str = TREADMILL) -> str:
    """The verdict for a person, with the numbers it rests on; `rival` is what the control arm is."""
    match spin_verdict(lift):
        case "unmeasured":
            return "Not measured yet: no briefs with feedback in both the flywheel and the control arm."
        case "spinning":
            return f"Spinning: {percent_range(lift)} over {rival}."
        case "losing":
            return f"Losing: {percent_range(lift)} against {rival}."
        case "unproven" if lift.lower is None:
            return f"Not proven: {percent(lift.value)} over {rival}, on too few briefs for an interval."
        case _:
            return f"Not proven: {percent_range(lift)} over {rival}; the interval includes zero."


def percent(value: float | None) -> str:
    """A lift as a person reads it: +6.7%, or 'unknown'."""
    return "unknown" if value is None else f"{100 * value:+.1f}%"


def percent_range(lift: Lift) -> str:
    """A lift with its interval: +6.7% (95% interval +5.0% to +8.4%)."""
    if lift.lower is None:
        return percent(lift.value)
    return f"{percent(lift.value)} (95% interval {percent(lift.lower)} to {percent(lift.upper)})"
