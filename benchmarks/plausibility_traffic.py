"""Honest traffic to try the plausibility rule on, and attacks on it.

Here: seasons of weekly reports from generators with known truth; every report is a table of outputs and days. Not here:
the rule, or how often it is wrong (`benchmarks.plausibility`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.market import READERS, RECIPIENTS, AudienceKind
from flywheel_pipelines.spec import RateMetric

START = date(2026, 1, 5)
WEEKDAYS = np.array([1.2, 1.25, 1.2, 1.1, 1.0, 0.6, 0.65])
FIRST_MEASURE = 3
"""Columns before the measures: output_id, cycle, measured_on."""
CTR = RateMetric(kind="rate", successes="clicks", exposure="impressions")


@dataclass(frozen=True)
class Report:
    """What one file says: columns output_id, cycle, measured_on and a column per measure."""

    cycle: date
    rows: pa.Table


@dataclass(frozen=True)
class Traffic:
    """A beta-binomial flywheel whose outputs are reported for some weeks.

    Attributes:
        outputs: published per cycle.
        weeks: in which an output is reported, each with half of the traffic of the one before.
        rate: mean rate.
        rate_spread: standard deviation of log rates between outputs.
        concentration: of the beta distribution that a day's rate is drawn from; lower is more over-dispersed.
        level: median impressions of an output's day.
        level_spread: standard deviation of log levels between outputs.
        shape: of the negative binomial around an output's day.
        weekdays: whether weekdays differ.
        growth: of traffic, per cycle.
        better: growth of the rate, per cycle.
        spikes: degrees of freedom of a Student t that the log of a day's traffic also varies by (scale 0.3); 0: none.
    """

    outputs: int = 24
    weeks: int = 3
    rate: float = 0.03
    rate_spread: float = 0.5
    concentration: float = 400.0
    level: float = 150.0
    level_spread: float = 0.7
    shape: float = 12.0
    weekdays: bool = False
    growth: float = 0.0
    better: float = 0.0
    spikes: float = 0.0

    def season(self, cycles: int, rng: np.random.Generator) -> Iterator[Report]:
        """Reports of so many cycles, in order."""
        level = rng.lognormal(0, self.level_spread, (cycles, self.outputs)) * self.level
        rate = rng.lognormal(-(self.rate_spread**2) / 2, self.rate_spread, (cycles, self.outputs)) * self.rate
        for now in range(cycles):
            ids, cycles_of, days, trials, wins = [], [], [], [], []
            for age in range(min(self.weeks, now + 1)):
                made = now - age
                usual = level[made][:, None] * 0.5**age * (WEEKDAYS if self.weekdays else np.ones(7))
                usual = usual * (1 + self.growth) ** now
                if self.spikes:
                    usual = usual * np.exp(0.3 * rng.standard_t(self.spikes, usual.shape))
                n = rng.poisson(np.minimum(rng.gamma(self.shape, usual / self.shape), 1e9))
                p = np.minimum(rate[made][:, None] * (1 + self.better) ** made, 0.9) * np.ones(7)
                k = rng.binomial(n, rng.beta(p * self.concentration, (1 - p) * self.concentration))
                ids += [f"{made:03d}-{number:05d}" for number in range(self.outputs) for _ in range(7)]
                cycles_of += [START + timedelta(weeks=made)] * (7 * self.outputs)
                days += [START + timedelta(weeks=now, days=day) for day in range(7)] * self.outputs
                trials.append(n.ravel())
                wins.append(k.ravel())
            columns = {
                "output_id": ids,
                "cycle": cycles_of,
                "measured_on": days,
                "impressions": np.concatenate(trials).astype(float),
                "clicks": np.concatenate(wins).astype(float),
            }
            yield Report(START + timedelta(weeks=now), pa.table(columns))


def audience_season(kind: AudienceKind, outputs: int, cycles: int, rng: np.random.Generator) -> Iterator[Report]:
    """Reports of the project's simulated audience: late counts, bots and their removal, seasons, tastes; all honest."""
    options = {f"choice {number}": ["plain", "bold", "odd"] for number in range(6)}
    audience = Audience(kind, seed=int(rng.integers(2**31)), choices=options, read=json.loads)
    for number in range(cycles):
        cycle = START + timedelta(weeks=number)
        rows = [
            {
                "output_id": f"{number:03d}-{one:04d}",
                "brief_id": f"b{number}-{one // 2}",
                "segment": f"s{one % 3}",
                "text": json.dumps({name: str(rng.choice(values)) for name, values in options.items()}),
            }
            for one in range(outputs)
        ]
        audience.publish_seen(cycle, rows)
        export = audience.export(cycle)
        broken = {row.source_row for row in export.broken}
        good = [row for at, row in enumerate(export.rows, start=1) if at not in broken]
        columns = {
            "output_id": [row[0] for row in good],
            "cycle": [START + timedelta(weeks=int(row[0].split("-")[0])) for row in good],
            "measured_on": [date.fromisoformat(row[1]) for row in good],
            **{measure: [float(row[2 + at]) for row in good] for at, measure in enumerate(kind.measures)},
        }
        yield Report(cycle, pa.table(columns))


