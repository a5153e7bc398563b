"""Which winners become references."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import REFERENCE_CORPUS
from flywheel_pipelines.learning.corpus import CorpusRules, choose_corpus, corpus_version
from flywheel_pipelines.similarity import text_similarity

MONDAY = date(2026, 1, 5)
WORDS = ["river", "lantern", "orchard", "copper", "violin", "harbour", "meadow", "thunder", "biscuit", "glacier"]
SCHEMA = pa.schema(
    [
        ("output_id", pa.string()),
        ("segment", pa.string()),
        ("text", pa.string()),
        ("cycle", pa.date32()),
        ("posterior_mean", pa.float64()),
        ("floor_level", pa.float64()),
        ("p_above", pa.float64()),
        ("decision", pa.string()),
    ]
)


def text_of(number: int) -> str:
    """A text unlike that of any other number."""
    random = np.random.default_rng(number)
    return " ".join(random.choice(WORDS, size=8)) + f" {number}"


def judged(*rows: dict[str, Any]) -> pa.Table:
    """Judgements: promoted unless said otherwise, each with its own text."""
    full = [
        {
            "output_id": f"o{number}",
            "segment": "politics",
            "text": text_of(number),
            "cycle": MONDAY,
            "posterior_mean": 0.02,
            "floor_level": 0.01,
            "p_above": 0.95,
            "decision": "promote",
            **row,
        }
        for number, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema=SCHEMA)


def build(table: pa.Table, **options: Any) -> pa.Table:
    rules = {"size": 24, "per_segment": 6, "near_duplicate": 0.85, **options}
    return choose_corpus(table, CorpusRules(**rules), as_of=MONDAY + timedelta(weeks=4)).corpus


def ids(corpus: pa.Table) -> list[str]:
    return corpus.sort_by("rank")["reference_id"].to_pylist()


def test_only_promoted_outputs_enter():
    assert ids(build(judged({}, {"decision": "hold"}, {"decision": "reject"}))) == ["o0"]


def test_a_corrected_judgement_demotes():
    later = {"output_id": "o0", "cycle": MONDAY + timedelta(weeks=1)}
    assert ids(build(judged({}, {**later, "decision": "reject"}))) == []
    kept = build(judged({}, {**later, "posterior_mean": 0.03}))
    assert kept["quality"].to_pylist() == pytest.approx([2.0])
    assert kept["source_cycle"].to_pylist() == [MONDAY]


def test_an_output_judged_twice_in_one_cycle_is_refused():
    with pytest.raises(ContractError, match="o0 is judged twice"):
        build(judged({}, {"output_id": "o0"}))


def test_quality_is_the_relative_gain_over_the_floor_and_ranks():
    corpus = build(judged({"posterior_mean": 0.012}, {"posterior_mean": 0.03, "floor_level": 0.02}))
    assert ids(corpus) == ["o1", "o0"]
    assert sorted(corpus["quality"].to_pylist()) == pytest.approx([0.2, 0.5])


def test_lower_is_better_turns_quality_round():
    table = judged({"posterior_mean": 0.002}, {"posterior_mean": 0.008})
    assert ids(build(table, better="lower")) == ["o0", "o1"]
    assert ids(build(table, better="higher")) == ["o1", "o0"]
    assert build(table, better="lower").sort_by("rank")["quality"].to_pylist() == pytest.approx([0.8, 0.2])


def test_a_negative_floor_keeps_the_direction_of_quality():
    table = judged({"posterior_mean": -1.0, "floor_level": -2.0}, {"posterior_mean": -1.5, "floor_level": -2.0})
    assert build(table).sort_by("rank")["quality"].to_pylist() == pytest.approx([0.5, 0.25])


def test_a_floor_at_zero_leaves_the_ranking_to_the_probability():
    corpus = build(judged({"floor_level": 0.0, "p_above": 0.91}, {"floor_level": 0.0, "p_above": 0.99}))
    assert ids(corpus) == ["o1", "o0"]
    assert corpus["quality"].to_pylist() == [0.0, 0.0]


def test_the_best_of_a_family_of_near_duplicates_stays():
    family = [
        {"text": "Why are these four men fawning over this powerful woman?", "posterior_mean": 0.02},
        {"text": "WHY are these  four men fawning over this powerful woman", "posterior_mean": 0.03},
        {"text": "Something else entirely happened in the harbour", "posterior_mean": 0.011},
    ]
    assert ids(build(judged(*family))) == ["o1", "o2"]
    assert ids(build(judged(*family), near_duplicate=1.0)) == ["o1", "o0", "o2"]


def test_segments_and_size_are_capped():
    table = judged(*[{"segment": f"s{number % 3}", "posterior_mean": 0.02 + number / 1e4} for number in range(30)])
    by_segment = build(table, per_segment=2)
    assert sorted(by_segment["segment"].to_pylist()) == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert ids(build(table, per_segment=30, size=4)) == ["o29", "o28", "o27", "o26"]


def test_a_full_segment_does_not_shut_out_its_near_duplicate_elsewhere():
    same = {"text": "The same headline in two segments of the paper"}
    table = judged({"posterior_mean": 0.03}, {**same}, {**same, "segment": "sport", "posterior_mean": 0.015})
    assert ids(build(table, per_segment=1)) == ["o0", "o2"]
    assert ids(build(table, per_segment=2)) == ["o0", "o1"]


def without_floor(*rows: dict[str, Any]) -> pa.Table:
    return judged(*[{"floor_level": None, "p_above": 0.5, **row} for row in rows])


def test_without_a_floor_the_newest_come_first_however_they_did():
    weeks = [{"cycle": MONDAY + timedelta(weeks=week), "posterior_mean": 0.1 / (week + 1)} for week in range(4)]
    corpus = build(without_floor(*weeks), size=2)
    assert ids(corpus) == ["o3", "o2"]
    assert corpus["quality"].to_pylist() == [0.0, 0.0]


def test_without_a_floor_segments_stay_capped_and_families_single():
    same = {"text": "The same words again and again in the paper", "cycle": MONDAY + timedelta(weeks=2)}
    table = without_floor({**same}, {**same, "cycle": MONDAY + timedelta(weeks=3)}, {}, {}, {"segment": "sport"})
    assert ids(build(table, per_segment=2)) == ["o1", "o2", "o4"]


LETTER = "{greeting}\n\nWe help {whom} with {what}.\n\n{close}\n"


def test_texts_of_several_paragraphs_are_kept_as_they_are():
    text = LETTER.format(greeting="Hello there,", whom="bakers", what="flour", close="Shall we talk on Friday?")
    assert build(judged({"text": text}))["text"].to_pylist() == [text]


def test_letters_that_differ_in_their_line_breaks_alone_are_one_family():
    text = LETTER.format(greeting="Hello there,", whom="bakers", what="flour", close="Shall we talk on Friday?")
    flat = {"text": " ".join(text.split()), "posterior_mean": 0.03}
    assert ids(build(judged({"text": text}, flat))) == ["o1"]


def test_letters_with_other_paragraphs_are_no_family():
    first = LETTER.format(greeting="Hello there,", whom="bakers", what="flour", close="Shall we talk on Friday?")
    second = LETTER.format(
        greeting="Dear colleagues,", whom="a bicycle shop", what="its winter stock", close="Write back when it suits."
    )
    assert sorted(ids(build(judged({"text": first}, {"text": second})))) == ["o0", "o1"]


def test_blank_texts_are_left_out():
    assert ids(build(judged({"text": " \n "}, {}))) == ["o1"]


def test_version_follows_what_a_prompt_can_show_and_nothing_else():
    base = build(judged({}, {}))
    firmer = build(judged({"p_above": 0.97}, {"p_above": 0.96}))
    other = build(judged({}, {"text": "Another text"}))
    assert corpus_version(base) == corpus_version(firmer) == base["corpus_version"][0].as_py()
    assert corpus_version(other) != corpus_version(base)


def test_nothing_to_choose_from_gives_an_empty_corpus_with_a_version():
    corpus = build(judged())
    assert corpus.equals(REFERENCE_CORPUS.empty())
    assert len(corpus_version(corpus)) == 16


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=12), st.floats(0.001, 0.1)), max_size=25),
    st.integers(0, 8),
    st.integers(0, 4),
    st.randoms(use_true_random=False),
)
def test_any_order_of_rows_gives_the_same_capped_corpus_without_near_duplicates(rows, size, per_segment, shuffler):
    table = judged(*[{"segment": s, "text": text, "posterior_mean": mean} for s, text, mean in rows])
    order = list(range(table.num_rows))
    shuffler.shuffle(order)
    options = {"size": size, "per_segment": per_segment, "near_duplicate": 0.7}
    corpus = build(table, **options)
    assert corpus.equals(build(table.take(pa.array(order, pa.int64())), **options))
    assert corpus.num_rows <= size
    assert all(corpus["segment"].to_pylist().count(segment) <= per_segment for segment in "abc")
    texts = corpus["text"].to_pylist()
    assert all(text_similarity(a, b) < 0.7 for i, a in enumerate(texts) for b in texts[:i])


@given(st.text(max_size=40), st.text(max_size=40))
def test_similarity_is_symmetric_and_one_for_equal_texts(first: str, second: str):
    assert 0 <= text_similarity(first, second) == text_similarity(second, first) <= 1 + 1e-12
    assert text_similarity(first, first) == pytest.approx(1)
