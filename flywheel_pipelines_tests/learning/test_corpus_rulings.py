"""Pins, bans, freshness and families in the choice of references, and what became of each candidate."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.lake.tables import RULED_OUTPUTS
from flywheel_pipelines.learning.corpus import Chosen, CorpusRules, choose_corpus
from flywheel_pipelines_tests.lake_samples import rows
from flywheel_pipelines_tests.learning.test_corpus import MONDAY, ids, judged, text_of


def choose(table: pa.Table, *, weeks: int = 0, rulings: dict[str, str] | None = None, **options: Any) -> Chosen:
    rules = CorpusRules(**{"size": 24, "per_segment": 6, "near_duplicate": 0.85, **options})
    ruled = rows(RULED_OUTPUTS, [{"output_id": one, "ruling": ruling} for one, ruling in (rulings or {}).items()])
    return choose_corpus(table, rules, as_of=MONDAY + timedelta(weeks=weeks), cadence=Cadence.WEEKLY, ruled=ruled)


def entry(chosen: Chosen, reference_id: str) -> dict[str, Any]:
    return next(row for row in chosen.corpus.to_pylist() if row["reference_id"] == reference_id)


def test_a_banned_winner_stays_out() -> None:
    chosen = choose(judged({"posterior_mean": 0.09}, {}), rulings={"o0": "ban"})
    assert ids(chosen.corpus) == ["o1"]
    assert chosen.fates["o0"].reason == "banned"


@pytest.mark.parametrize("decision", ["hold", None])
def test_a_pin_keeps_what_has_too_little_evidence(decision: str | None) -> None:
    table = judged({"decision": decision, "p_above": 0.4 if decision else None}, {})
    chosen = choose(table, rulings={"o0": "pin"})
    assert ids(chosen.corpus) == ["o0", "o1"]
    assert (entry(chosen, "o0")["reason"], entry(chosen, "o0")["by_people"]) == ("pinned", "pinned")


def test_control_without_the_pin_it_is_out() -> None:
    chosen = choose(judged({"decision": "hold"}, {}))
    assert ids(chosen.corpus) == ["o1"]
    assert chosen.fates["o0"].reason == "demoted"


def test_a_pin_does_not_outlast_a_rejection() -> None:
    chosen = choose(judged({"decision": "reject"}, {}), rulings={"o0": "pin"})
    assert ids(chosen.corpus) == ["o1"]
    assert "a pin does not outlast a rejection" in chosen.fates["o0"].words


def test_pins_come_first_past_caps_and_families_and_leave_the_rest_less_room() -> None:
    same = {"text": "The same headline twice in the paper"}
    table = judged({**same}, {**same}, {"posterior_mean": 0.09}, {"segment": "sport"})
    chosen = choose(table, rulings={"o0": "pin", "o1": "pin"}, per_segment=2)
    assert ids(chosen.corpus) == ["o0", "o1", "o3"]
    assert chosen.fates["o2"].reason == "segment_full"


def test_more_pins_than_places_keep_the_best() -> None:
    table = judged(*[{"posterior_mean": 0.02 + number / 100} for number in range(4)])
    chosen = choose(table, rulings={f"o{number}": "pin" for number in range(4)}, size=2)
    assert ids(chosen.corpus) == ["o3", "o2"]
    assert "4 outputs are pinned, the corpus holds 2" in chosen.fates["o0"].words


def test_half_life_lets_the_fresh_overtake_the_slightly_better() -> None:
    old = {"cycle": MONDAY, "posterior_mean": 0.030}
    new = {"cycle": MONDAY + timedelta(weeks=8), "posterior_mean": 0.025}
    table = judged(old, new)
    assert ids(choose(table, weeks=8, half_life=8).corpus) == ["o1", "o0"]
    assert ids(choose(table, weeks=8).corpus) == ["o0", "o1"]
    aged = entry(choose(table, weeks=8, half_life=8), "o0")
    assert (aged["freshness"], aged["quality"]) == (pytest.approx(0.5), pytest.approx(2.0))


def test_diversity_chooses_another_text_than_quality_alone() -> None:
    texts = ["The harbour sleeps under snow", "The harbour sleeps under rain", "Violins for everybody"]
    table = judged(
        *[{"text": text, "posterior_mean": mean} for text, mean in zip(texts, (0.03, 0.029, 0.028), strict=True)]
    )
    assert ids(choose(table, size=2, diversity=0.5).corpus) == ["o0", "o2"]
    assert ids(choose(table, size=2).corpus) == ["o0", "o1"]


def test_without_a_floor_nothing_is_weighed_against_diversity() -> None:
    texts = ["The harbour sleeps under snow", "The harbour sleeps under rain", "Violins for everybody"]
    weeks = [MONDAY + timedelta(weeks=3 - number) for number in range(3)]
    table = judged(*[{"text": t, "cycle": w, "floor_level": None} for t, w in zip(texts, weeks, strict=True)])
    assert ids(choose(table, size=2, diversity=0.9).corpus) == ["o0", "o1"]


def test_the_family_of_a_reference_is_recorded() -> None:
    text = text_of(7)
    chosen = choose(judged({"text": text, "posterior_mean": 0.03}, {"text": text.upper()}, {"text": text + "!"}, {}))
    assert entry(chosen, "o0")["family"] == ["o1", "o2"]
    assert chosen.fates["o1"].reason == "near_duplicate"
    assert "nearly the text of o0" in chosen.fates["o1"].words


def test_what_a_person_edited_is_generation_zero() -> None:
    table = judged({}, {})
    table = table.append_column("by_people", pa.array(["edited", "none"]))
    table = table.append_column("depth", pa.array([5, 5])).append_column("mean_depth", pa.array([4.5, 4.5]))
    chosen = choose(table)
    assert (entry(chosen, "o0")["depth"], entry(chosen, "o1")["depth"]) == (0, 5)
