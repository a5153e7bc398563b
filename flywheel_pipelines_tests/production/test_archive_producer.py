"""The archive producer: existing texts become outputs, ranked by prediction, and ties are broken by a fair draw."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from flywheel_pipelines.lake.tables import ARCHIVE_CANDIDATES, BRIEF_LEDGER, BRIEFS, GENERATED_OUTPUTS
from flywheel_pipelines.production.archive import outputs_from_archive
from flywheel_pipelines.production.briefs import briefs_from_candidates, briefs_from_ledger, latest_candidates

WEEK = date(2026, 1, 5)
FRIDAY = datetime(2026, 1, 2, tzinfo=UTC)


def candidates(*sizes: int, recorded_at: datetime = FRIDAY, title: str = "A brief") -> pa.Table:
    rows = [
        {
            "brief_id": f"b{brief}",
            "candidate_id": f"c{brief}-{number}",
            "segment": f"segment {brief}",
            "title": title,
            "text": f"text {number}",
            "batch_id": "batch",
            "recorded_at": recorded_at,
            "source_row": 1,
        }
        for brief, size in enumerate(sizes)
        for number in range(size)
    ]
    return pa.Table.from_pylist(rows, schema=ARCHIVE_CANDIDATES.schema)


def produce(table: pa.Table, predicted: list[float] | np.ndarray, cycle: date = WEEK) -> list[dict]:
    made = outputs_from_archive(
        table, np.asarray(predicted, float), flywheel="news", cycle=cycle, prompt_version="p1", reference_ids=["r1"]
    )
    return GENERATED_OUTPUTS.conform(made).to_pylist()


def ranks(rows: list[dict]) -> dict[str, int]:
    return {row["candidate_id"]: row["rank"] for row in rows}


def test_the_highest_prediction_of_a_brief_is_ranked_first() -> None:
    assert ranks(produce(candidates(3), [0.1, 0.3, -0.2])) == {"c0-0": 2, "c0-1": 1, "c0-2": 3}


def test_briefs_are_ranked_apart() -> None:
    assert ranks(produce(candidates(2, 2), [0.0, 9.0, 5.0, 1.0])) == {"c0-0": 2, "c0-1": 1, "c1-0": 1, "c1-1": 2}


def test_without_an_opinion_the_choice_is_a_fair_draw() -> None:
    rows = produce(candidates(*[4] * 2_000), np.zeros(8_000))
    first = Counter(row["candidate_id"].split("-")[1] for row in rows if row["rank"] == 1)
    assert all(count == pytest.approx(500, abs=80) for count in first.values())


def test_the_draw_is_the_same_on_a_rerun_and_another_in_another_cycle() -> None:
    table, none = candidates(*[4] * 50), np.zeros(200)
    assert produce(table, none) == produce(table, none)
    assert list(ranks(produce(table, none)).values()) != list(
        ranks(produce(table, none, WEEK + timedelta(weeks=1))).values()
    )


def test_every_output_says_where_it_came_from() -> None:
    row = produce(candidates(1), [0.5])[0]
    assert (row["producer"], row["candidate_id"], row["prompt_version"]) == ("archive", "c0-0", "p1")
    assert (row["reference_ids"], row["predicted"], row["text"]) == (["r1"], 0.5, "text 0")


def test_a_prediction_missing_is_an_error_and_not_a_shift() -> None:
    with pytest.raises(ValueError, match="zip"):
        produce(candidates(3), [0.1, 0.2])


def test_nothing_to_choose_from_gives_no_outputs() -> None:
    assert produce(candidates(), []) == []


# -- briefs ----------------------------------------------------------------------------------------------------------
def test_a_brief_counts_its_candidates_and_takes_segment_and_title_from_the_first() -> None:
    found = BRIEFS.conform(briefs_from_candidates(candidates(2, 3))).to_pylist()
    assert [(row["brief_id"], row["segment"], row["n_candidates"]) for row in found] == [
        ("b0", "segment 0", 2),
        ("b1", "segment 1", 3),
    ]


def test_the_latest_recorded_candidate_wins_and_none_stands_twice() -> None:
    later = candidates(2, recorded_at=FRIDAY + timedelta(days=1), title="A better title")
    for table in (pa.concat_tables([candidates(2), later]), pa.concat_tables([later, candidates(2)])):
        found = latest_candidates(table).to_pylist()
        assert [(row["candidate_id"], row["title"]) for row in found] == [
            ("c0-0", "A better title"),
            ("c0-1", "A better title"),
        ]


def handed_in(*rows: tuple[str, str, datetime, int]) -> pa.Table:
    """A ledger of (brief, title, recorded at, source row)."""
    return pa.Table.from_pylist(
        [
            {
                "brief_id": brief_id,
                "segment": "garages",
                "title": title,
                "locale": "en",
                "fields": '{"keyword": "oil"}',
                "batch_id": f"batch {number}",
                "recorded_at": recorded_at,
                "source_row": source_row,
            }
            for number, (brief_id, title, recorded_at, source_row) in enumerate(rows)
        ],
        schema=BRIEF_LEDGER.schema,
    )


def test_a_brief_that_was_handed_in_has_nothing_to_choose_from_yet() -> None:
    row = BRIEFS.conform(briefs_from_ledger(handed_in(("b1", "Oil", FRIDAY, 1)))).to_pylist()[0]
    assert (row["title"], row["locale"], row["fields"], row["n_candidates"]) == ("Oil", "en", '{"keyword": "oil"}', 0)


def test_the_latest_recorded_brief_counts_and_of_one_file_the_row_further_down() -> None:
    saturday = FRIDAY + timedelta(days=1)
    rows = [("b1", "new", saturday, 1), ("b1", "old", FRIDAY, 9), ("b0", "low", FRIDAY, 2), ("b0", "high", FRIDAY, 1)]
    for order in (rows, rows[::-1]):
        found = briefs_from_ledger(handed_in(*order)).to_pylist()
        assert [(row["brief_id"], row["title"]) for row in found] == [("b0", "low"), ("b1", "new")]


def test_an_archive_brief_leaves_open_what_archives_do_not_say() -> None:
    row = briefs_from_candidates(candidates(1)).to_pylist()[0]
    assert (row["locale"], row["fields"]) == (None, None)
