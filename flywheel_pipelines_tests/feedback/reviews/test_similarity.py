"""Edit similarity: its scale, against a slow reference, against what difflib does, and on real edits."""

from __future__ import annotations

import difflib
import json
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from flywheel_pipelines.feedback.reviews.similarity import edit_distance, edit_similarity, tokens_of
from flywheel_pipelines_tests.shared_data import shared_file

LIGHT = (51, 52, 91, 95, 124)
"""Real pairs, read by hand, in which a few phrases changed."""
REWRITTEN = (7, 9, 17, 29, 130)
"""Real pairs, read by hand, in which most sentences are new."""
WORDS = st.lists(st.sampled_from("abcdefg"), max_size=40)


@cache
def real_pairs() -> list[tuple[str, str]]:
    lines = shared_file("edits", "draft_edits.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["preedit"], row["postedit"]) for row in map(json.loads, lines)]


@cache
def real_similarities() -> list[float]:
    return [edit_similarity(draft, final) for draft, final in real_pairs()]


def textbook_distance(before: list[str], after: list[str]) -> int:
    """Wagner and Fischer, cell by cell."""
    row = list(range(len(after) + 1))
    for i, old in enumerate(before, start=1):
        above, row = row, [i]
        for j, new in enumerate(after, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (old != new)))
    return row[-1]


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's."""
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


# -- the scale -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("draft", "final", "similarity"),
    [
        ("one two three four", "one two three four", 1.0),
        ("one two three four", "five six seven eight", 0.0),
        ("one two three four", "", 0.0),
        ("", "", 1.0),
        ("one two three four", "one two", 0.5),
        ("one two", "one two three four", 0.5),
        ("one two three four", "one TWO three four", 0.75),
        ("one two three four.", "one two three four!", 0.8),
    ],
)
def test_the_scale_by_hand(draft: str, final: str, similarity: float) -> None:
    assert edit_similarity(draft, final) == pytest.approx(similarity)


@given(WORDS, WORDS)
def test_the_distance_is_the_textbooks(before: list[str], after: list[str]) -> None:
    assert edit_distance(before, after) == textbook_distance(before, after)


@given(st.text(), st.text())
def test_it_is_symmetric_and_between_0_and_1(draft: str, final: str) -> None:
    found = edit_similarity(draft, final)
    assert found == edit_similarity(final, draft)
    assert 0.0 <= found <= 1.0


@given(st.text())
def test_a_text_is_like_itself(text: str) -> None:
    assert edit_similarity(text, text) == 1.0


def test_control_difflib_is_not_symmetric() -> None:
    """Why it is not used: "tide" and "diet", from its own documentation."""
    first = difflib.SequenceMatcher(None, "tide", "diet").ratio()
    assert first != difflib.SequenceMatcher(None, "diet", "tide").ratio()
    assert edit_similarity("t i d e", "d i e t") == edit_similarity("d i e t", "t i d e")


def test_control_difflib_takes_the_words_of_long_texts_for_junk() -> None:
    draft = ("the cat sat on the mat , " * 40).split()
    final = ["Well", *draft]
    assert difflib.SequenceMatcher(None, draft, final).ratio() < 0.1
    assert edit_similarity(" ".join(draft), " ".join(final)) > 0.99


def test_two_thousand_tokens_take_no_time_worth_speaking_of() -> None:
    draft = " ".join(f"word{number % 97} w{number}" for number in range(1_000))
    final = " ".join(f"word{number % 89} w{number}" for number in range(1_000))
    start = time.perf_counter()
    edit_similarity(draft, final)
    # 15 ms on an idle core; the textbook takes 4 million steps, about a second.
    assert time.perf_counter() - start < 0.5


# -- tokens ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't stop, it's 3.5%!", ["Don't", "stop", ",", "it's", "3", ".", "5", "%", "!"]),
        ("'quoted' rock’n’roll", ["'", "quoted", "'", "rock’n’roll"]),
        ("naïve cafe\u0301", ["naïve", "café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("Привет мир", ["Привет", "мир"]),
        ("شكرا جزيلا", ["شكرا", "جزيلا"]),
        ("今日は猫", ["今", "日", "は", "猫"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("👩‍👩‍👧 👍🏽 ❤️", ["👩‍👩‍👧", "👍🏽", "❤️"]),
        ("snake_case A4", ["snake_case", "A4"]),
        (" \t\u00a0\u200b\n", []),
    ],
)
def test_tokens_in_many_scripts(text: str, tokens: list[str]) -> None:
    assert tokens_of(text) == tokens


@given(st.text())
def test_no_character_but_blanks_is_lost(text: str) -> None:
    def visible(value: str) -> str:
        return "".join(tokens_of(value))

    assert visible(text) == visible(" ".join(tokens_of(text)))


@given(
    st.lists(st.sampled_from(["Hello", "wörld", "，", "!"]), min_size=1), st.sampled_from(["  ", "\n\n", "\t", "\r\n"])
)
def test_blanks_do_not_count(words: list[str], blank: str) -> None:
    assert edit_similarity(" ".join(words), f"{blank}{blank.join(words)}{blank}") == 1.0


# -- real edits ------------------------------------------------------------------------------------------------------
def test_real_edits_are_neither_untouched_nor_all_rewritten() -> None:
    found = real_similarities()
    assert len(found) == 150
    assert 0.0 < min(found) < 0.3
    assert 0.9 < max(found) < 1.0


def test_real_edits_rank_as_characters_do() -> None:
    """An independent measure of another unit; it is 0.97."""
    by_character = [difflib.SequenceMatcher(None, *pair, autojunk=False).ratio() for pair in real_pairs()]
    assert rank_correlation(real_similarities(), by_character) > 0.9


def test_real_edits_rank_much_as_bags_of_words_do() -> None:
    """The words that stayed, wherever they went; it is 0.92, lower since moving counts here and not there."""

    def kept(draft: str, final: str) -> float:
        before, after = Counter(draft.split()), Counter(final.split())
        return (before & after).total() / max(before.total(), after.total())

    assert rank_correlation(real_similarities(), [kept(*pair) for pair in real_pairs()]) > 0.85


def test_light_edits_rank_above_rewrites() -> None:
    found = real_similarities()
    assert min(found[index] for index in LIGHT) > max(found[index] for index in REWRITTEN) + 0.4


def test_control_texts_of_different_pairs_have_little_in_common() -> None:
    pairs = real_pairs()
    strangers = [edit_similarity(pairs[i][0], pairs[i + 1][1]) for i in range(0, 60, 2)]
    assert max(strangers) < 0.35
    assert sum(strangers) / len(strangers) < min(0.3, sum(real_similarities()) / 150 / 2)


@pytest.mark.parametrize("index", range(0, 150, 30))
def test_real_distances_are_the_textbooks(index: int) -> None:
    before, after = map(tokens_of, real_pairs()[index])
    assert edit_distance(before, after) == textbook_distance(before, after)
