"""What a feed says per output and day, as arrays of numbers: the form in which the plausibility rule wants it.

Here: the arrays of a file and of its past, whose outputs have the same numbers, and sums by output or by day. Not here:
where they come from (`holding`, `plausibility_past`), or what is made of them.

Arrays and not a table in a database: a file may hold ten million rows, and what the rule asks of nearly all of them is
one sum and one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DAYS_OF_A_WEEK = 7.0


@dataclass(frozen=True, eq=False)
class OutputDays:
    """One row per output and day; arrays of shape (n,).

    Attributes:
        output: the number of the output.
        day: days since 1970-01-01.
        values: per measure; nan where it was not reported.
    """

    output: np.ndarray
    day: np.ndarray
    values: Mapping[str, np.ndarray]

    def where(self, wanted: np.ndarray) -> OutputDays:
        """Some of the rows, by a mask or by their positions."""
        if wanted.dtype == bool and wanted.all():
            return self
        return OutputDays(
            self.output[wanted], self.day[wanted], {name: value[wanted] for name, value in self.values.items()}
        )


def weeks_of_age(day: np.ndarray, cycle: np.ndarray) -> np.ndarray:
    """Weeks since the output's cycle began, in logs (0 on its first day): what is new is read most."""
    age = np.maximum(day - cycle, 0)
    # Ages repeat, logarithms are dear.
    return np.log1p(np.arange(int(age.max(initial=0)) + 1) / DAYS_OF_A_WEEK)[age]
