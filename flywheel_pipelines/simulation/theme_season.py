"""A season of the simulated ticket world through the theme engine, with and without a library, and what came of it.

Here: playing pure functions cycle by cycle, and comparing with the known truth. Not here: the lake and Dagster, which
the component's own tests use.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flywheel_pipelines.learning.themes.fixes import FixSettings, fix_effect
from flywheel_pipelines.learning.themes.library import current_id, learned, ruled, take_turn
from flywheel_pipelines.learning.themes.naming import naming_messages, tokens_of
from flywheel_pipelines.learning.themes.records import Theme, ThemeSettings, Ticket, Turn
from flywheel_pipelines.learning.themes.trends import TrendSettings, trends
from flywheel_pipelines.learning.themes.vectors import WordVectors
from flywheel_pipelines.llm.offline.theme_naming import name_theme
from flywheel_pipelines.simulation.theme_reviewer import review_themes
from flywheel_pipelines.simulation.tickets import NO_THEME, TicketWorld, WorldSettings

POOL_CYCLES, BACKGROUND_CYCLES, BACKGROUND = 4, 4, 1_000
"""Cycles whose unknown tickets are looked at again, and cycles and tickets of each that rarity is taken from."""
SETTINGS = ThemeSettings()


@dataclass
class ThemeSeason:
    """What was measured, by cycle, and the last word on every ticket."""

    world: TicketWorld
    themes: list[Theme] = field(default_factory=list)
    truth: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str | None] = field(default_factory=dict)
    tickets: list[Ticket] = field(default_factory=list)
    ari: list[float] = field(default_factory=list)
    by_library: list[float] = field(default_factory=list)
    acceptance: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    control_tokens: list[float] = field(default_factory=list)
    suggested: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of themes that somebody was asked to merge."""

    def counts(self, up_to: int) -> tuple[list[Theme], np.ndarray, np.ndarray]:
        """Accepted themes, their tickets by cycle and weekday, and all tickets, for cycles up to a number."""
        known = {theme.theme_id: theme for theme in self.themes}
        accepted = [theme for theme in self.themes if theme.status == "accepted"]
        places = {theme.theme_id: at for at, theme in enumerate(accepted)}
        counts, totals = np.zeros((len(accepted), up_to, 7)), np.zeros((up_to, 7))
        for ticket in self.tickets:
            number = (ticket.cycle - self.world.start).days // 7
            if number >= up_to:
                continue
            totals[number, ticket.day.weekday()] += 1
            home = current_id(self.labels.get(ticket.ticket_id), known)
            if home in places:
                counts[places[home], number, ticket.day.weekday()] += 1
        return accepted, counts, totals

    def measured(self) -> dict[str, Any]:
        """What the benchmark reports."""
        return {
            "ari": self.ari,
            "by_library": self.by_library,
            "acceptance": self.acceptance,
            "tokens": self.tokens,
            "control_tokens": self.control_tokens,
            **self._fixes(),
            **self._moves(),
            **self._merges(),
        }

    def _merges(self) -> dict[str, int]:
        """Pairs that became one in the world and in the library; suggestions, and those of themes that are two."""
        names = {theme.theme_id: theme.name for theme in self.themes}
        kept = {theme.name for theme in self.themes if theme.status == "accepted"}
        known = {theme.theme_id: theme for theme in self.themes}
        wrong = [pair for pair in self.suggested if len({current_id(one, known) for one in pair}) > 1]
        return {
            "merged": sum(
                not {*pair} <= kept and bool({*pair} & set(names.values())) for pair in self.world.merges.items()
            ),
            "n_suggested": len(self.suggested),
            "n_suggested_wrongly": len(wrong),
        }

    def _fixes(self) -> dict[str, Any]:
        """Verdicts on the fixes that ship, and on those that are claimed of all other themes in the same cycle."""
        themes, counts, _ = self.counts(len(self.ari))
        by_name = {theme.name: at for at, theme in enumerate(themes)}
        by_cycle = counts.sum(axis=2)
        world, shipped = self.world, self.world.fixes[0].cycle - 1
        touched = frozenset(by_name[fix.theme] for fix in world.fixes if fix.theme in by_name)

        def verdicts(name: str) -> list[str]:
            """As they are known cycle by cycle; a theme that the library does not know has no verdict."""
            at = by_name.get(name)
            return [] if at is None else [
                fix_effect(by_cycle[:, :end], at, shipped, FixSettings(), not_controls=touched - {at}).verdict
                for end in range(shipped + 3, by_cycle.shape[1] + 1)
            ]  # fmt: skip

        working = [verdicts(fix.theme) for fix in world.fixes if fix.works]
        return {
            "working": [found[-1] if found else "unknown theme" for found in working],
            "working_called_worse": sum("worse" in found for found in working),
            "idle": _ever([found for fix in world.fixes if not fix.works for found in [verdicts(fix.theme)]]),
            "seasonal": _ever([verdicts(world.seasonal)]),
            "untouched": _ever([verdicts(name) for name in by_name if self._is_untouched(name)]),
        }

    def _moves(self) -> dict[str, int]:
        counted: Counter[str] = Counter()
        for end in range(10, len(self.ari) + 1):
            themes, counts, totals = self.counts(end)
            for theme, trend in zip(themes, trends(counts, totals, TrendSettings()), strict=True):
                moved = trend.movement != "steady"
                counted["n_moves"] += moved
                if self._is_untouched(theme.name):
                    counted["n_untouched"] += 1
                    counted["n_false_moves"] += moved
        return {name: counted[name] for name in ("n_moves", "n_false_moves", "n_untouched")}

    def _is_untouched(self, name: str) -> bool:
        """Whether nothing happens to a true theme but drift and noise."""
        world = self.world
        special = {fix.theme for fix in world.fixes} | {world.seasonal} | {*world.merges, *world.merges.values()}
        return name not in special and name not in world.starts


