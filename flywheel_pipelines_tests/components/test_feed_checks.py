"""The check of a feed in Dagster: what a broken contract stops, what a warning does not, and what the check shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.simulation.dagster_runs import execute_job
from flywheel_pipelines_tests.feedback.contract_lakes import measurement
from flywheel_pipelines_tests.instances import new_instance
from flywheel_pipelines_tests.small_world import QUIET, changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld, counted_server

CHECKED = "performance_metrics"
BEHIND = ("scored_outputs", "scoring_model", "reference_corpus", "prompt_gate", "refreshed_prompt", "momentum")
AT = cycle_start(WEEKS[4])


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> Iterator[WrittenWorld]:
    """Three weeks were opened and closed."""
    made = played.copy_to(tmp_path / "world")
    with made.in_force():
        yield made


def close(world: WrittenWorld, first: date, last: date | None = None) -> dg.ExecuteInProcessResult:
    job = world.definitions().resolve_job_def(f"{NAME}__close")
    where: dict[str, Any] = {"partition_key": first.isoformat()}
    if last is not None:
        names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        where = {"tags": dict(zip(names, (first.isoformat(), last.isoformat()), strict=True))}
    config = {"ops": {f"{NAME}__momentum": {"config": {"plot": False}}}, **QUIET}
    with new_instance() as instance:
        return job.execute_in_process(run_config=config, instance=instance, raise_on_error=False, **where)


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [evaluation] = [one for one in result.get_asset_check_evaluations() if one.check_name.endswith("_contract")]
    return evaluation


def succeeded(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.step_key.split("__")[-1] for event in result.all_events if event.is_step_success and event.step_key}


def an_output(world: WrittenWorld, week: date = WEEKS[0]) -> str:
    return sorted(row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, week))[0]


def land(world: WrittenWorld, *lines: str, name: str = "late.csv", hour: int = 0) -> None:
    path = world.root / name
    path.write_text("\n".join(["output_id,day,sends,replies", *lines]) + "\n", encoding="utf-8")
    batch, is_new = land_file(world.lake, world.spec, "mailer", path, recorded_at=AT + timedelta(hours=hour))
    assert is_new
    assert batch.n_rows + batch.n_quarantined == len(lines)


def fewer_sends_than_replies(world: WrittenWorld, week: date = WEEKS[0]) -> None:
    """A correction that no single row shows to be wrong: an output that was answered was sent to nobody."""
    ledger = world.rows(tables.METRIC_LEDGER, week)
    answered = next(row["output_id"] for row in ledger if row["measure"] == "replies" and row["value"] > 0)
    days = sorted({row["measured_on"] for row in ledger if row["output_id"] == answered})
    facts = [
        measurement(answered, "sends", 0.0, day)
        | {"cycle": week, "batch_id": "less", "recorded_at": AT, "source_row": number, "feed": "mailer"}
        for number, day in enumerate(days, start=1)
    ]
    schema = tables.METRIC_LEDGER.schema.insert(0, pa.field("cycle", pa.date32()))
    header = {
        "batch_id": "less", "source": "less.csv", "recorded_at": AT, "n_rows": len(facts), "n_quarantined": 0,
        "first_cycle": week, "last_cycle": week, "feed": "mailer",
    }  # fmt: skip
    world.lake.append_batch(NAME, header, {tables.METRIC_LEDGER: pa.Table.from_pylist(facts, schema=schema)})


def good(world: WrittenWorld, week: date = WEEKS[0], n: int = 1) -> list[str]:
    return [f"{an_output(world, week)},{week + timedelta(days=day)},40,3" for day in range(n)]


# -- what a check looks at, and when ---------------------------------------------------------------------------------
def test_a_flywheel_has_a_blocking_check_per_feed_that_a_close_reads(world: WrittenWorld) -> None:
    job = world.definitions().resolve_job_def(f"{NAME}__close")
    [key] = [key for key in job.asset_layer.asset_graph.asset_check_keys if key.name.endswith("_contract")]
    assert (key.asset_key.path, key.name) == ([NAME, CHECKED], "mailer_contract")
    assert job.asset_layer.asset_graph.get(key).blocking


def test_a_contract_that_is_kept_shows_its_rules_its_share_and_its_page(world: WrittenWorld) -> None:
    result = close(world, WEEKS[0], WEEKS[2])
    assert result.success
    evaluation = check_of(result)
    assert evaluation.passed
    assert "about cycles 2026-01-05 to 2026-01-19 keep its contract" in (evaluation.description or "")
    assert "| reply_rate_within_exposure | kept |" in str(evaluation.metadata["rules"].value)
    assert 0 <= float(str(evaluation.metadata["quarantined_share"].value)) < 0.2
    page = Path(str(evaluation.metadata["data_docs_file"].value))
    assert page == world.paths.reports / "data_docs" / NAME / "mailer.html"
    assert evaluation.metadata["data_docs"].value == page.as_uri()
    assert "mailer keeps its contract" in page.read_text(encoding="utf-8")


def test_a_broken_rule_stops_the_close_before_it_changes_any_table(world: WrittenWorld) -> None:
    fewer_sends_than_replies(world)
    before = fingerprint(world.paths.lake)
    result = close(world, WEEKS[0])
    assert not result.success
    evaluation = check_of(result)
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert "Rule reply_rate_within_exposure" in (evaluation.description or "")
    assert "less.csv, row 1" in str(evaluation.metadata["samples"].value)
    assert succeeded(result) == set()
    assert not any(event.is_step_start and event.step_key != f"{NAME}__{CHECKED}" for event in result.all_events)
    assert changed_files(before, fingerprint(world.paths.lake)) == []


def test_a_broken_rule_fails_the_step_with_its_words_and_without_a_second_try(world: WrittenWorld) -> None:
    fewer_sends_than_replies(world)
    [failed] = [event for event in close(world, WEEKS[0]).all_events if event.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None
    assert "Rule reply_rate_within_exposure" in (failure.description or "")


def test_control_without_the_correction_everything_behind_the_check_runs(world: WrittenWorld) -> None:
    assert succeeded(close(world, WEEKS[0])) == {CHECKED, *BEHIND}


def test_a_cycle_in_the_middle_of_a_range_stops_the_whole_run(world: WrittenWorld) -> None:
    fewer_sends_than_replies(world, WEEKS[1])
    result = close(world, WEEKS[0], WEEKS[2])
    assert succeeded(result) == set()
    assert not check_of(result).passed


def test_cycles_that_the_broken_facts_are_not_about_still_close(world: WrittenWorld) -> None:
    fewer_sends_than_replies(world, WEEKS[1])
    assert close(world, WEEKS[0]).success
    assert close(world, WEEKS[2]).success


def test_the_cycle_closes_again_once_the_file_is_corrected(world: WrittenWorld) -> None:
    land(world, *good(world, n=1), *["nobody,2026-01-06,40,3"] * 4)
    assert not close(world, WEEKS[0]).success
    land(world, *good(world, n=5), hour=1)
    result = close(world, WEEKS[0])
    assert check_of(result).passed
    assert succeeded(result) == {CHECKED, *BEHIND}


# -- quarantine, on both sides of the limit ---------------------------------------------------------------------------
@pytest.mark.parametrize(("n_bad", "closes"), [(1, True), (2, False)])
def test_rows_that_cannot_be_used_are_put_aside_and_the_rest_goes_on_up_to_the_limit(
    world: WrittenWorld, n_bad: int, closes: bool
) -> None:
    """Of five rows one may be in quarantine, since the feed allows a fifth."""
    land(world, *good(world, n=5 - n_bad), *[f"{an_output(world)},2026-01-06,many,3"] * n_bad)
    result = close(world, WEEKS[0])
    assert result.success is closes
    evaluation = check_of(result)
    assert evaluation.metadata["quarantined_share"].value == pytest.approx(n_bad / 5)
    assert "many" in str(evaluation.metadata["samples"].value)
    assert ("raise max_quarantined" in (evaluation.description or "")) is not closes
    assert (succeeded(result) == {CHECKED, *BEHIND}) is closes


def test_a_higher_limit_in_the_yaml_lets_the_same_file_pass(world: WrittenWorld) -> None:
    land(world, *good(world, n=1), *["nobody,2026-01-06,40,3"] * 4)
    assert not close(world, WEEKS[0]).success
    mailer = {"kind": "metrics", "path": "mailer/*.csv", "columns": {"date": "day"}}
    leads = {"kind": "briefs", "path": "leads/*.csv", "columns": {"date": "week"}}
    world.configure(feeds={"leads": leads, "mailer": mailer | {"max_quarantined": 0.9}})
    assert close(world, WEEKS[0]).success


# -- warnings, and nothing yet ----------------------------------------------------------------------------------------
def test_a_rule_that_warns_shows_and_does_not_block(world: WrittenWorld) -> None:
    mailer = {"kind": "metrics", "path": "mailer/*.csv", "columns": {"date": "day"}, "expected_within": 1}
    world.configure(
        feeds={"leads": {"kind": "briefs", "path": "leads/*.csv", "columns": {"date": "week"}}, "mailer": mailer}
    )
    with counted_server() as server:
        for week in (WEEKS[3], WEEKS[4]):
            assert world.open(week, server).success
            with world.in_force():
                result = close(world, week)
            assert result.success
    evaluation = check_of(close(world, WEEKS[3]))
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Rule fresh" in (evaluation.description or "")


def test_a_feed_without_any_file_passes_with_words(world: WrittenWorld) -> None:
    feeds = {
        "leads": {"kind": "briefs", "path": "leads/*.csv", "columns": {"date": "week"}},
        "other": {"kind": "metrics", "path": "other/*.csv"},
    }
    world.configure(feeds=feeds)
    world.configure(feeds={**feeds, "mailer": {"kind": "metrics", "path": "mailer/*.csv", "columns": {"date": "day"}}})
    result = close(world, WEEKS[0])
    assert result.success
    described = {check.check_name: check.description or "" for check in result.get_asset_check_evaluations()}
    assert "No file of feed other has come in yet" in described["other_contract"]
    assert "keep its contract" in described["mailer_contract"]


# -- whoever runs the job himself -------------------------------------------------------------------------------------
def test_a_season_that_a_check_stops_ends_with_the_words_of_the_check(world: WrittenWorld) -> None:
    fewer_sends_than_replies(world)
    job = world.definitions().resolve_job_def(f"{NAME}__close")
    with (
        new_instance() as instance,
        pytest.raises(
            FlywheelError, match=r"(?s)step offers__performance_metrics: Feed mailer.*Rule reply_rate_within"
        ),
    ):
        execute_job(job, instance, [WEEKS[0]], {}, "demo")
