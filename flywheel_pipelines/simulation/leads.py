"""Simulated leads: what is known of each before anybody calls, and reading it back from what was published.

Here: traits and their values, files of made-up leads, and the traits in a text. Not here: what traits are worth
(`market_preferences`), who converts (`audience`). No lead is a real company, and nothing measured here says anything
about real ones.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Mapping
from datetime import date

from flywheel_pipelines.production.identity import uniform

TRAITS: Mapping[str, tuple[str, ...]] = {
    "company size": ("under 10", "10 to 49", "50 to 249", "250 and more"),
    "contact": ("owner", "head of department", "specialist", "purchasing", "unknown"),
    "request": ("demo", "price list", "handbook", "newsletter"),
    "source": ("search", "referral", "fair", "advertisement", "partner"),
    "visits": ("once", "a few times", "often"),
}
"""Traits of a lead and the values that each may have."""
INDUSTRIES = ("bakeries", "dental practices", "garages", "hotels")


def read_traits(text: str) -> dict[str, str]:
    """The traits that a text states in lines of `name: value`; any other line says nothing."""
    stated = (line.partition(": ") for line in text.splitlines())
    return {name: value for name, _, value in stated if value in TRAITS.get(name, ())}


def leads_csv(cycles: Iterable[date], per_cycle: int, *, seed: int = 1) -> str:
    """A file of leads for some cycles; equal arguments give equal bytes, and more cycles only add rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["lead_id", "date", "industry", "title", *TRAITS])
    for cycle, number in itertools.product(cycles, range(1, per_cycle + 1)):
        lead = f"lead-{cycle:%y%m%d}-{number:04d}"
        industry = _drawn(INDUSTRIES, seed, lead, "industry")
        traits = [_drawn(values, seed, lead, name) for name, values in TRAITS.items()]
        writer.writerow([lead, cycle, industry, f"Enquiry {number} from {industry}", *traits])
    return text.getvalue()


def _drawn(values: tuple[str, ...], *place: object) -> str:
    return values[int(uniform(*place) * len(values))]
