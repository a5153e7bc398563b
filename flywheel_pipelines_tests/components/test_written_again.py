"""Opening a cycle again: nothing is asked twice, nothing that went out changes, and what changes is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines_tests.small_world import changed_files, failure
from flywheel_pipelines_tests.written_world import (
    NAME,
    OPEN_TABLES,
    WEEKS,
    CountedServer,
    WrittenWorld,
    counted_server,
    later,
)

FIRST = WEEKS[0]
PRODUCED = ("generated_outputs", "published_outputs")


@pytest.fixture(scope="module")
def server() -> Iterator[CountedServer]:
    with counted_server() as counted:
        yield counted


@pytest.fixture(scope="module")
def opened(server: CountedServer, tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """The first cycle, written at the server. Read only."""
    world = WrittenWorld.make(tmp_path_factory.mktemp("opened"))
    assert world.open(FIRST, server).success
    return world


@pytest.fixture
def copied(opened: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    return opened.copy_to(tmp_path)


def outputs(world: WrittenWorld, cycle: date = FIRST, **having: Any) -> list[dict[str, Any]]:
    rows = world.rows(tables.GENERATED_OUTPUTS, cycle)
    return [row for row in rows if all(row[name] == value for name, value in having.items())]


def published(world: WrittenWorld, cycle: date = FIRST) -> dict[str, dict[str, Any]]:
    return {row["brief_id"]: row for row in world.rows(tables.PUBLISHED_OUTPUTS, cycle)}


def exports(world: WrittenWorld) -> list[dict[str, Any]]:
    lines = (world.paths.outbox / NAME / f"{FIRST}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


# -- the same again --------------------------------------------------------------------------------------------------
def test_the_server_was_asked_once_for_each_candidate(opened: WrittenWorld) -> None:
    requests = opened.rows(tables.LLM_REQUESTS)
    assert {row["model"] for row in requests} == {"gpt-5-mini"}
    assert {row["n_tries"] for row in requests} == {1}
    assert len({row["request_key"] for row in requests}) == len(requests) == len(outputs(opened)) == 10


@pytest.mark.parametrize("select", [["generated_outputs"], ["generated_outputs", "published_outputs"], None])
def test_materializing_again_asks_nothing_and_gives_the_same_bytes(
    copied: WrittenWorld, server: CountedServer, select: list[str] | None
) -> None:
    before = copied.bytes_of()
    result, asked = server.asked_by(lambda: copied.run("open", FIRST, select=select, environment=server.environment))
    assert result.success
    assert asked == []
    assert changed_files(before, copied.bytes_of()) == []


def test_control_a_lost_ledger_is_asked_again(copied: WrittenWorld, server: CountedServer) -> None:
    """The server counts, and the bytes do not come from anywhere else."""
    before = copied.bytes_of(*OPEN_TABLES)
    for path in (copied.paths.lake / "llm_requests").rglob("*.parquet"):
        path.unlink()
    result, asked = server.asked_by(lambda: copied.open(FIRST, server))
    assert result.success
    assert len(asked) == 10
    assert changed_files(before, copied.bytes_of(*OPEN_TABLES)) == []


def test_outputs_that_were_lost_are_made_anew_from_the_ledger(copied: WrittenWorld, server: CountedServer) -> None:
    before = copied.bytes_of()
    for table in PRODUCED:
        for path in (copied.paths.lake / table).rglob("*.parquet"):
            path.unlink()
    for path in copied.paths.outbox.rglob("*.*"):
        path.unlink()
    result, asked = server.asked_by(lambda: copied.open(FIRST, server))
    assert result.success
    assert asked == []
    assert changed_files(before, copied.bytes_of()) == []


# -- some requests failed --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def incomplete(server: CountedServer, tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """A cycle in which one brief was never answered usably. Read only."""
    world = WrittenWorld.make(tmp_path_factory.mktemp("incomplete"), producer={"max_failed": 0.5})
    server.babbles = lambda prompt: "Saves 11 hours" in prompt
    try:
        assert world.open(FIRST, server).success
    finally:
        server.babbles = lambda _: False
    return world


def test_a_request_that_fails_leaves_the_others_alone(incomplete: WrittenWorld) -> None:
    missing = [row for row in incomplete.rows(tables.LLM_REQUESTS) if row["status"] == "failed"]
    assert {row["brief_id"] for row in missing} == {"w0b0"}
    assert {row["n_tries"] for row in missing} == {3}
    assert set(published(incomplete)) == {f"w0b{number}" for number in range(1, 6)}


def test_a_rerun_asks_only_for_what_failed_and_keeps_what_was_published(
    incomplete: WrittenWorld, server: CountedServer, tmp_path: Path
) -> None:
    world = incomplete.copy_to(tmp_path)
    before, sent_before = published(world), exports(world)
    result, asked = server.asked_by(lambda: world.open(FIRST, server))
    assert result.success
    assert len(asked) == sum(row["status"] == "failed" for row in incomplete.rows(tables.LLM_REQUESTS)) > 0
    assert all("Saves 11 hours" in prompt for prompt in asked)
    after = published(world)
    assert {brief: row for brief, row in after.items() if brief in before} == before
    assert after.keys() - before.keys() == {"w0b0"}
    now = exports(world)
    assert now[: len(sent_before)] == sent_before
    assert [(row["brief_id"], row["export"]) for row in now[len(sent_before) :]] == [("w0b0", 2)]


def test_too_many_failures_stop_the_cycle_in_words(server: CountedServer, tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path)
    server.babbles = lambda prompt: "Saves 11 hours" in prompt
    try:
        result = world.open(FIRST, server)
    finally:
        server.babbles = lambda _: False
    said = failure(result)
    assert "of 10 requests failed" in said
    assert "producer.max_failed allows 5.0%" in said
    assert world.rows(tables.PUBLISHED_OUTPUTS) == []
    assert [row["status"] for row in world.rows(tables.LLM_REQUESTS)].count("answered") >= 8


# -- another attempt -------------------------------------------------------------------------------------------------
def test_another_attempt_writes_anew_and_keeps_the_old_as_superseded(
    copied: WrittenWorld, server: CountedServer
) -> None:
    before, first = published(copied), outputs(copied)
    result, asked = server.asked_by(lambda: copied.open(FIRST, server, attempt=2))
    assert result.success
    assert len(asked) == len(first)
    old, new = outputs(copied, attempt=1), outputs(copied, attempt=2)
    assert [{**row, "is_superseded": False} for row in old] == first
    assert {row["is_superseded"] for row in old} == {True}
    assert {row["is_superseded"] for row in new} == {False}
    assert not {row["output_id"] for row in old} & {row["output_id"] for row in new}
    after = published(copied)
    assert {row["output_id"] for row in after.values()} <= {row["output_id"] for row in new}
    assert {brief: row["arm"] for brief, row in after.items()} == {brief: row["arm"] for brief, row in before.items()}
    assert {row["export"] for row in exports(copied)} == {2}


def test_after_another_attempt_opening_again_is_stable(copied: WrittenWorld, server: CountedServer) -> None:
    copied.open(FIRST, server, attempt=2)
    before = copied.bytes_of()
    for options in ({}, {"attempt": 2}):
        result, asked = server.asked_by(lambda options=options: copied.open(FIRST, server, **options))
        assert result.success
        assert asked == []
        assert changed_files(before, copied.bytes_of()) == []


@pytest.mark.parametrize("options", [{"attempt": 1}, {"attempt": 1, "repin": True}, {"attempt": 2, "repin": True}])
def test_an_attempt_that_was_passed_is_refused_in_words(
    copied: WrittenWorld, server: CountedServer, options: dict[str, Any]
) -> None:
    copied.open(FIRST, server, attempt=2)
    before = copied.bytes_of()
    result, asked = server.asked_by(lambda: copied.open(FIRST, server, **options))
    assert not result.success
    assert f"attempt: found {options['attempt']}, but attempt 2 has taken its place already. Ask for 3" in failure(
        result
    )
    assert asked == []
    assert changed_files(before, copied.bytes_of()) == []


def test_pinning_a_published_cycle_anew_is_another_attempt(copied: WrittenWorld, server: CountedServer) -> None:
    first = outputs(copied)
    assert copied.open(FIRST, server, repin=True).success
    assert copied.manifest(FIRST)["attempt"] == 2
    assert len(outputs(copied, attempt=1, is_superseded=True)) == len(first)
    assert {row["attempt"] for row in outputs(copied, is_superseded=False)} == {2}


def test_an_attempt_that_has_not_gone_out_is_kept_when_it_is_tried_again(server: CountedServer, tmp_path: Path) -> None:
    """The cycle failed before anything was published; the next run goes on with the same attempt."""
    world = WrittenWorld.make(tmp_path, producer={"max_failed": 0})
    server.babbles = lambda prompt: "Saves 11 hours" in prompt
    try:
        assert not world.open(FIRST, server, attempt=2).success
    finally:
        server.babbles = lambda _: False
    result, asked = server.asked_by(lambda: world.open(FIRST, server))
    assert result.success
    assert world.manifest(FIRST)["attempt"] == 2
    assert 0 < len(asked) < 10


# -- briefs that changed since ---------------------------------------------------------------------------------------
def deliver(world: WrittenWorld, *rows: str) -> None:
    """More rows of the briefs' feed, a day after the cycle was opened."""
    path = world.root / "more.csv"
    path.write_text("\n".join(["brief_id,week,segment,title,locale,product,facts", *rows]) + "\n", encoding="utf-8")
    land_file(world.lake, world.spec, "leads", path, recorded_at=later(FIRST, days=1))


