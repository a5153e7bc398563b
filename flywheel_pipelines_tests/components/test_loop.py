"""The loop in Dagster: order is enforced, recomputing changes nothing, corrections reach exactly what they touch."""

from __future__ import annotations

import itertools
import shutil
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.versions import stale_cycles
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.small_world import (
    CLOSED,
    FLYWHEEL,
    QUIET,
    WEEKS,
    SmallWorld,
    changed_cycles,
    changed_files,
    definitions,
    failure,
)

OPEN_TABLES = ("briefs", "cycle_manifest", "generated_outputs", "published_outputs")
CLOSE_ASSETS = (
    "performance_metrics", "scored_outputs", "scoring_model", "reference_corpus", "prompt_gate", "refreshed_prompt",
    "momentum",
)  # fmt: skip
LEDGERS = tuple(table.name for table in tables.ALL_TABLES if table.kind == "ledger")
EIGHTH, BEYOND, FAR_BEYOND = CLOSED[-1], WEEKS[len(CLOSED)], WEEKS[len(CLOSED) + 1]


def manifest(world: SmallWorld, cycle) -> dict:
    return world.lake.read(tables.CYCLE_MANIFEST, FLYWHEEL, cycle).to_pylist()[0]


# -- what a replay leaves behind -------------------------------------------------------------------------------------
@pytest.mark.parametrize("asset", [*OPEN_TABLES, *CLOSE_ASSETS])
def test_every_cycle_is_materialized_and_visible_in_the_instance(replayed: SmallWorld, asset: str) -> None:
    with replayed.in_force(), dg.DagsterInstance.get() as instance:
        found = instance.get_materialized_partitions(dg.AssetKey([FLYWHEEL, asset]))
    assert found == {cycle.isoformat() for cycle in CLOSED}


def test_the_published_file_is_materialized_once(replayed: SmallWorld) -> None:
    with replayed.in_force(), dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(dg.AssetKey(["warehouse", "published_file"]), limit=5).records
    assert len(records) == 1
    assert replayed.paths.published_file.exists()


def test_every_cycle_carries_in_what_the_one_before_handed_over(replayed: SmallWorld) -> None:
    for before, cycle in itertools.pairwise(CLOSED):
        pinned = manifest(replayed, cycle)
        prompt = replayed.lake.read(tables.REFRESHED_PROMPT, FLYWHEEL, before).to_pylist()[0]
        model = replayed.lake.read(tables.SCORING_MODEL, FLYWHEEL, before).to_pylist()[0]
        assert pinned["predecessor"] == before
        assert pinned["prompt_version"] == prompt["prompt_version"]
        assert pinned["corpus_version"] == prompt["corpus_version"]
        assert pinned["scoring_model_version"] == model["model_version"]
        assert pinned["knowledge_cutoff"] == cycle_start(cycle)


def test_the_first_cycle_starts_from_nothing_learned(replayed: SmallWorld) -> None:
    pinned = manifest(replayed, CLOSED[0])
    assert (pinned["predecessor"], pinned["scoring_model_version"], pinned["corpus_version"]) == (None, "none", "none")


def test_the_small_world_learns_something(replayed: SmallWorld) -> None:
    """Otherwise every test below would compare random draws with random draws."""
    model = replayed.lake.read(tables.SCORING_MODEL, FLYWHEEL).to_pylist()
    assert any(row["is_skilled"] for row in model)
    assert len({row["model_version"] for row in model}) > 2
    assert replayed.lake.read(tables.REFERENCE_CORPUS, FLYWHEEL).num_rows > 0


def test_nothing_is_stale_after_a_replay(replayed: SmallWorld) -> None:
    assert stale_cycles(replayed.lake, FLYWHEEL, tables.ALL_TABLES) == {}


# -- the order of cycles ---------------------------------------------------------------------------------------------
def test_the_next_cycle_opens(copied: SmallWorld) -> None:
    assert copied.open(BEYOND).success
    assert manifest(copied, BEYOND)["predecessor"] == EIGHTH


def test_opening_on_an_unclosed_cycle_is_refused_in_words_and_opens_nothing(copied: SmallWorld) -> None:
    copied.open(BEYOND)
    before = copied.fingerprint()
    result = copied.open(FAR_BEYOND)
    said = failure(result)
    assert not result.success
    assert f"Cycle {FAR_BEYOND} cannot be opened: cycle {BEYOND} was opened but never closed" in said
    assert f"Close {BEYOND} first" in said
    assert "allow_gap: true" in said
    # The list of briefs is made before the cycle is opened; it is of no consequence.
    written = {path.split("/")[0] for path in changed_files(before, copied.fingerprint("input_versions", "briefs"))}
    assert written <= {"input_versions", "briefs"}


def test_opening_after_a_cycle_that_was_never_opened_is_refused(copied: SmallWorld) -> None:
    assert f"cycle {BEYOND} was never opened" in failure(copied.open(FAR_BEYOND))


def test_a_gap_can_be_allowed_and_is_recorded(copied: SmallWorld) -> None:
    assert copied.open(FAR_BEYOND, allow_gap=True).success
    opened = manifest(copied, FAR_BEYOND)
    assert (opened["predecessor"], opened["gap_allowed"]) == (EIGHTH, True)


