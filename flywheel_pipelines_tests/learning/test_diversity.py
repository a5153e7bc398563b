"""Choosing for relevance and diversity, and the numbers that say how unlike texts are."""

from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.learning.diversity import TextVectors, choose_diverse, distinct_n
from flywheel_pipelines.similarity import text_similarity

HARBOUR, NEARLY, OTHER = "The harbour sleeps under snow", "The harbour sleeps under rain", "Violins for everybody"


def chosen(texts: list[str], relevance: list[float], **options: Any) -> list[int]:
    settings = {"diversity": 0.5, "size": 2, "near_duplicate": 0.95, "groups": ["all"] * len(texts), "per_group": 99}
    return choose_diverse(relevance, TextVectors(texts), **{**settings, **options})[0]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_similarities_are_those_of_text_similarity(texts: list[str]) -> None:
    vectors = TextVectors(texts)
    for row, first in enumerate(texts):
        assert vectors.similarities(row).tolist() == pytest.approx([text_similarity(first, second) for second in texts])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=20)), min_size=2, max_size=8))
def test_mean_similarity_is_the_mean_over_pairs_of_one_group(rows: list[tuple[str, str]]) -> None:
    pairs = [text_similarity(one[1], two[1]) for one, two in combinations(rows, 2) if one[0] == two[0]]
    found = TextVectors([text for _, text in rows]).mean_similarity([group for group, _ in rows])
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_diversity_prefers_the_unlike_over_the_slightly_better() -> None:
    assert chosen([HARBOUR, NEARLY, OTHER], [1.0, 0.9, 0.8]) == [0, 2]


def test_control_without_diversity_quality_alone_counts() -> None:
    assert chosen([HARBOUR, NEARLY, OTHER], [1.0, 0.9, 0.8], diversity=0.0) == [0, 1]


def test_a_much_better_text_is_worth_its_likeness() -> None:
    assert chosen([HARBOUR, NEARLY, OTHER], [1.0, 0.9, 0.05]) == [0, 1]


def test_each_choice_is_the_best_by_the_formula() -> None:
    """Carbonell and Goldstein's rule, one by one and pair by pair."""
    random = np.random.default_rng(4)
    words = ["river", "lantern", "orchard", "copper", "violin", "harbour", "meadow", "thunder"]
    texts = [" ".join(random.choice(words, 6)) for _ in range(30)]
    relevance = sorted(random.random(30), reverse=True)
    found = chosen(texts, relevance, size=8, diversity=0.4, near_duplicate=1.0)
    for place, one in enumerate(found):
        taken = found[:place]

        def worth(candidate: int, taken: list[int] = taken) -> float:
            nearest = max((text_similarity(texts[candidate], texts[other]) for other in taken), default=0.0)
            return 0.6 * relevance[candidate] - 0.4 * nearest

        assert worth(one) == pytest.approx(max(worth(other) for other in range(30) if other not in taken))


def test_what_is_in_already_counts_for_likeness_and_room() -> None:
    assert chosen([HARBOUR, NEARLY, OTHER], [1.0, 0.9, 0.8], chosen=[1]) == [1, 2]
    assert chosen([HARBOUR, NEARLY, OTHER], [1.0, 0.9, 0.8], chosen=[1], per_group=1) == [1]


def test_a_family_is_named_by_the_member_that_was_chosen() -> None:
    same = HARBOUR.upper() + "  "
    picked, _, families = choose_diverse(
        [1.0, 0.9, 0.8], TextVectors([HARBOUR, same, OTHER]), diversity=0.9, size=3, near_duplicate=0.95,
        groups=["a", "b", "c"], per_group=1,
    )  # fmt: skip
    assert (picked, families) == ([0, 2], {1: 0})


def test_thousands_of_candidates_take_well_under_a_second() -> None:
    """A guard against quadratic work, an order of magnitude above the 0.4 s that 3,000 letters take."""
    random = np.random.default_rng(1)
    words = np.array([f"word{number}" for number in range(400)])
    texts = [" ".join(random.choice(words, 70)) for _ in range(3_000)]
    started = time.process_time()
    picked = chosen(texts, sorted(random.random(3_000), reverse=True), size=24, per_group=24)
    assert len(picked) == 24
    assert time.process_time() - started < 4


def test_distinct_n_counts_over_groups_of_texts() -> None:
    assert distinct_n(["a b c"] * 5, 1) == pytest.approx(3 / 15)
    assert distinct_n(["a b c", "d e f", "g h i", "j k l", "m n o"], 2) == 1.0


def test_distinct_n_does_not_fall_with_more_texts_alone() -> None:
    random = np.random.default_rng(2)
    texts = [" ".join(map(str, random.integers(0, 300, 40))) for _ in range(200)]
    few, many = distinct_n(texts[:10], 2), distinct_n(texts, 2)
    assert few is not None
    assert many == pytest.approx(few, abs=0.02)


def test_too_few_texts_have_no_distinct_n() -> None:
    assert distinct_n(["a b c"] * 4, 1) is None
    assert distinct_n([""] * 5, 1) is None
