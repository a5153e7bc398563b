"""The latest-known view of the metric ledger for one cycle.

Here: latest wins up to the knowledge cutoff, exports that replace a range of days, measures become metrics, and whether
the window has passed. Not here: how rows came into the ledger, or what a value means for an output (`learning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb
import pyarrow as pa

from flywheel_pipelines.lake.tables import PERFORMANCE_METRICS
from flywheel_pipelines.spec import CountMetric, Metric, TopKMetric

_KNOWN = """
with replaced as (
    select feed, first_day, last_day, recorded_at, batch_id
    from replacements
    where $cutoff is null or recorded_at <= $cutoff
),
known as (
    select output_id, measure, measured_on, value, recorded_at
    from ledger
    where
        ($cutoff is null or recorded_at <= $cutoff)
        and not exists (
            select 1 from replaced
            where
                replaced.feed = ledger.feed
                and ledger.measured_on between replaced.first_day and replaced.last_day
                and (replaced.recorded_at, replaced.batch_id) > (ledger.recorded_at, ledger.batch_id)
        )
    qualify row_number() over (
        partition by output_id, measure, measured_on order by recorded_at desc, batch_id desc, source_row desc
    ) = 1
)
"""
# Per output and day first: what a day adds up to is one report. Sums are taken in the order of the days, since the sum
# of decimals depends on it in the last bits.
_QUERY = f"""{_KNOWN},
reported as (
    select
        wanted.position,
        known.output_id,
        known.measured_on,
        max(known.value) filter (where known.measure = wanted.numerator) as amount,
        max(known.value) filter (where known.measure = wanted.denominator) as trials,
        max(known.recorded_at) as known_at
    from known
    inner join wanted on known.measure = wanted.numerator or known.measure = wanted.denominator
    where known.output_id in (select output_id from published)
    group by all
),
counted as (
    select
        reported.*,
        wanted.metric,
        wanted.kind,
        case when wanted.kind = 'top_k' then (reported.amount <= wanted.k)::int else reported.amount end as counted,
        case when wanted.kind = 'top_k' then 1 else reported.trials end as exposed
    from reported
    inner join wanted using (position)
),
added as (
    select
        position,
        metric,
        output_id,
        any_value(kind) as kind,
        sum(counted order by measured_on) as numerator,
        sum(exposed order by measured_on) as exposure,
        count(*) filter (where exposed > 0) as n_reports,
        sum(coalesce(counted, 0) * coalesce(counted, 0) / exposed order by measured_on) filter (where exposed > 0)
            as squares,
        max(known_at) as known_at
    from counted
    group by position, metric, output_id
),
measured as (
    -- A count per output has the output itself as its exposure: its days are not repetitions of anything.
    select * replace (
        case when kind = 'per_output' then 1 else exposure end as exposure,
        case when kind = 'per_output' then 1 else n_reports end as n_reports,
        case when kind = 'per_output' then numerator * numerator else coalesce(squares, 0) end as squares
    )
    from added
    -- No success is said by leaving it out; no amount is not.
    where case when kind in ('mean', 'duration', 'per_output') then numerator is not null else true end
)
select
    output_id,
    metric,
    coalesce(numerator, 0)::double as numerator,
    exposure::double as exposure,
    case when exposure > 0 then coalesce(numerator, 0) / exposure end as value,
    n_reports,
    squares::double as squares,
    $is_mature as is_mature,
    known_at
from measured
where exposure is not null
order by position, output_id
"""

_WANTED = pa.schema(
    [
        ("position", pa.int64()),
        ("metric", pa.string()),
        ("kind", pa.string()),
        ("numerator", pa.string()),
        ("denominator", pa.string()),
        ("k", pa.float64()),
    ]
)


def known_measurements(ledger: pa.Table, replacements: pa.Table, knowledge_cutoff: datetime | None = None) -> pa.Table:
    """The value that counts of every output, measure and day: output_id, measure, measured_on, value, recorded_at.

    Args:
        ledger: rows of `metric_ledger` for one cycle.
        replacements: rows of `metric_replacements` for the cycle.
        knowledge_cutoff: keep what was recorded up to here; None keeps everything.
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("ledger", ledger)
        connection.register("replacements", replacements)
        query = f"{_KNOWN} select * from known order by output_id, measure, measured_on"
        return connection.execute(query, {"cutoff": knowledge_cutoff}).to_arrow_table()


def performance_view(
    ledger: pa.Table,
    replacements: pa.Table,
    published: pa.Table,
    metrics: Mapping[str, Metric],
    *,
    knowledge_cutoff: datetime | None,
    matures_at: datetime,
    latest_batch: datetime | None,
) -> pa.Table:
    """One row per published output and metric that was measured (contract `performance_metrics`).

    Args:
        ledger: rows of `metric_ledger` for the cycle.
        replacements: rows of `metric_replacements` for the cycle. What a feed said of these days before, in the order
            of recorded_at and batch_id, does not count any more.
        published: rows of `published_outputs` for the cycle; measurements of anything else are not counted.
        metrics: the flywheel's metrics by name.
        knowledge_cutoff: keep what was recorded up to here; None keeps everything.
        matures_at: the instant at which the measurement window has passed.
        latest_batch: when the newest batch of facts up to the cutoff arrived. Maturity is judged by it and neither by
            the clock of the machine nor by the cutoff: what was known on a day is what a run on that day saw.
    """
    wanted = [
        {
            "position": number,
            "metric": name,
            "kind": "per_output" if isinstance(metric, CountMetric) and metric.exposure is None else metric.kind,
            "numerator": metric.numerator,
            "denominator": metric.denominator,
            "k": metric.k if isinstance(metric, TopKMetric) else None,
        }
        for number, (name, metric) in enumerate(metrics.items())
    ]
    parameters = {"cutoff": knowledge_cutoff, "is_mature": latest_batch is not None and latest_batch >= matures_at}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("ledger", ledger)
        connection.register("replacements", replacements)
        connection.register("published", published.select(["output_id"]))
        connection.register("wanted", pa.Table.from_pylist(wanted, schema=_WANTED))
        found = connection.execute(_QUERY, parameters).to_arrow_table()
    fields = PERFORMANCE_METRICS.schema
    return pa.table([found.column(field.name).cast(field.type) for field in fields], schema=fields)