def test_allowing_a_gap_where_there_is_none_records_none(copied: SmallWorld) -> None:
    assert copied.open(BEYOND, allow_gap=True).success
    assert manifest(copied, BEYOND)["gap_allowed"] is False


def test_closing_a_cycle_that_was_never_opened_is_refused_and_writes_nothing(copied: SmallWorld) -> None:
    before = copied.fingerprint()
    result = copied.close(BEYOND)
    assert not result.success
    assert f"Cycle {BEYOND} of {FLYWHEEL} cannot be closed: it was never opened" in failure(result)
    assert f"{FLYWHEEL}__open" in failure(result)
    assert copied.fingerprint() == before


def test_a_range_with_a_hole_is_refused_as_a_whole_and_writes_nothing(copied: SmallWorld) -> None:
    before = copied.fingerprint()
    result = copied.close(CLOSED[-2], FAR_BEYOND)
    assert not result.success
    said = failure(result)
    assert f"Cycle {BEYOND} of {FLYWHEEL} cannot be closed: it was never opened" in said
    assert f"Of the cycles {CLOSED[-2]} to {FAR_BEYOND} 2 were never opened" in said
    assert copied.fingerprint() == before


def test_what_adds_up_over_cycles_goes_on_behind_a_gap(copied: SmallWorld) -> None:
    """Otherwise the cumulative lift would begin anew in silence."""
    copied.open(FAR_BEYOND, allow_gap=True)
    assert copied.close(FAR_BEYOND).success

    def briefs(cycle, scope: str) -> int:
        rows = copied.lake.read(tables.MOMENTUM, FLYWHEEL, cycle).to_pylist()
        return next(row["n_briefs"] for row in rows if row["scope"] == scope)

    assert briefs(EIGHTH, "cumulative") > 0
    assert briefs(FAR_BEYOND, "cumulative") == briefs(EIGHTH, "cumulative") + briefs(FAR_BEYOND, "cycle")
    prompt = copied.lake.read(tables.REFRESHED_PROMPT, FLYWHEEL, FAR_BEYOND).to_pylist()[0]
    known = copied.lake.read(tables.REFRESHED_PROMPT, FLYWHEEL, EIGHTH).to_pylist()[0]
    assert prompt["parent_version"] == known["prompt_version"]


def test_a_gap_that_is_filled_later_makes_what_was_carried_over_it_stale(copied: SmallWorld) -> None:
    copied.open(FAR_BEYOND, allow_gap=True)
    copied.close(FAR_BEYOND)
    copied.open(BEYOND)
    assert copied.close(BEYOND).success
    assert stale_cycles(copied.lake, FLYWHEEL, [tables.MOMENTUM]) == {"momentum": [FAR_BEYOND]}


def test_both_halves_in_one_run_open_and_close_a_cycle(copied: SmallWorld) -> None:
    for cycle in (BEYOND, FAR_BEYOND):
        job = definitions().resolve_job_def(f"{FLYWHEEL}__catch_up")
        with copied.in_force(), new_instance() as instance:
            result = job.execute_in_process(
                partition_key=cycle.isoformat(), instance=instance, run_config=QUIET, raise_on_error=False
            )
        assert result.success
    assert manifest(copied, FAR_BEYOND)["predecessor"] == BEYOND
    assert copied.lake.cycles(tables.MOMENTUM, FLYWHEEL)[-2:] == [BEYOND, FAR_BEYOND]


# -- recomputing -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [0, 4, len(CLOSED) - 1])
def test_closing_one_cycle_again_gives_the_same_bytes(copied: SmallWorld, number: int) -> None:
    before = copied.fingerprint()
    assert copied.close(CLOSED[number]).success
    assert copied.fingerprint() == before


@pytest.mark.parametrize("number", [0, 4])
def test_opening_one_cycle_again_gives_the_same_bytes(copied: SmallWorld, number: int) -> None:
    before = copied.fingerprint()
    assert copied.open(CLOSED[number]).success
    assert copied.fingerprint() == before


def test_closing_a_range_in_one_run_gives_the_same_bytes(copied: SmallWorld) -> None:
    before = copied.fingerprint()
    result = copied.close(CLOSED[1], CLOSED[5])
    assert result.success
    assert len(result.asset_materializations_for_node(f"{FLYWHEEL}__scored_outputs")) >= 1
    assert copied.fingerprint() == before


def test_control_the_comparison_sees_a_changed_byte(copied: SmallWorld) -> None:
    before = copied.fingerprint()
    path = next(copied.paths.lake.rglob("part.parquet"))
    path.write_bytes(path.read_bytes() + b"\0")
    assert len(changed_files(before, copied.fingerprint())) == 1


def test_a_range_that_was_lost_is_made_anew_byte_for_byte(copied: SmallWorld) -> None:
    before = copied.fingerprint()
    for asset in (*CLOSE_ASSETS, "scoring_model_terms", "brief_outcomes", "audit"):
        for cycle in CLOSED[2:]:
            shutil.rmtree(copied.paths.lake / asset / f"flywheel={FLYWHEEL}" / f"cycle={cycle}")
    assert copied.fingerprint() != before
    assert copied.close(CLOSED[2], CLOSED[-1]).success
    assert copied.fingerprint() == before


