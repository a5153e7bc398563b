"""How often honest files are held, and how many attacks: `python -m benchmarks.plausibility [--seasons N] [--json]`.

Seasons of weekly reports from generators with known truth (`benchmarks.plausibility_traffic`). Every report is judged
by `feedback.plausibility` against the eight weeks before it, as it would be on landing. A report of honest traffic with
any row held is a false alarm; their share must not be above ERROR_RATE, which is what its 95% interval (Clopper and
Pearson 1934) is to be read against. The control is the rule that anyone would write first: three standard deviations of
a binomial around the past rate of the output, or of the flywheel where the output is new.

Attacks are planted into the same reports, one at a time, and count as caught when a row of the attacked output (or, for
a flood of all outputs, any row) is held.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.stats import beta

from benchmarks.measurement import Measurement
from benchmarks.plausibility_traffic import Report, Season, click_farm, flood, worlds
from flywheel_pipelines.feedback.plausibility import ERROR_RATE, find_implausible
from flywheel_pipelines.feedback.plausibility_days import OutputDays
from flywheel_pipelines.feedback.plausibility_words import ImplausibleRow
from flywheel_pipelines.spec import Metric, RateMetric

CYCLES, PAST, EVERY = 26, 8, 2
"""Reports of a season, of which each is judged against so many before it; every second one is attacked, too."""

Attack = Callable[[pa.Table, np.random.Generator], tuple[pa.Table, str | None]]
ATTACKS: dict[str, Attack] = {
    "rate x10": lambda rows, rng: click_farm(rows, rng, 10.0, new=False),
    "rate x10, new output": lambda rows, rng: click_farm(rows, rng, 10.0, new=True),
    "rate x4": lambda rows, rng: click_farm(rows, rng, 4.0, new=False),
    "rows x50": lambda rows, rng: flood(rows, rng, 50.0, new=False),
    "rows x50, new output": lambda rows, rng: flood(rows, rng, 50.0, new=True),
    "rows x50, all": lambda rows, rng: flood(rows, rng, 50.0, new=None),
}


@dataclass
class Tally:
    """What happened in one world; `caught` and `tried` are by attack."""

    world: str
    files: int = 0
    alarms: int = 0
    naive_alarms: int = 0
    held_rows: int = 0
    rows: int = 0
    caught: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ATTACKS, 0))
    tried: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ATTACKS, 0))


def run_world(name: str, season: Season, rates: Sequence[RateMetric], seeds: Sequence[int], *, attack: bool) -> Tally:
    """Judge every report of some seasons, as it is and attacked."""
    tally = Tally(name)
    for seed in seeds:
        rng = np.random.default_rng([seed, 1])
        past: list[Report] = []
        for number, report in enumerate(season(CYCLES, np.random.default_rng([seed, 0]))):
            if past:
                with duckdb.connect() as connection:
                    known = _remember(connection, past[-PAST:])
                    held = judge(report.rows, known, rates)
                    tally.files, tally.rows = tally.files + 1, tally.rows + report.rows.num_rows
                    tally.alarms, tally.held_rows = tally.alarms + bool(held), tally.held_rows + len(held)
                    connection.register("facts", report.rows)
                    tally.naive_alarms += naive_alarm(connection, rates)
                    # A flywheel's first weeks are let pass on purpose; they are no trial of what is seen later.
                    if attack and number >= PAST and number % EVERY == 0:
                        for what, plant in ATTACKS.items():
                            rows, target = plant(report.rows, rng)
                            held = judge(rows, known, rates)
                            tally.tried[what] += 1
                            tally.caught[what] += any(target in (None, output_id) for output_id, _ in held)
            past.append(report)
    return tally


def _remember(connection: duckdb.DuckDBPyConnection, past: Sequence[Report]) -> pa.Table:
    """The table `known`, also returned: of each output and day what was reported last."""
    rows = pa.concat_tables([report.rows.append_column("report", pa.array([number] * report.rows.num_rows, pa.int32()))
                             for number, report in enumerate(past)])  # fmt: skip
    # Small tables: a second thread costs more than it gives.
    connection.execute("set threads = 1")
    connection.register("reported", rows)
    connection.execute(
        "create table known as select * exclude (report) from reported "
        "qualify row_number() over (partition by output_id, measured_on order by report desc) = 1"
    )
    return connection.sql("select * from known").to_arrow_table()


def judge(facts: pa.Table, known: pa.Table, metrics: Sequence[Metric]) -> list[tuple[str, ImplausibleRow]]:
    """What the rule holds of a file, with the ids of its outputs.

    Both tables have the columns output_id, cycle, measured_on and one per measure, one row per output and day.
    """
    both = pa.concat_tables([facts, known])
    ids, number = np.unique(both["output_id"].to_numpy().astype(str), return_inverse=True)
    cycle = np.zeros(len(ids), np.int64)
    cycle[number] = both["cycle"].cast(pa.int32()).to_numpy()
    measures = [name for name in both.column_names if name not in ("output_id", "cycle", "measured_on")]
    whole = OutputDays(
        number,
        both["measured_on"].cast(pa.int32()).to_numpy(),
        {name: both[name].cast(pa.float64()).to_numpy() for name in measures},
    )
    rows = np.arange(both.num_rows)
    file, past = whole.where(rows[: facts.num_rows]), whole.where(rows[facts.num_rows :])
    return [(str(ids[row.output]), row) for row in find_implausible(file, past, cycle, metrics)]


def naive_alarm(connection: duckdb.DuckDBPyConnection, rates: Sequence[RateMetric], sigmas: float = 3.0) -> bool:
    """Whether any row of `facts` is above its rate in `known` by so many binomial standard deviations."""
    for rate in rates:
        found = connection.execute(
            f"""
            with past as (
                select output_id, sum("{rate.successes}") as s, sum("{rate.exposure}") as n
                from known group by output_id
            ), rated as (
                select f."{rate.successes}" as s, f."{rate.exposure}" as n,
                    case when past.n > 0 and past.s > 0 then past.s / past.n else (select sum(s) / sum(n) from past) end
                        as p
                from facts as f left join past using (output_id)
            )
            select count(*) from rated where s > n * p + {sigmas} * sqrt(n * p * (1 - p)) and s > 1
            """
        ).fetchone()
        if found and found[0]:
            return True
    return False


def interval(hits: int, n: int) -> tuple[float, float]:
    """95% interval of a share (Clopper and Pearson 1934)."""
    lower = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    upper = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return lower, upper


def measure(seasons: int, only: str = "") -> list[Tally]:
    """All worlds; the large one gets fewer seasons, since each of its files takes as long as ten others."""
    found = []
    for name, (season, rates) in worlds().items():
        if only in name:
            n_seasons = max(1, seasons // 5) if name.startswith("1,000") else seasons
            found.append(run_world(name, season, rates, range(n_seasons), attack=True))
    return found


def run(seasons: int = 4) -> list[Measurement]:
    """For the table of all benchmarks: false alarms over all worlds, and the power against each attack."""
    tallies = measure(seasons)
    files, alarms = sum(tally.files for tally in tallies), sum(tally.alarms for tally in tallies)
    naive = sum(tally.naive_alarms for tally in tallies)
    lower, upper = interval(alarms, files)
    lines = [
        Measurement("plausibility", "honest files with a row held", alarms / files, "share", f"{ERROR_RATE:.0%}",
                    f"{alarms} of {files:,}, 95% interval {lower:.2%} to {upper:.2%}"),
        Measurement("plausibility", "the same by three binomial sigmas", naive / files, "share", "", "control"),
    ]  # fmt: skip
    for what in ATTACKS:
        caught, tried = (sum(getattr(tally, part)[what] for tally in tallies) for part in ("caught", "tried"))
        lines.append(Measurement("plausibility", f"caught: {what}", caught / tried, "share", "", f"of {tried} attacks"))
    return lines


def show(tallies: Sequence[Tally]) -> None:
    """The table by world."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("honest world", overflow="fold")
    for head in ("files", "3 sigma", "held", "95% interval", *(f"caught: {what}" for what in ATTACKS)):
        table.add_column(head, justify="right")
    for tally in [*tallies, _total(tallies)]:
        lower, upper = interval(tally.alarms, tally.files)
        table.add_row(
            tally.world,
            f"{tally.files:,}",
            f"{tally.naive_alarms / tally.files:.0%}",
            f"{tally.alarms / tally.files:.2%}",
            f"{lower:.2%} to {upper:.2%}",
            *(f"{tally.caught[what] / tally.tried[what]:.0%}" if tally.tried[what] else "–" for what in ATTACKS),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(f"documented: of honest files, at most {ERROR_RATE:.0%} have a row held", style="dim")


def _total(tallies: Sequence[Tally]) -> Tally:
    total = Tally("all")
    for tally in tallies:
        for name in ("files", "alarms", "naive_alarms", "held_rows", "rows"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
        for what in ATTACKS:
            total.caught[what] += tally.caught[what]
            total.tried[what] += tally.tried[what]
    return total


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seasons", type=int, default=20, help="seasons of 26 weekly files per world")
    parser.add_argument("--world", default="", help="only worlds with this in their name")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    tallies = measure(arguments.seasons, arguments.world)
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(tally) for tally in tallies], indent=2) + "\n")
        return
    show(tallies)


if __name__ == "__main__":
    main()
