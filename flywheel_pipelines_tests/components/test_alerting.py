"""The sensors that tell people, evaluated by Dagster, over connections on loopback; nothing is told twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.execution.execution_result import ExecutionResult

from flywheel_pipelines.alerts.sending import SLACK, UI
from flywheel_pipelines.components import automation
from flywheel_pipelines.components.alerting import alert_sensors
from flywheel_pipelines.components.runs import WILL_RETRY_TAG
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.turns import deadline_cron
from flywheel_pipelines.paths import DATA_DIR_VARIABLE
from flywheel_pipelines_tests.alerts.receivers import Webhook, webhook
from flywheel_pipelines_tests.components.turning import NAME, START, Wheel, record_run, turning_spec
from flywheel_pipelines_tests.instances import new_instance

WORDS = "The provider did not answer. Ask again."


def job(*, fails: bool = False, warns: bool = False) -> dg.JobDefinition:
    @dg.asset(
        key=[NAME, "momentum"],
        check_specs=[dg.AssetCheckSpec("lift_not_below_zero", asset=[NAME, "momentum"])],
        partitions_def=dg.WeeklyPartitionsDefinition(START.isoformat(), day_offset=1),
    )
    def momentum() -> dg.MaterializeResult:
        if fails:
            raise dg.Failure(WORDS, allow_retries=False)
        severity = dg.AssetCheckSeverity.WARN
        check = dg.AssetCheckResult(passed=not warns, severity=severity, description="It loses.")
        return dg.MaterializeResult(check_results=[check])

    unresolved = dg.define_asset_job(f"{NAME}__close", [momentum], tags={"flywheel": NAME})
    return dg.Definitions(assets=[momentum], jobs=[unresolved]).resolve_job_def(f"{NAME}__close")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """The webhook that is set, and a data directory."""
    with webhook() as hook:
        monkeypatch.setenv(SLACK, hook.url)
        monkeypatch.setenv(UI, "https://ui.example.org/")
        monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
        yield hook


def sensors() -> dict[str, dg.SensorDefinition]:
    spec = turning_spec().model_copy(update={"owners": ["team:growth"]})
    return {sensor.name: sensor for sensor in alert_sensors([spec])}


def react(name: str, result: ExecutionResult, instance: dg.DagsterInstance) -> dg.SkipReason | None:
    """Let a sensor look at a run that has ended."""
    event = result.get_run_success_event() if result.success else result.get_run_failure_event()
    context = dg.build_run_status_sensor_context(name, event, instance, result.dagster_run)
    return sensors()[name](context if result.success else context.for_run_failure())  # type: ignore[return-value]


def run(instance: dg.DagsterInstance, **tags: str) -> dg.ExecuteInProcessResult:
    return job(fails=True).execute_in_process(
        partition_key=START.isoformat(), instance=instance, raise_on_error=False, tags=tags
    )


def test_a_run_that_failed_is_told_with_cycle_step_words_owners_and_link(told: Webhook) -> None:
    with new_instance() as instance:
        failed = run(instance)
        assert react("alerts__failures", failed, instance) is None
    [body] = told.arrived
    assert f"*{NAME}__close failed, cycle {START}*" in body["text"]
    assert f"Step {NAME}__momentum: {WORDS}" in body["text"]
    assert "Owners: team:growth" in body["text"]
    assert f"https://ui.example.org/runs/{failed.run_id}" in body["text"]


def test_a_run_that_nothing_can_retry_is_told_at_once(told: Webhook) -> None:
    """Dagster's tag says that it will be, as of any run that died, also of one in a process of its own."""
    with new_instance() as instance:
        by_hand = run(instance, **{WILL_RETRY_TAG: "true"})
        assert react("alerts__failures", by_hand, instance) is None
    assert len(told.arrived) == 1


def test_a_run_that_is_retried_by_itself_is_told_when_that_is_over(told: Webhook) -> None:
    with new_instance() as instance:
        made = job(fails=True)
        not_started = dg.DagsterRunStatus.NOT_STARTED
        launched = record_run(instance, made, not_started, by_hand=False, tags={WILL_RETRY_TAG: "true"})
        retried = execute_run(InMemoryJob(made), launched, instance)
        said = react("alerts__failures", retried, instance)
        assert "is retried by itself" in str(said)
        assert told.arrived == []
        last = run(instance)
        instance.add_run_tags(last.run_id, {WILL_RETRY_TAG: "false"})
        react("alerts__failures", last, instance)
    assert len(told.arrived) == 1