def test_everything_is_made_anew_from_the_ledgers_byte_for_byte(copied: SmallWorld) -> None:
    before = copied.fingerprint()
    for folder in copied.paths.lake.iterdir():
        if folder.name not in LEDGERS:
            shutil.rmtree(folder)
    for cycle in CLOSED:
        assert copied.open(cycle, publish="all", is_synthetic=True, recorded_at=cycle_start(cycle).isoformat()).success
        assert copied.close(cycle).success
    assert changed_files(before, copied.fingerprint()) == []


# -- corrections -----------------------------------------------------------------------------------------------------
def test_a_correction_makes_exactly_its_cycle_stale(copied: SmallWorld) -> None:
    copied.correct(CLOSED[3])
    assert stale_cycles(copied.lake, FLYWHEEL, tables.ALL_TABLES) == {"performance_metrics": [CLOSED[3]]}


def test_a_restatement_changes_learning_from_its_cycle_on_and_nothing_that_was_published(copied: SmallWorld) -> None:
    output = copied.correct(CLOSED[3])
    before = copied.fingerprint()
    assert copied.close(CLOSED[3], CLOSED[-1]).success
    changes = changed_cycles(before, copied.fingerprint())
    assert changes["performance_metrics"] == [CLOSED[3]]
    assert changes["brief_outcomes"] == [CLOSED[3]]
    assert changes["scored_outputs"][0] == CLOSED[3]
    assert changes["momentum"] == CLOSED[3:]
    # What a restatement says of itself is history, which no clean rebuild repeats.
    assert not ({*OPEN_TABLES, *LEDGERS} - {"restatements"}) & changes.keys()
    assert all(cycle >= CLOSED[3] for cycles in changes.values() for cycle in cycles)
    rows = copied.lake.read(tables.PERFORMANCE_METRICS, FLYWHEEL, CLOSED[3]).to_pylist()
    assert [row["known_at"] for row in rows if row["output_id"] == output] == [datetime(2025, 1, 1, tzinfo=UTC)]


def test_after_a_restatement_of_everything_behind_it_no_learning_is_stale(copied: SmallWorld) -> None:
    copied.correct(CLOSED[3])
    copied.close(CLOSED[3], CLOSED[-1])
    closing = [table for table in tables.ALL_TABLES if table.layer in ("feedback", "learning", "momentum")]
    assert stale_cycles(copied.lake, FLYWHEEL, closing) == {}


def test_closing_only_the_corrected_cycle_leaves_those_that_look_back_on_it_stale(copied: SmallWorld) -> None:
    copied.correct(CLOSED[3])
    copied.close(CLOSED[3])
    assert stale_cycles(copied.lake, FLYWHEEL, [tables.SCORED_OUTPUTS]) == {"scored_outputs": CLOSED[4:]}


def test_a_cutoff_before_the_correction_gives_what_was_known_then(copied: SmallWorld) -> None:
    before = copied.fingerprint("input_versions", *LEDGERS)
    copied.correct(CLOSED[3])
    assert copied.close(CLOSED[3], CLOSED[-1], cutoff=datetime(2024, 12, 31, tzinfo=UTC)).success
    assert copied.fingerprint("input_versions", *LEDGERS) == before


def test_control_a_cutoff_after_the_correction_does_not(copied: SmallWorld) -> None:
    before = copied.fingerprint("input_versions", *LEDGERS)
    copied.correct(CLOSED[3])
    copied.close(CLOSED[3], cutoff=datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=1))
    assert copied.fingerprint("input_versions", *LEDGERS) != before


# -- published history -----------------------------------------------------------------------------------------------
def test_published_history_is_kept_when_learning_has_changed_since(copied: SmallWorld) -> None:
    copied.correct(CLOSED[5])
    copied.close(CLOSED[5])
    before = copied.fingerprint("input_versions")
    result = copied.open(CLOSED[6])
    assert copied.fingerprint("input_versions") == before
    assert not result.success
    assert "repin: true" in failure(result)


def test_repin_produces_anew_with_the_present_learning(copied: SmallWorld) -> None:
    copied.correct(CLOSED[5])
    copied.close(CLOSED[5])
    pinned = manifest(copied, CLOSED[6])["scoring_model_version"]
    assert copied.open(CLOSED[6], repin=True, publish="all", is_synthetic=True).success
    model = copied.lake.read(tables.SCORING_MODEL, FLYWHEEL, CLOSED[5]).to_pylist()[0]
    assert manifest(copied, CLOSED[6])["scoring_model_version"] == model["model_version"] != pinned


def test_settings_of_today_do_not_change_what_was_published(copied: SmallWorld) -> None:
    """Opened with publish: all; opened again without saying so."""
    before = copied.fingerprint()
    assert copied.open(CLOSED[0], publish="choice").success
    assert copied.fingerprint() == before
