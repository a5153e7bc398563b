"""Reviews through Dagster: a floor that is theirs alone, the edited text in the corpus, and late reviews."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flywheel_pipelines.feedback.feeds.built_in import REVIEW_SHEET
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.reviews.desk import sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import COLUMNS, write_sheet
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.versions import stale_cycles
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

FIRST, SECOND, THIRD, FOURTH = WEEKS[:4]
AT = datetime(2026, 2, 2, tzinfo=UTC)
CLOSED_TABLES = (
    tables.PERFORMANCE_METRICS,
    tables.REVIEWED_OUTPUTS,
    tables.SCORED_OUTPUTS,
    tables.SCORING_MODEL,
    tables.REFERENCE_CORPUS,
    tables.REFRESHED_PROMPT,
)
"""What a close writes; manifests of published cycles stay as they are, whatever changes before them."""
EDITED = "Subject: A rota in an hour\n\nWe would like to show you how."
# One review is little evidence: of as many accepted as not, an accepted one is above a half with a probability of 0.68.
BY_REVIEWS = {
    "metrics": {
        "acceptance": {"kind": "rate", "successes": "accepted_as_is", "exposure": "reviews"},
        "edit_rate": {"kind": "rate", "successes": "edited", "exposure": "reviews", "better": "lower"},
    },
    "floor": {"metric": "acceptance", "above": 0.5, "min_exposure": 1, "confidence": 0.6},
}


def hand_in(world: WrittenWorld, cycle: date, said: Mapping[str, Mapping[str, str]], at: datetime = AT) -> None:
    """Fill the decisions into the cycle's rows of a sheet, by output id, and land it."""
    published = world.rows(tables.PUBLISHED_OUTPUTS, cycle)
    rows = [
        {
            **dict.fromkeys(COLUMNS),
            "output_id": row["output_id"],
            "draft": row["text"],
            "reviewer": "editor-1",
            **said[row["output_id"]],
        }
        for row in published
        if row["output_id"] in said
    ]
    path = world.root / f"sheet-{at:%Y%m%dT%H%M}.xlsx"
    write_sheet(path, rows, written_as="xlsx")
    batch, is_new = land_file(world.lake, world.spec, REVIEW_SHEET, path, recorded_at=at)
    assert (is_new, batch.n_rows, batch.n_quarantined) == (True, len(said), 0)


def close(world: WrittenWorld, first: date, last: date | None = None, cutoff: datetime | None = None) -> None:
    """Close a cycle, or a range in one run as a backfill does."""
    known = {"knowledge_cutoff": cutoff.isoformat()} if cutoff else {}
    ops = {"performance_metrics": known, "momentum": {"plot": False}}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    ends = {"start": first, "end": last or first}
    with world.in_force(), new_instance() as instance:
        result = (
            world.definitions()
            .resolve_job_def(f"{NAME}__close")
            .execute_in_process(
                run_config={"ops": {f"{NAME}__{asset}": {"config": config} for asset, config in ops.items()}, **quiet},
                instance=instance,
                tags={f"dagster/asset_partition_range_{end}": cycle.isoformat() for end, cycle in ends.items()},
            )
        )
    assert result.success


def corpus(world: WrittenWorld, cycle: date) -> dict[str, str]:
    return {row["reference_id"]: row["text"] for row in world.rows(tables.REFERENCE_CORPUS, cycle)}


def prompt(world: WrittenWorld, cycle: date) -> str:
    return world.rows(tables.REFRESHED_PROMPT, cycle)[0]["text"]


# -- a floor of reviews ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """One cycle of which nothing was measured but reviews: half accepted, one edited, the rest rejected."""
    world = WrittenWorld.make(tmp_path_factory.mktemp("reviewed") / "world", **BY_REVIEWS)
    assert world.open(FIRST).success
    ids = sorted({row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, FIRST)})
    said = {name: {"decision": "accepted" if n % 2 else "rejected"} for n, name in enumerate(ids)}
    hand_in(world, FIRST, said | {ids[0]: {"decision": "edited", "final_text": EDITED}})
    close(world, FIRST)
    return world


def decided(world: WrittenWorld) -> dict[str, set[str]]:
    """Outputs by what their reviewer said."""
    found: dict[str, set[str]] = {}
    for row in world.rows(tables.REVIEWED_OUTPUTS, FIRST):
        found.setdefault(row["decision"], set()).add(row["output_id"])
    return found


def test_reviews_alone_promote(reviewed: WrittenWorld) -> None:
    promoted = {row["output_id"] for row in reviewed.rows(tables.SCORED_OUTPUTS, FIRST) if row["decision"] == "promote"}
    assert promoted == decided(reviewed)["accepted"] != set()
    assert set(corpus(reviewed, FIRST)) <= promoted
    assert corpus(reviewed, FIRST)


def test_what_reviews_count_as_is_in_the_metrics(reviewed: WrittenWorld) -> None:
    metrics = {(row["output_id"], row["metric"]): row for row in reviewed.rows(tables.PERFORMANCE_METRICS, FIRST)}
    (edited,) = decided(reviewed)["edited"]
    accepted = min(decided(reviewed)["accepted"])
    assert [metrics[accepted, name]["value"] for name in ("acceptance", "edit_rate")] == [1.0, 0.0]
    assert [metrics[edited, name]["value"] for name in ("acceptance", "edit_rate")] == [0.0, 1.0]
    assert {row["exposure"] for row in metrics.values()} == {1.0}