@pytest.mark.parametrize("warns", [True, False])
def test_a_check_that_objects_in_a_run_that_ended_well_is_told(told: Webhook, warns: bool) -> None:
    with new_instance() as instance:
        ended = job(warns=warns).execute_in_process(partition_key=START.isoformat(), instance=instance)
        react("alerts__objections", ended, instance)
    texts = [body["text"] for body in told.arrived]
    assert len(texts) == warns
    assert all(f"- {NAME}/momentum lift_not_below_zero: It loses." in text for text in texts)


def test_without_a_channel_nothing_is_asked_and_nothing_is_told(told: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SLACK)
    with new_instance() as instance:
        assert "so that nobody is told" in str(react("alerts__failures", run(instance), instance))
    assert told.arrived == []


# -- cycles that are overdue -----------------------------------------------------------------------------------------
def look(cursor: str | None) -> dg.SensorResult:
    with new_instance() as instance, dg.build_sensor_context(instance, cursor) as context:
        result = sensors()["alerts__overdue"](context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_cycle_that_is_overdue_is_told_once(told: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = Wheel(tmp_path, turning_spec())
    wheel.take("open", START)
    now = datetime(2020, 1, 13, 17, 59, tzinfo=UTC)
    monkeypatch.setattr(automation, "utc_now", lambda: now)
    before = look(None)
    assert str(before.skip_reason.skip_message) == "No cycle is overdue."  # type: ignore[union-attr]
    now += timedelta(minutes=1)
    late = look(before.cursor)
    assert f"Overdue: {NAME}:{START}" in str(late.skip_reason.skip_message)  # type: ignore[union-attr]
    look(late.cursor)
    [body] = told.arrived
    assert f"*{NAME}: cycle {START} is not closed*" in body["text"]
    assert "should have been closed by 2020-01-13 18:00 UTC" in body["text"]


def test_a_correction_of_an_earlier_cycle_makes_no_later_one_less_overdue(
    told: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = Wheel(tmp_path, turning_spec())
    for verb, cycle in (("open", START), ("close", START), ("open", START + timedelta(weeks=1)), ("close", START)):
        wheel.take(verb, cycle)
    monkeypatch.setattr(automation, "utc_now", lambda: datetime(2020, 1, 21, tzinfo=UTC))
    look(None)
    assert len(told.arrived) == 1


def test_control_a_cycle_that_is_closed_is_not_overdue(
    told: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = Wheel(tmp_path, turning_spec())
    wheel.take("open", START)
    wheel.take("close", START)
    monkeypatch.setattr(automation, "utc_now", lambda: datetime(2020, 2, 1, tzinfo=UTC))
    look(None)
    assert told.arrived == []


# -- freshness policies ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cadence", "schedule", "cron"),
    [
        ("daily", {"hour": 6, "grace_hours": 12}, "0 18 * * *"),
        ("weekly", {"hour": 6, "grace_hours": 12}, "0 18 * * 1"),
        ("weekly", {"hour": 20, "grace_hours": 12}, "0 8 * * 2"),
        ("monthly", {"hour": 20, "grace_hours": 12}, "0 8 2 * *"),
    ],
)
def test_the_deadline_of_a_close_follows_cadence_hour_and_grace(cadence: str, schedule: dict, cron: str) -> None:
    assert deadline_cron(turning_spec(cadence, **schedule)) == cron


def test_feedback_and_momentum_have_a_deadline_and_outputs_have_none() -> None:
    from flywheel_pipelines_tests.small_world import definitions

    graph = definitions().resolve_asset_graph()
    for table, expected in ((tables.PERFORMANCE_METRICS, True), (tables.MOMENTUM, True), (tables.BRIEFS, False)):
        policy = graph.get(dg.AssetKey(["outreach", table.name])).freshness_policy_or_from_metadata
        assert (policy is not None) is expected
    policy = graph.get(dg.AssetKey(["outreach", "momentum"])).freshness_policy_or_from_metadata
    assert policy == dg.FreshnessPolicy.cron("0 18 * * 1", lower_bound_delta=timedelta(hours=12))
