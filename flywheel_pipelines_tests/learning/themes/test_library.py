"""A cycle's turn with the library: what is placed, what is unknown, and which ids stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from flywheel_pipelines.learning.themes.floor import learned_floor
from flywheel_pipelines.learning.themes.library import current_id, learned, ruled, take_turn
from flywheel_pipelines.learning.themes.matching import FIXED, References, calibrate, match
from flywheel_pipelines.learning.themes.records import Ruling, Status, Theme, ThemeSettings, Ticket, Turn
from flywheel_pipelines.learning.themes.vectors import WordVectors, similarities
from flywheel_pipelines.simulation.theme_reviewer import review_themes
from flywheel_pipelines.simulation.theme_season import play_themes
from flywheel_pipelines.simulation.tickets import NO_THEME, TicketWorld

SETTINGS = ThemeSettings()
WORLD = TicketWorld(3)


def _tickets(cycle: int, *, recorded: str = "1") -> list[Ticket]:
    return [replace(ticket, recorded=recorded) for ticket, _ in WORLD.tickets(cycle)]


def _truth(*cycles: int) -> dict[str, str]:
    return {ticket.ticket_id: name for cycle in cycles for ticket, name in WORLD.tickets(cycle)}


def _vectors() -> WordVectors:
    return WordVectors.of_background([ticket.text for ticket in _tickets(1)])


def _turn(tickets: list[Ticket], themes: list[Theme], cycle: int, pool: list[Ticket] | None = None) -> Turn:
    day = WORLD.first_day(cycle)
    return take_turn(tickets, pool or [], themes, _vectors(), SETTINGS, flywheel="f", cycle=day)


def _after(turn: Turn, themes: list[Theme], cycle: int) -> list[Theme]:
    return learned(themes, turn, _vectors(), SETTINGS, WORLD.first_day(cycle))[0]


@pytest.fixture(scope="module")
def library() -> list[Theme]:
    themes = _after(_turn(_tickets(1), [], 1), [], 1)
    return ruled(themes, review_themes(themes, [], _truth(1)), SETTINGS)[0]


def test_same_tickets_in_another_order_give_the_same_ids() -> None:
    tickets = _tickets(1)
    first, second = _turn(tickets, [], 1), _turn(tickets[::-1], [], 1)
    assert [one.theme.theme_id for one in first.found] == [one.theme.theme_id for one in second.found]
    assert first.placed == second.placed


def test_late_tickets_leave_the_others_where_they_were(library: list[Theme]) -> None:
    tickets = _tickets(2)
    late = [replace(one, recorded="2") for one in tickets[::20]]
    early = [one for one in tickets if one.ticket_id not in {other.ticket_id for other in late}]
    before = {one.ticket.ticket_id: one for one in _turn(early, library, 2).placed if one.how == "library"}
    after = {one.ticket.ticket_id: one for one in _turn([*early, *late], library, 2).placed}
    assert len(before) > 0.6 * len(early)
    assert all(after[ticket_id].theme_id == one.theme_id for ticket_id, one in before.items())


def test_founding_ticket_is_the_one_recorded_first() -> None:
    tickets = _tickets(1)
    late = {one.ticket_id for one in tickets[::15]}
    early = [one for one in tickets if one.ticket_id not in late]
    with_late = [replace(one, recorded="2") if one.ticket_id in late else one for one in tickets]
    before = {one.theme.theme_id for one in _turn(early, [], 1).found}
    after = {one.theme.theme_id for one in _turn(with_late, [], 1).found}
    forgetful = {one.theme.theme_id for one in _turn([replace(one, recorded="") for one in tickets], [], 1).found}
    assert len(before & after) >= 0.9 * len(before)
    assert len(before & after) >= len(before & forgetful)


def test_library_places_most_tickets_rightly(library: list[Theme]) -> None:
    truth, names = _truth(2), {theme.theme_id: theme.name for theme in library}
    placed = [one for one in _turn(_tickets(2), library, 2).placed if one.how == "library"]
    right = [names[one.theme_id or ""] == truth[one.ticket.ticket_id] for one in placed]
    assert len(placed) > 0.7 * len(_tickets(2))
    assert np.mean(right) > 0.93


def test_unknown_matter_is_not_forced_into_the_library(library: list[Theme]) -> None:
    texts = ["Thunder over the quarry frightened eleven geese near Bergamo", "Zwei Drittel aller Pinguine schlafen"]
    strange = [Ticket(str(at), text, date(2026, 1, 12), date(2026, 1, 12)) for at, text in enumerate(texts)]
    assert [one.theme_id for one in _turn(strange, library, 2).placed] == [None, None]


def test_probability_is_calibrated_where_the_library_is_whole(library: list[Theme]) -> None:
    known = [theme for theme in library if theme.status == "accepted"]
    texts = [one.text for theme in known for one in theme.examples]
    owners = np.array([at for at, theme in enumerate(known) for _ in theme.examples])
    vectors = _vectors()
    references = References(vectors(texts), owners, len(known))
    truth, tickets = _truth(2), _tickets(2)
    found = match(vectors([one.text for one in tickets]), references, calibrate(references))
    names = np.array([theme.name for theme in known])
    right = names[found.nearest] == np.array([truth[one.ticket_id] for one in tickets])
    for low, high in ((0.3, 0.8), (0.8, 1.01)):
        inside = (found.probability >= low) & (found.probability < high)
        assert abs(right[inside].mean() - found.probability[inside].mean()) < 0.12


def test_small_libraries_use_the_fixed_curve() -> None:
    vectors = _vectors()
    assert calibrate(References(vectors(["login"] * 40), np.zeros(40, int), 1)) is FIXED


def test_a_pending_candidate_keeps_its_id_and_is_not_found_again() -> None:
    themes = _after(_turn(_tickets(1), [], 1), [], 1)
    again = _turn(_tickets(2), themes, 2)
    continued = {one.theme_id for one in again.placed} & {theme.theme_id for theme in themes}
    assert len(continued) > 20
    assert len(again.found) < len(themes) / 3


def test_rejected_theme_places_nothing_and_is_not_founded_again() -> None:
    themes = _after(_turn(_tickets(1), [], 1), [], 1)
    rejected, _ = ruled(themes, [Ruling(theme.theme_id, "rejected") for theme in themes], SETTINGS)
    again = _turn(_tickets(2), rejected, 2)
    assert {one.theme_id for one in again.placed} & {theme.theme_id for theme in themes} == set()
    assert len(again.found) < len(_turn(_tickets(2), [], 2).found) / 3


def test_rename_merge_and_split_are_events_that_happen_once() -> None:
    themes = _after(_turn(_tickets(1), [], 1), [], 1)
    first, second, third = themes[0], themes[1], replace(themes[2], parent_id=themes[0].theme_id)
    rulings = [
        Ruling(first.theme_id, "accepted", name="Parcels"),
        Ruling(second.theme_id, "accepted", into=first.theme_id),
        Ruling(third.theme_id, "accepted"),
    ]
    after, events = ruled([first, second, third], rulings, SETTINGS)
    assert [one.event for one in events] == ["renamed", "accepted", "merged", "accepted", "split"]
    assert current_id(second.theme_id, {one.theme_id: one for one in after}) == first.theme_id
    assert ruled(after, rulings, SETTINGS)[1] == []


def test_below_the_floor_an_accepted_theme_is_no_reference() -> None:
    themes = _after(_turn(_tickets(1), [], 1), [], 1)[:1]
    strict = replace(SETTINGS, min_similarity=0.5)
    rewritten, _ = ruled(themes, [Ruling(themes[0].theme_id, "accepted", name="Other", similarity=0.2)], strict)
    assert rewritten[0].status == "candidate"
    assert ruled(themes, [Ruling(themes[0].theme_id, "accepted", similarity=0.8)], strict)[0][0].status == "accepted"


def test_a_merge_that_would_go_in_circles_is_none() -> None:
    themes = _after(_turn(_tickets(1), [], 1), [], 1)[:2]
    one, two = (theme.theme_id for theme in themes)
    rulings = [Ruling(one, "accepted", into=two), Ruling(two, "accepted", into=one)]
    after, events = ruled(themes, rulings, SETTINGS)
    assert [event.event for event in events] == ["merged"]
    assert current_id(one, {theme.theme_id: theme for theme in after}) == two


def test_vectors_do_not_depend_on_their_neighbours() -> None:
    vectors, texts = _vectors(), [one.text for one in _tickets(2)[:10]]
    alone = vectors(texts[:1])
    assert abs(similarities(alone, vectors(texts)[:1])[0, 0] - 1) < 1e-9


def test_season_reaches_what_is_asked_of_it() -> None:
    season = play_themes(2, 12)
    assert season.ari[11] >= 0.8
    assert np.mean(season.tokens[10:12]) < season.tokens[0] / 4
    assert min(season.control_tokens) > 3 * np.mean(season.tokens[4:])
    assert {NO_THEME} < set(season.truth.values())


def _theme_called(name: str, library: list[Theme]) -> Theme:
    return next(theme for theme in library if theme.name == name and theme.status == "accepted")


def test_a_theme_whose_words_move_on_keeps_its_id_and_the_event_is_recorded(library: list[Theme]) -> None:
    name = max((theme.name for theme in library if theme.status == "accepted"), key=list(_truth(2).values()).count)
    theme, others = _theme_called(name, library), [one for one in library if one.name != name]
    # Other words beside a few of the old ones: a ticket alone is not recognised for sure, a group of them is.
    old, new = WORLD.words[name][:8], ["coffee", "garden", "journey", "recipe"]
    said = [[old[at % 8], old[(at + 3) % 8], *(new[(at + by) % 4] for by in range(3))] for at in range(24)]
    texts = [" ".join(words) for words in said]
    day = WORLD.first_day(2)
    moved = [Ticket(f"m-{at}", text, day, day) for at, text in enumerate(texts)]
    settings = replace(SETTINGS, confidence=0.95, same=0.3)
    turn = take_turn(moved, [], [*others, theme], _vectors(), settings, flywheel="f", cycle=day)
    assert {one.theme_id for one in turn.placed if one.how == "group"} == {theme.theme_id}
    assert turn.found == []
    events = learned([*others, theme], turn, _vectors(), settings, day)[1]
    assert [(one.event, one.theme_id) for one in events if one.event == "drifted"] == [("drifted", theme.theme_id)]
    # The control: where nothing but a near likeness continues a theme, the same tickets found another one.
    strict = replace(settings, same=0.9)
    assert len(take_turn(moved, [], [*others, theme], _vectors(), strict, flywheel="f", cycle=day).found) == 1


def test_two_themes_that_have_become_one_are_suggested_once_for_a_merge(library: list[Theme]) -> None:
    accepted = [theme for theme in library if theme.status == "accepted"]
    first, second = accepted[:2]
    younger = replace(second, founded=WORLD.first_day(2), examples=(*second.examples[:3], *first.examples[3:]))
    turn = _turn(_tickets(2), [first, younger], 2)
    events = learned([first, younger], turn, _vectors(), SETTINGS, WORLD.first_day(2))[1]
    suggested = [(one.theme_id, one.other_id) for one in events if one.event == "merge_suggested"]
    assert suggested == [(younger.theme_id, first.theme_id)]
    apart = learned([first, second], _turn(_tickets(2), [first, second], 2), _vectors(), SETTINGS, WORLD.first_day(2))
    assert not [one for one in apart[1] if one.event == "merge_suggested"]


def _ruled_on(coherence: float, status: Status) -> Theme:
    return Theme(f"th-{coherence}", WORLD.first_day(1), status, "n", "s", (), coherence, 6)


def test_what_people_reject_raises_the_floor_of_coherence() -> None:
    good = [_ruled_on(0.28 + at / 100, "accepted") for at in range(12)]
    bad = [_ruled_on(0.22 + at / 200, "rejected") for at in range(6)]
    assert learned_floor(good, SETTINGS) == SETTINGS.min_coherence
    assert 0.245 < learned_floor([*good, *bad], SETTINGS) < 0.29
    # Rejections that coherence does not tell from what was accepted teach nothing.
    assert learned_floor([*bad[:0], *[replace(one, status="rejected") for one in good], *good], SETTINGS) < 0.34


def test_a_group_below_the_learned_floor_founds_nothing_and_stays_unknown() -> None:
    day = WORLD.first_day(2)
    texts = [ticket.text for cycle in range(1, 8) for ticket, name in WORLD.tickets(cycle) if name == NO_THEME]
    chatter = [Ticket(f"c-{at}", text, day, day) for at, text in enumerate(texts)]
    lessons = [_ruled_on(0.9, "accepted")] * 8 + [_ruled_on(0.3, "rejected")] * 8
    assert _turn(chatter, [], 2).found
    held = _turn(chatter, lessons, 2)
    assert held.found == []
    assert {one.how for one in held.placed} == {"unknown"}
