"""The truth about the simulated audience, for tests and reports that compare what was learned with what there was.

Not here: anything that a flywheel may see. Nothing outside tests, benchmarks and documentation may ask it.
"""

from __future__ import annotations

from datetime import date

from flywheel_pipelines.simulation.audience import Audience


def true_rate(audience: Audience, text: str, segment: str, cycle: date, measure: str) -> float:
    """The rate expected of a text in a segment and cycle, from its choices alone: average brief, average taste."""
    liking = audience.preferences.liking(audience.read(text), segment, cycle)
    return audience.expected_rate(audience.kind.response(measure), segment, cycle, liking)


def rate_of_choices(audience: Audience, choices: dict[str, str], segment: str, cycle: date, measure: str) -> float:
    """As `true_rate`, for a text that makes these choices."""
    liking = audience.preferences.liking(choices, segment, cycle)
    return audience.expected_rate(audience.kind.response(measure), segment, cycle, liking)


def best_choices(audience: Audience, segment: str, cycle: date) -> dict[str, str]:
    """The choices that the segment likes best in a cycle; any of them in a flat world."""
    return audience.preferences.best_choices(segment, cycle)


def learnable_gain(audience: Audience, segment: str, cycle: date) -> float:
    """Log rate that the best choices gain over choices drawn at random: what nobody can beat by learning."""
    return audience.preferences.liking(best_choices(audience, segment, cycle), segment, cycle)
