"""The simulated audience: what it prefers can be learned in a lively world and not in a flat one."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from statistics import mean

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.cycles import Cadence, shift_cycle
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.llm.offline.grammar import CHOICES, WriterBrief, compose, draw_choices
from flywheel_pipelines.simulation import oracle
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.market import KINDS, READERS, RECIPIENTS, AudienceKind, MarketSettings, kind_of
from flywheel_pipelines.simulation.market_preferences import season

MONDAY = date(2026, 1, 5)
SEGMENT = "dental practices"
BRIEF = WriterBrief(keyword="shift planning", product="Rota Board", facts=("Saves 3 hours a week",))
READERS_OF_TEXTS = (READERS, RECIPIENTS)
"""Kinds that react to what the offline writer composes; `test_leads` is about the other."""
QUIET = MarketSettings(taste=0, brief_effect=0, segment_effect=0, season_rate=0, season_traffic=0)


def texts(count: int, choices: dict[str, str] | None = None, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [compose(choices or draw_choices(rng), BRIEF, rng).messages() for _ in range(count)]


def rows_of(written: Sequence[str], segment: str = SEGMENT) -> list[dict[str, object]]:
    return [
        {"output_id": f"output{number:07d}", "brief_id": f"brief{number}", "segment": segment, "text": text}
        for number, text in enumerate(written)
    ]


def audience(kind: AudienceKind = RECIPIENTS, written: Sequence[str] = (), **given: object) -> Audience:
    made = Audience(kind, **{"seed": 3, **given})  # pyright: ignore[reportArgumentType]
    made.publish_seen(MONDAY, rows_of(written))
    return made


def settled_rate(people: Audience, count: int, successes: str, exposure: str) -> float:
    totals = [people.settled(f"output{number:07d}") for number in range(count)]
    return sum(total[successes] for total in totals) / sum(total[exposure] for total in totals)


# -- which audience --------------------------------------------------------------------------------------------------
def test_the_measures_decide_the_kind_of_audience() -> None:
    assert kind_of(["replies", "sends"]) is RECIPIENTS
    assert kind_of(["clicks", "impressions"]) is READERS


def test_measures_that_nobody_reports_are_refused_with_those_there_are() -> None:
    with pytest.raises(FlywheelError, match=r"reports clicks, sends.*content: keyword_days"):
        kind_of(["sends", "clicks"])


# -- what is comparable between runs ---------------------------------------------------------------------------------
def test_what_happens_to_an_output_depends_on_the_seed_and_its_id_alone() -> None:
    written = texts(6)
    alone, crowd = audience(), audience(written=texts(30, seed=9))
    alone.publish_seen(MONDAY, rows_of(written)[5:])
    crowd = audience()
    crowd.publish_seen(MONDAY, rows_of(written)[::-1])
    assert alone.settled("output0000005") == crowd.settled("output0000005")
    other = audience(seed=4)
    other.publish_seen(MONDAY, rows_of(written)[5:])
    assert other.settled("output0000005") != alone.settled("output0000005")


def test_another_text_under_the_same_id_meets_the_same_crowd() -> None:
    first, second = audience(written=texts(20, seed=1)), audience(written=texts(20, seed=2))
    ids = [f"output{number:07d}" for number in range(20)]
    assert [first.settled(one)["sends"] for one in ids] == [second.settled(one)["sends"] for one in ids]
    assert [first.settled(one)["replies"] for one in ids] != [second.settled(one)["replies"] for one in ids]


def test_preferences_do_not_depend_on_what_was_asked_before() -> None:
    early, late = audience(), audience()
    later = MONDAY + timedelta(weeks=20)
    late.preferences.effects("another segment", MONDAY)
    early.preferences.effects(SEGMENT, MONDAY)
    assert early.preferences.effects(SEGMENT, later) == late.preferences.effects(SEGMENT, later)


def test_an_output_in_two_arms_is_one_output_and_showing_it_again_changes_nothing() -> None:
    people = audience(written=texts(1))
    before = people.export(MONDAY)
    table = pa.Table.from_pylist(rows_of(texts(1)) * 2)
    assert people.publish_seen(MONDAY, table) == 0
    assert people.export(MONDAY) == before


# -- what can be learned ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("week", [0, 13, 40])
def test_choices_explain_what_the_settings_say(week: int) -> None:
    people, day = audience(), MONDAY + timedelta(weeks=week)
    rng = random.Random(5)
    likings = [people.preferences.liking(draw_choices(rng), SEGMENT, day) for _ in range(4_000)]
    assert np.std(likings) == pytest.approx(people.settings.learnable, rel=0.05)
    assert abs(mean(likings)) < 0.03


@pytest.mark.parametrize("kind", READERS_OF_TEXTS, ids=lambda kind: kind.name)
def test_texts_that_follow_the_best_choices_gain_what_the_oracle_says(kind: AudienceKind) -> None:
    traffic = kind.traffic[0]
    measure = traffic.responses[0].measure
    count = 300
    people = audience(kind, settings=QUIET)
    best = oracle.best_choices(people, SEGMENT, MONDAY)
    at_random, best_texts = texts(count), texts(count, best)
    gain = settled_rate(audience(kind, best_texts, settings=QUIET), count, measure, traffic.measure) / settled_rate(
        audience(kind, at_random, settings=QUIET), count, measure, traffic.measure
    )
    told = mean(oracle.true_rate(people, text, SEGMENT, MONDAY, measure) for text in best_texts) / mean(
        oracle.true_rate(people, text, SEGMENT, MONDAY, measure) for text in at_random
    )
    assert gain == pytest.approx(told, rel=0.08)
    assert gain > 1.8


@pytest.mark.parametrize("kind", READERS_OF_TEXTS, ids=lambda kind: kind.name)
def test_in_a_flat_world_the_best_choices_gain_nothing(kind: AudienceKind) -> None:
    traffic = kind.traffic[0]
    measure = traffic.responses[0].measure
    count = 300
    best = oracle.best_choices(audience(kind), SEGMENT, MONDAY)
    flat = [
        settled_rate(audience(kind, written, world="flat"), count, measure, traffic.measure)
        for written in (texts(count), texts(count, best))
    ]
    assert flat[1] / flat[0] == pytest.approx(1, abs=0.06)
    assert oracle.learnable_gain(audience(kind, world="flat"), SEGMENT, MONDAY) == 0


def test_a_flat_world_has_the_same_traffic_and_noise() -> None:
    written = texts(40)
    lively, flat = audience(written=written), audience(written=written, world="flat")
    assert [lively.settled(f"output{n:07d}")["sends"] for n in range(40)] == [
        flat.settled(f"output{n:07d}")["sends"] for n in range(40)
    ]
    likings = [flat.liking(output) for output in flat.seen]
    assert np.std(likings) == pytest.approx(np.hypot(flat.settings.taste, flat.settings.brief_effect), rel=0.35)


def test_a_text_that_says_nothing_readable_is_liked_like_the_average() -> None:
    people = audience(settings=QUIET)
    rate = oracle.true_rate(people, "", SEGMENT, MONDAY, "replies")
    assert rate == pytest.approx(RECIPIENTS.response("replies").base_rate)


def test_who_likes_a_text_replies_and_opens_more_and_leaves_less() -> None:
    people = audience()
    best = oracle.best_choices(people, SEGMENT, MONDAY)
    worst = {
        name: min(effects, key=lambda option: effects[option])
        for name, effects in people.preferences.effects(SEGMENT, MONDAY).items()
    }
    for measure, more in (("replies", best), ("opens", best), ("unsubscribes", worst)):
        less = worst if more is best else best
        assert oracle.rate_of_choices(people, more, SEGMENT, MONDAY, measure) > oracle.rate_of_choices(
            people, less, SEGMENT, MONDAY, measure
        )


def test_segments_differ_in_part() -> None:
    correlations = []
    for seed in range(40):
        preferences = audience(seed=seed).preferences
        correlations.append(_correlation(preferences.effects("one", MONDAY), preferences.effects("two", MONDAY)))
    # Between segments the shared part is left: 1 - segment_own squared.
    assert mean(correlations) == pytest.approx(1 - MarketSettings().segment_own ** 2, abs=0.08)


def test_preferences_drift_slowly() -> None:
    next_week, half_a_year = [], []
    for seed in range(40):
        preferences = audience(seed=seed).preferences
        now = preferences.effects(SEGMENT, MONDAY)
        next_week.append(_correlation(now, preferences.effects(SEGMENT, MONDAY + timedelta(weeks=1))))
        half_a_year.append(_correlation(now, preferences.effects(SEGMENT, MONDAY + timedelta(weeks=26))))
    assert min(next_week) > 0.99
    assert 0.65 < mean(half_a_year) < 0.9


def _correlation(first: Mapping[str, Mapping[str, float]], second: Mapping[str, Mapping[str, float]]) -> float:
    values = [
        [effects[name][option] for name, options in CHOICES.items() for option in options]
        for effects in (first, second)
    ]
    return float(np.asarray(np.corrcoef(values))[0, 1])


# -- noise -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", READERS_OF_TEXTS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("is_over_dispersed", [True, False])
def test_counts_vary_more_than_a_coin_would(kind: AudienceKind, is_over_dispersed: bool) -> None:
    """With the control: the same without the beta distribution is binomial."""
    traffic = kind.traffic[0]
    response = traffic.responses[0]
    if not is_over_dispersed:
        response = replace(response, concentration=1e9)
        kind = replace(kind, traffic=(replace(traffic, responses=(response,)), *kind.traffic[1:]))
    count = 800
    people = audience(kind, texts(1) * count, settings=QUIET, seed=11)
    rate = oracle.true_rate(people, texts(1)[0], SEGMENT, MONDAY, response.measure)
    ratios, expected = [], []
    for number in range(count):
        settled = people.settled(f"output{number:07d}")
        trials = settled[traffic.measure]
        ratios.append((settled[response.measure] - trials * rate) ** 2 / (trials * rate * (1 - rate)))
        expected.append(1 + (trials - 1) / (response.concentration + 1))
    assert mean(ratios) == pytest.approx(mean(expected), rel=0.15)
    assert (mean(ratios) > 1.15) == is_over_dispersed


def test_traffic_and_rates_are_of_the_promised_size() -> None:
    count = 400
    mails = audience(written=texts(count))
    sends = [mails.settled(f"output{number:07d}")["sends"] for number in range(count)]
    assert 130 < np.percentile(sends, 5) < np.percentile(sends, 95) < 450
    rates = [settled_rate(audience(written=texts(200), seed=seed), 200, "replies", "sends") for seed in range(6)]
    assert 0.03 < mean(rates) < 0.05
    days = audience(READERS, texts(200))
    checks = [days.settled(f"output{number:07d}")["keyword_days"] for number in range(200)]
    assert 60 < min(checks) <= max(checks) < 160


def test_there_is_a_season() -> None:
    year = [MONDAY + timedelta(weeks=week) for week in range(52)]
    peak = max(year, key=lambda day: season(3, SEGMENT, day))
    trough = min(year, key=lambda day: season(3, SEGMENT, day))
    totals = {}
    for day in (peak, trough):
        people = Audience(RECIPIENTS, seed=3)
        people.publish_seen(day, rows_of(texts(300)))
        totals[day] = sum(people.settled(f"output{number:07d}")["sends"] for number in range(300))
    swing = 2 * MarketSettings().season_traffic
    assert np.log(totals[peak] / totals[trough]) == pytest.approx(swing, abs=0.03)


def test_rates_have_their_season_too() -> None:
    year = [MONDAY + timedelta(weeks=week) for week in range(52)]
    rates = [oracle.rate_of_choices(audience(), {}, SEGMENT, day, "replies") for day in year]
    assert np.log(max(rates) / min(rates)) == pytest.approx(2 * MarketSettings().season_rate, rel=0.05)


@settings(max_examples=60, deadline=None)
@given(st.text("abcdefgh234567", min_size=13, max_size=13), st.integers(0, 8), st.sampled_from(KINDS))
def test_no_report_of_any_age_has_more_successes_than_trials(output_id: str, age: int, kind: AudienceKind) -> None:
    people = Audience(kind, seed=5, settings=MarketSettings(bot_outputs=0.7))
    people.publish_seen(MONDAY, [{"output_id": output_id, "brief_id": "b", "segment": SEGMENT, "text": texts(1)[0]}])
    reactions = people.reactions(people.seen[0])
    for traffic in kind.traffic:
        trials = reactions.reported(traffic.measure, age)
        for response in traffic.responses:
            successes = reactions.reported(response.measure, age)
            assert (successes >= 0).all()
            assert (successes <= trials).all()


@pytest.mark.parametrize("cadence", list(Cadence))
def test_days_lie_in_the_outputs_cycle(cadence: Cadence) -> None:
    first = MONDAY.replace(day=1) if cadence is Cadence.MONTHLY else MONDAY
    people = Audience(RECIPIENTS, seed=3, cadence=cadence)
    people.publish_seen(first, rows_of(texts(3)))
    days = {date.fromisoformat(row[1]) for row in people.export(first).rows}
    assert days
    assert first <= min(days) <= max(days) < shift_cycle(first, cadence, 1)
