"""The signs of collapse, what is normal, and which limits stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.lake.tables import COLLAPSE_SIGNS
from flywheel_pipelines.learning.collapse import CORPUS, OUTPUTS, Texts, collapse_signs, verdict
from flywheel_pipelines.spec import CollapseSpec, parse_spec
from flywheel_pipelines_tests.written_world import SETTINGS

WORDS = np.array([f"word{number}" for number in range(500)])


def unlike(seed: int, n: int = 10) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, 20)) for _ in range(n)]


def looked_at(texts: list[str], scope: str = OUTPUTS, depth: float = 1.0, human: float = 0.0) -> Texts:
    n = len(texts)
    is_human = [number < human * n for number in range(n)]
    return Texts(scope, ["all"] * n, texts, [int(depth)] * n, [depth] * n, is_human)


def season(cycles: list[Texts], **limits: Any) -> list[pa.Table]:
    spec, signs = CollapseSpec(**limits), [COLLAPSE_SIGNS.empty()]
    for texts in cycles:
        signs.append(collapse_signs([texts], signs[-1], spec))
    return signs[1:]


def copies(n: int = 10) -> list[str]:
    return unlike(99, 1) * n


def test_what_is_normal_is_the_mean_of_the_first_cycles() -> None:
    signs = [table.to_pylist()[0] for table in season([looked_at(unlike(seed)) for seed in range(5)], first_cycles=3)]
    assert [row["n_first"] for row in signs] == [1, 2, 3, 3, 3]
    assert signs[-1]["first_similarity"] == pytest.approx(np.mean([row["similarity"] for row in signs[:3]]))
    assert signs[-1]["similarity_rise"] == pytest.approx(signs[-1]["similarity"] - signs[-1]["first_similarity"])


def test_copies_are_past_both_limits_and_stop_after_patience() -> None:
    cycles = [looked_at(unlike(seed)) for seed in range(4)] + [looked_at(copies())] * 3
    verdicts = [verdict(table, CollapseSpec(patience=2)) for table in season(cycles, patience=2)]
    assert [bool(one.stops) for one in verdicts] == [False] * 5 + [True] * 2
    assert verdicts[4].warns == ("max_distinct_fall", "max_similarity_rise")
    assert verdicts[5].stops == ("max_distinct_fall", "max_similarity_rise")


def test_control_texts_that_stay_unlike_pass() -> None:
    for table in season([looked_at(unlike(seed)) for seed in range(8)]):
        assert verdict(table, CollapseSpec()).stops == ()
        assert verdict(table, CollapseSpec()).warns == ()


def test_one_bad_cycle_between_good_ones_starts_the_count_anew() -> None:
    good, bad = [looked_at(unlike(seed)) for seed in range(4)], looked_at(copies())
    signs = season([*good, bad, looked_at(unlike(8)), bad])
    assert [table.to_pylist()[0]["n_past"] for table in signs[4:]] == [[1, 1], [], [1, 1]]


def test_one_text_per_segment_is_a_collapse_although_the_texts_differ() -> None:
    segments = [f"s{number // 4}" for number in range(12)]

    def of(texts: list[str]) -> Texts:
        return Texts(OUTPUTS, segments, texts, [1] * 12, [1.0] * 12, [False] * 12)

    collapsed = [text for text in unlike(5, 3) for _ in range(4)]
    signs = season([of(unlike(seed, 12)) for seed in range(4)] + [of(collapsed)])
    assert "max_similarity_rise" in signs[-1].to_pylist()[0]["past"]


def test_a_floor_on_the_human_share_is_asked_of_the_corpus_alone() -> None:
    few = [looked_at(unlike(1), CORPUS, human=0.1)]
    assert verdict(season(few, min_human_share=0.2, patience=1)[0], CollapseSpec(patience=1)).stops == (
        "min_human_share",
    )
    assert season([looked_at(unlike(1), CORPUS, human=0.2)], min_human_share=0.2)[0].to_pylist()[0]["past"] == []
    assert season([looked_at(unlike(1), OUTPUTS)], min_human_share=0.2)[0].to_pylist()[0]["past"] == []


def test_depth_warns_by_default_and_stops_when_it_is_asked_to() -> None:
    deep = [looked_at(unlike(1), CORPUS, depth=9.0)] * 2
    assert [verdict(table, CollapseSpec()).stops for table in season(deep)] == [(), ()]
    assert verdict(season(deep)[1], CollapseSpec()).warns == ("warn_depth",)
    spec = CollapseSpec(max_depth=8)
    assert verdict(season(deep, max_depth=8)[1], spec).stops == ("max_depth",)


def test_limits_that_are_off_never_stop() -> None:
    off: dict[str, Any] = {"max_distinct_fall": False, "max_similarity_rise": "off", "warn_depth": "off"}
    cycles = [looked_at(unlike(seed)) for seed in range(4)] + [looked_at(copies(), CORPUS, depth=50.0)] * 4
    assert all(table.to_pylist()[0]["past"] == [] for table in season(cycles, **off))


def test_too_few_texts_say_nothing() -> None:
    cycles = [looked_at(unlike(seed)) for seed in range(4)] + [looked_at(copies(4))]
    row = season(cycles)[-1].to_pylist()[0]
    assert (row["distinct_fall"], row["similarity_rise"], row["past"]) == (None, None, [])


def test_an_empty_corpus_has_signs_without_numbers() -> None:
    row = season([looked_at([], CORPUS)], min_human_share=0.5)[0].to_pylist()[0]
    assert (row["n_texts"], row["similarity"], row["human_share"], row["past"]) == (0, None, None, [])


def test_what_stops_says_what_to_do_with_numbers() -> None:
    cycles = [looked_at(unlike(seed)) for seed in range(4)] + [looked_at(copies())] * 2
    words = verdict(season(cycles)[-1], CollapseSpec()).words
    assert words.startswith("The prompt refresh is stopped")
    said = [
        "outputs of a segment",
        "collapse.max_similarity_rise: 0.25",
        "flywheel corpus ban",
        "flywheel review export",
    ]
    for part in [*said, "corpus.near_duplicate", "2 cycle(s) in a row", "then close the cycle again"]:
        assert part in words


@pytest.mark.parametrize(
    "bad", [{"max_distinct_fall": 0}, {"max_similarity_rise": 1.5}, {"max_depth": -1}, {"max_dept": 3}]
)
def test_limits_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="collapse"):
        parse_spec({**SETTINGS, "collapse": bad}, "defs.yaml")
