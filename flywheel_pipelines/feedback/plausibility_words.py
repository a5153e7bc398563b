"""What is said of a row that is held as implausible: what was found and expected, how improbable it is, what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

from flywheel_pipelines.feedback.plausibility_history import Expected


@dataclass(frozen=True)
class ImplausibleRow:
    """One output and day of a file that is held.

    Attributes:
        output: number of the output.
        measured_on: the day.
        measure: the measure that jumped.
        found: what stood there, e.g. 38 of 41.
        reason: what was expected, how improbable it is, and what to do.
        p_value: probability of as much or more, under the most lenient of the honest explanations.
    """

    output: int
    measured_on: date
    measure: str
    found: str
    reason: str
    p_value: float


@dataclass(frozen=True)
class Finding:
    """One test that was rejected: of an output on a day, of an output, or of a day.

    `value` and `trials` (of a rate; None for a count) are what was found, `centre` is what was expected, in logits or
    logs; `n_outputs` is over how many outputs the value is a mean, None when it is of one.
    """

    value: float
    trials: float | None
    centre: float
    measure: str
    exposure: str | None
    all_days: bool
    n_outputs: float | None
    margin: float
    error_rate: float
    expected: Expected

    def reason(self, p_value: float) -> str:
        """The finding in words."""
        return (
            f"Held as implausible: {self._jump()}. Even if {self.margin:g} times as much were usual, so much has a "
            f"probability of {_shown(p_value)}; of honest files, at most {self.error_rate:.0%} have a row held. "
            "If it is true, `flywheel quarantine release` it; if not, `flywheel quarantine discard` it."
        )

    def _jump(self) -> str:
        past = f"{self.expected.n_outputs:,} outputs and {self.expected.n_days:,} of their days"
        if self.trials is not None:
            when = "in all days of the file together" if self.all_days else "on this day"
            return (
                f"{self.value:,.0f} {self.measure} of {self.trials:,.0f} {self.exposure} {when} are "
                f"{self.value / self.trials:.2%}; expected about {1 / (1 + math.exp(-self.centre)):.2%}, from the "
                f"output's own past and {past}"
            )
        if self.n_outputs is not None:
            return (
                f"{self.value:,.0f} {self.measure} per output on this day, over {self.n_outputs:,.0f} outputs; "
                f"expected about {math.exp(self.centre):,.0f}, from {past}"
            )
        return (
            f"{self.value:,.0f} {self.measure} in one day; expected about {math.exp(self.centre):,.0f}, from the "
            f"output's own past and {past}"
        )


def _shown(p_value: float) -> str:
    """Two digits, which do not depend on the order in which numbers are added up."""
    if p_value < 1e-12:
        return "less than 1 in 1,000,000,000,000"
    return f"1 in {int(float(f'{1 / p_value:.1e}')):,}"
