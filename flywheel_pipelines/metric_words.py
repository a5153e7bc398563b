"""Values of a metric as people read them: the one place where they are written.

Here: shares as percent, amounts with their unit, counts as counts, times as "2 h 10 min", and what a metric and its
exposure are called. Not here: sentences (`learning.scoring` and others), or lifts, which are ratios of any metric
(`momentum.intervals.percent`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flywheel_pipelines.spec import CountMetric, DurationMetric, MeanMetric, Metric, RateMetric, TopKMetric
from flywheel_pipelines.spec.metrics import SECONDS

_LARGEST_FIRST = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
MOST_DIGITS = 3
"""Digits that are added, at most, so that a value and what it is held against read differently where they differ."""


@dataclass(frozen=True)
class MetricWords:
    """How to write about one metric.

    Attributes:
        name: of the metric, in words: reply rate.
        exposure: what its value is out of or per, in words: sends.
        kind: kind of the metric.
        unit: of amounts, e.g. EUR; of times, that of the files.
    """

    name: str
    exposure: str = "exposures"
    kind: str = "rate"
    unit: str = ""

    @classmethod
    def of(cls, name: str, metric: Metric) -> MetricWords:
        """The words of a metric of the YAML."""
        words = name.replace("_", " ")
        match metric:
            case RateMetric():
                return cls(words, _words(metric.exposure), "rate")
            case MeanMetric():
                return cls(words, _words(metric.exposure), "mean", metric.unit)
            case CountMetric():
                exposure = "outputs" if metric.exposure is None else _words(metric.exposure)
                return cls(words, exposure, "count")
            case DurationMetric():
                return cls(words, _words(metric.exposure), "duration", metric.unit)
            case TopKMetric():
                return cls(words, "reports", "top_k")
        raise AssertionError(metric)

    def value(self, value: float, *, beside: float | None = None) -> str:
        """A value, e.g. 3.9%, 12.40 EUR, 0.25, 2 h 10 min; `-` where there is none.

        `beside` is what it is held against: as many digits are shown as it takes to tell the two apart.
        """
        if not math.isfinite(value):
            return "-"
        for digits in range(MOST_DIGITS + 1):
            found = self._written(value, digits)
            other = beside is not None and math.isfinite(beside) and beside != value
            if not other or found != self._written(beside, digits):  # type: ignore[arg-type]
                break
        return found

    def seen(self, exposure: float) -> str:
        """An exposure with what it is of, e.g. 412 sends, 1 send, 7.5 hours."""
        amount = f"{exposure:,.0f}" if exposure == round(exposure) else f"{exposure:,.1f}"
        one = self.exposure.removesuffix("s") if exposure == 1 and not self.exposure.endswith("ss") else self.exposure
        return f"{amount} {one}"

    def _written(self, value: float, digits: int) -> str:
        if self.kind in ("rate", "top_k"):
            return _percent(value, digits)
        if self.kind == "duration":
            return _time(value * SECONDS[self.unit], digits)
        if self.kind == "count":
            return _significant(value, 3 + digits)
        amount = f"{value:,.{2 + digits}f}" if abs(value) >= 0.1 or value == 0 else _significant(value, 2 + digits)
        return f"{amount} {self.unit}".rstrip()


def changed_value(value: float | None, beside: float | None, metric: Metric | None, name: str) -> str:
    """One side of a changed value, with as many digits as tell it from the other; plain where the metric is unknown."""
    if value is None:
        return ""
    return f"{value:.4g}" if metric is None else MetricWords.of(name, metric).value(value, beside=beside)


def _words(measure: str) -> str:
    return measure.replace("_", " ")


def _percent(share: float, digits: int) -> str:
    percent = 100 * share
    # One decimal from 1% on, two from 0.1%, so that no rate that occurs reads as nothing.
    decimals = 1 if abs(percent) >= 1 or percent == 0 else min(5, 1 - math.floor(math.log10(abs(percent))))
    return f"{percent:.{decimals + digits}f}%"


def _significant(value: float, digits: int) -> str:
    """So many significant digits, but never fewer than the whole part has."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(seconds: float, digits: int) -> str:
    """The two largest units that are not nothing, and with each digit one more; below a minute, decimals."""
    sign, left = "-" if seconds < 0 else "", abs(seconds)
    if left < 59.5:
        return f"{sign}{_significant(left, 2 + digits)} s"
    number = next(n for n, (_, size) in enumerate(_LARGEST_FIRST) if left >= size - size / 120)
    units = _LARGEST_FIRST[number : number + 2 + digits]
    left = round(left / units[-1][1]) * units[-1][1]
    parts = []
    for name, size in units:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:,.0f} {name}")
    return sign + " ".join(parts)