CORRECTED = f"w0b1,{FIRST},garages,Rota planning for garages,en,rota planner,Saves 77 hours a week"
LATE = f"w0late,{FIRST},garages,Parts for garages,en,parts list,Saves 55 hours a week"


def test_a_brief_corrected_after_publishing_changes_nothing_that_went_out(
    copied: WrittenWorld, server: CountedServer
) -> None:
    """Or the text on record would be another than the one that was sent."""
    before = copied.bytes_of("briefs", *PRODUCED)
    deliver(copied, CORRECTED)
    result, asked = server.asked_by(lambda: copied.open(FIRST, server))
    assert result.success
    assert asked == []
    assert changed_files(before, copied.bytes_of("briefs", *PRODUCED)) == []


@pytest.mark.parametrize("options", [{"attempt": 2}, {"repin": True}])
def test_another_attempt_is_written_from_the_corrected_brief(
    copied: WrittenWorld, server: CountedServer, options: dict[str, Any]
) -> None:
    deliver(copied, CORRECTED)
    result, asked = server.asked_by(lambda: copied.open(FIRST, server, **options))
    assert result.success
    assert len(asked) == 10
    assert any("Saves 77 hours" in prompt for prompt in asked)
    before = copied.bytes_of()
    assert server.asked_by(lambda: copied.open(FIRST, server))[1] == []
    assert changed_files(before, copied.bytes_of()) == []


