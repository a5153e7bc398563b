"""The job and the schedule that pull the feeds of a flywheel that have a source of their own. Wiring only.

The files land by the inbox sensor, like any other. Not here: pulling (`loop.pulling`).
"""

import os
from datetime import UTC, date, datetime

import dagster as dg
from pydantic import Field

from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.errors import FlywheelError, UnavailableError
from flywheel_pipelines.feedback.sources import TIMEOUT
from flywheel_pipelines.loop.pulling import Pulled, pull_feed, pulled_feeds
from flywheel_pipelines.paths import DataPaths

EVERY_MORNING = "0 5 * * *"
RETRY_SECONDS = 60.0
"""Pause before the first of two retries of a source that does not answer; twice as long before the second."""


class PullConfig(dg.Config):
    """What to pull. The URL of a database is no part of it: it comes from the environment of the run."""

    feed: str | None = Field(default=None, description="One feed; none: every feed that has a source.")
    first_day: str | None = Field(
        default=None, description="First day, YYYY-MM-DD; none: that of the oldest cycle still measured."
    )
    last_day: str | None = Field(default=None, description="Last day, YYYY-MM-DD; none: today, UTC.")
    timeout: float = Field(default=TIMEOUT, gt=0, description="Seconds that a query may take.")


def pull_job(kit: AssetKit) -> dg.JobDefinition:
    """`<flywheel>__pull`: one op that pulls the feeds, one after the other."""
    name = kit.spec.name

    @dg.op(
        name=f"{name}__pull_feeds",
        tags={"flywheel": name},
        description="Pulls feeds into files of the inbox.",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=RETRY_SECONDS, backoff=dg.Backoff.EXPONENTIAL),
    )
    def pull_feeds(context: dg.OpExecutionContext, config: PullConfig) -> None:
        try:
            for feed in [config.feed] if config.feed else pulled_feeds(kit.spec):
                pulled = pull_feed(
                    kit.spec,
                    feed,
                    DataPaths.from_environment(),
                    today=datetime.now(UTC).date(),
                    environment=os.environ,
                    first_day=_day("first_day", config.first_day),
                    last_day=_day("last_day", config.last_day),
                    timeout=config.timeout,
                )
                context.log.info(pulled.words)
                context.log_event(_observation(name, pulled))
        except FlywheelError as error:
            # A database that does not answer may do so in a minute; a wrong query stays wrong.
            again = isinstance(error, UnavailableError)
            raise dg.Failure(description=str(error), allow_retries=again) from error

    @dg.job(
        name=f"{name}__pull",
        description="Pull the feeds that come from a database or a dlt pipeline into the inbox.",
        executor_def=dg.in_process_executor,
        tags={"flywheel": name, "phase": "pull"},
    )
    def pull() -> None:
        pull_feeds()

    return pull


def pull_schedule(kit: AssetKit, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every morning, once somebody has switched it on."""
    return dg.ScheduleDefinition(
        name=f"{kit.spec.name}__pull_every_morning",
        job=job,
        cron_schedule=EVERY_MORNING,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Pulls the cycles that are still measured.",
    )


def _observation(flywheel: str, pulled: Pulled) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=dg.AssetKey([flywheel, "inbox", pulled.feed]),
        description=pulled.words,
        metadata={
            "rows": pulled.n_rows,
            "first_day": str(pulled.first_day),
            "last_day": str(pulled.last_day),
            "file": str(pulled.path or "none"),
        },
    )


def _day(key: str, value: str | None) -> date | None:
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise FlywheelError(f"Config {key}: found {value!r}, expected a day such as 2026-01-05.") from None
