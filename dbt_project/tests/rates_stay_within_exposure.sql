-- No more successes than trials, for what the floor judged as a share: a mean, a count or a time has no such bound, and
-- the outputs of one flywheel whose floor is a share have no sampling variance of their own.
select
    performance.flywheel,
    performance.cycle,
    performance.output_id,
    performance.metric,
    performance.numerator,
    performance.exposure
from {{ ref('stg_performance_metrics') }} as performance
inner join {{ ref('stg_scored_outputs') }} as scored
    on
        performance.flywheel = scored.flywheel
        and performance.cycle = scored.cycle
        and performance.output_id = scored.output_id
        and performance.metric = scored.metric
where
    scored.sampling_variance is null
    and scored.exposure > 0
    and performance.numerator > performance.exposure
