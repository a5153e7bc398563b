"""Whether the gate and the verdict fool themselves, and what they can see: `python -m benchmarks.gate [--spreads 2]`.

**Null worlds**: histories in which all arms are equal. How often, in 26 looks, does anything claim a difference: the
"spinning" verdict, a promotion, a rollback; and how often do two naive rules, a higher mean in the last cycle, and a
95% interval for one look that is looked at every cycle. **Power**: how often a frame that is truly better is promoted
within 8 cycles, by traffic and design, beside what no test can exceed.

The gate is the real one (`learning.gate.decide`), fed with simulated outcomes per brief. Their spreads are those of the
simulated market; `--spreads N` plays N seasons of the demo and prints what it measures there, to compare.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import special

from flywheel_pipelines.lake.tables import BRIEF_OUTCOMES
from flywheel_pipelines.learning.frames import in_play
from flywheel_pipelines.learning.gate import CycleRun, decide
from flywheel_pipelines.learning.gate_state import GateRules
from flywheel_pipelines.momentum.anytime import anytime_lift
from flywheel_pipelines.momentum.intervals import BriefSums, lift_of, spin_verdict
from flywheel_pipelines.sequential import Comparison, PairSums, bounds_of, spend

N_CYCLES, WITHIN = 26, 8
START = date(2026, 1, 5)
METRIC = "rate"
BEST_LOOK = 1.6449
"""Normal deviate of a single one-sided look with 5% error: no test that looks more often asks for less."""


@dataclass(frozen=True)
class Traffic:
    """What briefs are like: `spread` is the log standard deviation of an output, by arm; the rest as in the market."""

    name: str
    rate: float
    exposure: int
    concentration: float
    briefs: int
    spread: float = 0.2
    control_spread: float = 0.2
    brief: float = 0.29
    season: float = 0.1

    def values(
        self, random: np.random.Generator, log_brief: np.ndarray, cycle: int, gain: float, spread: float
    ) -> np.ndarray:
        """Observed rates of one output per brief: a beta-binomial count out of its exposure."""
        drawn = random.normal(0, spread, len(log_brief)) - spread**2 / 2
        season = self.season * math.sin(2 * math.pi * cycle / 52)
        rate = np.clip(self.rate * gain * np.exp(log_brief + drawn + season), 1e-6, 0.98)
        own = random.beta(rate * self.concentration, (1 - rate) * self.concentration)
        return random.binomial(self.exposure, own) / self.exposure

    def briefs_of(self, random: np.random.Generator, n: int) -> np.ndarray:
        """Log effects of briefs, with a mean rate of one."""
        return random.normal(0, self.brief, n) - self.brief**2 / 2


OUTREACH = Traffic("outreach", rate=0.04, exposure=250, concentration=800, briefs=20)
CONTENT = Traffic("content", rate=0.22, exposure=98, concentration=150, briefs=14)
FLAT = (OUTREACH, CONTENT)
UNEVEN = tuple(replace(one, name=f"{one.name}, uneven", spread=0.3, control_spread=0.49) for one in FLAT)
"""Equal means, unequal spreads: the flywheel chooses the best of several by its model, the control draws one."""


@dataclass(frozen=True)
class Claims:
    """What one history of equal arms claimed, wrongly."""

    spinning: bool
    promoted: bool
    rolled_back: bool
    higher: bool
    one_look_spinning: bool
    one_look_promoted: bool
    one_look_rolled_back: bool


def null_history(traffic: Traffic, seed: int, n_cycles: int = N_CYCLES) -> Claims:
    """One history in which every frame and every arm is worth the same.

    It begins right after a promotion, so that there is a predecessor on probation that a rollback could return to.
    The same shares as a demo with trials: half of the briefs the champion's, a quarter each the control's and the
    challenger's.
    """
    random = np.random.default_rng([seed, len(traffic.name), traffic.briefs])
    gate = _after_a_promotion(traffic)
    strata, sums, trial, guard = Comparison(), BriefSums(), BriefSums(), BriefSums()
    found = dict.fromkeys(Claims.__dataclass_fields__, False)
    for cycle in range(n_cycles):
        arms = _between(traffic, random, cycle)
        outcomes, frames = _outcomes(arms), _frames(gate)
        strata = strata.add(PairSums.of(arms["flywheel"], arms["control"]))
        sums += BriefSums.of(arms["flywheel"], arms["control"])
        found["spinning"] |= spin_verdict(anytime_lift(strata, "higher")) == "spinning"
        found["one_look_spinning"] |= spin_verdict(lift_of(sums, "higher")) == "spinning"
        # What the naive rules would do with the challenger's arm, trial after trial.
        if cycle % 12 == 0:
            trial = BriefSums()
        trial += BriefSums.of(arms["challenger"], arms["flywheel"])
        guard += BriefSums.of(arms["control"], arms["flywheel"])
        found["higher"] |= _mean(arms["challenger"]) > _mean(arms["flywheel"])
        found["one_look_promoted"] |= spin_verdict(lift_of(trial, "higher")) == "spinning"
        found["one_look_rolled_back"] |= spin_verdict(lift_of(guard, "higher")) == "spinning"
        run = CycleRun(START + timedelta(weeks=cycle), frames, outcomes)
        gate = decide(gate, run, [f"frame-{number}" for number in range(n_cycles)], GateRules(METRIC))
        decision = next(row["decision"] for row in gate.to_pylist() if row["role"] == "champion")
        found["promoted"] |= decision == "promote"
        found["rolled_back"] |= decision == "roll_back"
    return Claims(**found)


def _after_a_promotion(traffic: Traffic) -> pa.Table:
    """The gate's rows after a trial whose challenger was far better: champion and predecessor are in place."""
    random, rows = np.random.default_rng(0), None
    for cycle in range(20):
        arms = _between(replace(traffic, briefs=400), random, cycle, gain=3.0)
        frames = {"flywheel": "first", "challenger": "second", "control": "first"}
        run = CycleRun(START - timedelta(weeks=20 - cycle), frames, _outcomes(arms))
        rows = decide(rows, run, [], GateRules(METRIC))
        if in_play(rows).champion == "second":
            return rows
    raise AssertionError("a frame three times as good was not promoted")