def test_the_next_prompt_shows_what_was_accepted(reviewed: WrittenWorld) -> None:
    assert all(text in prompt(reviewed, FIRST) for text in corpus(reviewed, FIRST).values())


def test_the_next_sheet_of_the_cycle_is_empty(reviewed: WrittenWorld) -> None:
    assert sheet_rows(reviewed.lake, NAME, FIRST) == []


def test_control_without_reviews_nothing_is_promoted(tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path / "world", **BY_REVIEWS)
    assert world.open(FIRST).success
    close(world, FIRST)
    assert world.rows(tables.REVIEWED_OUTPUTS, FIRST) == []
    assert corpus(world, FIRST) == {}


# -- the edited text in the corpus -----------------------------------------------------------------------------------
@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    """Three closed cycles whose floor counts replies; the third has references."""
    copy = played.copy_to(tmp_path)
    close(copy, FIRST, THIRD)
    assert stale_cycles(copy.lake, NAME, CLOSED_TABLES) == {}
    return copy


def a_reference(world: WrittenWorld) -> tuple[str, date]:
    """One of the references of the third cycle, and the cycle that published it."""
    row = min(world.rows(tables.REFERENCE_CORPUS, THIRD), key=lambda row: row["rank"])
    return row["reference_id"], row["source_cycle"]


def test_the_edited_text_is_what_the_next_prompt_shows_and_what_went_out_stays(world: WrittenWorld) -> None:
    output, cycle = a_reference(world)
    draft, before = corpus(world, THIRD)[output], world.bytes_of("published_outputs", "generated_outputs")
    hand_in(world, cycle, {output: {"decision": "edited", "final_text": EDITED}})
    close(world, cycle, THIRD)
    assert corpus(world, THIRD)[output] == EDITED
    assert EDITED in prompt(world, THIRD)
    assert draft not in prompt(world, THIRD)
    assert world.bytes_of("published_outputs", "generated_outputs") == before
    assert world.open(FOURTH).success
    pinned = world.manifest(FOURTH)["prompt_version"]
    (registered,) = [row for row in world.rows(tables.PROMPT_VERSIONS) if row["prompt_version"] == pinned]
    assert EDITED in [shown["text"] for shown in json.loads(registered["shown_references"])]


def test_a_withdrawn_edit_restores_the_draft(world: WrittenWorld) -> None:
    output, cycle = a_reference(world)
    before = {**corpus(world, THIRD)}, prompt(world, THIRD)
    hand_in(world, cycle, {output: {"decision": "edited", "final_text": EDITED}})
    close(world, cycle, THIRD)
    assert (corpus(world, THIRD), prompt(world, THIRD)) != before
    hand_in(world, cycle, {output: {"decision": "accepted"}}, at=AT + timedelta(hours=1))
    close(world, cycle, THIRD)
    assert (corpus(world, THIRD), prompt(world, THIRD)) == before


def test_as_known_before_the_edit_the_draft_is_the_reference(world: WrittenWorld) -> None:
    output, cycle = a_reference(world)
    before = corpus(world, THIRD)
    hand_in(world, cycle, {output: {"decision": "edited", "final_text": EDITED}})
    close(world, cycle, THIRD, cutoff=AT - timedelta(hours=1))
    assert corpus(world, THIRD)[output] == before[output]


def test_a_rejected_output_is_no_reference_however_well_it_did(world: WrittenWorld) -> None:
    output, cycle = a_reference(world)
    hand_in(world, cycle, {output: {"decision": "rejected", "comment": "not our tone"}})
    close(world, cycle, THIRD)
    scored = {row["output_id"]: row["decision"] for row in world.rows(tables.SCORED_OUTPUTS, cycle)}
    assert scored[output] == "promote"
    assert output not in corpus(world, THIRD)


def test_a_late_review_makes_its_own_cycle_stale_and_closing_on_from_there_settles_it(world: WrittenWorld) -> None:
    hand_in(world, SECOND, {an_output(world, SECOND): {"decision": "edited", "final_text": EDITED}})
    stale = stale_cycles(world.lake, NAME, CLOSED_TABLES)
    assert stale == {"performance_metrics": [SECOND], "reviewed_outputs": [SECOND]}
    close(world, SECOND, THIRD)
    assert stale_cycles(world.lake, NAME, CLOSED_TABLES) == {}


def test_a_review_that_is_closed_over_makes_the_corpora_stale_that_may_show_it(world: WrittenWorld) -> None:
    hand_in(world, FIRST, {an_output(world, FIRST): {"decision": "edited", "final_text": EDITED}})
    assert world.run("close", FIRST, select=["performance_metrics"]).success
    assert stale_cycles(world.lake, NAME, [tables.REFERENCE_CORPUS]) == {"reference_corpus": [FIRST, SECOND, THIRD]}


def an_output(world: WrittenWorld, cycle: date) -> str:
    return world.rows(tables.PUBLISHED_OUTPUTS, cycle)[0]["output_id"]
