"""The check of the reference corpus in Dagster: what it stops, what a warning does not, and what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.components.corpus_checks import NAME as CHECK
from flywheel_pipelines.feedback.rulings import rule
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.components.test_feed_checks import close, succeeded
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

NEEDS_PEOPLE = {"min_human_share": 0.5, "patience": 1}


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> Iterator[WrittenWorld]:
    """Three weeks were opened and closed, and nobody looked at what went out."""
    made = played.copy_to(tmp_path / "world")
    with made.in_force():
        yield made


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [evaluation] = [one for one in result.get_asset_check_evaluations() if one.check_name == CHECK]
    return evaluation


def test_a_corpus_past_a_limit_stops_the_refresh_and_nothing_behind_it_runs(world: WrittenWorld) -> None:
    world.configure(collapse=NEEDS_PEOPLE)
    before = fingerprint(world.paths.lake)
    result = close(world, WEEKS[2])
    assert not result.success
    evaluation = check_of(result)
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert "The prompt refresh is stopped" in (evaluation.description or "")
    assert "flywheel corpus pin" in (evaluation.description or "")
    assert not {"reference_corpus", "refreshed_prompt", "momentum"} & succeeded(result)
    assert not any(event.is_step_start and "refreshed_prompt" in str(event.step_key) for event in result.all_events)
    changed = {Path(path).parts[0] for path in changed_files(before, fingerprint(world.paths.lake))}
    assert "collapse_signs" in changed
    assert not {"refreshed_prompt", "momentum", "audit"} & changed


def test_control_within_the_limits_the_prompt_is_refreshed(world: WrittenWorld) -> None:
    result = close(world, WEEKS[2])
    assert check_of(result).passed
    assert {"refreshed_prompt", "momentum"} <= succeeded(result)


def test_what_the_check_says_to_do_lets_the_cycle_close(world: WrittenWorld) -> None:
    world.configure(collapse=NEEDS_PEOPLE)
    assert not close(world, WEEKS[2]).success
    ids = [row["reference_id"] for row in world.rows(tables.REFERENCE_CORPUS, WEEKS[2])]
    at = datetime(2026, 2, 2, tzinfo=UTC)
    rule(world.lake, NAME, ids, "pin", person="editor-1", reason="we stand behind these", recorded_at=at)
    result = close(world, WEEKS[2])
    assert check_of(result).passed
    assert "refreshed_prompt" in succeeded(result)


def test_a_limit_that_is_past_for_too_short_warns_and_does_not_block(world: WrittenWorld) -> None:
    world.configure(collapse={"min_human_share": 0.5, "patience": 50})
    result = close(world, WEEKS[2])
    evaluation = check_of(result)
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "refreshed_prompt" in succeeded(result)


def test_a_range_is_stopped_by_its_newest_cycle(world: WrittenWorld) -> None:
    world.configure(collapse=NEEDS_PEOPLE)
    result = close(world, WEEKS[0], WEEKS[2])
    assert "refreshed_prompt" not in succeeded(result)
    assert f"Cycle {WEEKS[2]}" in (check_of(result).description or "")


def test_the_asset_shows_what_came_in_with_its_text_and_the_trends(world: WrittenWorld) -> None:
    result = close(world, WEEKS[0], WEEKS[2])
    event = result.asset_materializations_for_node(f"{NAME}__reference_corpus")[-1]
    shown = {key: value.value for key, value in event.metadata.items()}
    entered = [row for row in world.rows(tables.REFERENCE_CHANGES, WEEKS[2]) if row["change"] == "entered"]
    assert entered
    for row in entered:
        assert row["reference_id"] in str(shown["came_in"])
        assert " ".join(row["text"].split())[:40] in str(shown["came_in"])
    assert str(shown["trends"]).count("\n| 2026-") == 3
    assert {"entered", "left", "went_out"} <= set(shown)
