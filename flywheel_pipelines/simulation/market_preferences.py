"""What the simulated audience prefers, and how that drifts.

Here: the hidden preference for every option of the writer's grammar, by segment and date, and the effects that belong
to segments, briefs and seasons. All of it follows from the seed and the date alone: there is no state, so any cycle can
be asked for first, and runs that learned differently meet the same audience. Not here: traffic and reports
(`audience`), or what a text says (`llm.offline.grammar`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

import numpy as np

from flywheel_pipelines.production.identity import uniform
from flywheel_pipelines.simulation.market import MarketSettings, World

DAYS_PER_WEEK, DAYS_PER_YEAR = 7.0, 365.25
EVERYBODY = "(everybody)"


def generator(*parts: object) -> np.random.Generator:
    """A random generator that depends on the parts alone, the same in every process."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


class Preferences:
    """Hidden preferences of the segments for the options of a grammar."""

    def __init__(
        self, choices: Mapping[str, Sequence[str]], *, seed: int, world: World, settings: MarketSettings
    ) -> None:
        """Name the grammar and the world; a flat world likes every option the same."""
        self._choices = {name: tuple(options) for name, options in choices.items()}
        self._seed, self._world, self._settings = seed, world, settings
        # Per object, not per class: a cache on the class would keep every audience alive.
        self._of_segment = lru_cache(maxsize=4_096)(self._effects)
        self._drawn = lru_cache(maxsize=None)(self._draws)

    def effects(self, segment: str, day: date) -> Mapping[str, Mapping[str, float]]:
        """Liking of each option, by choice: centred within a choice, in units of the log rate.

        Scaled so that options drawn at random give liking the standard deviation `learnable`, on every day.
        """
        return self._of_segment(segment, day)

    def liking(self, choices: Mapping[str, str], segment: str, day: date) -> float:
        """Liking of a text that made these choices; a choice that could not be read counts as the average option."""
        effects = self.effects(segment, day)
        return sum(effects[name].get(option, 0.0) for name, option in choices.items() if name in effects)

    def best_choices(self, segment: str, day: date) -> dict[str, str]:
        """The best liked option of each choice."""
        effects = self.effects(segment, day)
        return {name: max(options, key=lambda option: options[option]) for name, options in effects.items()}

    def _effects(self, segment: str, day: date) -> dict[str, dict[str, float]]:
        own_share = self._settings.segment_own
        raw = {}
        for name in self._choices:
            shared, own = self._raw(EVERYBODY, name, day), self._raw(segment, name, day)
            mixed = math.sqrt(1 - own_share**2) * shared + own_share * own
            raw[name] = mixed - mixed.mean()
        spread = math.sqrt(sum(float(np.mean(values**2)) for values in raw.values()))
        scale = 0.0 if self._world == "flat" or spread == 0 else self._settings.learnable / spread
        return {
            name: dict(zip(options, (raw[name] * scale).tolist(), strict=True))
            for name, options in self._choices.items()
        }

    def _raw(self, segment: str, name: str, day: date) -> np.ndarray:
        """Unscaled preferences of unit variance: a part that stays, and one that comes and goes."""
        stays, period, phase = self._drawn(segment, name)
        share = self._settings.drift_share
        turns = day.toordinal() / DAYS_PER_WEEK / period + phase
        return math.sqrt(1 - share**2) * stays + share * math.sqrt(2) * np.sin(2 * np.pi * turns)

    def _draws(self, segment: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = generator(self._seed, "preference", segment, name)
        size = len(self._choices[name])
        stays = rng.normal(size=size)
        return stays, rng.uniform(*self._settings.drift_period, size), rng.uniform(size=size)


@lru_cache(maxsize=4_096)
def segment_effect(seed: int, segment: str, settings: MarketSettings) -> float:
    """Log rate of a segment above the average one, for good."""
    return float(generator(seed, "segment", segment).normal(0, settings.segment_effect))


def brief_effect(seed: int, brief_id: str, settings: MarketSettings) -> float:
    """Log rate of a brief above the average one of its segment."""
    return float(generator(seed, "brief", brief_id).normal(0, settings.brief_effect))


def season(seed: int, segment: str, day: date) -> float:
    """Where the segment stands in its year: 1 at its peak, -1 half a year later."""
    return math.cos(2 * math.pi * (day.toordinal() / DAYS_PER_YEAR - uniform(seed, "season", segment)))
