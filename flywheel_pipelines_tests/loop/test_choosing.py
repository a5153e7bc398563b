"""References through closes: rulings, corrections, edits, gaps in knowledge, and the same bytes again."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.reviews.latest import reviewed_texts
from flywheel_pipelines.feedback.rulings import rule, rulings_now
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.versions import stale_cycles
from flywheel_pipelines.learning.corpus import CorpusRules, choose_corpus
from flywheel_pipelines.loop import closing
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.overview import RESTATED
from flywheel_pipelines.simulation.copying_writers import CopyingWriters
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines_tests.components.test_reviewed_cycles import hand_in
from flywheel_pipelines_tests.lake_samples import rows
from flywheel_pipelines_tests.learning.test_corpus import judged
from flywheel_pipelines_tests.loop.histories import close_bytes
from flywheel_pipelines_tests.shared_data import shared_file
from flywheel_pipelines_tests.small_world import changed_files
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

FIRST, SECOND, THIRD = WEEKS[:3]
AT = datetime(2026, 2, 2, tzinfo=UTC)


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    """Three closed cycles; the third has references."""
    copy = played.copy_to(tmp_path / "world")
    close(copy)
    return copy


def close(world: WrittenWorld, first: date = FIRST, last: date = THIRD, cutoff: datetime | None = None) -> None:
    flywheel, recorder = world.flywheel, Recorder(world.lake, NAME)
    cycles = [week for week in WEEKS if first <= week <= last]
    closing.measure(flywheel, recorder, cycles, cutoff)
    closing.score(flywheel, recorder, cycles)
    closing.fit_model(flywheel, recorder, cycles)
    closing.choose_references(flywheel, recorder, cycles)
    closing.refresh_prompts(flywheel, recorder, cycles)
    closing.weigh(flywheel, recorder, cycles)


def references(world: WrittenWorld, cycle: date = THIRD) -> dict[str, dict[str, Any]]:
    return {row["reference_id"]: row for row in world.rows(tables.REFERENCE_CORPUS, cycle)}


def best(world: WrittenWorld) -> str:
    return min(references(world).values(), key=lambda row: row["rank"])["reference_id"]


def change_of(world: WrittenWorld, one: str, change: str, cycle: date = THIRD) -> dict[str, Any]:
    [row] = [
        row
        for row in world.rows(tables.REFERENCE_CHANGES, cycle)
        if (row["reference_id"], row["change"]) == (one, change)
    ]
    return row


def say(world: WrittenWorld, one: str, ruling: str, **options: Any) -> date:
    settings = {"person": "editor-1", "reason": "it reads well", "recorded_at": AT, **options}
    return rule(world.lake, NAME, [one], ruling, **settings)


def undecided(world: WrittenWorld) -> str:
    """A published output that was neither promoted nor rejected."""
    held = [row["output_id"] for row in world.rows(tables.SCORED_OUTPUTS, SECOND) if row["decision"] == "hold"]
    return sorted(held)[0]


def correct(world: WrittenWorld, output: str, cycle: date) -> None:
    """It was sent often and never answered."""
    facts = [
        {"cycle": cycle, "output_id": output, "measure": row["measure"], "measured_on": row["measured_on"],
         "value": 400.0 if row["measure"] == "sends" else 0.0, "feed": row["feed"], "batch_id": "less",
         "recorded_at": AT, "source_row": number}
        for number, row in enumerate(world.rows(tables.METRIC_LEDGER, cycle), start=1)
        if row["output_id"] == output
    ]  # fmt: skip
    facts = list({(row["measure"], row["measured_on"]): row for row in facts}.values())
    schema = tables.METRIC_LEDGER.schema.insert(0, pa.field("cycle", pa.date32()))
    header = {"batch_id": "less", "source": "less.csv", "recorded_at": AT, "n_rows": len(facts), "n_quarantined": 0}
    table = pa.Table.from_pylist(facts, schema=schema)
    world.lake.append_batch(NAME, header | {"first_cycle": cycle, "last_cycle": cycle}, {tables.METRIC_LEDGER: table})


# -- rulings ---------------------------------------------------------------------------------------------------------
def test_a_ban_takes_a_reference_out_and_says_so(world: WrittenWorld) -> None:
    one = next(name for name in references(world, SECOND) if name in references(world))
    assert say(world, one, "ban") == THIRD
    close(world, THIRD)
    assert one not in references(world)
    assert one not in world.rows(tables.REFRESHED_PROMPT, THIRD)[0]["text"]
    assert change_of(world, one, "left")["reason"] == "banned"


def test_a_pin_brings_in_what_was_not_promoted_and_lifting_it_takes_it_out(world: WrittenWorld) -> None:
    one, before = undecided(world), close_bytes(world)
    assert one not in references(world)
    say(world, one, "pin")
    close(world, THIRD)
    assert references(world)[one]["reason"] == "pinned"
    assert change_of(world, one, "entered")["reason"] == "pinned"
    say(world, one, "lift", recorded_at=AT + timedelta(hours=1))
    close(world, THIRD)
    assert changed_files(before, close_bytes(world)) == []


def test_a_ruling_leaves_the_corpora_of_earlier_cycles_as_they_were(world: WrittenWorld) -> None:
    before = close_bytes(world)
    say(world, best(world), "ban")
    close(world)
    changed = changed_files(before, close_bytes(world))
    assert changed
    assert all(f"cycle={THIRD}" in path for path in changed)


def test_a_ruling_makes_its_cycle_stale_until_it_is_closed_again(world: WrittenWorld) -> None:
    assert stale_cycles(world.lake, NAME, RESTATED) == {}
    say(world, best(world), "ban", effective_from=THIRD)
    assert stale_cycles(world.lake, NAME, RESTATED) == {"ruled_outputs": [THIRD]}
    close(world, THIRD)
    assert stale_cycles(world.lake, NAME, RESTATED) == {}


def test_a_ruling_counts_up_to_the_knowledge_cutoff(world: WrittenWorld) -> None:
    before = close_bytes(world)
    say(world, best(world), "ban")
    close(world, cutoff=AT - timedelta(seconds=1))
    assert world.rows(tables.RULED_OUTPUTS, THIRD) == []
    assert changed_files(before, close_bytes(world)) == []
    close(world, cutoff=AT)
    assert len(world.rows(tables.RULED_OUTPUTS, THIRD)) == 1


def test_rulings_are_carried_from_cycle_to_cycle(world: WrittenWorld) -> None:
    one = sorted(row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, FIRST))[0]
    say(world, one, "ban", effective_from=FIRST)
    close(world)
    assert [world.rows(tables.RULED_OUTPUTS, week)[0]["effective_from"] for week in WEEKS[:3]] == [FIRST] * 3


def test_a_pin_outlasts_the_lookback(world: WrittenWorld) -> None:
    first = sorted(row["output_id"] for row in world.rows(tables.SCORED_OUTPUTS, FIRST) if row["decision"] != "reject")[
        0
    ]
    world.configure(corpus={"lookback": 1})
    close(world)
    assert first not in references(world)
    say(world, first, "pin")
    close(world)
    assert references(world)[first]["source_cycle"] == FIRST


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"reason": "  "}, "say in a few words why"),
        ({"output": "nobody"}, "was never published by offers"),
        ({"ruling": "lift"}, "has no pin and no ban to lift"),
        ({"effective_from": FIRST, "of": SECOND}, "was published in cycle 2026-01-12. Name that cycle or a later one"),
    ],
)
def test_a_ruling_that_cannot_count_is_refused(world: WrittenWorld, said: dict[str, Any], words: str) -> None:
    of = said.pop("of", FIRST)
    one = said.pop("output", None) or world.rows(tables.PUBLISHED_OUTPUTS, of)[0]["output_id"]
    with pytest.raises(FlywheelError, match=words):
        say(world, one, said.pop("ruling", "ban"), **said)
    assert rulings_now(world.lake, NAME) == []


def test_a_pin_of_what_was_rejected_is_refused_with_the_reason(world: WrittenWorld) -> None:
    one = best(world)
    correct(world, one, references(world)[one]["source_cycle"])
    close(world)
    with pytest.raises(FlywheelError, match="does not beat the floor"):
        say(world, one, "pin")


# -- corrections, edits, intervals -----------------------------------------------------------------------------------
def test_a_corrected_metric_demotes_with_the_judgement_in_words(world: WrittenWorld) -> None:
    one = next(name for name in references(world, SECOND) if name in references(world))
    cycle = references(world)[one]["source_cycle"]
    correct(world, one, cycle)
    close(world, THIRD)
    assert one in references(world)
    # As when only the newest cycle's close comes to know of it: the corpora before stay as they are.
    closing.measure(world.flywheel, Recorder(world.lake, NAME), [cycle], None)
    closing.score(world.flywheel, Recorder(world.lake, NAME), [cycle])
    closing.choose_references(world.flywheel, Recorder(world.lake, NAME), [THIRD])
    assert one not in references(world)
    left = change_of(world, one, "left")
    assert left["reason"] == "demoted"
    assert left["words"].startswith("judged reject (")


def test_a_corrected_metric_demotes_even_what_is_pinned(world: WrittenWorld) -> None:
    one = best(world)
    say(world, one, "pin")
    correct(world, one, references(world)[one]["source_cycle"])
    close(world)
    assert one not in references(world)


def test_an_edit_enters_and_counts_as_human(world: WrittenWorld) -> None:
    one = best(world)
    hand_in(world, references(world)[one]["source_cycle"], {one: {"decision": "edited", "final_text": "Better words."}})
    close(world)
    row = references(world)[one]
    assert (row["text"], row["by_people"], row["depth"]) == ("Better words.", "edited", 0)


def test_what_is_written_with_an_edited_reference_is_near_to_people_again(world: WrittenWorld) -> None:
    for one, row in references(world).items():
        edit = {one: {"decision": "edited", "final_text": f"Better words for {one}."}}
        hand_in(world, row["source_cycle"], edit, at=AT + timedelta(minutes=row["rank"]))
    close(world)
    assert world.open(WEEKS[3]).success
    close(world, WEEKS[3], WEEKS[3])
    with_references = {row["depth"] for row in world.rows(tables.ANCESTRY, WEEKS[3]) if row["n_references"]}
    assert with_references == {1}


def test_control_with_the_drafts_as_references_depth_grows(world: WrittenWorld) -> None:
    assert world.open(WEEKS[3]).success
    close(world, WEEKS[3], WEEKS[3])
    deepest = max(row["depth"] for row in world.rows(tables.REFERENCE_CORPUS, THIRD))
    assert max(row["depth"] for row in world.rows(tables.ANCESTRY, WEEKS[3])) == deepest + 1


def test_closing_again_gives_the_same_bytes(world: WrittenWorld) -> None:
    before = close_bytes(world, "input_versions")
    close(world)
    close(world, THIRD)
    assert changed_files(before, close_bytes(world, "input_versions")) == []


def test_every_reference_has_one_open_interval_and_changes_add_up(world: WrittenWorld) -> None:
    known: set[str] = set()
    for week in WEEKS[:3]:
        changes = world.rows(tables.REFERENCE_CHANGES, week)
        by = {
            kind: {row["reference_id"] for row in changes if row["change"] == kind}
            for kind in ("entered", "kept", "left")
        }
        assert by["kept"] | by["left"] == known
        known = by["entered"] | by["kept"]
        assert known == set(references(world, week))
    assert known


def test_the_edits_of_professionals_enter_in_place_of_the_drafts() -> None:
    lines = shared_file("edits", "draft_edits.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    texts = pa.table({"output_id": [f"o{n}" for n in range(len(pairs))], "text": [pair["preedit"] for pair in pairs]})
    reviewed = [
        {"output_id": f"o{n}", "decision": "edited", "final_text": pair["postedit"]} for n, pair in enumerate(pairs)
    ]
    left = reviewed_texts(texts, rows(tables.REVIEWED_OUTPUTS, reviewed)).to_pylist()
    table = judged(*[{**row, "segment": f"s{n}"} for n, row in enumerate(left)])
    rules = CorpusRules(size=len(pairs), per_segment=1, near_duplicate=1.0)
    corpus = choose_corpus(table, rules, as_of=FIRST).corpus
    shown = dict(zip(corpus["reference_id"].to_pylist(), corpus["text"].to_pylist(), strict=True))
    assert len(pairs) == 150
    assert len(shown) > 140
    assert all(text == pairs[int(one[1:])]["postedit"] for one, text in shown.items())


@pytest.mark.slow
# -- collapse --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("writers", "stops"), [(CopyingWriters, True), (DirectWriters, False)])
def test_a_loop_of_copies_is_stopped_and_one_that_writes_is_not(
    tmp_path: Path, writers: type[DirectWriters], stops: bool
) -> None:
    from flywheel_pipelines.loop.choosing import check_collapse

    world = WrittenWorld.make(tmp_path, n_briefs=16, guardrails={"near_copy": None}, collapse={"first_cycles": 2})
    season = Season.of(world.flywheel, 6, world.audience())
    play(season, PlainStage(world.flywheel, world.lake, writers(), world.paths.outbox), world.lake, world.paths)
    verdicts = [check_collapse(world.flywheel, world.lake, [cycle])[1] for cycle in season.cycles]
    assert any(one.stops for one in verdicts) is stops
