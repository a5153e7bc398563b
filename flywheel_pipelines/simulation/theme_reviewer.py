"""Whoever reviews themes in a simulated world: knows the true theme of every ticket, and decides by it.

A candidate most of whose tickets are of one true theme is accepted, or merged into the theme that the library has for
it; a mixed one is rejected. Of two accepted themes that have become one in the world, a suggested merge is carried out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from flywheel_pipelines.learning.themes.records import Event, Ruling, Theme
from flywheel_pipelines.simulation.tickets import NO_THEME

PURE = 0.6
"""Share of a candidate's tickets that must be of one true theme."""


def truth_of(theme: Theme, truth: Mapping[str, str], now: Callable[[str], str] = str) -> str | None:
    """The true theme of most of its reference tickets; None when there is none, or they are about nothing."""
    names = Counter(now(truth[example.ticket_id]) for example in theme.examples)
    name, count = names.most_common(1)[0]
    return name if count >= PURE * names.total() and name != NO_THEME else None


def review_themes(
    themes: Sequence[Theme],
    suggestions: Iterable[Event],
    truth: Mapping[str, str],
    now: Callable[[str], str] = str,
) -> list[Ruling]:
    """Rulings about every candidate, and about suggested merges.

    Args:
        themes: the library.
        suggestions: of the cycle; others than merges are passed over.
        truth: the true theme of each ticket when it was written.
        now: what a true theme is part of by now.
    """
    by_id = {theme.theme_id: theme for theme in themes}
    homes = {truth_of(theme, truth, now): theme.theme_id for theme in reversed(themes) if theme.status == "accepted"}
    rulings = []
    for theme in themes:
        if theme.status != "candidate":
            continue
        name = truth_of(theme, truth, now)
        if name is None:
            rulings.append(Ruling(theme.theme_id, "rejected"))
        elif name in homes:
            rulings.append(Ruling(theme.theme_id, "accepted", into=homes[name]))
        else:
            homes[name] = theme.theme_id
            rulings.append(Ruling(theme.theme_id, "accepted", name=name))
    for event in suggestions:
        if event.event != "merge_suggested" or event.other_id is None:
            continue
        first, second = (truth_of(by_id[one], truth, now) for one in (event.theme_id, event.other_id))
        if first is not None and first == second:
            rulings.append(Ruling(event.theme_id, "accepted", into=event.other_id))
    return rulings