def rates_of(kind: AudienceKind) -> list[RateMetric]:
    """Every rate that a kind of audience can be asked for."""
    return [
        RateMetric(kind="rate", successes=response.measure, exposure=traffic.measure)
        for traffic in kind.traffic
        for response in traffic.responses
    ]


def click_farm(rows: pa.Table, rng: np.random.Generator, factor: float, *, new: bool) -> tuple[pa.Table, str]:
    """One output with as many trials as before and `factor` times the success rate; and its id."""
    target = _an_output(rows, rng, new=new)
    successes, exposure = rows.column_names[FIRST_MEASURE + 1], rows.column_names[FIRST_MEASURE]
    n, k = rows[exposure].to_numpy(), rows[successes].to_numpy().copy()
    its = np.array(rows["output_id"].to_pylist()) == target
    usual = max(k[its].sum(), 0.5) / max(n[its].sum(), 1.0)
    k[its] = rng.binomial(n[its].astype(int), min(0.95, factor * usual))
    return rows.set_column(FIRST_MEASURE + 1, successes, pa.array(k)), target


def flood(rows: pa.Table, rng: np.random.Generator, factor: float, *, new: bool | None) -> tuple[pa.Table, str | None]:
    """One output (None: every row) counted `factor` times, as when a source sends its rows again and again."""
    target = None if new is None else _an_output(rows, rng, new=new)
    its = np.array([target in (None, one) for one in rows["output_id"].to_pylist()])
    for at in range(FIRST_MEASURE, rows.num_columns):
        values = rows.column(at).to_numpy() * np.where(its, factor, 1.0)
        rows = rows.set_column(at, rows.column_names[at], pa.array(values))
    return rows, target


def _an_output(rows: pa.Table, rng: np.random.Generator, *, new: bool) -> str:
    """One of the newest cycle, or one that was there before; ids begin with the number of the cycle."""
    ids = sorted(set(rows["output_id"].to_pylist()))
    newest = ids[-1].split("-")[0]
    return str(rng.choice([one for one in ids if one.startswith(newest) == new]))


Season = Callable[[int, np.random.Generator], Iterator[Report]]


def worlds() -> dict[str, tuple[Season, list[RateMetric]]]:
    """Honest worlds by name: reports of a season, and the rates that are counted."""

    def of(traffic: Traffic) -> tuple[Season, list[RateMetric]]:
        return traffic.season, [CTR]

    def audience(kind: AudienceKind, outputs: int) -> tuple[Season, list[RateMetric]]:
        return (lambda cycles, rng: audience_season(kind, outputs, cycles, rng)), rates_of(kind)

    return {
        "beta-binomial": of(Traffic()),
        "weekdays, traffic +10% and rate +3% a week": of(Traffic(weekdays=True, growth=0.1, better=0.03)),
        "strongly over-dispersed": of(Traffic(concentration=60, rate_spread=0.9, level_spread=1.2, shape=2)),
        "days that go viral (Student t, 5 degrees)": of(Traffic(spikes=5.0, weekdays=True)),
        "few trials (15 a day)": of(Traffic(level=15, rate=0.05)),
        "1,000 outputs a week": of(Traffic(outputs=1000, weekdays=True)),
        "simulated audience: recipients": audience(RECIPIENTS, 24),
        "simulated audience: readers": audience(READERS, 24),
    }
