-- No more successes than trials. Every metric kind so far is a rate; a kind that is not will need its own column here.
select
    flywheel,
    cycle,
    output_id,
    metric,
    numerator,
    exposure
from {{ ref('stg_performance_metrics') }}
where numerator > exposure