def test_a_brief_that_came_late_is_added_to_a_published_cycle(copied: WrittenWorld, server: CountedServer) -> None:
    before = published(copied)
    deliver(copied, CORRECTED, LATE)
    result, asked = server.asked_by(lambda: copied.open(FIRST, server))
    assert result.success
    assert asked
    assert all("Saves 55 hours" in prompt for prompt in asked)
    after = published(copied)
    assert {brief: row for brief, row in after.items() if brief in before} == before
    assert after.keys() - before.keys() == {"w0late"}


# -- learning that changed since -------------------------------------------------------------------------------------
SECOND, THIRD = WEEKS[1], WEEKS[2]
KEPT = (*OPEN_TABLES, "prompt_versions", "llm_requests")


@pytest.fixture(scope="module")
def restated(played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Three cycles, then a correction of the second and its close, so that its winners are others. Read only."""
    world = played.copy_to(tmp_path_factory.mktemp("restated"))
    corpus = {row["reference_id"] for row in world.rows(tables.REFERENCE_CORPUS, SECOND)}
    lines = ["output_id,day,sends,replies"]
    lines += [
        f"{row['output_id']},{SECOND},500,{0 if row['output_id'] in corpus else 250}"
        for row in world.rows(tables.PUBLISHED_OUTPUTS, SECOND)
    ]
    path = world.root / "correction.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    batch, is_new = land_file(world.lake, world.spec, "mailer", path, recorded_at=later(WEEKS[3], days=1))
    assert (is_new, batch.n_quarantined, batch.cycles) == (True, 0, [SECOND])
    assert world.run("close", SECOND).success
    assert {row["reference_id"] for row in world.rows(tables.REFERENCE_CORPUS, SECOND)} != corpus
    return world


def shown_in(world: WrittenWorld, **having: Any) -> set[str]:
    return {one for row in outputs(world, THIRD, **having) for one in row["reference_ids"]}


def test_closing_again_with_a_correction_changes_nothing_that_was_opened(
    played: WrittenWorld, restated: WrittenWorld
) -> None:
    assert changed_files(played.bytes_of(*KEPT), restated.bytes_of(*KEPT)) == []


def test_a_cycle_that_was_opened_before_a_correction_is_produced_with_the_prompt_of_then(
    played: WrittenWorld, restated: WrittenWorld, tmp_path: Path
) -> None:
    world = restated.copy_to(tmp_path)
    assert world.open(THIRD, is_synthetic=True).success
    assert changed_files(played.bytes_of(*KEPT), world.bytes_of(*KEPT)) == []


def test_another_attempt_of_it_still_has_the_prompt_of_then(restated: WrittenWorld, tmp_path: Path) -> None:
    world = restated.copy_to(tmp_path)
    assert world.open(THIRD, is_synthetic=True, attempt=2).success
    assert shown_in(world, attempt=2) == shown_in(world, attempt=1) != set()


def test_control_pinning_it_anew_shows_the_winners_of_now(restated: WrittenWorld, tmp_path: Path) -> None:
    world = restated.copy_to(tmp_path)
    assert world.open(THIRD, is_synthetic=True, repin=True).success
    known = {row["reference_id"] for row in world.rows(tables.REFERENCE_CORPUS, SECOND)}
    assert shown_in(world, attempt=2) <= known
    assert shown_in(world, attempt=2) != shown_in(world, attempt=1)


def overwrite(world: WrittenWorld, table: TableContract, cycle: date, column: str, value: Any) -> None:
    """One column of a partition with one value in every row."""
    data = world.lake.read(table, NAME, cycle).select(table.columns)
    field = table.schema.field(column)
    values = pa.array([value] * data.num_rows, field.type)
    world.lake.write(
        table, data.set_column(data.schema.get_field_index(column), field, values), flywheel=NAME, cycle=cycle
    )


def test_predictions_that_a_choice_rested_on_stand(played: WrittenWorld, tmp_path: Path) -> None:
    world = played.copy_to(tmp_path)
    overwrite(world, tables.GENERATED_OUTPUTS, THIRD, "predicted", 9.5)
    assert world.open(THIRD, is_synthetic=True).success
    assert {row["predicted"] for row in outputs(world, THIRD)} == {9.5}


def test_predictions_of_what_has_not_gone_out_are_made_anew(played: WrittenWorld, tmp_path: Path) -> None:
    """The cycle is pinned anew, perhaps with another model, until something of it is published."""
    world = played.copy_to(tmp_path)
    overwrite(world, tables.GENERATED_OUTPUTS, THIRD, "predicted", 9.5)
    shutil.rmtree(world.paths.lake / "published_outputs" / f"flywheel={NAME}" / f"cycle={THIRD}")
    assert world.open(THIRD, is_synthetic=True).success
    assert 9.5 not in {row["predicted"] for row in outputs(world, THIRD)}


def test_learning_that_went_is_missed_before_anything_is_asked(
    played: WrittenWorld, server: CountedServer, tmp_path: Path
) -> None:
    """Another scoring model than the pinned one: its predictions cannot be repeated, so nothing may be paid for."""
    world = played.copy_to(tmp_path)
    overwrite(world, tables.SCORING_MODEL, SECOND, "model_version", "other")
    result, asked = server.asked_by(lambda: world.open(THIRD, server, attempt=2))
    assert "repin: true" in failure(result)
    assert asked == []
    assert len(world.rows(tables.LLM_REQUESTS, THIRD)) == len(played.rows(tables.LLM_REQUESTS, THIRD))
