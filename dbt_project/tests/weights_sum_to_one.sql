-- The lift of an arm on a brief is a weighted mean, so its weights must sum to 1 per cycle, brief and arm.
select
    flywheel,
    cycle,
    brief_id,
    arm,
    sum(weight) as total_weight,
    count(*) as n_outputs
from {{ ref('stg_published_outputs') }}
group by 1, 2, 3, 4
having abs(sum(weight) - 1) > 1e-6
