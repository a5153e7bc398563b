"""Lists of leads: their order, who is handled and how likely that was, and that nothing tells the arms apart."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.lake.tables import BRIEFS
from flywheel_pipelines.production.scoring import handled, places_of, score_leads, traits_text
from flywheel_pipelines.spec import ArmsSpec, ScoringProducer, load_spec, parse_spec
from flywheel_pipelines_tests.recipes import LEAD_SCORING

AT: dict[str, Any] = {"flywheel": "leads", "cycle": date(2026, 1, 5), "prompt_version": "p"}
PRODUCER = ScoringProducer(kind="scoring", handled=0.2, explore=0.25)
ARMS = ArmsSpec(control=0.3)


def leads(count: int, first: int = 0) -> pa.Table:
    rows = [
        {
            "brief_id": f"lead {number:04d}",
            "segment": "all",
            "title": f"Enquiry {number}",
            "fields": json.dumps({"worth": f"{number % 100:02d}", "name": "somebody"}),
            "n_candidates": 0,
        }
        for number in range(first, first + count)
    ]
    return pa.Table.from_pylist(rows, schema=BRIEFS.schema)


def worth(read: pa.Table) -> np.ndarray:
    """A model that knows what a lead is worth."""
    return np.array([float(text.splitlines()[-1].removeprefix("worth: ")) for text in read["text"].to_pylist()])


def scored(count: int, producer: ScoringProducer = PRODUCER, **how: Any) -> pa.Table:
    return score_leads(leads(count), worth, producer, ARMS, **AT, **how)


def by_arm(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["arm"]].append(row)
    return found


def test_every_lead_has_one_place_on_the_list_of_its_arm() -> None:
    for rows in by_arm(scored(300).to_pylist()).values():
        assert sorted(row["rank"] for row in rows) == list(range(1, len(rows) + 1))


def test_each_arm_handles_the_same_share_of_its_leads() -> None:
    generated = scored(300)
    sizes = Counter(generated["arm"].to_pylist())
    found = Counter(handled(generated, PRODUCER)["arm"].to_pylist())
    assert found == {arm: round(0.2 * size) for arm, size in sizes.items()}


def test_the_flywheel_handles_the_best_predicted_but_for_the_places_that_are_drawn() -> None:
    generated = scored(300)
    rows = by_arm(handled(generated, PRODUCER).to_pylist())["flywheel"]
    best = [row["predicted"] for row in rows if row["choice"] == "best"]
    drawn = [row for row in rows if row["choice"] == "explored"]
    left = set(generated["output_id"].to_pylist()) - {row["output_id"] for row in rows}
    others = [
        row["predicted"] for row in generated.to_pylist() if row["arm"] == "flywheel" and row["output_id"] in left
    ]
    assert min(best) >= max([*others, *(row["predicted"] for row in drawn)])
    assert len(drawn) == round(0.25 * len(rows))


def test_where_lower_is_better_the_lowest_predicted_come_first() -> None:
    rows = by_arm(handled(scored(300, better="lower"), PRODUCER).to_pylist())["flywheel"]
    assert max(row["predicted"] for row in rows if row["choice"] == "best") < 30


def test_the_chances_are_those_that_the_rows_say() -> None:
    """Over many cycles, leads that the model thinks little of are handled as often as their rows say."""
    seen: dict[str, list[float]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    for number in range(120):
        at = {**AT, "flywheel": f"leads {number}"}
        generated = score_leads(leads(60), worth, PRODUCER, ARMS, **at)
        chances = {row["output_id"]: row for row in handled(generated, PRODUCER).to_pylist()}
        for row in generated.to_pylist():
            said = chances.get(row["output_id"])
            if row["arm"] == "control" or row["predicted"] < 20:
                seen[row["arm"]].append(said is not None)
        for row in chances.values():
            if row["choice"] != "best":
                shares[row["arm"]].append(row["probability"])
    for arm in ("flywheel", "control"):
        assert np.mean(seen[arm]) == pytest.approx(np.mean(shares[arm]), abs=0.03)


def test_nothing_that_goes_out_tells_the_arms_apart() -> None:
    contents = defaultdict(set)
    for row in handled(scored(1_000), PRODUCER).to_pylist():
        contents[row["arm"]].add(row["output_id"])
    generated = {row["output_id"]: json.loads(row["content"]) for row in scored(1_000).to_pylist()}
    said = {arm: [generated[one] for one in ids] for arm, ids in contents.items()}
    assert {tuple(sorted(one)) for rows in said.values() for one in rows} == {("band", "list", "score")}
    ends = {arm: (min(one["score"] for one in rows), max(one["score"] for one in rows)) for arm, rows in said.items()}
    assert ends["flywheel"] == ends["control"] == (80, 100)


def test_bands_split_the_handled_places_evenly_and_the_rest_has_none() -> None:
    rows = by_arm(scored(1_000).to_pylist())["flywheel"]
    bands = [json.loads(row["content"])["band"] for row in sorted(rows, key=lambda row: row["rank"])]
    places, _ = places_of(len(rows), PRODUCER)
    counts = Counter(bands[:places])
    assert list(dict.fromkeys(bands[:places])) == ["A", "B", "C"]
    assert max(counts.values()) - min(counts.values()) <= 1
    assert set(bands[places:]) == {None}


def test_a_list_that_comes_later_changes_no_earlier_one() -> None:
    first = scored(100)
    second = score_leads(leads(50, first=100), worth, PRODUCER, ARMS, number=2, **AT)
    both = handled(pa.concat_tables([first, second]), PRODUCER).to_pylist()
    alone = handled(first, PRODUCER).to_pylist()
    assert [row for row in both if row["brief_id"] < "lead 0100"] == alone
    assert any(row["brief_id"] >= "lead 0100" for row in both)


def test_the_order_of_the_leads_does_not_matter() -> None:
    backwards = leads(80).take(list(range(79, -1, -1)))
    assert score_leads(backwards, worth, PRODUCER, ARMS, **AT) == scored(80)


def test_without_a_model_the_list_is_in_the_order_of_a_draw() -> None:
    found = score_leads(leads(200), lambda read: np.zeros(read.num_rows), PRODUCER, ARMS, **AT).to_pylist()
    order = [row["brief_id"] for row in sorted(by_arm(found)["flywheel"], key=lambda row: row["rank"])]
    assert any(first > second for first, second in pairwise(order))
    assert score_leads(leads(0), worth, PRODUCER, ARMS, **AT).num_rows == 0


def test_one_lead_alone_is_handled() -> None:
    assert handled(scored(1), PRODUCER).num_rows == 1


def test_only_the_traits_that_are_named_are_read() -> None:
    [lead] = leads(1).to_pylist()
    assert traits_text(lead, []) == "name: somebody\nworth: 00"
    assert traits_text(lead, ["worth"]) == "worth: 00"
    assert traits_text({**lead, "fields": None}, []) == "Enquiry 0"


# -- what the YAML may say -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("arms", {"comparison": "within_brief"}, "handled by two arms"),
        ("arms", {"challenger": 0.2}, "a scoring producer writes nothing, so no prompt can be on trial"),
        ("arms", {"ablations": {"no_selection": 0.1}}, "a scoring producer writes nothing"),
        ("producer", {"handled": 1.5}, "less than 1"),
        ("producer", {"bands": []}, "at least 1"),
        ("producer", {"model": "tiny"}, "model"),
        ("briefs", {"feed": "crm"}, "leads come in through one"),
    ],
)
def test_what_cannot_work_is_refused(section: str, change: dict[str, Any], words: str) -> None:
    settings = load_spec(LEAD_SCORING / "defs.yaml").model_dump(mode="json")
    settings[section] |= change
    with pytest.raises(SpecError, match=words):
        parse_spec(settings, "defs.yaml")
