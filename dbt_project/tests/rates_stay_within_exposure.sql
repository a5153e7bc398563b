-- No more successes than trials, in any metric that is a share: a mean, a count or a time has no such bound.
select
    performance.flywheel,
    performance.cycle,
    performance.output_id,
    performance.metric,
    performance.numerator,
    performance.exposure
from {{ ref('stg_performance_metrics') }} as performance
inner join {{ ref('int_metric_definitions') }} as definitions
    on performance.flywheel = definitions.flywheel and performance.metric = definitions.metric
where
    definitions.kind in ('rate', 'top_k')
    and performance.exposure > 0
    and performance.numerator > performance.exposure
