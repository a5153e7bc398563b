"""The latest-known view of the metric ledger for one cycle.

Here: latest wins up to the knowledge cutoff, measures become metrics, and whether the window has passed.
Not here: how rows came into the ledger, or what a value means for an output (`learning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb
import pyarrow as pa

from flywheel_pipelines.lake.tables import PERFORMANCE_METRICS
from flywheel_pipelines.spec import RateMetric

_QUERY = """
with known as (
    select output_id, measure, measured_on, value, recorded_at
    from ledger
    where $cutoff is null or recorded_at <= $cutoff
    qualify row_number() over (
        partition by output_id, measure, measured_on order by recorded_at desc, batch_id desc, source_row desc
    ) = 1
),
measured as (
    select
        wanted.position,
        wanted.metric,
        known.output_id,
        sum(known.value) filter (where known.measure = wanted.successes) as numerator,
        sum(known.value) filter (where known.measure = wanted.exposure) as exposure,
        max(known.recorded_at) as known_at
    from known
    inner join wanted on known.measure = wanted.successes or known.measure = wanted.exposure
    where known.output_id in (select output_id from published)
    group by all
)
select
    output_id,
    metric,
    coalesce(numerator, 0)::double as numerator,
    exposure::double as exposure,
    case when exposure > 0 then coalesce(numerator, 0) / exposure end as value,
    $is_mature as is_mature,
    known_at
from measured
where exposure is not null
order by position, output_id
"""


def performance_view(
    ledger: pa.Table,
    published: pa.Table,
    metrics: Mapping[str, RateMetric],
    *,
    knowledge_cutoff: datetime | None,
    matures_at: datetime,
    latest_batch: datetime | None,
) -> pa.Table:
    """One row per published output and metric that was measured (contract `performance_metrics`).

    Args:
        ledger: rows of `metric_ledger` for the cycle.
        published: rows of `published_outputs` for the cycle; measurements of anything else are not counted.
        metrics: the flywheel's metrics by name.
        knowledge_cutoff: keep what was recorded up to here; None keeps everything.
        matures_at: the instant at which the measurement window has passed.
        latest_batch: when the newest batch of facts arrived; maturity is judged by it when there is no cutoff, so that
            the result depends on the ledgers and not on the clock of the machine.
    """
    as_of = knowledge_cutoff or latest_batch
    wanted = [
        {"position": number, "metric": name, "successes": metric.successes, "exposure": metric.exposure}
        for number, (name, metric) in enumerate(metrics.items())
    ]
    parameters = {"cutoff": knowledge_cutoff, "is_mature": as_of is not None and as_of >= matures_at}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("ledger", ledger)
        connection.register("published", published.select(["output_id"]))
        connection.register("wanted", pa.Table.from_pylist(wanted))
        found = connection.execute(_QUERY, parameters).to_arrow_table()
    fields = PERFORMANCE_METRICS.schema
    return pa.table([found.column(field.name).cast(field.type) for field in fields], schema=fields)
