"""Which outputs are examples: proven ones, pairs with a loser of the same brief, and edits."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from scipy.stats import norm

from flywheel_pipelines.learning.training_pairs import NO_FORM, NOT_MATURE, OVER_CAP, REFUSED, p_better
from flywheel_pipelines_tests.learning.training_samples import (
    candidate,
    edited,
    imitated,
    loser,
    made_of,
    pairs,
    text_of,
)


def test_a_mature_promoted_output_is_an_answer_to_imitate() -> None:
    assert imitated(made_of(candidate("won"))) == {"won"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"is_mature": False}, NOT_MATURE),
        ({"review": "rejected"}, REFUSED),
        ({"decision": "hold"}, None),
        ({"decision": "reject"}, None),
        ({"text": "  "}, None),
    ],
)
def test_what_is_not_proven_is_in_no_example_as_the_better_one(changes: dict[str, Any], why: str | None) -> None:
    made = made_of(candidate("maybe", **changes), loser("lost"))
    assert made.lines == ()
    assert why is None or made.removed == {why: 1}


def test_control_the_same_output_once_it_is_proven_wins_a_pair() -> None:
    assert pairs(made_of(candidate("maybe"), loser("lost"))) == {("feedback", "maybe", "lost")}


def test_a_loser_that_is_still_provisional_loses_nothing_yet() -> None:
    assert pairs(made_of(candidate("won"), loser("lost", is_mature=False))) == set()


def test_outputs_of_other_briefs_or_cycles_make_no_pair() -> None:
    elsewhere = loser("b", brief_id="b2"), loser("c", cycle=date(2026, 1, 12))
    assert pairs(made_of(candidate("won"), *elsewhere)) == set()


def test_an_output_on_hold_loses_only_where_it_is_clearly_below() -> None:
    close = replace(loser("lost", decision="hold"), posterior_mean=0.049, lower=0.044, upper=0.054)
    assert pairs(made_of(candidate("won"), close)) == set()
    clear = loser("lost", decision="hold")
    assert pairs(made_of(candidate("won"), clear)) == {("feedback", "won", "lost")}


def test_a_rejected_output_that_looks_better_than_the_winner_is_no_loser() -> None:
    odd = loser("lost", posterior_mean=0.09, lower=0.01, upper=0.17)
    assert pairs(made_of(candidate("won"), odd)) == set()


def test_where_lower_is_better_the_lower_one_wins() -> None:
    low, high = candidate("low", posterior_mean=0.01, lower=0.005, upper=0.015), loser("high", posterior_mean=0.05)
    assert p_better(low, high, "lower") > 0.99 > 0.01 > p_better(low, high, "higher")
    assert pairs(made_of(low, high, better="lower")) == {("feedback", "low", "high")}


def test_the_probability_is_that_of_two_independent_normals() -> None:
    first = candidate("a", posterior_mean=0.05, lower=0.04, upper=0.06)
    second = candidate("b", posterior_mean=0.045, lower=0.025, upper=0.065)
    spread = ((0.02 / 2 / norm.ppf(0.95)) ** 2 + (0.04 / 2 / norm.ppf(0.95)) ** 2) ** 0.5
    assert p_better(first, second, "higher") == pytest.approx(norm.cdf(0.005 / spread))


def test_pairs_of_one_brief_are_capped_the_surest_stay() -> None:
    losers = [loser(f"l{n}", text=text_of(n), posterior_mean=0.04 - n / 1000, lower=0, upper=0.08) for n in range(6)]
    made = made_of(candidate("won"), *losers, pairs_per_brief=2)
    assert pairs(made) == {("feedback", "won", "l4"), ("feedback", "won", "l5")}
    assert made.removed[OVER_CAP] == 4


def test_of_an_edited_output_the_edited_text_is_imitated_and_the_draft_loses() -> None:
    made = made_of(edited("won", "What the reviewer left."))
    [sft] = [line for line in made.lines if line.example.kind == "sft"]
    [pair] = [line for line in made.lines if line.example.kind == "preference"]
    assert sft.example.chosen_answer == "What the reviewer left."
    assert (pair.example.chosen_answer, pair.example.rejected_answer) == (
        "What the reviewer left.",
        "The text of won.",
    )


@pytest.mark.parametrize("changes", [{"is_mature": False}, {"decision": "hold"}, {"decision": "unjudged"}])
def test_edits_of_what_is_not_proven_are_taken_only_when_asked_for(changes: dict[str, Any]) -> None:
    one = edited("draft", "Quite another text by a person.", **changes)
    assert pairs(made_of(one)) == set()
    made = made_of(one, edits="any")
    assert pairs(made) == {("edit", "draft", "draft")}
    assert imitated(made) == set()


def test_an_edit_that_does_not_fit_the_schema_is_counted_and_left_out() -> None:
    made = made_of(edited("won", "One paragraph.", left_answer=None))
    assert made.lines == ()
    assert made.removed == {NO_FORM: 1}
