{{ config(meta={'by_cycle': true, 'across_cycles': true}) }}

with

generated as (

    select * from {{ ref('stg_generated_outputs') }}

),

shown as (

    select
        flywheel,
        cycle,
        unnest(reference_ids) as reference_id
    from generated

),

final as (

    select

        ---------- ids
        flywheel,
        cycle,
        reference_id,

        ---------- numerics
        count(*) as n_outputs

    from shown
    group by 1, 2, 3

)

select * from final
order by flywheel, cycle, reference_id
