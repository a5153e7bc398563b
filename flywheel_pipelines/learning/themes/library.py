"""The library of themes, and one cycle's turn with it: place what is known, group what is not, keep ids.

Here: the turn of a cycle. Not here: what is placed and kept (`records`), vectors, matching and clustering themselves,
what people are asked (`naming` asks a model; reviews are `loop`'s part).

A theme is a candidate until a person accepts it. Accepted themes place tickets one by one. What they leave over is
grouped; a group like a theme that is known already (pending, rejected, or accepted and drifted) continues it under its
id, and any other group is a new candidate. So what has to be named, and paid for, grows with new themes alone.

The id of a theme comes from its founding ticket: of its core, the one recorded first. Tickets that come late are
recorded later, so they do not change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import zip_longest
from typing import Any

import numpy as np

from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.learning.themes.clustering import Group, cluster, coherence_of, rank_of
from flywheel_pipelines.learning.themes.floor import learned_floor
from flywheel_pipelines.learning.themes.matching import FIXED, References, calibrate, match
from flywheel_pipelines.learning.themes.records import (
    EXAMPLES,
    NEW_EXAMPLES,
    Event,
    Example,
    Found,
    Placed,
    Ruling,
    Status,
    Theme,
    ThemeSettings,
    Ticket,
    Turn,
)
from flywheel_pipelines.learning.themes.vectors import Vectorise, similarities, sums_by, unit_length

BETWEEN_FLOOR, BETWEEN_SHARE = 0.15, 0.2
"""A ticket counts as between two themes when it has this much in common with the nearest at all; two themes between
which this share of their tickets lies may be one."""


def current_id(theme_id: str | None, themes: Mapping[str, Theme]) -> str | None:
    """The theme that a theme is part of by now, merges followed."""
    seen: set[str] = set()
    while theme_id is not None and theme_id in themes and themes[theme_id].merged_into and theme_id not in seen:
        seen.add(theme_id)
        theme_id = themes[theme_id].merged_into
    return theme_id


def references(themes: Sequence[Theme], settings: ThemeSettings) -> list[Theme]:
    """The themes that place tickets: accepted by a person, or by the floor alone where review is optional."""

    def passes(theme: Theme) -> bool:
        return theme.coherence >= settings.min_coherence and theme.n_tickets >= settings.min_tickets

    return [
        theme
        for theme in themes
        if theme.examples
        and (theme.status == "accepted" or (settings.optional_review and theme.status == "candidate" and passes(theme)))
    ]


def ruled(
    themes: Sequence[Theme], rulings: Sequence[Ruling], settings: ThemeSettings
) -> tuple[list[Theme], list[Event]]:
    """The library with what people decided; rulings that change nothing make no event."""
    known, events = {theme.theme_id: theme for theme in themes}, []
    for ruling in rulings:
        theme = known.get(ruling.theme_id)
        if theme is None:
            continue
        changed, event = _after(theme, ruling, known, settings)
        if changed != theme:
            known[theme.theme_id] = changed
            events += event
        if changed != theme and changed.merged_into is not None:
            # What people say belongs to a theme is what it is recognised by from now on.
            into = known[changed.merged_into]
            shared = _interleaved(theme.examples, into.examples)
            known[into.theme_id] = replace(into, examples=shared, n_tickets=into.n_tickets + theme.n_tickets)
    return list(known.values()), events


def _after(
    theme: Theme, ruling: Ruling, known: Mapping[str, Theme], settings: ThemeSettings
) -> tuple[Theme, list[Event]]:
    about = theme.theme_id
    if ruling.into is not None:
        into = current_id(ruling.into, known)
        if into is None or into not in known or into == about:
            return theme, []
        return replace(theme, status="merged", merged_into=into), [Event("merged", about, into)]
    if ruling.decision == "rejected":
        return replace(theme, status="rejected"), [Event("rejected", about)]
    name = ruling.name or theme.name
    above_floor = ruling.similarity >= settings.min_similarity
    status: Status = "accepted" if above_floor else theme.status
    events = [Event("renamed", about, detail=f"{theme.name} -> {name}")] if name != theme.name else []
    if status == "accepted" and theme.status != "accepted":
        events.append(Event("accepted", about))
        if theme.parent_id is not None:
            events.append(Event("split", theme.parent_id, about))
    return replace(theme, status=status, name=name), events


def take_turn(
    tickets: Sequence[Ticket],
    pool: Sequence[Ticket],
    themes: Sequence[Theme],
    vectorise: Vectorise,
    settings: ThemeSettings,
    *,
    flywheel: str,
    cycle: date,
) -> Turn:
    """Place the tickets of a cycle.

    Args:
        tickets: of the cycle; no id twice.
        pool: tickets of the cycles before that no theme has taken yet.
        themes: the library as the cycle before left it, rulings applied.
        vectorise: texts to rows of unit length.
        settings: levels.
        flywheel: part of a new theme's id.
        cycle: the cycle, which founds what is new.
    """
    tickets = sorted(tickets, key=lambda one: one.ticket_id)
    known = references(themes, settings)
    everyone = [*tickets, *sorted(pool, key=lambda one: one.ticket_id)]
    if not everyone:
        return Turn([], [], [])
    rows = vectorise([ticket.text for ticket in everyone])
    library = _references_of(known, vectorise, rows)
    found = match(rows, library, calibrate(library))
    placed: list[Placed] = []
    for at, ticket in enumerate(everyone):
        probability, index = float(found.probability[at]), int(found.nearest[at])
        nearest = known[index].theme_id if index >= 0 and found.similarity[at] > 0 else None
        # Of an earlier cycle nothing is decided again that the library could have decided then.
        sure = nearest is not None and probability >= settings.confidence
        placed.append(Placed(ticket, nearest if sure else None, "library" if sure else "unknown", probability, nearest))
    groups = _Grouping(placed, rows, themes, vectorise, settings, flywheel, cycle)
    groups.run()
    return Turn(
        groups.placed[: len(tickets)],
        [one for one in groups.placed[len(tickets) :] if one.theme_id is not None],
        groups.found,
    )


def _references_of(known: Sequence[Theme], vectorise: Vectorise, like: Any) -> References:
    texts = [example.text for theme in known for example in theme.examples]
    of = np.array([at for at, theme in enumerate(known) for _ in theme.examples], int)
    return References(vectorise(texts) if texts else like[:0], of, len(known))


class _Grouping:
    """The tickets that the library left over, while groups of them find or found their themes."""

    def __init__(
        self, placed: list[Placed], rows: Any, themes: Sequence[Theme], vectorise: Vectorise, settings: ThemeSettings,
        flywheel: str, cycle: date,
    ) -> None:  # fmt: skip
        self.placed, self._rows, self._settings = placed, rows, settings
        self._flywheel, self._cycle = flywheel, cycle
        self._themes = {theme.theme_id: theme for theme in themes}
        self._known = [theme for theme in themes if theme.status != "merged" and theme.examples]
        self._floor = learned_floor(themes, settings)
        self._centres = _references_of(self._known, vectorise, rows).centres if self._known else None
        self.found: list[Found] = []

    def run(self) -> None:
        """Group them."""
        left = np.array([at for at, one in enumerate(self.placed) if one.theme_id is None], int)
        if not len(left):
            return
        groups = cluster(
            self._rows[left],
            [self.placed[at].ticket.ticket_id for at in left],
            min_tickets=self._settings.min_tickets,
            min_coherence=self._settings.min_coherence,
        )
        for group in groups:
            self._settle(Group(left[group.members], left[group.core], group.coherence))

    def _settle(self, group: Group) -> None:
        theme = self._continued(group)
        if theme is not None and theme.status == "rejected":
            return
        if theme is None:
            if not any(self.placed[at].ticket.cycle == self._cycle for at in group.core):
                return  # it said nothing new this cycle, and was no theme before
            if group.coherence < self._floor:
                return  # people reject what has so little in common
            theme = self._new(group)
            self.found.append(Found(theme, tuple(self.placed[at].ticket for at in group.core)))
        for at in group.members:
            self.placed[at] = replace(self.placed[at], theme_id=theme.theme_id, how="group")

    def _continued(self, group: Group) -> Theme | None:
        """The theme that a group continues, if it is like one."""
        if self._centres is None:
            return None
        against = similarities(self._centre(group), self._centres)[0]
        at = int(against.argmax())
        return self._known[at] if against[at] >= self._settings.same else None

    def _centre(self, group: Group) -> Any:
        return unit_length(sums_by(self._rows[group.core], np.zeros(len(group.core), int), 1))

    def _new(self, group: Group) -> Theme:
        members = [self.placed[at] for at in group.core]
        first = min((one.ticket for one in members), key=lambda one: (one.recorded, rank_of(one.ticket_id)))
        theme_id = f"th-{content_hash(self._flywheel, self._cycle, first.ticket_id)[:10]}"
        nearest = [one.nearest_id for one in members if one.nearest_id and one.probability >= 0.1]
        common = max(sorted(set(nearest)), key=nearest.count, default=None)
        return Theme(
            theme_id=theme_id,
            founded=self._cycle,
            status="candidate",
            name=theme_id,
            summary="",
            examples=first_examples([one.ticket for one in members], EXAMPLES),
            coherence=round(group.coherence, 6),
            n_tickets=0,
            parent_id=common if common and nearest.count(common) * 2 > len(members) else None,
        )


def _examples(before: tuple[Example, ...], tickets: Sequence[Ticket], most_new: int) -> tuple[Example, ...]:
    """The reference tickets with some of the new ones in front, which ones chance decides once and for all."""
    new = sorted(tickets, key=lambda one: rank_of(one.ticket_id))[:most_new]
    kept = [Example(one.ticket_id, one.text) for one in new]
    ids = {one.ticket_id for one in kept}
    return (*kept, *(one for one in before if one.ticket_id not in ids))[:EXAMPLES]


def first_examples(tickets: Sequence[Ticket], most: int) -> tuple[Example, ...]:
    """The reference tickets of a theme that some tickets found."""
    return _examples((), tickets, most)


def _interleaved(first: Sequence[Example], second: Sequence[Example]) -> tuple[Example, ...]:
    """Reference tickets of two themes that have become one, in turns, so that none of the two is forgotten."""
    pairs = [one for pair in zip_longest(first, second) for one in pair if one is not None]
    return tuple({one.ticket_id: one for one in pairs}.values())[:EXAMPLES]


def learned(
    themes: Sequence[Theme], turn: Turn, vectorise: Vectorise, settings: ThemeSettings, cycle: date
) -> tuple[list[Theme], list[Event]]:
    """The library as the cycle leaves it, and what happened to its themes.

    New themes are added, examples renewed, counts and coherence brought up to date. Events: themes that were founded;
    accepted ones that drifted (a group was like them that they did not recognise ticket by ticket, and keeps their id);
    pairs of accepted ones that people may want to merge, since their reference tickets are alike or since many tickets
    of the cycle lie between the two.
    """
    merged = {theme.theme_id: theme for theme in (*themes, *(one.theme for one in turn.found))}
    taken: dict[str, list[Placed]] = {}
    for one in (*turn.placed, *turn.adopted):
        home = current_id(one.theme_id, merged)
        if home is not None and home in merged:
            taken.setdefault(home, []).append(one)
    after = []
    for theme in merged.values():
        new = taken.get(theme.theme_id, [])
        if not new:
            after.append(theme)
            continue
        sure = [one.ticket for one in new if one.how == "group" or one.probability >= (1 + settings.confidence) / 2]
        is_new = theme.founded == cycle and theme.n_tickets == 0
        examples = theme.examples if is_new else _examples(theme.examples, sure, NEW_EXAMPLES)
        after.append(
            replace(
                theme,
                examples=examples,
                n_tickets=theme.n_tickets + len(new),
                coherence=round(coherence_of(vectorise([one.text for one in examples])), 6),
                last_seen=cycle,
            )
        )
    after.sort(key=lambda theme: (theme.founded, theme.theme_id))
    events = [Event("founded", one.theme.theme_id, one.theme.parent_id) for one in turn.found]
    events += _drifted(themes, taken)
    suggested = [*_grown_alike(after, vectorise, settings), *_between_two(themes, turn, vectorise, settings)]
    still = {theme.theme_id for theme in after if theme.status == "accepted"}
    once = {(one.theme_id, one.other_id): one for one in reversed(suggested) if {one.theme_id, one.other_id} <= still}
    return after, [*events, *(once[pair] for pair in sorted(once))]


def _drifted(themes: Sequence[Theme], taken: Mapping[str, Sequence[Placed]]) -> list[Event]:
    by_group = {name: sum(one.how == "group" for one in new) for name, new in taken.items()}
    return [
        Event("drifted", theme.theme_id, detail=f"{by_group[theme.theme_id]} of {len(taken[theme.theme_id])} tickets")
        for theme in themes
        if theme.status == "accepted" and by_group.get(theme.theme_id)
    ]


def _between_two(themes: Sequence[Theme], turn: Turn, vectorise: Vectorise, settings: ThemeSettings) -> list[Event]:
    """Themes that so many tickets of the cycle lie between that they may have become one."""
    known = references(themes, settings)
    if len(known) < 2 or not turn.placed:
        return []
    rows = vectorise([one.ticket.text for one in turn.placed])
    found = match(rows, _references_of(known, vectorise, rows), FIXED)
    near = (found.similarity >= BETWEEN_FLOOR) & (found.second >= settings.between * found.similarity)
    pairs = Counter(tuple(sorted(pair)) for pair in zip(found.nearest[near], found.runner_up[near], strict=True))
    sizes = Counter(found.nearest.tolist())
    return [
        _merge_of(known[first], known[second], f"{count} tickets lie between the two")
        for (first, second), count in sorted(pairs.items())
        if count >= settings.min_tickets and count >= BETWEEN_SHARE * (sizes[first] + sizes[second])
    ]


def _merge_of(one: Theme, another: Theme, why: str) -> Event:
    """The suggestion that the younger becomes part of the older."""
    older, younger = sorted((one, another), key=lambda theme: (theme.founded, theme.theme_id))
    return Event("merge_suggested", younger.theme_id, older.theme_id, why)


def _grown_alike(themes: Sequence[Theme], vectorise: Vectorise, settings: ThemeSettings) -> list[Event]:
    accepted = [theme for theme in themes if theme.status == "accepted" and theme.examples]
    if len(accepted) < 2:
        return []
    centres = _references_of(accepted, vectorise, None).centres
    against = similarities(centres, centres)
    pairs = np.argwhere(np.triu(against >= settings.alike, k=1))
    return [
        _merge_of(accepted[a], accepted[b], f"cosine of the centres {against[a, b]:.2f}") for a, b in pairs.tolist()
    ]
