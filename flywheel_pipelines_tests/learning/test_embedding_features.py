"""Vectors of texts: rounded once, found by the hash of the text, and zero from the mean where there is none."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.lake.tables import TEXT_EMBEDDINGS
from flywheel_pipelines.learning.embedding_features import TextVectors, centre_of, centred, rounded, text_hash

SCHEMA = pa.schema([pa.field("cycle", pa.date32()), *TEXT_EMBEDDINGS.schema])
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def row(text: str, vector: list[float], model: str = "m", cycle: date = date(2026, 1, 5)) -> dict[str, Any]:
    fact = {"batch_id": "b", "recorded_at": NOON, "source_row": 1}
    return {"cycle": cycle, "text_hash": text_hash(text), "embedding_model": model, "vector": vector, **fact}


def vectors(*rows: dict[str, Any], model: str = "m") -> TextVectors:
    return TextVectors.from_rows(pa.Table.from_pylist(list(rows), schema=SCHEMA), model)


def test_stored_vectors_have_unit_length_and_four_decimals() -> None:
    found = rounded(np.array([[3.0, 4.0], [1.0, 2.0]]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[0.6, 0.8], [0.4472, 0.8944]], np.float32))


def test_what_differs_in_the_seventh_decimal_is_stored_as_the_same_bytes() -> None:
    vector = np.array([[0.61234, -0.33212, 0.0]])
    elsewhere = vector + np.array([[1e-7, -1e-7, -1e-9]])
    assert rounded(vector).tobytes() == rounded(elsewhere).tobytes()


def test_a_vector_of_zeros_stays_one() -> None:
    assert rounded(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]


def test_texts_find_their_vectors_and_others_find_none() -> None:
    found = vectors(row("a", [1.0, 0.0]), row("b", [0.0, 1.0])).of(["b", "unheard of", "a"])
    np.testing.assert_array_equal(found, np.array([[0, 1], [np.nan, np.nan], [1, 0]], np.float32))


def test_vectors_of_another_model_are_not_mistaken_for_it() -> None:
    found = vectors(row("a", [1.0, 0.0]), row("b", [0.0, 1.0], model="other"))
    assert np.isnan(found.of(["b"])).all()
    assert not np.isnan(found.of(["a"])).any()


@pytest.mark.parametrize("turned", [False, True])
def test_the_earliest_vector_of_a_text_counts_whatever_the_order(turned: bool) -> None:
    rows = [row("a", [1.0, 0.0]), row("a", [0.0, 1.0], cycle=date(2026, 1, 12))]
    assert vectors(*(rows[::-1] if turned else rows)).of(["a"]).tolist() == [[1.0, 0.0]]


def test_vectors_of_another_length_than_the_earliest_are_left_out() -> None:
    found = vectors(row("a", [1.0, 0.0]), row("b", [1.0, 0.0, 0.0], cycle=date(2026, 1, 12)))
    assert found.dimensions == 2
    assert np.isnan(found.of(["b"])).all()


def test_no_vectors_at_all_are_no_error() -> None:
    found = vectors()
    assert found.dimensions == 0
    assert found.of(["a"]).shape == (1, 0)


def test_a_text_without_a_vector_lies_at_the_centre() -> None:
    known = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]], np.float32)
    centre = centre_of(known)
    assert centre.tolist() == [0.5, 0.5]
    assert centred(known, centre).tolist() == [[0.5, -0.5], [-0.5, 0.5], [0.0, 0.0]]


@given(st.text(), st.text())
def test_texts_are_told_apart_whatever_is_in_them(left: str, right: str) -> None:
    assert (text_hash(left) == text_hash(right)) == (left == right)
