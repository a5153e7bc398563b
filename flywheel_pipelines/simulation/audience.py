"""The simulated audience: it reads what was published, reacts, and reports its reactions late and imperfectly.

Here: the reactions to one output, and which of them have been reported by the end of a cycle. Not here: what the
audience likes (`market_preferences`), how large everything is (`market`), or files (`audience_export`).

The audience reads the published text and nothing else of how it came about. It keeps no state but the outputs it has
seen: what happens to an output follows from the seed and its id, so the order of calls, repeated calls and another
process that shows it the same outputs change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa

from flywheel_pipelines.cycles import Cadence, shift_cycle
from flywheel_pipelines.production.identity import uniform
from flywheel_pipelines.simulation.audience_export import Export, broken_ways, damaged
from flywheel_pipelines.simulation.market import SOURCE, Amount, AudienceKind, MarketSettings, Response, Traffic, World
from flywheel_pipelines.simulation.market_preferences import (
    Preferences,
    brief_effect,
    generator,
    season,
    segment_effect,
)

OUTPUT_COLUMNS = ("output_id", "brief_id", "segment", "text")
REPEATED = 1
"""Cycles after which a damaged row comes again."""


@dataclass(frozen=True)
class Reactions:
    """What really happens to one output, by day of its cycle: arrays of whole counts, one entry per day.

    `clean` holds people; `late` how much of a response is reported k cycles later (index k; index 0 at once); `bots`
    what bots add until they are found after `bots_until` cycles.
    """

    clean: Mapping[str, np.ndarray]
    late: Mapping[str, np.ndarray]
    bots: Mapping[str, np.ndarray]
    bots_until: int

    def reported(self, measure: str, age: int) -> np.ndarray:
        """Counts by day as they are known `age` cycles after the output's own."""
        counts = self.late[measure][: age + 1].sum(axis=0) if measure in self.late else self.clean[measure]
        return counts + self.bots[measure] if age < self.bots_until else counts

    @cached_property
    def last_change(self) -> int:
        """The age after which nothing is reported any more."""
        delays = max((len(parts) - 1 for parts in self.late.values()), default=0)
        return max(delays, self.bots_until)


@dataclass(frozen=True)
class SeenOutput:
    """One published output as the audience sees it."""

    cycle: date
    output_id: str
    brief_id: str
    segment: str
    choices: Mapping[str, str]


