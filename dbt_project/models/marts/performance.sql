{{ config(meta={'by_cycle': true}, post_hook=["{{ performance_functions() }}"]) }}

with

performance as (

    select * from {{ ref('stg_performance_metrics') }}

),

first_known as (

    select * from {{ ref('int_first_known') }}
    where subject = 'metric'

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

-- What an archive published in two arms is measured once and counts in both.
arms as (

    select distinct
        flywheel,
        cycle,
        output_id,
        unnest([arm, 'all']) as arm
    from {{ ref('stg_published_outputs') }}

),

known as (

    select
        performance.*,
        coalesce(first_known.n_restatements, 0) as n_restatements,
        first_known.last_restated_at,
        case when first_known.output_id is null then performance.exposure else first_known.first_exposure end
            as first_exposure,
        case
            when first_known.output_id is null then performance.numerator
            else first_known.first_value * first_known.first_exposure
        end as first_numerator
    from performance
    left join first_known
        on
            performance.flywheel = first_known.flywheel
            and performance.cycle = first_known.cycle
            and performance.output_id = first_known.output_id
            and performance.metric = first_known.metric

),

-- Sums in the order of the outputs: the last bits of a sum of decimals depend on it.
added as (

    select
        known.flywheel,
        known.cycle,
        arms.arm,
        known.metric,
        count(*) as n_outputs,
        sum(known.numerator order by known.output_id) as numerator,
        sum(known.exposure order by known.output_id) as exposure,
        bool_and(known.is_mature) as is_mature,
        max(known.known_at) as known_at,
        sum(known.first_numerator order by known.output_id) as first_numerator,
        sum(known.first_exposure order by known.output_id) as first_exposure,
        count(*) filter (where known.n_restatements > 0) as n_restated,
        max(known.last_restated_at) as last_restated_at
    from known
    inner join arms
        on
            known.flywheel = arms.flywheel
            and known.cycle = arms.cycle
            and known.output_id = arms.output_id
    group by 1, 2, 3, 4

),

final as (

    select

        ---------- ids
        added.flywheel,
        added.cycle,
        added.arm,
        added.metric,
        manifests.is_synthetic,

        ---------- as known now
        added.n_outputs,
        added.numerator,
        added.exposure,
        added.numerator / nullif(added.exposure, 0) as value,
        added.is_mature,
        added.known_at,

        ---------- as the first close knew it
        added.first_exposure as first_known_exposure,
        added.first_numerator / nullif(added.first_exposure, 0) as first_known_value,

        ---------- what came in between
        added.n_restated,
        added.last_restated_at

    from added
    left join manifests on added.flywheel = manifests.flywheel and added.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, arm, metric
