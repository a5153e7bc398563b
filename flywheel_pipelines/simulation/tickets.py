"""A simulated world of support tickets whose themes are known, to hold the theme engine to.

Here: how many tickets of which theme are written when, and their texts. Not here: the words (`ticket_words`), or who
reviews themes in it (`theme_reviewer`). Everything in it is simulated.

Forty themes with unequal shares; each one's words move on over the season (drift). In cycle `merged_at` two pairs of
themes become one each. Of three fixes shipped in cycle `fixed_at` two take most of a theme away, one nothing. One theme
follows the season. Five themes are new after the beginning. Total volume swings, weekdays differ, and every theme's
share is noisier than chance alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from flywheel_pipelines.learning.themes.records import Ticket
from flywheel_pipelines.simulation.ticket_words import CHATTER, ENDS, FRAMES, MIDDLES, OPENINGS, THEMES

NAMES = tuple(THEMES)
NO_THEME = "no theme"


@dataclass(frozen=True)
class WorldSettings:
    """What the world is like."""

    n_tickets: int = 700
    """Of an average cycle."""
    volume_noise: float = 0.25
    """Standard deviation of the log of a cycle's total."""
    share_noise: float = 0.12
    """Standard deviation of the log of a theme's share from cycle to cycle."""
    unlike: float = 0.35
    """Standard deviation of the log of the themes' mean shares."""
    no_theme: float = 0.06
    """Share of tickets about nothing in particular."""
    typo: float = 0.04
    """Share of words with a letter missing."""
    stray: float = 0.12
    """Share of words that belong to another theme."""
    active_words: int = 9
    """Words of a theme that are in use at one time; they move on through its list in `drift` cycles."""
    drift: float = 40.0
    fix_effect: float = 0.35
    """What is left of a theme after a fix that works."""
    season: float = 0.9
    """Amplitude of the log of the seasonal theme's share; its period is 20 cycles."""
    merged_at: int = 8
    """Number of the cycle, from 1, from which on pairs of themes are one each."""
    fixed_at: int = 12
    """Number of the cycle in which fixes ship."""
    weekday: tuple[float, ...] = (1.3, 1.2, 1.1, 1.0, 1.0, 0.7, 0.7)


@dataclass(frozen=True)
class SimulatedFix:
    """A fix that ships: the true theme that it is about, the cycle, and whether it works."""

    theme: str
    cycle: int
    works: bool


class TicketWorld:
    """Tickets of one seed, cycle by cycle."""

    def __init__(self, seed: int, start: date = date(2026, 1, 5), settings: WorldSettings | None = None) -> None:
        """`start` is the first day of cycle 1, a Monday."""
        self.settings = settings or WorldSettings()
        self.seed, self.start = seed, start
        rng = np.random.default_rng([seed, 0])
        order = [NAMES[at] for at in rng.permutation(len(NAMES))]
        self.fixes = tuple(SimulatedFix(order[at], self.settings.fixed_at, at < 2) for at in range(3))
        self.seasonal = order[3]
        self.merges = {order[4]: order[5], order[6]: order[7]}
        self.starts = {name: int(rng.integers(3, 7)) for name in order[8:13]}
        self.words = {name: list(rng.permutation(THEMES[name].split())) for name in NAMES}
        self.phases = dict(zip(NAMES, rng.uniform(0, 1, len(NAMES)), strict=True))
        log_shares = self.settings.unlike * rng.standard_normal(len(NAMES))
        self.shares = dict(zip(NAMES, np.exp(log_shares) / np.exp(log_shares).sum(), strict=True))
        # Of what ships people expect something, so it concerns themes that are not rare.
        for fix in self.fixes:
            self.shares[fix.theme] = max(self.shares[fix.theme], 0.025)

    def first_day(self, cycle: int) -> date:
        """Monday of a cycle, counted from 1."""
        return self.start + timedelta(weeks=cycle - 1)

    def truth_of(self, name: str, cycle: int) -> str:
        """The theme that a theme belongs to by then: of a pair that became one, the second."""
        return self.merges.get(name, name) if cycle >= self.settings.merged_at else name

    def tickets(self, cycle: int) -> Iterator[tuple[Ticket, str]]:
        """The tickets of a cycle, each with its true theme or `NO_THEME`."""
        rng = np.random.default_rng([self.seed, cycle])
        weights = np.array([self._weight(name, cycle, rng) for name in NAMES])
        weights = np.append(weights / weights.sum() * (1 - self.settings.no_theme), self.settings.no_theme)
        n = rng.poisson(self.settings.n_tickets * np.exp(self.settings.volume_noise * rng.standard_normal()))
        days = np.array(self.settings.weekday) / sum(self.settings.weekday)
        for number in range(n):
            at = int(rng.choice(len(weights), p=weights))
            name = NAMES[at] if at < len(NAMES) else NO_THEME
            day = self.first_day(cycle) + timedelta(days=int(rng.choice(7, p=days)))
            ticket = Ticket(f"{self.seed}-{cycle}-{number}", self._text(name, cycle, rng), day, self.first_day(cycle))
            yield ticket, self.truth_of(name, cycle)

    def when(self, ticket: Ticket) -> datetime:
        """An instant of the ticket's day."""
        return datetime(ticket.day.year, ticket.day.month, ticket.day.day, 12, tzinfo=UTC)

    def _weight(self, name: str, cycle: int, rng: np.random.Generator) -> float:
        noise = float(np.exp(self.settings.share_noise * rng.standard_normal()))
        if cycle < self.starts.get(name, 0):
            return 0.0
        weight = self.shares[name] * noise
        if name == self.seasonal:
            weight *= float(np.exp(self.settings.season * np.sin(2 * np.pi * cycle / 20)))
        worked = any(fix.works and fix.theme == name and cycle >= fix.cycle for fix in self.fixes)
        return weight * (self.settings.fix_effect if worked else 1.0)

    def _text(self, name: str, cycle: int, rng: np.random.Generator) -> str:
        pool = self._pool(name, cycle)
        chosen = [str(word) for word in rng.choice(pool, size=6, replace=False)]
        for at in range(6):
            if name != NO_THEME and rng.random() < self.settings.stray:
                chosen[at] = str(rng.choice(self.words[NAMES[rng.integers(len(NAMES))]]))
            if rng.random() < self.settings.typo:
                cut = int(rng.integers(len(chosen[at])))
                chosen[at] = chosen[at][:cut] + chosen[at][cut + 1 :]
        frame, opening, middle, end = (
            str(options[rng.integers(len(options))]) for options in (FRAMES, OPENINGS, MIDDLES, ENDS)
        )
        said = frame.format(opening=opening, middle=middle, end=end, **dict(zip("abcdef", chosen, strict=True)))
        return said[0].upper() + said[1:]

    def _pool(self, name: str, cycle: int) -> list[str]:
        """The words in use: a window over the theme's own, which moves; of a merged pair those of both."""
        if name == NO_THEME:
            return list(CHATTER)
        names = [name]
        if cycle >= self.settings.merged_at:
            names += [other for pair in self.merges.items() if name in pair for other in pair if other != name]
        pool: list[str] = []
        for one in names:
            words = self.words[one]
            first = int(cycle / self.settings.drift * len(words) + self.phases[one])
            pool += [words[(first + at) % len(words)] for at in range(self.settings.active_words)]
        return list(dict.fromkeys(pool))