def _between(traffic: Traffic, random: np.random.Generator, cycle: int, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Values by arm, NaN where the brief has another: a uniform draw per brief decides, as the hash does."""
    n = random.poisson(traffic.briefs)
    draw, briefs = random.random(n), traffic.briefs_of(random, n)
    is_in = {"control": draw < 0.25, "challenger": draw >= 0.75, "flywheel": (draw >= 0.25) & (draw < 0.75)}
    arms = {}
    for arm, mine in is_in.items():
        spread = traffic.control_spread if arm == "control" else traffic.spread
        drawn = traffic.values(random, briefs, cycle, gain if arm == "challenger" else 1.0, spread)
        arms[arm] = np.where(mine, drawn, np.nan)
    return arms


def _mean(values: np.ndarray) -> float:
    """The mean of an arm; NaN, which is above nothing, where it has no briefs."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _outcomes(arms: dict[str, np.ndarray]) -> pa.Table:
    n = len(arms["flywheel"])
    columns = {
        "brief_id": [str(number) for number in range(n)],
        "segment": ["all"] * n,
        **{f"{arm}_value": pa.array(values, from_pandas=True) for arm, values in arms.items()},
        "n_measured": [1] * n,
        "is_counted": [True] * n,
        "hit": pa.nulls(n, pa.bool_()),
        "chance": pa.nulls(n, pa.float64()),
    }
    return pa.table({name: columns[name] for name in BRIEF_OUTCOMES.schema.names}, schema=BRIEF_OUTCOMES.schema)


def _frames(gate: pa.Table) -> dict[str, str]:
    playing = in_play(gate)
    assert playing.champion is not None
    return {"flywheel": playing.champion, "control": "first"} | (
        {"challenger": playing.challenger} if playing.challenger else {}
    )


def null_table(claims: dict[str, list[Claims]]) -> str:
    """Wrong claims per world as Markdown, in percent of histories."""
    columns: dict[str, Callable[[Claims], bool]] = {
        "spinning": lambda one: one.spinning,
        "promoted": lambda one: one.promoted,
        "rolled back": lambda one: one.rolled_back,
        "naive: last cycle's mean is higher": lambda one: one.higher,
        "naive: 95% interval every cycle, spinning": lambda one: one.one_look_spinning,
        "promoted ": lambda one: one.one_look_promoted,
        "rolled back ": lambda one: one.one_look_rolled_back,
    }
    lines = ["| world | histories | " + " | ".join(columns) + " |", "|---|---:|" + "---:|" * len(columns)]
    for name, group in claims.items():
        shares = [sum(claimed(one) for one in group) / len(group) for claimed in columns.values()]
        lines.append(f"| {name} | {len(group)} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Design:
    """A way to try a frame: briefs per cycle, share on trial, and whether a brief is answered by both arms.

    Within briefs the audience of a brief is split between both outputs, so that the traffic is the same.
    """

    traffic: Traffic
    briefs: int
    challenger: float
    control: float
    within: bool
    exposure: int

    @property
    def kind(self) -> str:
        """What is compared with what."""
        return "within briefs, audience split" if self.within else "between briefs"


@dataclass(frozen=True)
class Power:
    """Share of the histories that promote, and what one look with a known spread would have."""

    promoted: float
    best: float


def power_of(design: Design, gain: float = 0.1, histories: int = 400, cycles: int = WITHIN, seed: int = 1) -> Power:
    """How often a frame that is better by `gain` is promoted within `cycles`, as the first trial of a flywheel."""
    random = np.random.default_rng(
        [seed, design.briefs, round(100 * design.challenger), design.within, design.exposure]
    )
    alpha, promoted, ratios = spend(0.05, 1), 0, []
    for _ in range(histories):
        comparison, proven = Comparison(), False
        for cycle in range(cycles):
            comparison = comparison.add(PairSums.of(*_trial(design, random, cycle, 1 + gain)))
            lower = bounds_of(comparison, alpha).lower
            proven |= lower is not None and lower > 1
        promoted += proven
        ratios.append(comparison.ratio or math.nan)
    spread = float(np.nanstd(np.log(ratios)))
    best = float(special.ndtr(math.log1p(gain) / spread - BEST_LOOK))
    return Power(promoted / histories, best)


def _trial(design: Design, random: np.random.Generator, cycle: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of challenger and champion per brief of one cycle."""
    traffic = replace(design.traffic, exposure=design.exposure // 2 if design.within else design.exposure)
    n = random.binomial(design.briefs, min(1.0, design.challenger if design.within else 1.0))
    briefs = traffic.briefs_of(random, n)
    first = traffic.values(random, briefs, cycle, gain, traffic.spread)
    second = traffic.values(random, briefs, cycle, 1.0, traffic.spread)
    if design.within:
        return first, second
    draw = random.random(n)
    champion = (draw >= design.control) & (draw < 1 - design.challenger)
    return np.where(draw >= 1 - design.challenger, first, np.nan), np.where(champion, second, np.nan)


def designs(traffic: Traffic) -> Iterator[Design]:
    """The designs of the power table: from the demo's traffic up."""
    lively = replace(traffic, spread=0.3)
    for briefs in (traffic.briefs, 50, 100, 200, 400):
        yield Design(lively, briefs, 0.25, 0.25, False, traffic.exposure)
        yield Design(lively, briefs, 0.45, 0.1, False, traffic.exposure)
        yield Design(lively, briefs, 0.5, 0.25, True, traffic.exposure)
        yield Design(lively, briefs, 1.0, 0.1, True, traffic.exposure)
        yield Design(lively, briefs, 1.0, 0.1, True, 8 * traffic.exposure)


def gains_table(rows: Sequence[tuple[Design, float, Power]]) -> str:
    """What the demo's own traffic sees, by true gain, as Markdown."""
    lines = [
        f"| traffic | comparison | on trial | true gain | promoted within {WITHIN} cycles | one look, best possible |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for design, gain, power in rows:
        lines.append(
            f"| {design.traffic.name} | {design.kind} | {design.challenger:.0%} | {gain:+.0%} | {power.promoted:.0%} "
            f"| {power.best:.0%} |"
        )
    return "\n".join(lines)


def power_table(rows: Sequence[tuple[Design, Power]]) -> str:
    """Power by design as Markdown."""
    lines = [
        f"| traffic | briefs a cycle | exposure of a brief | comparison | on trial | promoted within {WITHIN} cycles "
        "| one look, best possible |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for design, power in rows:
        lines.append(
            f"| {design.traffic.name} | {design.briefs} | {design.exposure:,} | {design.kind} "
            f"| {design.challenger:.0%} | {power.promoted:.0%} | {power.best:.0%} |"
        )
    return "\n".join(lines)


def spreads_table(seeds: int) -> str:
    """Measured spreads of brief outcomes within cycles, from seasons of the demo: standard deviation over mean."""
    from benchmarks.seasons import FLYWHEELS

    lines = ["| flywheel | world | seed | flywheel arm | control arm |", "|---|---|---:|---:|---:|"]
    for flywheel in FLYWHEELS:
        for world in ("flat", "lively"):
            for seed in range(1, seeds + 1):
                outcomes = _season(flywheel, world, seed).to_pandas()
                cells = [_relative_spread(outcomes, arm) for arm in ("flywheel", "control")]
                lines.append(f"| {flywheel} | {world} | {seed} | {cells[0]:.2f} | {cells[1]:.2f} |")
    lines.append("\nHere, per brief, within a cycle:\n")
    for traffic in (*FLAT, *UNEVEN):
        random = np.random.default_rng(1)
        briefs = traffic.briefs_of(random, 20_000)
        own = [traffic.values(random, briefs, 0, 1.0, spread) for spread in (traffic.spread, traffic.control_spread)]
        lines.append(f"- {traffic.name}: " + ", ".join(f"{values.std() / values.mean():.2f}" for values in own))
    return "\n".join(lines)


def _relative_spread(outcomes: object, arm: str) -> float:
    import pandas as pd

    assert isinstance(outcomes, pd.DataFrame)
    groups = outcomes[outcomes["is_counted"]].groupby("cycle")[f"{arm}_value"]
    free = (groups.count() - 1).clip(lower=0)
    return float(np.sqrt((groups.var() * free).sum() / free.sum()) / outcomes[f"{arm}_value"].mean())


def _season(flywheel: str, world: str, seed: int) -> pa.Table:
    from flywheel_pipelines.cycles import cycle_start
    from flywheel_pipelines.lake import tables
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.paths import DEFS_DIR, DataPaths
    from flywheel_pipelines.simulation.demo import DemoPlan, sample_briefs
    from flywheel_pipelines.simulation.direct_writers import DirectWriters
    from flywheel_pipelines.simulation.season import PlainStage, deliver_briefs, play
    from flywheel_pipelines.spec import load_spec

    spec = load_spec(DEFS_DIR / flywheel / "defs.yaml")
    season = DemoPlan((spec,), n_cycles=N_CYCLES, seed=seed, world="flat" if world == "flat" else "lively").season(spec)
    with tempfile.TemporaryDirectory() as folder:
        paths = DataPaths(Path(folder))
        store = Lake(paths.lake)
        deliver_briefs(season.flywheel, sample_briefs(spec), store, cycle_start(spec.start) - timedelta(days=1))
        play(season, PlainStage(season.flywheel, store, DirectWriters(), paths.outbox), store, paths)
        return store.read(tables.BRIEF_OUTCOMES, spec.name)


def _power(wanted: tuple[Design, float], histories: int) -> tuple[Design, float, Power]:
    design, gain = wanted
    return design, gain, power_of(design, gain, histories=histories)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000, help="histories of a null world")
    parser.add_argument("--power-histories", type=int, default=400, help="histories of a design")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--spreads", type=int, default=0, help="play so many seasons of the demo and print their spreads"
    )
    arguments = parser.parse_args()
    # A process per history: numeric libraries must not each want every processor.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        claims = {
            traffic.name: pool.map(partial(null_history, traffic), range(arguments.histories), chunksize=10)
            for traffic in (*FLAT, *UNEVEN)
        }
        print(f"\n## Equal arms, {N_CYCLES} cycles: wrong at least once\n\n{null_table(claims)}", flush=True)
        measure = partial(_power, histories=arguments.power_histories)
        wanted = [(design, 0.1) for traffic in FLAT for design in designs(traffic)]
        rows = [(design, power) for design, _, power in pool.map(measure, wanted, chunksize=1)]
        print(f"\n## A frame that is truly 10% better\n\n{power_table(rows)}", flush=True)
        own = [
            (design, gain)
            for traffic in FLAT
            for design in list(designs(traffic))[1:4:2]
            for gain in (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
        ]
        print(f"\n## What the demo's traffic sees\n\n{gains_table(pool.map(measure, own, chunksize=1))}", flush=True)
    if arguments.spreads:
        print(f"\n## Spreads of briefs\n\n{spreads_table(arguments.spreads)}")


if __name__ == "__main__":
    main()