def _ever(found: list[list[str]]) -> list[str]:
    """Of each list of verdicts the first that is not "no evidence"; a false one counts in whatever cycle it is said."""
    return [next((one for one in verdicts if one != "no evidence"), "no evidence") for verdicts in found if verdicts]


def play_themes(seed: int, n_cycles: int) -> ThemeSeason:
    """Play one season."""
    season, pool = ThemeSeason(TicketWorld(seed)), list[Ticket]()
    for number in range(1, n_cycles + 1):
        pairs = list(season.world.tickets(number))
        tickets = [ticket for ticket, _ in pairs]
        season.truth |= {ticket.ticket_id: name for ticket, name in pairs}
        turn = _turn(season, tickets, pool, number)
        unknown = [one.ticket for one in turn.placed if one.theme_id is None]
        adopted = {one.ticket.ticket_id for one in turn.adopted}
        oldest = season.world.first_day(max(1, number + 1 - POOL_CYCLES))
        pool = [one for one in [*pool, *unknown] if one.ticket_id not in adopted and one.cycle >= oldest]
        season.control_tokens.append(_control_tokens(tickets, season, number) / len(tickets))
        season.tickets += tickets
    return season


def _turn(season: ThemeSeason, tickets: list[Ticket], pool: list[Ticket], number: int) -> Turn:
    from sklearn.metrics import adjusted_rand_score

    world, day = season.world, season.world.first_day(number)
    background = _background(season.tickets, world, number) or [one.text for one in tickets]
    vectorise = WordVectors.of_background(background)
    turn = take_turn(tickets, pool, season.themes, vectorise, SETTINGS, flywheel="simulated", cycle=day)
    themes, suggested = learned(season.themes, turn, vectorise, SETTINGS, day)
    season.suggested |= {
        (one.theme_id, one.other_id) for one in suggested if one.event == "merge_suggested" and one.other_id is not None
    }
    rulings = review_themes(themes, suggested, season.truth, lambda name: world.truth_of(name, number))
    season.themes, _ = ruled(themes, rulings, SETTINGS)
    known = {theme.theme_id: theme for theme in season.themes}
    for one in (*turn.placed, *turn.adopted):
        season.labels[one.ticket.ticket_id] = one.theme_id
    truth = [season.truth[one.ticket.ticket_id] for one in turn.placed]
    labels = [_settled(one.theme_id, known) for one in turn.placed]
    season.ari.append(float(adjusted_rand_score(truth, labels)))
    season.by_library.append(turn.share_by_library)
    new = {one.theme.theme_id for one in turn.found}
    kept = [theme for theme in season.themes if theme.theme_id in new and theme.status != "rejected"]
    season.acceptance.append(len(kept) / len(new) if new else float("nan"))
    season.tokens.append(_tokens(turn) / len(tickets))
    return turn


def _settled(theme_id: str | None, known: dict[str, Theme]) -> str:
    """The theme as it stands after review; what people rejected is no theme."""
    home = current_id(theme_id, known)
    return NO_THEME if home is None or known[home].status == "rejected" else home


def _background(tickets: list[Ticket], world: TicketWorld, number: int) -> list[str]:
    first = world.first_day(max(1, number - BACKGROUND_CYCLES))
    by_cycle: dict[Any, list[str]] = {}
    for ticket in tickets:
        if ticket.cycle >= first:
            by_cycle.setdefault(ticket.cycle, []).append(ticket.text)
    return [text for texts in by_cycle.values() for text in texts[:BACKGROUND]]


def _tokens(turn: Turn) -> int:
    """Tokens for naming what is new, questions and the offline writer's answers."""
    total = 0
    for one in turn.found:
        messages = naming_messages(one.members)
        asked = [{"role": message.role, "content": message.content} for message in messages]
        total += tokens_of(messages) - (-len(json.dumps(name_theme(asked)).encode()) // 4)
    return total


def _control_tokens(tickets: list[Ticket], season: ThemeSeason, number: int) -> int:
    vectorise = WordVectors.of_background([one.text for one in tickets])
    day = season.world.first_day(number)
    return _tokens(take_turn(tickets, [], [], vectorise, SETTINGS, flywheel="simulated", cycle=day))


def close_large_cycle(n_tickets: int) -> dict[str, float]:
    """Seconds for the turn of one cycle with so many tickets, with a library of one earlier cycle and without any."""
    season = ThemeSeason(TicketWorld(1))
    first = [ticket for ticket, _ in season.world.tickets(1)]
    season.truth |= {ticket.ticket_id: name for ticket, name in season.world.tickets(1)}
    _turn(season, first, [], 1)
    season.tickets += first
    large = TicketWorld(1, settings=WorldSettings(n_tickets=n_tickets, volume_noise=0.0))
    pairs = list(large.tickets(2))
    season.truth |= {ticket.ticket_id: name for ticket, name in pairs}
    tickets = [ticket for ticket, _ in pairs]
    started = time.perf_counter()
    turn = _turn(season, tickets, [], 2)
    with_library = time.perf_counter() - started
    vectorise = WordVectors.of_background([one.text for one in tickets[:BACKGROUND]])
    started = time.perf_counter()
    bare = take_turn(tickets, [], [], vectorise, SETTINGS, flywheel="simulated", cycle=season.world.first_day(2))
    return {
        "n_tickets": len(tickets),
        "seconds_with_library": with_library,
        "placed_by_library": turn.share_by_library,
        "seconds_without_library": time.perf_counter() - started,
        "themes_without_library": len(bare.found),
    }
