"""What looks after the whole deployment: the published file is kept fresh, and people are told what needs them."""

import dagster as dg

from flywheel_pipelines.components.alerting import alert_sensors
from flywheel_pipelines.components.upkeep import freshness_check, freshness_schedule, publish_when_behind
from flywheel_pipelines.overview import readable_specs
from flywheel_pipelines.paths import DEFS_DIR


@dg.definitions
def upkeep() -> dg.Definitions:
    """A check with its job and schedule, and the sensors that belong to no single flywheel."""
    check = freshness_check()
    job, schedule = freshness_schedule(check)
    return dg.Definitions(
        asset_checks=[check],
        jobs=[job],
        schedules=[schedule],
        sensors=[publish_when_behind, *alert_sensors(readable_specs(DEFS_DIR))],
    )