class Audience:
    """People who do not exist, with preferences that a flywheel can learn."""

    def __init__(
        self,
        kind: AudienceKind,
        *,
        seed: int = 7,
        world: World = "lively",
        cadence: Cadence = Cadence.WEEKLY,
        settings: MarketSettings | None = None,
        choices: Mapping[str, Sequence[str]] | None = None,
        read: Callable[[str], Mapping[str, str]] | None = None,
    ) -> None:
        """Nobody has seen anything yet.

        Args:
            kind: what it counts; `market.kind_of(measures)` gives it for a flywheel's measures.
            seed: of all draws.
            world: lively, or flat: the same people without any preference, so that nothing can be learned.
            cadence: how long a cycle lasts.
            settings: sizes of all effects; the kind's when left out.
            choices: the options a text may have; the kind's, or the grammar of the offline writer, when left out.
            read: which options a text has, from the text alone; the kind's, or the reader of that grammar.
        """
        from flywheel_pipelines.llm.offline import grammar

        self.kind, self.seed, self.world, self.cadence = kind, seed, world, cadence
        self.settings = settings or kind.settings
        options = choices or kind.choices or grammar.CHOICES
        self.preferences = Preferences(options, seed=seed, world=world, settings=self.settings)
        self.read = read or kind.read or grammar.read_choices
        self._seen: dict[str, SeenOutput] = {}
        self._reactions: dict[str, Reactions] = {}

    # -- what is seen -----------------------------------------------------------------------------------------------
    def publish_seen(self, cycle: date, published: pa.Table | Sequence[Mapping[str, object]]) -> int:
        """Show it what a cycle published (rows of `published_outputs`); returns how many outputs are new to it.

        An output that stands in several arms is one output, and one that was shown before is not shown again.
        """
        rows = published if isinstance(published, Sequence) else published.to_pylist()
        before = len(self._seen)
        for row in rows:
            output_id, brief_id, segment, text = (str(row[name]) for name in OUTPUT_COLUMNS)
            if output_id not in self._seen:
                self._seen[output_id] = SeenOutput(cycle, output_id, brief_id, segment, self.read(text))
        return len(self._seen) - before

    @property
    def seen(self) -> tuple[SeenOutput, ...]:
        """Everything it was shown, by cycle and id."""
        return tuple(sorted(self._seen.values(), key=lambda output: (output.cycle, output.output_id)))

    # -- what happens -----------------------------------------------------------------------------------------------
    def liking(self, output: SeenOutput) -> float:
        """How much more the output is liked than the average one of its segment in its cycle, in log rate."""
        taste = generator(self.seed, "taste", output.output_id).normal(0, self.settings.taste)
        learnable = self.preferences.liking(output.choices, output.segment, output.cycle)
        return learnable + float(taste) + brief_effect(self.seed, output.brief_id, self.settings)

    def expected_rate(self, response: Response, segment: str, cycle: date, liking: float) -> float:
        """The rate expected of an output that is liked this much; a probability below 1 for any liking.

        The log of the rate moves by `appeal` per unit at the base rate and by ever less towards 1 (logit link).
        """
        seasonal = self.settings.season_rate * season(self.seed, segment, cycle)
        # What people do out of dislike has no season and no segment of its own: only the liking is turned round.
        shift = response.appeal * liking + abs(response.appeal) * (
            segment_effect(self.seed, segment, self.settings) + seasonal
        )
        base = response.base_rate
        logit = math.log(base / (1 - base)) + shift / (1 - base)
        return 1 / (1 + math.exp(-logit))

    def reactions(self, output: SeenOutput) -> Reactions:
        """Everything that will ever happen to an output."""
        known = self._reactions.get(output.output_id)
        if known is None:
            known = self._reactions[output.output_id] = self._react(output)
        return known

    def settled(self, output_id: str) -> dict[str, int]:
        """The true totals of an output, once everything has arrived and every bot is found."""
        clean = self.reactions(self._seen[output_id]).clean
        return {measure: int(counts.sum()) for measure, counts in clean.items()}

    def _react(self, output: SeenOutput) -> Reactions:
        settings, liking = self.settings, self.liking(output)
        fate = generator(self.seed, "bots", output.output_id)
        is_visited = fate.uniform() < settings.bot_outputs
        bot_share = fate.uniform(*settings.bot_share)
        found_after = self._cycles_until_the_filter(output.cycle)
        clean: dict[str, np.ndarray] = {}
        late: dict[str, np.ndarray] = {}
        bots: dict[str, np.ndarray] = {}
        for traffic in self.kind.traffic:
            rng = generator(self.seed, traffic.measure, output.output_id)
            trials = clean[traffic.measure] = self._trials(traffic, output, rng)
            share = bot_share if is_visited and traffic.has_bots else 0.0
            visits = bots[traffic.measure] = rng.binomial(trials, share)
            for response in traffic.responses:
                # A generator of its own: what one response draws does not move the others.
                own = generator(self.seed, response.measure, output.output_id)
                rate = self.expected_rate(response, output.segment, output.cycle, liking)
                drawn = own.beta(rate * response.concentration, (1 - rate) * response.concentration)
                counts = clean[response.measure] = own.binomial(trials, drawn)
                shares = (1 - sum(response.late), *response.late)
                late[response.measure] = own.multinomial(counts, shares).T
                bots[response.measure] = own.binomial(visits, response.bots)
                for amount in response.amounts:
                    clean[amount.measure] = self._amounts(amount, output, counts, liking)
                    bots[amount.measure] = np.zeros_like(trials)
            for amount in traffic.amounts:
                clean[amount.measure] = self._amounts(amount, output, trials, liking)
                bots[amount.measure] = np.zeros_like(trials)
        return Reactions(clean, late, bots, found_after if is_visited else 0)

    def _amounts(self, amount: Amount, output: SeenOutput, trials: np.ndarray, liking: float) -> np.ndarray:
        """What the trials of each day add up to, as whole numbers."""
        own = generator(self.seed, amount.measure, output.output_id)
        center = math.log(amount.typical) + amount.appeal * liking
        days = []
        for n_trials in trials:
            drawn = np.exp(own.normal(center, amount.spread, int(n_trials)))
            if amount.between is not None:
                drawn = np.clip(np.rint(drawn), *amount.between)
            days.append(round(float(drawn.sum())))
        return np.array(days)

    def _cycles_until_the_filter(self, published: date) -> int:
        """Cycles until the first run of the bot filter that takes an output into account.

        Runs are counted from a fixed day and not from the first cycle shown, so that any process knows of the same.
        """
        found, every = self.settings.bots_found_after, self.settings.filter_every
        while self._number(shift_cycle(published, self.cadence, found)) % every:
            found += 1
        return found

    def _number(self, cycle: date) -> int:
        """Number of a cycle since 1970: any two neighbours differ by one."""
        if self.cadence is Cadence.MONTHLY:
            return cycle.year * 12 + cycle.month
        # 1970-01-05 was a Monday.
        days = cycle.toordinal() - date(1970, 1, 5).toordinal()
        return days // 7 if self.cadence is Cadence.WEEKLY else days

    def _trials(self, traffic: Traffic, output: SeenOutput, rng: np.random.Generator) -> np.ndarray:
        """Trials by day of the cycle; at least one in all, or nobody would ever hear of the output."""
        swing = self.settings.season_traffic * season(self.seed, output.segment, output.cycle)
        expected = traffic.typical * math.exp(rng.normal(0, traffic.spread) + swing)
        total = max(1, int(rng.negative_binomial(traffic.shape, traffic.shape / (traffic.shape + expected))))
        length = (shift_cycle(output.cycle, self.cadence, 1) - output.cycle).days
        weights = np.array([traffic.days[(output.cycle + timedelta(days=day)).weekday()] for day in range(length)])
        # A cycle that is one day long may fall on a day without traffic.
        weights = weights / weights.sum() if weights.sum() else np.full(length, 1 / length)
        return rng.multinomial(total, weights)

    # -- what is reported -------------------------------------------------------------------------------------------
    def export(self, cycle: date, measures: Sequence[str] | None = None, *, in_cells: bool = True) -> Export:
        """The rows that arrive between the end of the previous cycle and the end of this one.

        New outputs come with all their days; of earlier ones, the days whose counts have changed since: late responses,
        and what bots caused, taken back. A count is always the whole count of that day, never a difference. Rows that
        arrived damaged come again. Shown the same outputs, the rows are the same.

        Args:
            cycle: the cycle.
            measures: those that one of several reports holds; None: all.
            in_cells: see `broken_ways`.
        """
        reported = self.kind.measures if measures is None else tuple(measures)
        places = [self.kind.measures.index(name) for name in reported]
        ways = broken_ways(self.kind, reported, in_cells=in_cells)
        columns = ("output_id", "date", *reported, "source")
        rows: list[tuple[str, ...]] = []
        broken = []
        for output in self.seen:
            age = self._age(output.cycle, cycle)
            if age is None:
                continue
            for day, counts, is_damaged in self._report(output, age):
                row = (output.output_id, day.isoformat(), *(str(counts[place]) for place in places), SOURCE)
                if is_damaged:
                    draw = uniform(self.seed, "way", output.output_id, day, age)
                    row, problem = damaged(row, columns, ways, draw, len(rows) + 1)
                    broken.append(problem)
                rows.append(row)
        return Export(cycle, columns, tuple(rows), tuple(broken))

    def _age(self, published: date, now: date) -> int | None:
        """Cycles from one to the other; None when there is nothing left to report by then."""
        age, cycle = 0, published
        while cycle < now:
            age, cycle = age + 1, shift_cycle(cycle, self.cadence, 1)
            if age > self._horizon:
                return None
        return age if published <= now else None

    @cached_property
    def _horizon(self) -> int:
        delays = (len(response.late) for traffic in self.kind.traffic for response in traffic.responses)
        return max(*delays, self.settings.bots_found_after + self.settings.filter_every - 1) + REPEATED

    def _report(self, output: SeenOutput, age: int) -> Iterable[tuple[date, tuple[int, ...], bool]]:
        """Day, counts and whether the row is damaged, for the days to be reported at this age."""
        reactions = self.reactions(output)
        if age > reactions.last_change + REPEATED:
            return
        now, before, earlier = (self._table(reactions, at) for at in (age, age - 1, age - 2))
        for number, counts in enumerate(now):
            day = output.cycle + timedelta(days=number)
            is_new = bool((counts != before[number]).any())
            was_new = bool((before[number] != earlier[number]).any())
            if is_new or (was_new and self._is_damaged(output, day, age - REPEATED)):
                # A row that comes again unchanged is sent with more care.
                yield day, tuple(int(count) for count in counts), is_new and self._is_damaged(output, day, age)

    def _table(self, reactions: Reactions, age: int) -> np.ndarray:
        """Counts as known at an age, by day and measure; nothing at all before the first report."""
        known = np.stack([reactions.reported(measure, max(age, 0)) for measure in self.kind.measures], axis=1)
        return known if age >= 0 else np.zeros_like(known)

    def _is_damaged(self, output: SeenOutput, day: date, age: int) -> bool:
        return uniform(self.seed, "damage", output.output_id, day, age) < self.settings.broken_rows
